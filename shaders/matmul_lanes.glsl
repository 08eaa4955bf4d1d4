// matmul_lanes.glsl - the matrix product for processors that run a subgroup's invocations as the
// lanes of vectors: same macros as matmul.glsl. A load, from shared memory too, costs as much there
// as 30 multiplications, but what a lane holds reaches the others in one. So an invocation sums
// 32 rows of 4 columns; invocations lie side by side along n; and each loads one of the next 8
// (or 4, in narrow subgroups) values of k for each row and hands it round.
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
layout(local_size_x = 8) in;
const uint TM = 32, TN = 4;
shared float sums[TM * TN * 8];

void product(uint L, uint m0, uint n0, uint M, uint N, uint K)
{
    uint l = gl_SubgroupInvocationID % L;
    float s[TM * TN];
    [[unroll]] for (uint i = 0; i < TM * TN; i++)
        s[i] = 0;
    for (uint k0 = 0; k0 < K; k0 += L) {
        // past the end of k: zeros, of both, for an infinite factor; past the ends of m and n: not stored
        float va[TM], vb[TN];
        [[unroll]] for (uint i = 0; i < TM; i++) {
            va[i] = A[A_AT(min(m0 + i, M - 1), min(k0 + l, K - 1))];
            va[i] = k0 + l < K ? va[i] : 0;
        }
        [[unroll]] for (uint k = 0; k < L; k++) {
            [[unroll]] for (uint j = 0; j < TN; j++) {
                vb[j] = B[B_AT(min(k0 + k, K - 1), min(n0 + j * 8, N - 1))];
                vb[j] = k0 + k < K ? vb[j] : 0;
            }
            [[unroll]] for (uint i = 0; i < TM; i++) {
                float v = subgroupShuffle(va[i], k);
                [[unroll]] for (uint j = 0; j < TN; j++)
                    s[i * TN + j] = fma(v, vb[j], s[i * TN + j]);
            }
        }
    }
    // through memory of its own, so that the epilogue is compiled once and not 128 times
    [[unroll]] for (uint i = 0; i < TM * TN; i++)
        sums[i * 8 + gl_LocalInvocationID.x] = s[i];
}

void matmul(uint M, uint N, uint K)
{
    uint m0 = gl_WorkGroupID.y * TM, n0 = gl_WorkGroupID.x * TN * 8 + gl_LocalInvocationID.x;
    if (gl_SubgroupSize >= 8)
        product(8, m0, n0, M, N, K);
    else
        product(4, m0, n0, M, N, K);
    for (uint i = 0; i < TM * TN; i++) {
        uint m = m0 + i / TN, n = n0 + i % TN * 8;
        if (m < M && n < N)
            PUT(m, n, sums[i * 8 + gl_LocalInvocationID.x]);
    }
}
