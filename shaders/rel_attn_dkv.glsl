// rel_attn_dkv.glsl - dk_j = sum_i ds_ij (q_i+u) / sqrt K, dv_j = sum_i exp(s_ij - l_i) dy_i
//                               one workgroup per tile of keys of a head of a batch row, BC of them
#include "rel_push.glsl"
layout(push_constant) uniform push {
    REL_PUSH
    uint dy_o, dy_s, dk_o, dk_s, dv_o, dv_s, opts;
};
#include "rel.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN(3, r);  IN(4, u);  IN(5, w);  IN_INT(6, gone);
IN(7, dy);  IN(8, l);  IN(9, e);
#ifdef DROP
IN_INT(10, dice);  OUT(11, dk);  OUT(12, dv);
#include "attn_drop.glsl"
#else
OUT(10, dk);  OUT(11, dv);
#endif
NEXT_SCORE
const uint RT = BR / TY, CT = BC / TX, JT = BC / TY, PS = BR / 4 + 1;
shared vec4 ks[BC * KS], vs[BC * KS], qs[BR * KS], ys[BR * KS], rs[REACH * KS], ps[BC * PS],
            ds[BC * PS];

void main()
{
    uint tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    place p = tile_of(M, BC);
    uint none = GONE_OF(p.r);
    uint j1 = min(p.i0 + BC, p.n), lo = 0, hi = 0;
    if (p.i0 < p.n) {
        // the first query that may see the first key; the last one that sees the last
        lo = p.i0 < PAST + read ? 0 : min(p.i0 - PAST, N - write);
        hi = band == 0 ? N : j1 - 1 + band > PAST ? min(N, j1 - 1 + band - PAST) : 0;
    }
    float scale = inversesqrt(float(K)), s[RT][CT], dp[RT][CT];
    vec4 ak[JT][NC], av[JT][NC];
    CLEAR(ak, JT)
    CLEAR(av, JT)
    LOAD_BIASES()
    LOAD(ks, BC, p, k, p.i0, M, p.n, p.h)
    LOAD(vs, BC, p, v, p.i0, M, p.n, p.h)

    for (uint at = lo; at < hi; at += BR) {
        barrier();                         // the last block's queries have been used
        LOAD(qs, BR, p, q, at, N, N, p.h)
        LOAD(ys, BR, p, dy, at, N, N, p.h)
        DRAW(p, at, int(p.i0), 0)
        LOAD_AT(rs, REACH, r, SLIDE + int(at + PAST) - int(p.i0 + BC - 1), M, R_AT)
        barrier();
        SCORES(s, RT, CT, qs, ws, rs, us, ks)
        DOTS(dp, RT, CT, ys, vs)
        [[unroll]] for (uint a = 0; a < RT; a++) {
            uint row = ty + TY * a, i = at + row;
            float li = i < N ? l[STAT_OF(p, i)] : 0, ei = i < N ? e[STAT_OF(p, i)] : 0;
            [[unroll]] for (uint b = 0; b < CT; b++) {
                uint col = tx + TX * b, j = p.i0 + col;
                bool seen = i < N && j < p.n && sees(i, j, none);
                if (seen && newer(i, j)) s[a][b] += next_score(p, i, j);
                float weight = seen ? exp(s[a][b] * scale - li) : 0;
                ps[col * PS + row / 4][row % 4] = weight KEPT(row, p.i0, j);
                ds[col * PS + row / 4][row % 4] = weight * (dp[a][b] KEPT(row, p.i0, j) - ei);
            }
        }
        barrier();
        MIX(av, JT, BR, ps, PS, ys)
        MIX_PLUS(ak, JT, BR, ds, PS, qs, us)
    }
#define ONE(a) 1
#define SCALE(a) scale
    STORE(p, dv, p.i0, M, av, JT, ONE)
    STORE(p, dk, p.i0, M, ak, JT, SCALE)
}
