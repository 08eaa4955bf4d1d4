// rel.glsl - what the kernels of attention by distance share; rules and letters are those of
// src/ops/rel_attention.h. Rows are in the order of time, row t*B + b is token t of batch row b:
// the batch rows are what attn.glsl calls residue classes. In a tile of queries against one of keys
// the distances are BR + BC - 1 in number: row - col + BC - 1 counts them, so that an invocation whose
// rows and columns are TX = TY apart needs RT + CT - 1 of them for RT * CT scores.
#include "attn_tile.glsl"
#define axial B
#define PAST (M - N)
const uint REACH = BR + BC - 1;
shared vec4 us[KS], ws[KS];

// place of a tile of `rows` of T tokens
place tile_of(uint T, uint rows) { return place_of(1, T * B, heads, B, rows); }
#define STAT_OF(p, i) (((p).h * N + (i)) * B + (p).r)

bool is_write(uint i) { return i >= N - write; }
// keys of row b's past before which nothing is seen
#define GONE_OF(b) (HAS(6) ? min(uint(max(gone[b], 0)), PAST) : 0)
// how far down the rows of r are where `none` keys are missing
#define SLIDE int(slide == 1 ? none : 0)
bool sees(uint i, uint j, uint none)
{
    bool slot = i < read || is_write(i);
    uint next = i + PAST + 1, old = band > 0 && next > band ? next - band : 0;
    uint lo = slot && cache == 0 ? PAST : old;
    uint hi = is_write(i) ? M : i < read ? PAST + read : next;
    return max(lo, none) <= j && j < hi;
}
// what queries i0 .. i1-1 see lies in KEYS_LO .. KEYS_HI
uint keys_lo(uint i0, uint i1)
{
    if (band > 0) return i0 + PAST + 1 > band ? i0 + PAST + 1 - band : 0;
    return cache == 0 && (i1 <= read || is_write(i0)) ? PAST : 0;
}
uint keys_hi(uint i0, uint i1)
{
    return is_write(i1 - 1) ? M : PAST + (i0 < read ? max(i1, read) : i1);
}

// tile[rows][KS] = rows first .. of x, zeros where there are none of n; AT(i): first of row i
#define LOAD_AT(tile, rows, x, first, n, AT)                                                     \
    for (uint e = gl_LocalInvocationIndex; e < (rows) * KU; e += TX * TY) {                      \
        int i = int(first) + int(e / KU);                                                        \
        uint c = e % KU * 4;                                                                     \
        vec4 four = vec4(0);                                                                     \
        if (i >= 0 && i < int(n)) {                                                              \
            uint at_ = AT(uint(i)) + c;                                                          \
            [[unroll]] for (uint d = 0; d < 4; d++) if (c + d < K) four[d] = x[at_ + d];         \
        }                                                                                        \
        tile[e / KU * KS + e % KU] = four;                                                       \
    }
#define R_AT(i) (r_o + (i) * r_s + p.h * K)
#define ALONE(i) (p.h * K)
#define LOAD_BIASES()                                                                            \
    LOAD_AT(us, 1, u, 0, 1, ALONE)                                                               \
    LOAD_AT(ws, 1, w, 0, 1, ALONE)

// s[a][b] = (x + add) row ty + TY a . skew row (row - col + BC - 1)  [+ (x + plus) row . y row col]
#define SKEW(s, RT, CT, x, add, skew, MORE)                                                      \
    [[unroll]] for (uint a = 0; a < RT; a++)                                                     \
        [[unroll]] for (uint b = 0; b < CT; b++) s[a][b] = 0;                                    \
    for (uint c = 0; c < K4; c++) {                                                              \
        vec4 ss[RT + CT - 1];                                                                    \
        [[unroll]] for (uint t = 0; t < RT + CT - 1; t++)                                        \
            ss[t] = skew[(ty + BC - 1 - tx - TX * (CT - 1) + TX * t) * KS + c];                  \
        [[unroll]] for (uint a = 0; a < RT; a++) {                                               \
            vec4 xx = x[(ty + TY * a) * KS + c];                                                 \
            [[unroll]] for (uint b = 0; b < CT; b++)                                             \
                s[a][b] += dot(xx + add, ss[a + CT - 1 - b]) MORE;                               \
        }                                                                                        \
    }
#define SCORES(s, RT, CT, x, add, skew, plus, y)                                                 \
    SKEW(s, RT, CT, x, add[c], skew, + dot(xx + plus[c], y[(tx + TX * b) * KS + c]))

// acc[a][b] += sum over j < n of f[ty + TY a][j] (y[j] + add)[tx + TX b]
#define MIX_PLUS(acc, RT, n, f, FS, y, add)                                                      \
    for (uint j = 0; j < (n); j++)                                                               \
        [[unroll]] for (uint b = 0; b < NC; b++) {                                               \
            vec4 yy = y[j * KS + tx + TX * b] + add[tx + TX * b];                                \
            [[unroll]] for (uint a = 0; a < RT; a++)                                             \
                acc[a][b] += f[(ty + TY * a) * (FS) + j / 4][j % 4] * yy;                        \
        }

// ---- slots see newer keys: what the reference's shifted scores hold there, one by one ----
// Unrolled, these loops take more scalar registers than GCN 3 has.
bool has_slots() { return read + write > 0; }
bool newer(uint i, uint j) { return j > i + PAST; }
#define NEXT_ROW(i, j) (M + 1 + (i) + PAST - (j))
#define NEXT_SCORE                                                                               \
    float next_score(place p, uint i, uint j)                                                    \
    {                                                                                            \
        float s = 0;                                                                             \
        if (j == i + PAST + 1) return s;                                                         \
        uint q0 = ROW(p, q, i + 1, N, p.h), r0 = R_AT(NEXT_ROW(i, j));                           \
        [[dont_unroll]] for (uint c = 0; c < K; c++)                                             \
            s += (q[q0 + c] + w[p.h * K + c]) * r[r0 + c];                                       \
        return s;                                                                                \
    }
#define NEXT_DS                                                                                  \
    NEXT_SCORE                                                                                   \
    float next_ds(place p, uint i, uint j)                                                       \
    {                                                                                            \
        uint q0 = ROW(p, q, i, N, p.h), k0 = ROW(p, k, j, M, p.h);                               \
        uint y0 = ROW(p, dy, i, N, p.h), v0 = ROW(p, v, j, M, p.h);                              \
        float s = next_score(p, i, j), dp = 0;                                                   \
        [[dont_unroll]] for (uint c = 0; c < K; c++) {                                           \
            s += (q[q0 + c] + u[p.h * K + c]) * k[k0 + c];                                       \
            dp += dy[y0 + c] * v[v0 + c];                                                        \
        }                                                                                        \
        uint at = STAT_OF(p, i);                                                                 \
        return exp(s * inversesqrt(float(K)) - l[at]) * (dp KEPT_AT(p, i, j) - e[at]);           \
    }

// ---- weights that are left out: DROP is defined, dice are bound ----
#define LINE_OF(p) ((p).r * heads + (p).h)
#ifdef DROP
#define DRAW(p, i0, j0, step) draw(LINE_OF(p), i0, j0, step, M);
#define KEPT_AT(p, i, j) * kept_at(LINE_OF(p), i, j, M)
#else
#define DRAW(p, i0, j0, step)
#define KEPT_AT(p, i, j)
#endif
