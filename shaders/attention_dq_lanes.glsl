// attention_dq_lanes.glsl - attention_dq.glsl with queries in lanes.
layout(push_constant) uniform push {
    uint B, N, D, M;
    uint heads, axial, w, share;
    uint q_o, q_s, k_o, k_s, v_o, v_s, dy_o, dy_s, dq_o, dq_s;
    uint opts;
};
#include "attn_lanes.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN(3, dy);  IN(4, l);  IN(5, e);  IN_INT(6, gone);  OUT(7, dq);

void main()
{
    place p = place_of(B, N, heads, axial, R * W);
    uint n = class_of(p, M, axial), off = n - p.n, i1 = min(p.i0 + R * W, p.n), hk = p.h / share;
    uint lo = p.i0 < p.n ? max(uint(KEYS_LO(p.i0 + off)), GONE(6)) : 0, hi = p.i0 < p.n ? KEYS_HI(i1 - 1 + off) : 0;
    float scale = inversesqrt(float(K)), mine[R][KP], given[R][KP], acc[R][KP];
    float part[KP / W], s[R], dp[R], li[R], ei[R];
    TAKE(mine, p, q, N)
    TAKE(given, p, dy, N)
    CLEAR(acc)
    [[unroll]] for (uint a = 0; a < R; a++) {
        li[a] = OWN(a) < p.n ? l[STAT(p, OWN(a), p.h)] : 0;
        ei[a] = OWN(a) < p.n ? e[STAT(p, OWN(a), p.h)] : 0;
    }
    for (uint j = lo; j < hi; j++) {
        MEET(part, p, v, j, M, hk)
        DOTS(dp, given, part)
        MEET(part, p, k, j, M, hk)
        DOTS(s, mine, part)
        [[unroll]] for (uint a = 0; a < R; a++)
            s[a] = SEES(OWN(a) + off, j) ? exp(s[a] * scale - li[a]) * (dp[a] - ei[a]) : 0;
        MIX(acc, s, part)
    }
#define SCALE(a) scale
    GIVE(p, dq, N, acc, SCALE)
}
