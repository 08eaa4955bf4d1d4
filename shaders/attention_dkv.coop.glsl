// attention_dkv.coop.glsl - attention_dkv.glsl on matrix units; rows are keys.
layout(push_constant) uniform push {
    uint B, N, D, M;
    uint heads, axial, w, share, parts;
    uint q_o, q_s, k_o, k_s, v_o, v_s, dy_o, dy_s, dk_o, dk_s, dv_o, dv_s;
    uint opts;
};
#define TILES 4
#include "attn_coop.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN(3, dy);  IN_ONES(4, l);  IN_ONES(5, e);  IN_INT(6, gone);
OUT(7, dk);  OUT(8, dv);
shared vec2 stats[2 * BC];                 // l, in powers of two, and e of the queries
const uint NS = (BC + THREADS - 1) / THREADS;

void main()
{
    uint t = gl_LocalInvocationIndex;
    place p = place_of(B * parts, M, heads / share, axial, BR);
    uint part = p.b / B, some = share / parts, h0 = p.h * share + part * some;
    p.b -= part * B;
    uint n = p.n, m_ = class_of(p, N, axial), off = n - m_, j1 = min(p.i0 + BR, n);
    uint none = GONE(6), lo = p.i0 < n ? QUERIES_LO(p.i0) - off : 0;
    uint hi = p.i0 < n && j1 > none ? QUERIES_HI(j1 - 1) - off : 0;
    // the queries that see some, and all of this subgroup's keys
    uint r0 = p.i0 + gl_SubgroupID * WR, r1 = min(r0 + WR, n) - 1;
    uint some_lo = r0 < n ? QUERIES_LO(r0) - off : 0, some_hi = r0 < n ? QUERIES_HI(r1) - off : 0;
    uint all_lo = r0 < n ? QUERIES_LO(r1) - off : 0, all_hi = r0 < n ? QUERIES_HI(r0) - off : 0;
    float scale = inversesqrt(float(K)), times = scale * LOG2E;
    MATRIX_A weight[MT * (STEP / MK)];
#ifndef OWN_SHARED
    MATRIX_A a[MT * NK], g[MT * NK];
#endif
    SUMS ak[MT * NO], av[MT * NO], s[MT * NB], dp[MT * NB], places = find_places();
    uvec4 next_q[2 * NF], next_dy[2 * NF];
    uvec2 first = find_first();
    vec2 stat[NS];
    CLEAR(ak, MT * NO)
    CLEAR(av, MT * NO)
#ifdef NARROW
    int power_k = -100, power_v = -100;
#endif
    TAKE(a, 1, p, k, r0, M, n)
    TAKE(g, 2, p, v, r0, M, n)
    barrier();
    // head by head of this part of those that share these keys
    uint per = hi > lo ? (hi - lo + BC - 1) / BC : 0, rounds = per * some;
#define NEXT(it)                                                                                 \
    {                                                                                            \
        uint h_ = h0 + (it) / per, at_q = lo + (it) % per * BC;                                  \
        FETCH(next_q, 0, p, q, at_q, N, m_, h_)                                                  \
        FETCH(next_dy, 3, p, dy, at_q, N, m_, h_)                                                \
        [[unroll]] for (uint f = 0; f < NS; f++) {                                               \
            uint c = t + f * THREADS, i = at_q + c;                                              \
            stat[f] = vec2(0);                                                                   \
            if (c < BC && i < m_)                                                                \
                stat[f] = vec2(l[STAT(p, i, h_)] * LOG2E, e[STAT(p, i, h_)]);                    \
        }                                                                                        \
    }
    if (rounds > 0) NEXT(0)

#define SLOPES(masked)                                                                           \
    [[unroll]] for (uint m = 0; m < MT; m++)                                                     \
        [[unroll]] for (uint b = 0; b < NB; b++) {                                               \
            SUMS t_ = s[m * NB + b], d_ = dp[m * NB + b];                                        \
            EACH(f) {                                                                            \
                vec2 st = stats[slot * BC + b * MN + COL_OF(f)];                                 \
                float x = exp2(t_[f] * times - st.x);                                            \
                if (masked) {                                                                    \
                    uint j = r0 + m * MM + ROW_OF(f), i = at + b * MN + COL_OF(f);               \
                    x = i < m_ && j < n && j >= none && SEES(i + off, j) ? x : 0;                \
                }                                                                                \
                t_[f] = x;                                                                       \
                d_[f] = x * (d_[f] - st.y);                                                      \
            }                                                                                    \
            s[m * NB + b] = t_;                                                                  \
            dp[m * NB + b] = d_;                                                                 \
        }

    for (uint it = 0; it < rounds; it++) {
        uint at = lo + it % per * BC, slot = it % 2;
        bool seen = !DIRECT || (at < some_hi && at + BC > some_lo);
        bool whole = at >= all_lo && at + BC <= all_hi && r0 >= none;
        PUT(next_q, 0, slot * 2 * TILE)    // the other half is still being read
        PUT(next_dy, 3, slot * 2 * TILE + TILE)
        [[unroll]] for (uint f = 0; f < NS; f++)
            if (t + f * THREADS < BC) stats[slot * BC + t + f * THREADS] = stat[f];
        barrier();
        if (it + 1 < rounds) NEXT(it + 1)
        if (seen) {
            DOTS(s, a, slot * 2 * TILE)
            DOTS(dp, g, slot * 2 * TILE + TILE)
            if (whole) { SLOPES(false) } else { SLOPES(true) }
#ifdef NARROW
            power = power_v;
            NARROW_DOWN(s, av)
            power_v = power;
            power = power_k;
            NARROW_DOWN(dp, ak)
            power_k = power;
#endif
            [[unroll]] for (uint b = 0; b < BC / STEP; b++) {
                TURN(weight, s, b)
                MIX(av, weight, slot * 2 * TILE + TILE, b)
                TURN(weight, dp, b)
                MIX(ak, weight, slot * 2 * TILE, b)
            }
        }
    }
    float times_v = 1;
#ifdef NARROW
    times_v = uintBitsToFloat(uint(127 + power_v) << 23);
    scale *= uintBitsToFloat(uint(127 + power_k) << 23);
#endif
    p.b += part * B;
    barrier();
#define TIMES_V(m, z) times_v
#define SCALE(m, z) scale
    STORE(8, p, dv, r0, M, n, av, TIMES_V)
    STORE(7, p, dk, r0, M, n, ak, SCALE)
}
