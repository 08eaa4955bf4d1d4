// attention_dq_lanes.glsl - attention_dq.glsl with queries in lanes.
layout(push_constant) uniform push {
    uint B, T, D;
    uint heads, axial, w;
    uint q_o, q_s, k_o, k_s, v_o, v_s, dy_o, dy_s, dq_o, dq_s;
};
#include "attn_lanes.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN(3, dy);  IN(4, l);  IN(5, e);  OUT(6, dq);

void main()
{
    place p = place_of(B, T, heads, axial, R * W);
    uint n = p.n, i1 = min(p.i0 + R * W, n);
    uint lo = p.i0 < n ? KEYS_LO(p.i0) : 0, hi = p.i0 < n ? KEYS_HI(i1 - 1) : 0;
    float scale = inversesqrt(float(K)), mine[R][KP], given[R][KP], acc[R][KP];
    float part[KP / W], s[R], dp[R], li[R], ei[R];
    TAKE(mine, p, q)
    TAKE(given, p, dy)
    CLEAR(acc)
    [[unroll]] for (uint a = 0; a < R; a++) {
        li[a] = OWN(a) < n ? l[STAT(p, OWN(a))] : 0;
        ei[a] = OWN(a) < n ? e[STAT(p, OWN(a))] : 0;
    }
    for (uint j = lo; j < hi; j++) {
        MEET(part, p, v, j)
        DOTS(dp, given, part)
        MEET(part, p, k, j)
        DOTS(s, mine, part)
        [[unroll]] for (uint a = 0; a < R; a++)
            s[a] = SEES(OWN(a), j) ? exp(s[a] * scale - li[a]) * (dp[a] - ei[a]) : 0;
        MIX(acc, s, part)
    }
#define SCALE(a) scale
    GIVE(p, dq, acc, SCALE)
}
