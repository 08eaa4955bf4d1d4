// attention_dkv.glsl - dk_j = sum_i ds_ij q_i / sqrt K, dv_j = sum_i exp(s_ij - l_i) dy_i, ds and s
// as in attention_dq.glsl: one workgroup per tile of BC keys, which walks over the queries that see
// it, head by head and BR at a time. The rule defines SEES(i, j), and QUERIES_LO(j) and
// QUERIES_HI(j), positions from off to n: no query before or from there on sees j.
layout(push_constant) uniform push {
    uint B, N, D, M;
    uint heads, axial, w, share, parts;
#ifdef DROP
    float drop, stays;
    uint spot;
#endif
    uint q_o, q_s, k_o, k_s, v_o, v_s, dy_o, dy_s, dk_o, dk_s, dv_o, dv_s;
    uint opts;
};
#include "attn_tile.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN(3, dy);  IN(4, l);  IN(5, e);  IN_INT(6, gone);
#ifdef DROP
IN_INT(7, dice);  OUT(8, dk);  OUT(9, dv);
#include "attn_drop.glsl"
#define DRAW(i, at) draw(LINE(p, h), i, int(at), 0, CLASS_MOST);
#else
OUT(7, dk);  OUT(8, dv);
#define DRAW(i, at)
#endif
const uint RT = BR / TY, CT = BC / TX, JT = BC / TY, PS = BR / 4 + 1;
shared vec4 ks[BC * KS], vs[BC * KS], qs[BR * KS], ys[BR * KS], ps[BC * PS], ds[BC * PS];

void main()
{
    uint tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    place p = place_of(B * parts, M, heads / share, axial, BC);
    uint part = p.b / B, some = share / parts, h0 = p.h * share + part * some;
    p.b -= part * B;
    uint n = p.n, m = class_of(p, N, axial), off = n - m, j1 = min(p.i0 + BC, n);
    uint none = GONE(6), lo = p.i0 < n ? QUERIES_LO(p.i0) - off : 0;
    uint hi = p.i0 < n && j1 > none ? QUERIES_HI(j1 - 1) - off : 0;
    float scale = inversesqrt(float(K)), s[RT][CT], dp[RT][CT];
    vec4 ak[JT][NC], av[JT][NC];
    CLEAR(ak, JT)
    CLEAR(av, JT)
    LOAD(ks, BC, p, k, p.i0, M, n, p.h)
    LOAD(vs, BC, p, v, p.i0, M, n, p.h)

    for (uint h = h0; h < h0 + some; h++)
    for (uint at = lo; at < hi; at += BR) {
        barrier();                         // the last block's queries have been used
        LOAD(qs, BR, p, q, at, N, m, h)
        LOAD(ys, BR, p, dy, at, N, m, h)
        DRAW(at, p.i0)
        barrier();
        DOTS(s, RT, CT, qs, ks)
        DOTS(dp, RT, CT, ys, vs)
        [[unroll]] for (uint a = 0; a < RT; a++) {
            uint row = ty + TY * a, i = at + row;
            float li = i < m ? l[STAT(p, i, h)] : 0, ei = i < m ? e[STAT(p, i, h)] : 0;
            [[unroll]] for (uint b = 0; b < CT; b++) {
                uint col = tx + TX * b, j = p.i0 + col;
                bool seen = i < m && j < n && j >= none && SEES(i + off, j);
                float weight = seen ? exp(s[a][b] * scale - li) : 0;
                ps[col * PS + row / 4][row % 4] = weight KEPT(row, p.i0, j);
                ds[col * PS + row / 4][row % 4] = weight * (dp[a][b] KEPT(row, p.i0, j) - ei);
            }
        }
        barrier();
        MIX(av, JT, BR, ps, PS, ys)
        MIX(ak, JT, BR, ds, PS, qs)
    }
    p.b += part * B;
#define ONE(a) 1
#define SCALE(a) scale
    STORE(p, dv, p.i0, M, av, JT, ONE)
    STORE(p, dk, p.i0, M, ak, JT, SCALE)
}
