// matmul.glsl - the tiled matrix product behind linear, matmul_nn and matmul_tn. The shader that
// includes it defines, for rows m < M, columns n < N and summed indices k < K,
//   A_AT(m, k), B_AT(k, n)   a factor's element
//   A_BY_K, B_BY_K           1 where that factor's neighbours in memory differ in k
//   PUT(m, n, s)             what becomes of a sum
// A workgroup makes a BM x BN tile of sums, an invocation TM x TN of them, in blocks of 4 x 4 that
// lie apart so that neighbours read neighbouring shared memory. BK columns of both factors are
// staged at a time, and the next ones are on their way from memory while these are multiplied.
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint BM = 64;
layout(constant_id = 1) const uint BN = 64;
layout(constant_id = 2) const uint BK = 16;
layout(constant_id = 3) const uint TM = 4;
layout(constant_id = 4) const uint TN = 4;
const uint NX = BN / TN, NY = BM / TM;     // NX * NY = 256
const uint NA = BM * BK / 256, NB = BN * BK / 256;
shared vec4 sa[BK * BM / 4], sb[BK * BN / 4];

// Where element i of a staged rows x BK block comes from: (row, k).
uvec2 place(uint i, uint rows, bool by_k)
{
    return by_k ? uvec2(i / BK, i % BK) : uvec2(i % rows, i / rows);
}

void matmul(uint M, uint N, uint K)
{
    uint t = gl_LocalInvocationID.x, tx = t % NX, ty = t / NX;
    uint m0 = gl_WorkGroupID.y * BM, n0 = gl_WorkGroupID.x * BN;
    float na[NA], nb[NB];
    vec4 s[TM * TN / 4];
    [[unroll]] for (uint i = 0; i < TM * TN / 4; i++)
        s[i] = vec4(0);
    for (uint k0 = 0; k0 < K; k0 += BK) {
        [[unroll]] for (uint i = 0; i < NA; i++) {
            uvec2 p = uvec2(m0, k0) + place(t + i * 256, BM, A_BY_K);
            na[i] = p.x < M && p.y < K ? A_AT(p.x, p.y) : 0;
        }
        [[unroll]] for (uint i = 0; i < NB; i++) {
            uvec2 p = uvec2(n0, k0) + place(t + i * 256, BN, B_BY_K);
            nb[i] = p.x < N && p.y < K ? B_AT(p.y, p.x) : 0;
        }
        barrier();
        [[unroll]] for (uint i = 0; i < NA; i++) {
            uvec2 p = place(t + i * 256, BM, A_BY_K);
            sa[p.y * (BM / 4) + p.x / 4][p.x % 4] = na[i];
        }
        [[unroll]] for (uint i = 0; i < NB; i++) {
            uvec2 p = place(t + i * 256, BN, B_BY_K);
            sb[p.y * (BN / 4) + p.x / 4][p.x % 4] = nb[i];
        }
        barrier();
        [[unroll]] for (uint k = 0; k < BK; k++) {
            vec4 a[TM / 4], b[TN / 4];
            [[unroll]] for (uint i = 0; i < TM / 4; i++)
                a[i] = sa[k * (BM / 4) + i * NY + ty];
            [[unroll]] for (uint j = 0; j < TN / 4; j++)
                b[j] = sb[k * (BN / 4) + j * NX + tx];
            [[unroll]] for (uint i = 0; i < TM; i++)
                [[unroll]] for (uint j = 0; j < TN / 4; j++)
                    s[i * (TN / 4) + j] = fma(vec4(a[i / 4][i % 4]), b[j], s[i * (TN / 4) + j]);
        }
    }
    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN; j++) {
            uint m = m0 + (i / 4 * NY + ty) * 4 + i % 4, n = n0 + (j / 4 * NX + tx) * 4 + j % 4;
            if (m < M && n < N)
                PUT(m, n, s[i * (TN / 4) + j / 4][j % 4]);
        }
}
