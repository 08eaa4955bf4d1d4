// matmul_whole.coop.glsl - matrix products of whole tiles: M, N multiples of BM, BN, K one of 2 BK, both
// factors in 16 bits, so that no edge is looked out for. Everything else goes the way of
// matmul.coop.glsl, after which this is included. BK values of k are staged twice. Other orders of the
// same work were slower on an H200: docs/benchmarks.md.

// Rows in an order that puts neighbours of four eights into different banks.
uint row_of(uint i) { return BK == 32 ? i & ~7u | (i & 1) << 2 | i >> 1 & 3 : i; }
#if A_BY_K
#define ROW_A(i) row_of(i)
#else
#define ROW_A(i) (i)
#endif
#if B_BY_K
#define ROW_B(i) row_of(i)
#else
#define ROW_B(i) (i)
#endif

#define NEXT(k0)                                                                                 \
    [[unroll]] for (uint i = 0; i < NA; i++)                                                     \
        next_a[i] = A[at_a[i] + (k0) / 8 * (A_STEP)];                                            \
    [[unroll]] for (uint i = 0; i < NB; i++)                                                     \
        next_b[i] = B[at_b[i] + (k0) / 8 * (B_STEP)];
#define STAGE(slot)                                                                              \
    [[unroll]] for (uint i = 0; i < NA; i++) {                                                   \
        uint e = t + i * THREADS;                                                                \
        sm[(slot) + ROW_A(e / EA) * LA + e % EA] = next_a[i];                                    \
    }                                                                                            \
    [[unroll]] for (uint i = 0; i < NB; i++) {                                                   \
        uint e = t + i * THREADS;                                                                \
        sm[(slot) + SB + ROW_B(e / EB) * LB + e % EB] = next_b[i];                               \
    }

void whole(uint M, uint N, uint K)
{
    uint t = gl_LocalInvocationID.x;
    uint m0 = gl_WorkGroupID.y * BM, n0 = gl_WorkGroupID.x * BN;
    uint wm = gl_SubgroupID / (BN / WN) * WM, wn = gl_SubgroupID % (BN / WN) * WN;
    coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator> s[WM / MM * (WN / MN)];
    [[unroll]] for (uint i = 0; i < WM / MM * (WN / MN); i++)
        s[i] = coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator>(0.0);
    // in eights
    uint at_a[NA], at_b[NB];
    [[unroll]] for (uint i = 0; i < NA; i++) {
        uint e = t + i * THREADS, row = ROW_A(e / EA), col = e % EA * 8;
#if A_BY_K
        at_a[i] = (A_AT(m0 + row, col)) / 8;
#else
        at_a[i] = (A_AT(m0 + col, row)) / 8;
#endif
    }
    [[unroll]] for (uint i = 0; i < NB; i++) {
        uint e = t + i * THREADS, row = ROW_B(e / EB), col = e % EB * 8;
#if B_BY_K
        at_b[i] = (B_AT(col, n0 + row)) / 8;
#else
        at_b[i] = (B_AT(row, n0 + col)) / 8;
#endif
    }

    uvec4 next_a[NA], next_b[NB];
    NEXT(0)
    STAGE(0)
    NEXT(BK)
    barrier();
    for (uint from = 0; from < K; from += 2 * BK)
        [[unroll]] for (uint u = 0; u < 2; u++) {
            uint k0 = from + u * BK;
            const uint slot = u * STAGED;
            MULTIPLY(slot)
            if (k0 + BK < K) {
                STAGE(STAGED - slot)
                if (k0 + 2 * BK < K) {
                    NEXT(k0 + 2 * BK)
                }
            }
            barrier();
        }

    // MM rows at a time through shared memory, where every sum has its place
    uint own = gl_SubgroupID * MM * LS, lane = gl_SubgroupInvocationID;
    [[unroll]] for (uint i = 0; i < WM / MM; i++) {
        STORE_STRIP(i)
        [[dont_unroll]] for (uint e = lane; e < MM * WN / 8; e += LANES) {
            uint row = e / (WN / 8), col = e % (WN / 8);
            put8(m0 + wm + i * MM + row, n0 + wn + col * 8,
                 uintBitsToFloat(sm[own + row * LS + 2 * col]),
                 uintBitsToFloat(sm[own + row * LS + 2 * col + 1]));
        }
    }
}

// for factors in 32 bits there is no room for haste
void matmul_or_whole(uint M, uint N, uint K)
{
    if (A16 && B16)
        whole(M, N, K);
    else
        matmul(M, N, K);
}
