// matmul.coop.glsl - matrix products on matrix units: both factors are rounded to 16 bits (nearest,
// ties to even) on their way into shared memory, sums are fp32. What includes it defines
//   ELEM                      the 16-bit type
//   A, A_AT(m, k), A_STEP, B, B_AT(k, n), B_STEP     as for matmul.glsl; the buffers are of uvec4
//   A_BY_K, B_BY_K            1 where that distance is 1, else 0 and neighbours in m or n are 1 apart
//   put8(m, n, lo, hi)        what becomes of eight sums, where rows of them are whole eights: EIGHTS
//   put1(m, n, s)             what becomes of one
// A workgroup makes BM x BN sums, a subgroup WM x WN of them, in steps of the device's matrices of
// MM x MK and MK x MN. BK values of k are staged at a time (32 where a factor lies in 32 bits), while
// the next ones are on their way from memory. The cut does not depend on the size of subgroups.
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 128;
layout(constant_id = 1) const uint BM = 64;
layout(constant_id = 2) const uint BN = 64;
layout(constant_id = 3) const uint BK16 = 32;
layout(constant_id = 4) const uint WM = 32;
layout(constant_id = 5) const uint WN = 32;
layout(constant_id = 6) const uint MM = 16;
layout(constant_id = 7) const uint MN = 16;
layout(constant_id = 8) const uint MK = 16;
const bool A16 = HALF % 2 == 1, B16 = HALF / 2 % 2 == 1;
const uint BK = A16 && B16 ? BK16 : 32;
// rounds that are written out: on an H200 two make a product a quarter faster than one
const uint ROUNDS = MM < 16 ? 1 : 2;
const uint SUBGROUPS = BM / WM * (BN / WN), LANES = THREADS / SUBGROUPS;
// Staged twice where that fits into 48 KiB, so that one half is filled while the other is read; else
// once, with a barrier more. In eights: rows of the direction that lies together in memory, and 16
// bytes more, so that rows of a matrix lie in different banks
#if A_BY_K
const uint EA = BK / 8, RA = BM;
#else
const uint EA = BM / 8, RA = BK;
#endif
#if B_BY_K
const uint EB = BK / 8, RB = BN;
#else
const uint EB = BN / 8, RB = BK;
#endif
const uint LA = EA + 1, LB = EB + 1, NA = EA * RA / THREADS, NB = EB * RB / THREADS;
const uint PER_A = A16 ? NA : 2 * NA, PER_B = B16 ? NB : 2 * NB;
// afterwards the same memory is a strip of sums for every subgroup
const uint LS = WN / 4 + 1, SB = RA * LA, STAGED = SB + RB * LB, STRIPS = SUBGROUPS * MM * LS;
const uint STAGES = 2 * STAGED <= 3072 ? 2 : 1;
shared uvec4 sm[STAGES * STAGED > STRIPS ? STAGES * STAGED : STRIPS];

uvec4 rounded(uvec4 lo, uvec4 hi) { return eight(uintBitsToFloat(lo), uintBitsToFloat(hi)); }

// Eight elements of a factor from where they lie together.
#define FETCH(X, IS16, to, i, from) {                                                            \
        uint at = from;                                                                          \
        if (IS16) {                                                                              \
            to[i] = X[at / 8];                                                                   \
        } else {                                                                                 \
            to[2 * i] = X[at / 4];                                                               \
            to[2 * i + 1] = X[at / 4 + 1];                                                       \
        }                                                                                        \
    }
// Eight elements of a factor one by one, with zeros past the end of k; past the end of the other
// direction the last ones again, their sums are not stored.
#define EIGHT_BY_K(X, AT, lo, hi, row, k0)                                                       \
    [[unroll]] for (uint e = 0; e < 8; e++) {                                                    \
        uint at = AT(row, min((k0) + e, K - 1));                                                 \
        uint v = (k0) + e < K ? X[at / 4][at % 4] : 0;                                          \
        if (e < 4) lo[e % 4] = v;                                                                \
        else hi[e % 4] = v;                                                                      \
    }
#define EIGHT_BY_ROW(X, AT, lo, hi, row0, rows, k)                                               \
    [[unroll]] for (uint e = 0; e < 8; e++) {                                                    \
        uint at = AT(min((row0) + e, (rows) - 1), min(k, K - 1));                                \
        uint v = (k) < K ? X[at / 4][at % 4] : 0;                                               \
        if (e < 4) lo[e % 4] = v;                                                                \
        else hi[e % 4] = v;                                                                      \
    }
