// matmul.glsl - the tiled matrix product behind linear, matmul_nn and matmul_tn. What includes it
// defines, for rows m < M, columns n < N and summed indices k < K,
//   A, A_AT(m, k), A_STEP     a factor's buffer, where in it an element is, how far apart are
//   B, B_AT(k, n), B_STEP     neighbours in k (an expression of push constants)
//   A_BY_K, B_BY_K            true where that distance is 1
//   PUT(m, n, s)              what becomes of a sum
// A workgroup makes BM x BN sums, an invocation TM x TN of them, in blocks of 4 x 4 that lie apart
// so that neighbours read neighbouring shared memory. Where that takes fewer than all invocations,
// groups of them share out k and their sums are added in order at the end. BK values of k are
// staged at a time, while the next ones are on their way from memory.
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint BM = 64;
layout(constant_id = 1) const uint BN = 64;
layout(constant_id = 2) const uint BK = 16;
layout(constant_id = 3) const uint TM = 4;
layout(constant_id = 4) const uint TN = 4;
const uint NX = BN / TN, NY = BM / TM, GROUPS = 256 / (NX * NY);
const uint NA = BM * BK / 256, NB = BN * BK / 256;
// rows of 4 floats more than needed: a column's elements then lie in different banks
const uint LA = BM / 4 + 1, LB = BN / 4 + 1;
shared vec4 sa[BK * LA], sb[BK * LB];
shared vec4 rest[GROUPS > 1 ? (GROUPS - 1) * BM * BN / 4 : 1];

// Which (row, k) of a staged rows x BK block is element i.
uvec2 place(uint i, uint rows, bool by_k)
{
    return by_k ? uvec2(i / BK, i % BK) : uvec2(i % rows, i / rows);
}

void matmul(uint M, uint N, uint K)
{
    uint t = gl_LocalInvocationID.x, g = t / (NX * NY), tx = t % NX, ty = t / NX % NY;
    uint m0 = gl_WorkGroupID.y * BM, n0 = gl_WorkGroupID.x * BN;
    uint at_a[NA], at_b[NB];
    float next_a[NA], next_b[NB];
    vec4 s[TM * TN / 4];
    // rows and columns past the end: the last ones again, their sums are not stored
    [[unroll]] for (uint i = 0; i < NA; i++) {
        uvec2 p = place(t + i * 256, BM, A_BY_K);
        at_a[i] = A_AT(min(m0 + p.x, M - 1), p.y);
    }
    [[unroll]] for (uint i = 0; i < NB; i++) {
        uvec2 p = place(t + i * 256, BN, B_BY_K);
        at_b[i] = B_AT(p.y, min(n0 + p.x, N - 1));
    }
    [[unroll]] for (uint i = 0; i < TM * TN / 4; i++)
        s[i] = vec4(0);
    for (uint k0 = 0; k0 < K + BK; k0 += BK) {
        // what was fetched in the last round becomes shared; nothing yet in the first one
        if (k0 > 0) {
            barrier();
            [[unroll]] for (uint i = 0; i < NA; i++) {
                uvec2 p = place(t + i * 256, BM, A_BY_K);
                sa[p.y * LA + p.x / 4][p.x % 4] = next_a[i];
            }
            [[unroll]] for (uint i = 0; i < NB; i++) {
                uvec2 p = place(t + i * 256, BN, B_BY_K);
                sb[p.y * LB + p.x / 4][p.x % 4] = next_b[i];
            }
            barrier();
        }
        // zeros past the end of k, looked for in the last round only
        if (k0 + BK <= K) {
            [[unroll]] for (uint i = 0; i < NA; i++)
                next_a[i] = A[at_a[i] + k0 * (A_STEP)];
            [[unroll]] for (uint i = 0; i < NB; i++)
                next_b[i] = B[at_b[i] + k0 * (B_STEP)];
        } else if (k0 < K) {
            [[unroll]] for (uint i = 0; i < NA; i++) {
                bool in_k = k0 + place(t + i * 256, BM, A_BY_K).y < K;
                next_a[i] = in_k ? A[at_a[i] + k0 * (A_STEP)] : 0;
            }
            [[unroll]] for (uint i = 0; i < NB; i++) {
                bool in_k = k0 + place(t + i * 256, BN, B_BY_K).y < K;
                next_b[i] = in_k ? B[at_b[i] + k0 * (B_STEP)] : 0;
            }
        }
        if (k0 == 0)
            continue;
        [[unroll]] for (uint i = 0; i < BK / GROUPS; i++) {
            uint k = g * (BK / GROUPS) + i;
            vec4 a[TM / 4], b[TN / 4];
            [[unroll]] for (uint j = 0; j < TM / 4; j++)
                a[j] = sa[k * LA + j * NY + ty];
            [[unroll]] for (uint j = 0; j < TN / 4; j++)
                b[j] = sb[k * LB + j * NX + tx];
            [[unroll]] for (uint m = 0; m < TM; m++)
                [[unroll]] for (uint n = 0; n < TN / 4; n++)
                    s[m * (TN / 4) + n] = fma(vec4(a[m / 4][m % 4]), b[n], s[m * (TN / 4) + n]);
        }
    }
    if (GROUPS > 1) {
        const uint own = TM * TN / 4 * NX * NY;
        [[unroll]] for (uint i = 0; i < TM * TN / 4; i++)
            if (g > 0)
                rest[(g - 1) * own + i * NX * NY + t % (NX * NY)] = s[i];
        barrier();
        [[unroll]] for (uint i = 0; i < TM * TN / 4; i++)
            [[unroll]] for (uint j = 1; j < GROUPS; j++)
                if (g == 0)
                    s[i] += rest[(j - 1) * own + i * NX * NY + t];
    }
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN; j++) {
            uint m = m0 + (i / 4 * NY + ty) * 4 + i % 4, n = n0 + (j / 4 * NX + tx) * 4 + j % 4;
            if (g == 0 && m < M && n < N)
                PUT(m, n, s[i * (TN / 4) + j / 4][j % 4]);
        }
}
