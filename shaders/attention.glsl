// attention.glsl - y_i = sum_j softmax_j(q_i.k_j / sqrt K) v_j in one pass over what a tile of
// queries sees: running maximum and sum of each row, nothing of size N x M. The rule defines
// SEES(i, j) for position i of a query and key j of n, and KEYS_LO(i) and KEYS_HI(i): nothing
// before or from there on is seen from i.
layout(push_constant) uniform push {
    uint B, N, D, M;
    uint heads, axial, w, share;
#ifdef DROP
    uint parts;
    float drop, stays;
    uint spot;
#endif
    uint q_o, q_s, k_o, k_s, v_o, v_s, y_o, y_s;
    uint opts;
};
#include "attn_tile.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN_INT(3, gone);
#ifdef DROP
IN_INT(4, dice);  OUT(5, y);  OUT(6, l);
#include "attn_drop.glsl"
#define DRAW(i, at) draw(LINE(p, p.h), i, int(at), 0, CLASS_MOST);
#else
OUT(4, y);  OUT(5, l);
#define DRAW(i, at)
#endif
const uint RT = BR / TY, CT = BC / TX, PS = BC / 4 + 1;
shared vec4 qs[BR * KS], kv[BC * KS], ps[BR * PS];
shared float red[BR * TX];

void main()
{
    uint tx = gl_LocalInvocationID.x, ty = gl_LocalInvocationID.y;
    place p = place_of(B, N, heads, axial, BR);
    uint n = class_of(p, M, axial), off = n - p.n, i1 = min(p.i0 + BR, p.n), hk = p.h / share;
    uint lo = p.i0 < p.n ? max(uint(KEYS_LO(p.i0 + off)), GONE(3)) : 0, hi = p.i0 < p.n ? KEYS_HI(i1 - 1 + off) : 0;
    float scale = inversesqrt(float(K)), s[RT][CT], top[RT], sum[RT];
    vec4 acc[RT][NC];
    CLEAR(acc, RT)
    [[unroll]] for (uint a = 0; a < RT; a++) { top[a] = -3e38; sum[a] = 0; }
    LOAD(qs, BR, p, q, p.i0, N, p.n, p.h)

    for (uint at = lo; at < hi; at += BC) {
        barrier();                         // the last block's values have been used
        LOAD(kv, BC, p, k, at, M, n, hk)
        DRAW(p.i0, at)
        barrier();
        DOTS(s, RT, CT, qs, kv)
        // largest score of each row
        [[unroll]] for (uint a = 0; a < RT; a++) {
            uint i = p.i0 + ty + TY * a;
            float m = -3e38;
            [[unroll]] for (uint b = 0; b < CT; b++) {
                uint j = at + tx + TX * b;
                s[a][b] = j < n && SEES(i + off, j) ? s[a][b] * scale : -3e38;
                m = max(m, s[a][b]);
            }
            red[(ty + TY * a) * TX + tx] = m;
        }
        barrier();
        WEIGHTS
        LOAD(kv, BC, p, v, at, M, n, hk)
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
        if (tx == 0 && i < p.n) l[STAT(p, i, p.h)] = total == 0 ? -3e38 : top[a] + log(total);
    }
#define SHARE(a) sum[a]
    STORE(p, y, p.i0, N, acc, RT, SHARE)
}
