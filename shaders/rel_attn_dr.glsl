// rel_attn_dr.glsl - dr_b,d = sum_i ds_(i,i+M-N-d) (q_i+w) / sqrt K
//                          one workgroup per tile of distances of a head of a batch row, BC of them
#include "rel_push.glsl"
layout(push_constant) uniform push {
    REL_PUSH
    uint dy_o, dy_s, opts;
};
#include "rel.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN(3, r);  IN(4, u);  IN(5, w);  IN_INT(6, gone);
IN(7, dy);  IN(8, l);  IN(9, e);
#ifdef DROP
IN_INT(10, dice);  OUT(11, dr);
#include "attn_drop.glsl"
#else
OUT(10, dr);
#endif
NEXT_DS
const uint RT = BR / TY, CT = BC / TX, JT = BC / TY, PS = BR / 4 + 1;
shared vec4 rs[BC * KS], qs[BR * KS], ys[BR * KS], kv[REACH * KS], ds[BC * PS];
#define KEY_AT(i) ROW(p, k, i, M, p.h)
#define VALUE_AT(i) ROW(p, v, i, M, p.h)

// acc[a] += what slot i's score of a newer key adds to row d of r
#define NEXT_SLOT(i, end)                                                                        \
    {                                                                                            \
        uint j_ = (i) + PAST + M + 1 - d;                                                        \
        if (j_ < (end)) {                                                                        \
            float f = next_ds(p, i, j_);                                                         \
            uint q0 = ROW(p, q, (i) + 1, N, p.h);                                                \
            [[unroll]] for (uint b = 0; b < NC; b++)                                             \
                [[unroll]] for (uint x = 0; x < 4; x++) {                                        \
                    uint c = (tx + TX * b) * 4 + x;                                              \
                    if (c < K) acc[a][b][x] += f * (q[q0 + c] + w[p.h * K + c]);                 \
                }                                                                                \
        }                                                                                        \
    }

void main()
{
    uint tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    place p = tile_of(M, BC);
    uint none = GONE_OF(p.r);
    // the distance of the tile's first row; below 0 where rows slide
    int d0 = int(p.i0) - SLIDE;
    // the newest query that has a key so far away; none where nothing so far away is seen
    uint lo = d0 > int(PAST) ? uint(d0) - PAST : 0;
    uint hi = p.i0 < p.n && (band == 0 || d0 < int(band)) ? N : 0;
    float scale = inversesqrt(float(K)), s[RT][CT], dp[RT][CT];
    vec4 acc[JT][NC];
    CLEAR(acc, JT)
    LOAD_BIASES()
    LOAD_AT(rs, BC, r, p.i0, M, R_AT)

    for (uint at = lo; at < hi; at += BR) {
        int first = int(at + PAST) - (d0 + int(BC) - 1);
        barrier();                         // the last block's queries have been used
        LOAD(qs, BR, p, q, at, N, N, p.h)
        LOAD(ys, BR, p, dy, at, N, N, p.h)
        LOAD_AT(kv, REACH, v, first, M, VALUE_AT)
        DRAW(p, at, first, 1)
        barrier();
        SKEW(dp, RT, CT, ys, vec4(0), kv, )
        barrier();
        LOAD_AT(kv, REACH, k, first, M, KEY_AT)
        barrier();
        SCORES(s, RT, CT, qs, us, kv, ws, rs)
        [[unroll]] for (uint a = 0; a < RT; a++) {
            uint row = ty + TY * a, i = at + row;
            float li = i < N ? l[STAT_OF(p, i)] : 0, ei = i < N ? e[STAT_OF(p, i)] : 0;
            [[unroll]] for (uint b = 0; b < CT; b++) {
                uint col = tx + TX * b, j = uint(int(i + PAST) - (d0 + int(col)));
                int d = d0 + int(col);
                bool seen = i < N && d >= 0 && d < int(M) && d <= int(i + PAST) && sees(i, j, none);
                ds[col * PS + row / 4][row % 4] =
                    seen ? exp(s[a][b] * scale - li) * (dp[a][b] KEPT(row, uint(max(first + int(row), 0)), j) - ei) : 0;
            }
        }
        barrier();
        MIX_PLUS(acc, JT, BR, ds, PS, qs, ws)
    }

    if (has_slots())
        [[unroll]] for (uint a = 0; a < JT; a++) {
            uint d = p.i0 + ty + TY * a;
            if (d >= p.n || d + max(read, write) < M + 2) continue;
            for (uint i = 0; i < read; i++) NEXT_SLOT(i, PAST + read)
            for (uint i = N - write; i < N; i++) NEXT_SLOT(i, M)
        }

    [[unroll]] for (uint a = 0; a < JT; a++) {
        uint d = p.i0 + ty + TY * a;
        if (d < p.n)
            [[unroll]] for (uint b = 0; b < NC; b++)
                [[unroll]] for (uint x = 0; x < 4; x++) {
                    uint c = (tx + TX * b) * 4 + x;
                    if (c < K) dr[(p.r * M + d) * D + p.h * K + c] = acc[a][b][x] * scale;
                }
    }
}
