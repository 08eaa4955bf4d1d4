// rel_attn_dq.glsl - a_i = sum_j ds_ij k_j / sqrt K, c_i = sum_j ds_ij r_(i+M-N-j) / sqrt K
//                                               one workgroup per tile of a head of a batch row
#include "rel_push.glsl"
layout(push_constant) uniform push {
    REL_PUSH
    uint dy_o, dy_s, a_o, a_s, c_o, c_s, opts;
};
#include "rel.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN(3, r);  IN(4, u);  IN(5, w);  IN_INT(6, gone);
IN(7, dy);  IN(8, l);  IN(9, e);
#ifdef DROP
IN_INT(10, dice);
layout(set = 0, binding = 11, std430) writeonly buffer out_a { float ya[]; };
layout(set = 0, binding = 12, std430) writeonly buffer out_c { float yc[]; };
#include "attn_drop.glsl"
#else
layout(set = 0, binding = 10, std430) writeonly buffer out_a { float ya[]; };
layout(set = 0, binding = 11, std430) writeonly buffer out_c { float yc[]; };
#endif
#define ya_o a_o
#define ya_s a_s
#define yc_o c_o
#define yc_s c_s
NEXT_DS
const uint RT = BR / TY, CT = BC / TX, PS = BC / 4 + 1;
shared vec4 qs[BR * KS], ys[BR * KS], kv[BC * KS], rs[REACH * KS], ds[BR * PS];

void main()
{
    uint tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    place p = tile_of(N, BR);
    uint none = GONE_OF(p.r);
    uint i1 = min(p.i0 + BR, p.n);
    uint lo = p.i0 < p.n ? max(none, keys_lo(p.i0, i1)) : 0;
    uint hi = p.i0 < p.n ? keys_hi(p.i0, i1) : 0;
    float scale = inversesqrt(float(K)), s[RT][CT], dp[RT][CT], li[RT], ei[RT];
    vec4 ak[RT][NC], ar[RT][NC];
    CLEAR(ak, RT)
    CLEAR(ar, RT)
    [[unroll]] for (uint t = 0; t < RT; t++) {
        uint i = p.i0 + ty + TY * t;
        li[t] = i < p.n ? l[STAT_OF(p, i)] : 0;
        ei[t] = i < p.n ? e[STAT_OF(p, i)] : 0;
    }
    LOAD_BIASES()
    LOAD(qs, BR, p, q, p.i0, N, p.n, p.h)
    LOAD(ys, BR, p, dy, p.i0, N, p.n, p.h)

    for (uint at = lo; at < hi; at += BC) {
        barrier();                         // the last block's keys have been used
        LOAD(kv, BC, p, v, at, M, M, p.h)
        DRAW(p, p.i0, int(at), 0)
        LOAD_AT(rs, REACH, r, SLIDE + int(p.i0 + PAST) - int(at + BC - 1), M, R_AT)
        barrier();
        DOTS(dp, RT, CT, ys, kv)
        barrier();
        LOAD(kv, BC, p, k, at, M, M, p.h)
        barrier();
        SCORES(s, RT, CT, qs, ws, rs, us, kv)
        [[unroll]] for (uint t = 0; t < RT; t++) {
            uint row = ty + TY * t, i = p.i0 + row;
            [[unroll]] for (uint b = 0; b < CT; b++) {
                uint col = tx + TX * b, j = at + col;
                bool seen = i < p.n && j < M && sees(i, j, none);
                if (seen && newer(i, j)) s[t][b] += next_score(p, i, j);
                ds[row * PS + col / 4][col % 4] =
                    seen ? exp(s[t][b] * scale - li[t]) * (dp[t][b] KEPT(row, at, j) - ei[t]) : 0;
            }
        }
        barrier();
        MIX(ak, RT, BC, ds, PS, kv)
        for (uint j = 0; j < BC; j++)
            [[unroll]] for (uint t = 0; t < RT; t++) {
                uint row = ty + TY * t;
                float f = ds[row * PS + j / 4][j % 4];
                [[unroll]] for (uint b = 0; b < NC; b++)
                    ar[t][b] += f * rs[(row + BC - 1 - j) * KS + tx + TX * b];
            }
    }

    // a query's channels are also in the scores of the slot before it
    if (has_slots())
        [[unroll]] for (uint t = 0; t < RT; t++) {
            uint i = p.i0 + ty + TY * t, before = i - 1;
            if (i == 0 || i >= p.n || (before >= read && !is_write(before))) continue;
            uint end = is_write(before) ? M : PAST + read;
            for (uint j = before + PAST + 2; j < end; j++) {
                float f = next_ds(p, before, j);
                uint r0 = R_AT(NEXT_ROW(before, j));
                [[unroll]] for (uint b = 0; b < NC; b++)
                    [[unroll]] for (uint d = 0; d < 4; d++) {
                        uint c = (tx + TX * b) * 4 + d;
                        if (c < K) ar[t][b][d] += f * r[r0 + c];
                    }
            }
        }
#define SCALE(a) scale
    STORE(p, ya, p.i0, N, ak, RT, SCALE)
    STORE(p, yc, p.i0, N, ar, RT, SCALE)
}
