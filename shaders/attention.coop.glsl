// attention.coop.glsl - attention.glsl on matrix units.
layout(push_constant) uniform push {
    uint B, N, D, M;
    uint heads, axial, w, share;
    uint q_o, q_s, k_o, k_s, v_o, v_s, y_o, y_s;
    uint opts;
};
#define TILES 4
#include "attn_coop.glsl"
IN(0, q);  IN(1, k);  IN(2, v);  IN_INT(3, gone);  OUT(4, y);  OUT_ONES(5, l);
const float AHEAD = 6;

void main()
{
    place p = place_of(B, N, heads, axial, BR);
    // the last tiles of a causal rule have the most to do: they come first
    p.i0 = ((N + axial - 1) / axial + BR - 1) / BR * BR - BR - p.i0;
    uint n = class_of(p, M, axial), off = n - p.n, i1 = min(p.i0 + BR, p.n), hk = p.h / share;
    uint none = GONE(3);
    uint lo = p.i0 < p.n ? max(uint(KEYS_LO(p.i0 + off)), none) : 0;
    uint hi = p.i0 < p.n ? KEYS_HI(i1 - 1 + off) : 0;
    // what some, and what all of this subgroup's queries see
    uint r0 = p.i0 + gl_SubgroupID * WR, r1 = min(r0 + WR, p.n) - 1;
    uint some_lo = r0 < p.n ? KEYS_LO(r0 + off) : 0, some_hi = r0 < p.n ? KEYS_HI(r1 + off) : 0;
    uint all_lo = r0 < p.n ? KEYS_LO(r1 + off) : 0, all_hi = r0 < p.n ? KEYS_HI(r0 + off) : 0;
    float scale = inversesqrt(float(K)) * LOG2E;
    MATRIX_A a[MT * NK], weight[MT * (STEP / MK)];
    SUMS acc[MT * NO], s[MT * NB], places = find_places();
    float top[MT][EL], sum[MT][EL];
    uvec2 first = find_first();
    uvec4 next_k[2 * NF], next_v[2 * NF];
    CLEAR(acc, MT * NO)
    [[unroll]] for (uint m = 0; m < MT; m++)
        EACH_SLOT(z) { top[m][z] = -3e38; sum[m][z] = 0; }
    TAKE(a, 0, p, q, r0, N, p.n)
    barrier();
    if (lo < hi) {
        FETCH(next_k, 1, p, k, lo, M, n, hk)
        FETCH(next_v, 2, p, v, lo, M, n, hk)
    }

    // s in bits, and the largest that this invocation has of each slot
#define SCORES(masked)                                                                           \
    [[unroll]] for (uint b = 0; b < NB; b++) {                                                   \
        SUMS t_ = s[m * NB + b];                                                                 \
        EACH(f) {                                                                                \
            precise float x = t_[f] * scale;                                                     \
            if (masked) {                                                                        \
                uint i = r0 + m * MM + ROW_OF(f) + off, j = at + b * MN + COL_OF(f);             \
                x = j < n && SEES(i, j) ? x : -3e38;                                             \
            }                                                                                    \
            t_[f] = x;                                                                           \
            most[SLOT(f)] = max(most[SLOT(f)], x);                                               \
        }                                                                                        \
        s[m * NB + b] = t_;                                                                      \
    }

    uint slot = 0;
    for (uint at = lo; at < hi; at += BC) {
        // subgroups whose queries see nothing here wait; not where there are barriers inside
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
            DOTS(s, a, slot)
            [[unroll]] for (uint m = 0; m < MT; m++) {
                float most[EL], from[EL];
                bool grows = !KNOWN;
                EACH_SLOT(z) most[z] = -3e38;
                if (whole) { SCORES(false) } else { SCORES(true) }
                EACH_SLOT(z) grows = grows || most[z] > top[m][z] + AHEAD;
                // What was summed so far follows a new maximum. Weights may be 2^AHEAD before it
                // does: they and their sum have the same digits.
                if (subgroupAny(grows)) {
                    float old[EL];
                    rows_joined(most, places, first, true);
                    EACH_SLOT(z) {
                        most[z] = max(most[z], top[m][z]);
                        old[z] = exp2(top[m][z] - (most[z] == -3e38 ? 0 : most[z]));
                        sum[m][z] *= old[z];
                        top[m][z] = most[z];
                    }
                    [[unroll]] for (uint o = 0; o < NO; o++) {
                        SUMS t = acc[m * NO + o];
                        EACH(f) t[f] *= old[SLOT(f)];
                        acc[m * NO + o] = t;
                    }
                }
                EACH_SLOT(z) from[z] = top[m][z] == -3e38 ? 0 : top[m][z];
                [[unroll]] for (uint b = 0; b < NB; b++) {
                    SUMS t = s[m * NB + b];
                    EACH(f) {
                        t[f] = exp2(t[f] - from[SLOT(f)]);
                        sum[m][SLOT(f)] += t[f];
                    }
                    s[m * NB + b] = t;
                }
            }
            [[unroll]] for (uint b = 0; b < BC / STEP; b++) {
                TURN(weight, s, b)
                MIX(acc, weight, slot + TILE, b)
            }
        }
        slot = 2 * TILE - slot;
    }

    [[unroll]] for (uint m = 0; m < MT; m++) {
        rows_joined(sum[m], places, first, false);
        EACH(f) {
            float total = sum[m][SLOT(f)];
            uint i = r0 + m * MM + ROW_OF(f);
            if (COL_OF(f) == 0 && i < p.n)
                l[STAT(p, i, p.h)] = total == 0 ? -3e38 : (top[m][SLOT(f)] + log2(total)) * LN2;
        }
        EACH_SLOT(z) sum[m][z] = sum[m][z] == 0 ? 0 : 1 / sum[m][z];
    }
    barrier();
#define SHARE(m, z) sum[m][z]
    STORE(4, p, y, r0, N, p.n, acc, SHARE)
}
