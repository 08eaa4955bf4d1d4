// attn_coop.glsl - attention on matrix units: q, k, v, dy, weights and their gradients are rounded
// to 16 bits (nearest, ties to even) for products, everything else is fp32. A workgroup has BR
// rows, a subgroup WR of them in registers, as matrices of MM rows; all meet BC others at a time,
// which lie in shared memory. What includes it defines ELEM, PAIR and elem_of (attn_bf16.glsl), and
// TILES, how many tiles of BC rows there are.
//
// Which element of a matrix an invocation holds is the driver's choice, but always the same one.
// Where it was found out (src/core/places.c) softmax and the second product work in registers;
// elsewhere matrices pass through shared memory. With OWN_SHARED own rows stay in shared memory too:
// for devices whose registers do not hold two factors of 128 channels. Elements are reached through matrices of their
// own, never in an array of them: that would put the array into memory.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#define HEAD_ID 1
#include "attn.glsl"
#undef IN
#define IN(i, x)      layout(set = 0, binding = i, std430) readonly buffer in_##x { uvec4 x[]; }
#undef OUT
#define OUT(i, x)     layout(set = 0, binding = i, std430) writeonly buffer out_##x { uvec4 x[]; }
#define OUT_ONES(i, x) layout(set = 0, binding = i, std430) writeonly buffer out_##x { float x[]; }
#define IN_ONES(i, x) layout(set = 0, binding = i, std430) readonly buffer in_##x { float x[]; }
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 128;
layout(constant_id = 2) const uint SUBGROUPS = 4;
layout(constant_id = 3) const uint BR = 64;
layout(constant_id = 4) const uint BC = 64;
layout(constant_id = 5) const uint MM = 16;
layout(constant_id = 6) const uint MN = 16;
layout(constant_id = 7) const uint MK = 16;
// Bit i of a lane's number adds byte i of LANE_A, LANE_B to row (its low half) and column (high
// half) of what the lane holds; bit i of an element's number adds byte i of ELEMS. Element e of a
// factor is where element FACTOR(e), made of TURNS' hexadecimal digits likewise, of a sum is.
layout(constant_id = 8) const uint LANE_A = 0;
layout(constant_id = 9) const uint LANE_B = 0;
layout(constant_id = 10) const uint ELEMS = 0;
layout(constant_id = 11) const uint TURNS = 0;
layout(constant_id = 12) const uint HALF = 0;    // bit i: argument i lies in 16 bits
#define IS_HALF(i) ((HALF >> (i) & 1) != 0)
const bool KNOWN = LANE_A != 0;
const bool DIRECT = KNOWN && TURNS != 0 && MN == MK;
const uint LANES = THREADS / SUBGROUPS, WR = BR / SUBGROUPS, MT = WR / MM;
const uint STEP = MN > MK ? MN : MK;       // the sizes are powers of two
const uint KC = (K + STEP - 1) / STEP * STEP;               // channels with padding
const uint NK = KC / MK, NO = KC / MN, NB = BC / MN;
// in eights of 16 bits; rows 16 bytes farther apart than they are long lie in different banks
const uint K8 = KC / 8, L = K8 + 1, TILE = BC * L;
const uint NF = (BC * K8 + THREADS - 1) / THREADS;          // eights of a tile for an invocation
// each subgroup's own: a matrix in fp32, one in 16 bits
const uint LF = STEP / 4 + 1, LP = STEP / 8 + 1, OWN = DIRECT ? 0 : MM * (LF + LP);
const uint LS = L > LF ? L : LF, TAKEN = SUBGROUPS * MM * LS, TILED = TILES * TILE;
const uint AREA = TILED > TAKEN ? TILED : TAKEN;
#ifdef OWN_SHARED
const uint OWN_AT = AREA + SUBGROUPS * OWN;                 // own rows of both factors
shared uvec4 sm[OWN_AT + 2 * BR * L];
#else
shared uvec4 sm[AREA + SUBGROUPS * OWN];
#endif
shared float rows[SUBGROUPS * MM];
#define lane gl_SubgroupInvocationID
#define MATRIX_A coopmat<ELEM, gl_ScopeSubgroup, MM, MK, gl_MatrixUseA>
#define MATRIX_B coopmat<ELEM, gl_ScopeSubgroup, MK, MN, gl_MatrixUseB>
#define SUMS coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator>
const uint EL = MM * MN / LANES;           // elements of an invocation
#define EACH(e) [[unroll]] for (uint e = 0; e < EL; e++)
// the first of an invocation's elements in e's row; where nothing is known, each is on its own
const uint IN_0 = (ELEMS & 0xfu) == 0 ? 0u : 1u, IN_1 = (ELEMS & 0xf00u) == 0 ? 0u : 2u;
const uint IN_2 = (ELEMS & 0xf0000u) == 0 ? 0u : 4u, IN_3 = (ELEMS & 0xf000000u) == 0 ? 0u : 8u;
const uint IN_ROW = KNOWN ? IN_0 + IN_1 + IN_2 + IN_3 : 15u;
#define SLOT(e) ((e) & IN_ROW)
#define EACH_SLOT(z) [[unroll]] for (uint z = 0; z < EL; z++) if (SLOT(z) == z)
const float LOG2E = 1.4426950408889634, LN2 = 0.6931471805599453;

