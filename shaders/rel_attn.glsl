// rel_attn.glsl - y_i = sum_j exp(s_ij - l_i) v_j, s_ij = ((q_i+u).k_j + (q_i+w).r_(i+M-N-j)) / sqrt K in one pass
// over what a tile of queries sees                 one workgroup per tile of a head of a batch row
#include "rel_push.glsl"
layout(push_constant) uniform push {
    REL_PUSH
    uint y_o, y_s, opts;
};
#include "rel.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN(3, r);  IN(4, u);  IN(5, w);  IN_INT(6, gone);
#ifdef DROP
IN_INT(7, dice);  OUT(8, y);  OUT(9, l);
#include "attn_drop.glsl"
#else
OUT(7, y);  OUT(8, l);
#endif
NEXT_SCORE
const uint RT = BR / TY, CT = BC / TX, PS = BC / 4 + 1;
shared vec4 qs[BR * KS], kv[BC * KS], rs[REACH * KS], ps[BR * PS];
shared float red[BR * TX];

void main()
{
    uint tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    place p = tile_of(N, BR);
    uint none = GONE_OF(p.r);
    uint i1 = min(p.i0 + BR, p.n);
    uint lo = p.i0 < p.n ? max(none, keys_lo(p.i0, i1)) : 0;
    uint hi = p.i0 < p.n ? keys_hi(p.i0, i1) : 0;
    float scale = inversesqrt(float(K)), s[RT][CT], top[RT], sum[RT];
    vec4 acc[RT][NC];
    CLEAR(acc, RT)
    [[unroll]] for (uint a = 0; a < RT; a++) { top[a] = -3e38; sum[a] = 0; }
    LOAD_BIASES()
    LOAD(qs, BR, p, q, p.i0, N, p.n, p.h)

    for (uint at = lo; at < hi; at += BC) {
        barrier();                         // the last block's values have been used
        LOAD(kv, BC, p, k, at, M, M, p.h)
        DRAW(p, p.i0, int(at), 0)
        LOAD_AT(rs, REACH, r, SLIDE + int(p.i0 + PAST) - int(at + BC - 1), M, R_AT)
        barrier();
        SCORES(s, RT, CT, qs, ws, rs, us, kv)
        // largest score of each row
        [[unroll]] for (uint a = 0; a < RT; a++) {
            uint i = p.i0 + ty + TY * a;
            float m = -3e38;
            [[unroll]] for (uint b = 0; b < CT; b++) {
                uint j = at + tx + TX * b;
                bool seen = i < p.n && j < M && sees(i, j, none);
                if (seen && newer(i, j)) s[a][b] += next_score(p, i, j);
                s[a][b] = seen ? s[a][b] * scale : -3e38;
                m = max(m, s[a][b]);
            }
            red[(ty + TY * a) * TX + tx] = m;
        }
        barrier();
        WEIGHTS
        LOAD(kv, BC, p, v, at, M, M, p.h)
        barrier();
        MIX(acc, RT, BC, ps, PS, kv)
    }

    // sums of the columns' shares, in order
    barrier();
    [[unroll]] for (uint a = 0; a < RT; a++) red[(ty + TY * a) * TX + tx] = sum[a];
    barrier();
    [[unroll]] for (uint a = 0; a < RT; a++) {
        uint row = ty + TY * a, i = p.i0 + row;
        float total = 0;
        [[unroll]] for (uint b = 0; b < TX; b++) total += red[row * TX + b];
        sum[a] = total == 0 ? 0 : 1 / total;
        if (tx == 0 && i < p.n) l[STAT_OF(p, i)] = top[a] + log(total);
    }
#define SHARE(a) sum[a]
    STORE(p, y, p.i0, N, acc, RT, SHARE)
}