#define B_OF(n, k) B_AT(k, n)
// s += a b, what of them lies staged from `slot` on.
#if A_BY_K
#define LOAD_A(i, slot, k)                                                                       \
    coopMatLoad(a[i], sm, (slot) + (wm + (i) * MM) * LA + (k) / 8, LA,                           \
                gl_CooperativeMatrixLayoutRowMajor)
#else
#define LOAD_A(i, slot, k)                                                                       \
    coopMatLoad(a[i], sm, (slot) + (k) * LA + (wm + (i) * MM) / 8, LA,                           \
                gl_CooperativeMatrixLayoutColumnMajor)
#endif
#if B_BY_K
#define LOAD_B(j, slot, k)                                                                       \
    coopMatLoad(b, sm, (slot) + SB + (wn + (j) * MN) * LB + (k) / 8, LB,                         \
                gl_CooperativeMatrixLayoutColumnMajor)
#else
#define LOAD_B(j, slot, k)                                                                       \
    coopMatLoad(b, sm, (slot) + SB + (k) * LB + (wn + (j) * MN) / 8, LB,                         \
                gl_CooperativeMatrixLayoutRowMajor)
#endif
#define MULTIPLY(slot)                                                                           \
    [[unroll]] for (uint k = 0; k < BK; k += MK) {                                               \
        coopmat<ELEM, gl_ScopeSubgroup, MM, MK, gl_MatrixUseA> a[WM / MM];                       \
        coopmat<ELEM, gl_ScopeSubgroup, MK, MN, gl_MatrixUseB> b;                                \
        [[unroll]] for (uint i = 0; i < WM / MM; i++)                                            \
            LOAD_A(i, slot, k);                                                                  \
        [[unroll]] for (uint j = 0; j < WN / MN; j++) {                                          \
            LOAD_B(j, slot, k);                                                                  \
            [[unroll]] for (uint i = 0; i < WM / MM; i++)                                        \
                s[i * (WN / MN) + j] = coopMatMulAdd(a[i], b, s[i * (WN / MN) + j]);             \
        }                                                                                        \
    }
// MM rows of sums into the subgroup's strip of shared memory, whose last rows have been read.
#define STORE_STRIP(i)                                                                           \
    subgroupBarrier();                                                                           \
    [[unroll]] for (uint j = 0; j < WN / MN; j++)                                                \
        coopMatStore(s[i * (WN / MN) + j], sm, own + j * (MN / 4), LS,                           \
                     gl_CooperativeMatrixLayoutRowMajor);                                        \
    subgroupBarrier();