// ---- where elements are ------------------------------------------------------------------------
#define ADDED(x, i, bytes) (((x) >> (i) & 1) * ((bytes) >> (i) % 4 * 8 & 255u))
#define OF_ELEM(e)                                                                               \
    (ADDED(e, 0, ELEMS) + ADDED(e, 1, ELEMS) + ADDED(e, 2, ELEMS) + ADDED(e, 3, ELEMS))
#define DIGIT(e, i) (((e) >> (i) & 1) * (TURNS >> (i) * 4 & 15u))
#define FACTOR(e) (DIGIT(e, 0) + DIGIT(e, 1) + DIGIT(e, 2) + DIGIT(e, 3))
#define PLACE(e) (floatBitsToUint(places[e]) & 0xffffu)
#define ROW_OF(e) (KNOWN ? first.x + (OF_ELEM(e) & 15u) : PLACE(e) / MN)
#define COL_OF(e) (KNOWN ? first.y + (OF_ELEM(e) >> 4) : PLACE(e) % MN)

// row and column of element 0
uvec2 find_first()
{
    uint x = ADDED(lane, 0, LANE_A) + ADDED(lane, 1, LANE_A) + ADDED(lane, 2, LANE_A) +
             ADDED(lane, 3, LANE_A) + ADDED(lane, 4, LANE_B) + ADDED(lane, 5, LANE_B);
    return uvec2(x & 15u, x >> 4);
}

