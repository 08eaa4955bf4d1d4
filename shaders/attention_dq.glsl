// attention_dq.glsl - dq_i = sum_j ds_ij k_j / sqrt K, ds_ij = exp(s_ij - l_i) (dy_i.v_j - e_i),
// s_ij = q_i.k_j / sqrt K: one workgroup per tile of queries. The rule defines SEES(i, j),
// KEYS_LO(i) and KEYS_HI(i) as for attention.glsl.
layout(push_constant) uniform push {
    uint B, N, D, M;
    uint heads, axial, w, share;
#ifdef DROP
    uint parts;
    float drop, stays;
    uint spot;
#endif
    uint q_o, q_s, k_o, k_s, v_o, v_s, dy_o, dy_s, dq_o, dq_s;
    uint opts;
};
#include "attn_tile.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN(3, dy);  IN(4, l);  IN(5, e);  IN_INT(6, gone);
#ifdef DROP
IN_INT(7, dice);  OUT(8, dq);
#include "attn_drop.glsl"
#define DRAW(i, at) draw(LINE(p, p.h), i, int(at), 0, CLASS_MOST);
#else
OUT(7, dq);
#define DRAW(i, at)
#endif
const uint RT = BR / TY, CT = BC / TX, PS = BC / 4 + 1;
shared vec4 qs[BR * KS], ys[BR * KS], kv[BC * KS], ds[BR * PS];

void main()
{
    uint tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    place p = place_of(B, N, heads, axial, BR);
    uint n = class_of(p, M, axial), off = n - p.n, i1 = min(p.i0 + BR, p.n), hk = p.h / share;
    uint lo = p.i0 < p.n ? max(uint(KEYS_LO(p.i0 + off)), GONE(6)) : 0, hi = p.i0 < p.n ? KEYS_HI(i1 - 1 + off) : 0;
    float scale = inversesqrt(float(K)), s[RT][CT], dp[RT][CT], li[RT], ei[RT];
    vec4 acc[RT][NC];
    CLEAR(acc, RT)
    [[unroll]] for (uint a = 0; a < RT; a++) {
        uint i = p.i0 + ty + TY * a;
        li[a] = i < p.n ? l[STAT(p, i, p.h)] : 0;
        ei[a] = i < p.n ? e[STAT(p, i, p.h)] : 0;
    }
    LOAD(qs, BR, p, q, p.i0, N, p.n, p.h)
    LOAD(ys, BR, p, dy, p.i0, N, p.n, p.h)

    for (uint at = lo; at < hi; at += BC) {
        barrier();                         // the last block's keys have been used
        LOAD(kv, BC, p, v, at, M, n, hk)
        DRAW(p.i0, at)
        barrier();
        DOTS(dp, RT, CT, ys, kv)
        barrier();
        LOAD(kv, BC, p, k, at, M, n, hk)
        barrier();
        DOTS(s, RT, CT, qs, kv)
        [[unroll]] for (uint a = 0; a < RT; a++) {
            uint row = ty + TY * a, i = p.i0 + row;
            [[unroll]] for (uint b = 0; b < CT; b++) {
                uint col = tx + TX * b, j = at + col;
                bool seen = i < p.n && j < n && SEES(i + off, j);
                ds[row * PS + col / 4][col % 4] =
                    seen ? exp(s[a][b] * scale - li[a]) * (dp[a][b] KEPT(row, at, j) - ei[a]) : 0;
            }
        }
        barrier();
        MIX(acc, RT, BC, ds, PS, kv)
    }
#define SCALE(a) scale
    STORE(p, dq, p.i0, N, acc, RT, SCALE)
}