void matmul(uint M, uint N, uint K)
{
    uint t = gl_LocalInvocationID.x;
    uint m0 = gl_WorkGroupID.y * BM, n0 = gl_WorkGroupID.x * BN;
    uint wm = gl_SubgroupID / (BN / WN) * WM, wn = gl_SubgroupID % (BN / WN) * WN;
    coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator> s[WM / MM * (WN / MN)];
    [[unroll]] for (uint i = 0; i < WM / MM * (WN / MN); i++)
        s[i] = coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator>(0.0);

    // whether eights lie on 16 bytes and are inside the factor or outside of it as a whole
#if A_BY_K
    bool fast = A16 || ((A_AT(0, 0)) | (A_AT(1, 0))) % 4 == 0;
#else
    bool fast = A16 || ((A_AT(0, 0)) | (A_AT(0, 1))) % 4 == 0 && M % 8 == 0;
#endif
#if B_BY_K
    fast = fast && (B16 || ((B_AT(0, 0)) | (B_AT(0, 1))) % 4 == 0);
#else
    fast = fast && (B16 || ((B_AT(0, 0)) | (B_AT(1, 0))) % 4 == 0 && N % 8 == 0);
#endif
    uint at_a[NA], at_b[NB];
    [[unroll]] for (uint i = 0; i < NA; i++) {
        uint e = t + i * THREADS, row = e / EA, col = e % EA * 8;
#if A_BY_K
        at_a[i] = A_AT(min(m0 + row, M - 1), col);
#else
        at_a[i] = A_AT(min(m0 + col, max(M, 8) - 8), row);
#endif
    }
    [[unroll]] for (uint i = 0; i < NB; i++) {
        uint e = t + i * THREADS, row = e / EB, col = e % EB * 8;
#if B_BY_K
        at_b[i] = B_AT(col, min(n0 + row, N - 1));
#else
        at_b[i] = B_AT(row, min(n0 + col, max(N, 8) - 8));
#endif
    }

    uvec4 next_a[PER_A], next_b[PER_B];
    for (uint from = 0; from < K + BK; from += ROUNDS * BK)
        [[unroll]] for (uint u = 0; u < ROUNDS; u++) {
            uint k0 = from + u * BK, slot = (ROUNDS > 1 ? u : k0 / BK) % STAGES * STAGED;
            // what was fetched in the last round becomes shared; nothing yet in the first one
            bool there = k0 > 0 && k0 < K + BK;
            if (there) {
                if (STAGES == 1)
                    barrier();             // what was staged has been used
                [[unroll]] for (uint i = 0; i < NA; i++) {
                    uint e = t + i * THREADS;
                    sm[slot + e / EA * LA + e % EA] =
                        A16 ? next_a[i] : rounded(next_a[2 * i], next_a[2 * i + 1]);
                }
                [[unroll]] for (uint i = 0; i < NB; i++) {
                    uint e = t + i * THREADS;
                    sm[slot + SB + e / EB * LB + e % EB] =
                        B16 ? next_b[i] : rounded(next_b[2 * i], next_b[2 * i + 1]);
                }
                barrier();
            }
            if (fast && k0 + BK <= K) {
                [[unroll]] for (uint i = 0; i < NA; i++)
                    FETCH(A, A16, next_a, i, at_a[i] + k0 * (A_STEP))
                [[unroll]] for (uint i = 0; i < NB; i++)
                    FETCH(B, B16, next_b, i, at_b[i] + k0 * (B_STEP))
            } else if (k0 < K) {
                [[unroll]] for (uint i = 0; i < NA; i++) {
                    uint e = t + i * THREADS, row = e / EA, col = e % EA * 8;
#if A_BY_K
                    if (A16)
                        next_a[i] = k0 + col < K ? A[(at_a[i] + k0 * (A_STEP)) / 8] : uvec4(0);
                    else
                        EIGHT_BY_K(A, A_AT, next_a[2 * i], next_a[2 * i + 1],
                                   min(m0 + row, M - 1), k0 + col)
#else
                    if (A16)
                        next_a[i] = k0 + row < K ? A[(at_a[i] + k0 * (A_STEP)) / 8] : uvec4(0);
                    else
                        EIGHT_BY_ROW(A, A_AT, next_a[2 * i], next_a[2 * i + 1],
                                     m0 + col, M, k0 + row)
#endif
                }
                [[unroll]] for (uint i = 0; i < NB; i++) {
                    uint e = t + i * THREADS, row = e / EB, col = e % EB * 8;
#if B_BY_K
                    if (B16)
                        next_b[i] = k0 + col < K ? B[(at_b[i] + k0 * (B_STEP)) / 8] : uvec4(0);
                    else
                        EIGHT_BY_K(B, B_OF, next_b[2 * i], next_b[2 * i + 1],
                                   min(n0 + row, N - 1), k0 + col)
#else
                    if (B16)
                        next_b[i] = k0 + row < K ? B[(at_b[i] + k0 * (B_STEP)) / 8] : uvec4(0);
                    else
                        EIGHT_BY_ROW(B, B_OF, next_b[2 * i], next_b[2 * i + 1],
                                     n0 + col, N, k0 + row)
#endif
                }
            }
            if (!there)
                continue;
            MULTIPLY(slot)
        }

    // MM rows at a time through shared memory, where every sum has its place
    bool eights = EIGHTS;
    uint own = gl_SubgroupID * MM * LS, lane = gl_SubgroupInvocationID;
    barrier();                             // what was staged has been used
    [[unroll]] for (uint i = 0; i < WM / MM; i++) {
        STORE_STRIP(i)
        // a loop: unrolled activations would not fit into the caches of instructions
        [[dont_unroll]] for (uint e = lane; e < MM * WN / 8; e += LANES) {
            uint row = e / (WN / 8), col = e % (WN / 8);
            uint m = m0 + wm + i * MM + row, n = n0 + wn + col * 8;
            vec4 lo = uintBitsToFloat(sm[own + row * LS + 2 * col]);
            vec4 hi = uintBitsToFloat(sm[own + row * LS + 2 * col + 1]);
            if (m < M && eights) {
                if (n < N)
                    put8(m, n, lo, hi);
            } else if (m < M) {
                for (uint c = 0; c < min(8, N - min(n, N)); c++)
                    put1(m, n + c, c < 4 ? lo[c] : hi[c - 4]);
            }
        }
    }
}