// where nothing is known: 1 + row MN + column, in the last bits
SUMS find_places()
{
    SUMS places = SUMS(0.0);
    if (!KNOWN) {
        uint own = AREA + gl_SubgroupID * OWN;
        for (uint i = lane; i < MM * MN / 4; i += LANES)
            sm[own + i / (MN / 4) * LF + i % (MN / 4)] = 0x3f800000u + i * 4 + uvec4(0, 1, 2, 3);
        subgroupBarrier();
        coopMatLoad(places, sm, own, LF, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
    }
    return places;
}

// ---- loads -------------------------------------------------------------------------------------

uvec4 eight(vec4 lo, vec4 hi)
{
    return uvec4(PAIR(lo.xy), PAIR(lo.zw), PAIR(hi.xy), PAIR(hi.zw));
}

// Channels c .. c+7 of row i as they lie in memory, argument `arg`; zeros beyond the head's channels,
// whose number is a multiple of 8, and the class's n tokens.
#define RAW(lo, hi, arg, p, x, i, T, n, h, c)                                                    \
    {                                                                                            \
        lo = hi = uvec4(0);                                                                      \
        if ((i) < (n) && (KC == K || (c) < K)) {                                                 \
            uint at_ = ROW(p, x, i, T, h) + (c);                                                 \
            if (IS_HALF(arg)) {                                                                  \
                lo = x[at_ / 8];                                                                 \
            } else if (FOURS(x)) {                                                               \
                lo = x[at_ / 4];                                                                 \
                hi = x[at_ / 4 + 1];                                                             \
            } else {                                                                             \
                [[unroll]] for (uint d = 0; d < 4; d++) {                                        \
                    lo[d] = x[(at_ + d) / 4][(at_ + d) % 4];                                     \
                    hi[d] = x[(at_ + d + 4) / 4][(at_ + d) % 4];                                 \
                }                                                                                \
            }                                                                                    \
        }                                                                                        \
    }
#define FOURS(x) (((x##_o) | (x##_s)) % 4 == 0)
#define NARROWED(arg, lo, hi)                                                                    \
    (IS_HALF(arg) ? lo : eight(uintBitsToFloat(lo), uintBitsToFloat(hi)))
// rows i0 .. i0+BC-1 on their way from memory, and into shared memory at `to`
#define FETCH(next, arg, p, x, i0, T, n, h)                                                      \
    [[unroll]] for (uint f = 0; f < NF; f++) {                                                   \
        uint e = gl_LocalInvocationIndex + f * THREADS, i_ = (i0) + e / K8;                      \
        if (BC * K8 % THREADS == 0 || e < BC * K8)                                               \
            RAW(next[f], next[f + NF], arg, p, x, i_, T, n, h, e % K8 * 8)                       \
    }
#define PUT(next, arg, to)                                                                       \
    [[unroll]] for (uint f = 0; f < NF; f++) {                                                   \
        uint e = gl_LocalInvocationIndex + f * THREADS;                                          \
        if (BC * K8 % THREADS == 0 || e < BC * K8)                                               \
            sm[(to) + e / K8 * L + e % K8] = NARROWED(arg, next[f], next[f + NF]);               \
    }
// a subgroup's own rows i0 .. i0+WR-1 become factors a[m * NK + k]
#ifdef OWN_SHARED
#define OWN_a 0
#define OWN_g 1
#define OWN_ROW(a, m) (OWN_AT + (OWN_##a * BR + gl_SubgroupID * WR + (m) * MM) * L)
#define TAKE(a, arg, p, x, i0, T, n)                                                             \
    for (uint e = lane; e < WR * K8; e += LANES) {                                               \
        uvec4 lo, hi;                                                                            \
        uint i_ = (i0) + e / K8;                                                                 \
        RAW(lo, hi, arg, p, x, i_, T, n, p.h, e % K8 * 8)                                        \
        sm[OWN_ROW(a, 0) + e / K8 * L + e % K8] = NARROWED(arg, lo, hi);                         \
    }
#else
#define TAKE(a, arg, p, x, i0, T, n)                                                             \
    [[unroll]] for (uint m = 0; m < MT; m++) {                                                   \
        uint own = gl_SubgroupID * MM * L;                                                       \
        for (uint e = lane; e < MM * K8; e += LANES) {                                           \
            uvec4 lo, hi;                                                                        \
            uint i_ = (i0) + m * MM + e / K8;                                                    \
            RAW(lo, hi, arg, p, x, i_, T, n, p.h, e % K8 * 8)                                    \
            sm[own + e / K8 * L + e % K8] = NARROWED(arg, lo, hi);                               \
        }                                                                                        \
        subgroupBarrier();                                                                       \
        [[unroll]] for (uint k = 0; k < NK; k++)                                                 \
            coopMatLoad(a[m * NK + k], sm, own + k * MK / 8, L,                                  \
                        gl_CooperativeMatrixLayoutRowMajor);                                     \
        subgroupBarrier();                                                                       \
    }
#endif

// ---- products ----------------------------------------------------------------------------------
#define CLEAR(s, count) [[unroll]] for (uint i = 0; i < (count); i++) s[i] = SUMS(0.0);
// s[m * NB + b] = own rows times the rows at `tile`
#ifdef OWN_SHARED
#define DOTS(s, a, tile)                                                                         \
    CLEAR(s, MT * NB)                                                                            \
    [[unroll]] for (uint k = 0; k < NK; k++)                                                     \
        [[unroll]] for (uint m = 0; m < MT; m++) {                                               \
            MATRIX_A a_;                                                                         \
            coopMatLoad(a_, sm, OWN_ROW(a, m) + k * MK / 8, L,                                   \
                        gl_CooperativeMatrixLayoutRowMajor);                                     \
            [[unroll]] for (uint b = 0; b < NB; b++) {                                           \
                MATRIX_B f_;                                                                     \
                coopMatLoad(f_, sm, (tile) + b * MN * L + k * MK / 8, L,                         \
                            gl_CooperativeMatrixLayoutColumnMajor);                              \
                s[m * NB + b] = coopMatMulAdd(a_, f_, s[m * NB + b]);                            \
            }                                                                                    \
        }
#else
#define DOTS(s, a, tile)                                                                         \
    CLEAR(s, MT * NB)                                                                            \
    [[unroll]] for (uint k = 0; k < NK; k++)                                                     \
        [[unroll]] for (uint b = 0; b < NB; b++) {                                               \
            MATRIX_B f_;                                                                         \
            coopMatLoad(f_, sm, (tile) + b * MN * L + k * MK / 8, L,                             \
                        gl_CooperativeMatrixLayoutColumnMajor);                                  \
            [[unroll]] for (uint m = 0; m < MT; m++)                                             \
                s[m * NB + b] = coopMatMulAdd(a[m * NK + k], f_, s[m * NB + b]);                 \
        }
#endif
// w[m * (STEP / MK) + ..] = STEP columns of s from b * STEP on, as factors
#define TURN(w, s, b)                                                                            \
    [[unroll]] for (uint m = 0; m < MT; m++) {                                                   \
        if (DIRECT) {                                                                            \
            SUMS x_ = s[m * NB + (b)];                                                           \
            MATRIX_A w_;                                                                         \
            EACH(e) w_[e] = elem_of(x_[FACTOR(e)]);                                              \
            w[m] = w_;                                                                           \
        } else {                                                                                 \
            uint own = AREA + gl_SubgroupID * OWN;                                               \
            [[unroll]] for (uint c = 0; c < STEP / MN; c++)                                      \
                coopMatStore(s[m * NB + (b) * (STEP / MN) + c], sm, own + c * MN / 4, LF,        \
                             gl_CooperativeMatrixLayoutRowMajor);                                \
            subgroupBarrier();                                                                   \
            for (uint e = lane; e < MM * STEP / 8; e += LANES) {                                 \
                uint at_ = own + e / (STEP / 8) * LF + e % (STEP / 8) * 2;                       \
                sm[own + MM * LF + e / (STEP / 8) * LP + e % (STEP / 8)] =                       \
                    eight(uintBitsToFloat(sm[at_]), uintBitsToFloat(sm[at_ + 1]));               \
            }                                                                                    \
            subgroupBarrier();                                                                   \
            [[unroll]] for (uint c = 0; c < STEP / MK; c++)                                      \
                coopMatLoad(w[m * (STEP / MK) + c], sm, own + MM * LF + c * MK / 8, LP,          \
                            gl_CooperativeMatrixLayoutRowMajor);                                 \
        }                                                                                        \
    }
// acc[m * NO + o] += w times rows b * STEP .. of the tile
#define MIX(acc, w, tile, b)                                                                     \
    [[unroll]] for (uint c = 0; c < STEP / MK; c++)                                              \
        [[unroll]] for (uint o = 0; o < NO; o++) {                                               \
            MATRIX_B f_;                                                                         \
            coopMatLoad(f_, sm, (tile) + ((b) * STEP + c * MK) * L + o * MN / 8, L,              \
                        gl_CooperativeMatrixLayoutRowMajor);                                     \
            [[unroll]] for (uint m = 0; m < MT; m++)                                             \
                acc[m * NO + o] = coopMatMulAdd(w[m * (STEP / MK) + c], f_, acc[m * NO + o]);    \
        }

// ---- sums and maxima of rows -------------------------------------------------------------------
float joined(float a, float b, bool most) { return most ? max(a, b) : a + b; }

// Every slot becomes the maximum, or the sum, of its row.
void rows_joined(inout float v[EL], SUMS places, uvec2 first, bool most)
{
    if (KNOWN) {
        [[unroll]] for (uint i = 0; i < 6; i++)
            if (((i < 4 ? LANE_A : LANE_B) >> i % 4 * 8 & 0xf0u) != 0)
                EACH_SLOT(z) v[z] = joined(v[z], subgroupShuffleXor(v[z], 1 << i), most);
    } else {
        uint own = AREA + gl_SubgroupID * OWN;
        SUMS x;
        EACH(e) x[e] = v[e];
        subgroupBarrier();
        coopMatStore(x, sm, own, LF, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        for (uint r = lane; r < MM; r += LANES) {
            float a = most ? -3e38 : 0;
            [[unroll]] for (uint c = 0; c < MN / 4; c++) {
                vec4 f = uintBitsToFloat(sm[own + r * LF + c]);
                a = joined(a, joined(joined(f.x, f.y, most), joined(f.z, f.w, most), most), most);
            }
            rows[gl_SubgroupID * MM + r] = a;
        }
        subgroupBarrier();
        EACH(e) v[e] = rows[gl_SubgroupID * MM + ROW_OF(e)];
    }
}

// x rows i0 .. i0+WR-1 at head p.h = acc f(m, slot): a matrix at a time through shared memory,
// where every sum has its place. After a barrier: the tiles have been read.
#define STORE(arg, p, x, i0, T, n, acc, f)                                                       \
    [[unroll]] for (uint m = 0; m < MT; m++)                                                     \
        [[unroll]] for (uint o = 0; o < NO; o++) {                                               \
            SUMS x_ = acc[m * NO + o];                                                           \
            EACH(e) x_[e] *= f(m, SLOT(e));                                                      \
            uint own = gl_SubgroupID * MM * LF;                                                  \
            subgroupBarrier();                                                                   \
            coopMatStore(x_, sm, own, LF, gl_CooperativeMatrixLayoutRowMajor);                   \
            subgroupBarrier();                                                                   \
            for (uint e = lane; e < MM * MN / 8; e += LANES) {                                   \
                uint i_ = (i0) + m * MM + e / (MN / 8), c = o * MN + e % (MN / 8) * 8;           \
                uint from = own + e / (MN / 8) * LF + e % (MN / 8) * 2;                          \
                if (i_ < (n) && c < K) {                                                         \
                    uint at_ = ROW(p, x, i_, T, p.h) + c;                                        \
                    if (IS_HALF(arg)) {                                                          \
                        x[at_ / 8] = eight(uintBitsToFloat(sm[from]), uintBitsToFloat(sm[from + 1])); \
                    } else if (FOURS(x)) {                                                       \
                        x[at_ / 4] = sm[from];                                                   \
                        x[at_ / 4 + 1] = sm[from + 1];                                           \
                    } else {                                                                     \
                        [[unroll]] for (uint d = 0; d < 8; d++)                                  \
                            x[(at_ + d) / 4][(at_ + d) % 4] = sm[from + d / 4][d % 4];           \
                    }                                                                            \
                }                                                                                \
            }                                                                                    \
        }

// ---- gradients of the weights ------------------------------------------------------------------
// fp16: own rows are kept as multiples of a power of two that keeps the largest below 2^14
#ifdef NARROW
int power;
#define NARROW_DOWN(s, acc)                                                                      \
    {                                                                                            \
        float most = 0;                                                                          \
        [[unroll]] for (uint i = 0; i < MT * NB; i++) {                                          \
            SUMS x_ = s[i];                                                                      \
            EACH(e) most = max(most, abs(x_[e]));                                                \
        }                                                                                        \
        int p_ = max(int(floatBitsToUint(subgroupMax(most)) >> 23) - 140, power);                \
        float down = uintBitsToFloat(uint(127 + max(power - p_, -126)) << 23);                   \
        if (p_ != power)                                                                         \
            [[unroll]] for (uint i = 0; i < MT * NO; i++) acc[i] = acc[i] * down;                \
        power = p_;                                                                              \
        float f_ = uintBitsToFloat(uint(127 - power) << 23);                                     \
        [[unroll]] for (uint i = 0; i < MT * NB; i++) s[i] = s[i] * f_;                          \
    }
#else
#define NARROW_DOWN(s, acc)
#endif
