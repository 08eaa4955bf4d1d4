// attention_lanes.glsl - attention.glsl with queries in lanes.
layout(push_constant) uniform push {
    uint B, N, D, M;
    uint heads, axial, w, share;
    uint q_o, q_s, k_o, k_s, v_o, v_s, y_o, y_s;
    uint opts;
};
#include "attn_lanes.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN_INT(3, gone);  OUT(4, y);  OUT(5, l);

void main()
{
    place p = place_of(B, N, heads, axial, R * W);
    uint n = class_of(p, M, axial), off = n - p.n, i1 = min(p.i0 + R * W, p.n), hk = p.h / share;
    uint lo = p.i0 < p.n ? max(uint(KEYS_LO(p.i0 + off)), GONE(3)) : 0, hi = p.i0 < p.n ? KEYS_HI(i1 - 1 + off) : 0;
    float scale = inversesqrt(float(K)), mine[R][KP], acc[R][KP], part[KP / W];
    float s[R], e[R], old[R], top[R], sum[R];
    TAKE(mine, p, q, N)
    CLEAR(acc)
    [[unroll]] for (uint a = 0; a < R; a++) { top[a] = -3e38; sum[a] = 0; }
    for (uint j = lo; j < hi; j++) {
        MEET(part, p, k, j, M, hk)
        DOTS(s, mine, part)
        [[unroll]] for (uint a = 0; a < R; a++) {
            bool seen = SEES(OWN(a) + off, j);
            float m = seen ? max(top[a], s[a] * scale) : top[a];
            old[a] = exp(top[a] - m);
            e[a] = seen ? exp(s[a] * scale - m) : 0;
            sum[a] = sum[a] * old[a] + e[a];
            top[a] = m;
        }
        MEET(part, p, v, j, M, hk)
        [[unroll]] for (uint c = 0; c < KP; c++) {
            float x = CHANNEL(part, c);
            [[unroll]] for (uint a = 0; a < R; a++) acc[a][c] = acc[a][c] * old[a] + e[a] * x;
        }
    }
    [[unroll]] for (uint a = 0; a < R; a++) {
        if (OWN(a) < p.n)
            l[STAT(p, OWN(a), p.h)] = sum[a] == 0 ? -3e38 : top[a] + log(sum[a]);
        sum[a] = sum[a] == 0 ? 0 : 1 / sum[a];
    }
#define SHARE(a) sum[a]
    GIVE(p, y, N, acc, SHARE)
}
