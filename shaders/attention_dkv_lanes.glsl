// attention_dkv_lanes.glsl - attention_dkv.glsl with keys in lanes.
layout(push_constant) uniform push {
    uint B, N, D, M;
    uint heads, axial, w, share, parts;
    uint q_o, q_s, k_o, k_s, v_o, v_s, dy_o, dy_s, dk_o, dk_s, dv_o, dv_s;
    uint opts;
};
#include "attn_lanes.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN(3, dy);  IN(4, l);  IN(5, e);  IN_INT(6, gone);
OUT(7, dk);  OUT(8, dv);

void main()
{
    place p = place_of(B * parts, M, heads / share, axial, R * W);
    uint part = p.b / B, some = share / parts, h0 = p.h * share + part * some;
    p.b -= part * B;
    uint n = p.n, m = class_of(p, N, axial), off = n - m, j1 = min(p.i0 + R * W, n);
    uint none = GONE(6), lo = p.i0 < n ? QUERIES_LO(p.i0) - off : 0;
    uint hi = p.i0 < n && j1 > none ? QUERIES_HI(j1 - 1) - off : 0;
    float scale = inversesqrt(float(K)), mine[R][KP], given[R][KP], ak[R][KP], av[R][KP];
    float qs[KP / W], ys[KP / W], s[R], dp[R];
    TAKE(mine, p, k, M)
    TAKE(given, p, v, M)
    CLEAR(ak)
    CLEAR(av)
    for (uint h = h0; h < h0 + some; h++)
    for (uint i = lo; i < hi; i++) {
        float li = l[STAT(p, i, h)], ei = e[STAT(p, i, h)];
        MEET(qs, p, q, i, N, h)
        MEET(ys, p, dy, i, N, h)
        DOTS(s, mine, qs)
        DOTS(dp, given, ys)
        [[unroll]] for (uint a = 0; a < R; a++) {
            s[a] = OWN(a) < n && OWN(a) >= none && SEES(i + off, OWN(a)) ? exp(s[a] * scale - li) : 0;
            dp[a] = s[a] * (dp[a] - ei);
        }
        MIX(av, s, ys)
        MIX(ak, dp, qs)
    }
    p.b += part * B;
#define ONE(a) 1
#define SCALE(a) scale
    GIVE(p, dv, M, av, ONE)
    GIVE(p, dk, M, ak, SCALE)
}
