// attention_dq.coop.glsl - attention_dq.glsl on matrix units.
layout(push_constant) uniform push {
    uint B, N, D, M;
    uint heads, axial, w, share;
    uint q_o, q_s, k_o, k_s, v_o, v_s, dy_o, dy_s, dq_o, dq_s;
    uint opts;
};
#define TILES 4
#include "attn_coop.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN(3, dy);  IN_ONES(4, l);  IN_ONES(5, e);  IN_INT(6, gone);
OUT(7, dq);

void main()
{
    place p = place_of(B, N, heads, axial, BR);
    p.i0 = ((N + axial - 1) / axial + BR - 1) / BR * BR - BR - p.i0;
    uint n = class_of(p, M, axial), off = n - p.n, i1 = min(p.i0 + BR, p.n), hk = p.h / share;
    uint none = GONE(6);
    uint lo = p.i0 < p.n ? max(uint(KEYS_LO(p.i0 + off)), none) : 0;
    uint hi = p.i0 < p.n ? KEYS_HI(i1 - 1 + off) : 0;
    // what some, and what all of this subgroup's queries see
    uint r0 = p.i0 + gl_SubgroupID * WR, r1 = min(r0 + WR, p.n) - 1;
    uint some_lo = r0 < p.n ? KEYS_LO(r0 + off) : 0, some_hi = r0 < p.n ? KEYS_HI(r1 + off) : 0;
    uint all_lo = r0 < p.n ? KEYS_LO(r1 + off) : 0, all_hi = r0 < p.n ? KEYS_HI(r0 + off) : 0;
    float scale = inversesqrt(float(K)), times = scale * LOG2E;
    MATRIX_A ds[MT * (STEP / MK)];
#ifndef OWN_SHARED
    MATRIX_A a[MT * NK], g[MT * NK];
#endif
    SUMS acc[MT * NO], s[MT * NB], dp[MT * NB], places = find_places();
    float li[MT][EL], ei[MT][EL];
    uvec2 first = find_first();
    uvec4 next_k[2 * NF], next_v[2 * NF];
    CLEAR(acc, MT * NO)
    [[unroll]] for (uint m = 0; m < MT; m++)
        EACH_SLOT(z) {
            uint i = r0 + m * MM + ROW_OF(z);
            li[m][z] = i < p.n ? l[STAT(p, i, p.h)] * LOG2E : 0;
            ei[m][z] = i < p.n ? e[STAT(p, i, p.h)] : 0;
        }
#ifdef NARROW
    power = -100;
#endif
    TAKE(a, 0, p, q, r0, N, p.n)
    TAKE(g, 3, p, dy, r0, N, p.n)
    barrier();
    if (lo < hi) {
        FETCH(next_k, 1, p, k, lo, M, n, hk)
        FETCH(next_v, 2, p, v, lo, M, n, hk)
    }

#define SLOPES(masked)                                                                           \
    [[unroll]] for (uint m = 0; m < MT; m++)                                                     \
        [[unroll]] for (uint b = 0; b < NB; b++) {                                               \
            SUMS t_ = s[m * NB + b], d_ = dp[m * NB + b];                                        \
            EACH(f) {                                                                            \
                float x = exp2(t_[f] * times - li[m][SLOT(f)]);                                  \
                if (masked) {                                                                    \
                    uint i = r0 + m * MM + ROW_OF(f), j = at + b * MN + COL_OF(f);               \
                    x = i < p.n && j < n && SEES(i + off, j) ? x : 0;                            \
                }                                                                                \
                t_[f] = x * (d_[f] - ei[m][SLOT(f)]);                                            \
            }                                                                                    \
            s[m * NB + b] = t_;                                                                  \
        }

    uint slot = 0;
    for (uint at = lo; at < hi; at += BC) {
        bool seen = !DIRECT || (at < some_hi && at + BC > some_lo);
        bool whole = at >= all_lo && at + BC <= all_hi;
        PUT(next_k, 1, slot)               // the other half is still being read
        PUT(next_v, 2, slot + TILE)
        barrier();
        if (at + BC < hi) {
            FETCH(next_k, 1, p, k, at + BC, M, n, hk)
            FETCH(next_v, 2, p, v, at + BC, M, n, hk)
        }
        if (seen) {
            DOTS(dp, g, slot + TILE)
            DOTS(s, a, slot)
            if (whole) { SLOPES(false) } else { SLOPES(true) }
            NARROW_DOWN(s, acc)
            [[unroll]] for (uint b = 0; b < BC / STEP; b++) {
                TURN(ds, s, b)
                MIX(acc, ds, slot, b)
            }
        }
        slot = 2 * TILE - slot;
    }
#ifdef NARROW
    scale *= uintBitsToFloat(uint(127 + power) << 23);
#endif
    barrier();
#define SCALE(m, z) scale
    STORE(7, p, dq, r0, N, p.n, acc, SCALE)
}
