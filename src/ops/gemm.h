// gemm.h - fp32 matrix products on the host, cut into output tiles over the pool.
#pragma once
#include "../core/op.h"

// y = act(opA(a) opB(b) + bias) + c, all row-major; opA(a) is [M,K], opB(b) is [K,N].
// bias has N entries. h, if given, receives what goes into act. y may be c.
typedef struct hx_gemm {
    bool         ta, tb;                   // a is stored [K,M], b is stored [N,K]
    int64_t      M, N, K;
    const float *a, *b, *bias, *c;
    float       *y, *h;
    int64_t      lda, ldb, ldc, ldy, ldh;
    int          act;                      // hx_act
} hx_gemm;
// The cut into tiles depends on M, N, K only, so that bits do not depend on the pool.
void hx_gemm_run(const hx_gemm *g, hx_pool *pool);

// The kernel rows of a matrix product with M x N outputs: any device; processors, whose lanes share
// loads; GPUs, with a tile that the number of tiles makes best (measured on an H200, where a
// product of 4096 x 4096 x 2048 reaches 38-40 TFLOP/s and the small tile makes one of
// 512 x 512 x 4096 1.8 times as fast). Spec: BM, BN, BK, TM, TN of shaders/matmul.glsl. few, many, most: see below.
#define HX_PRODUCT_ROWS(name, M, N, bk, few, many, most, all, whole, halves) {                          \
    { name, 0, N "/64, " M "/64", "64, 64, 16, 4, 4", NULL },                                     \
    { name "_lanes", HX_CAP_SUBGROUP, N "/32, " M "/32", NULL, NULL },                            \
    { name, HX_CAP_GPU, N "/64, " M "/64", "64, 64, 16, 4, 4", NULL },                            \
    { name, HX_CAP_GPU, N "/32, " M "/32", "32, 32, 32, 4, 4", few },                             \
    { name, HX_CAP_GPU, N "/64, " M "/128", "128, 64, 16, 8, 4", many },                          \
    { name, HX_CAP_GPU, N "/128, " M "/128", "128, 128, 16, 8, 8", most },                        \
    HX_MATRIX_ROWS(name, "fp16", HX_CAP_COOPMAT, M, N, bk, HX_FP16, many, all, whole, halves), \
    HX_MATRIX_ROWS(name, "bf16", HX_CAP_COOPMAT_BF, M, N, bk, HX_BF16, many, all, whole, halves) }
// The same on matrix units. Spec: subgroups, BM, BN, BK, WM, WN of shaders/matmul.coop.glsl. Two
// workgroups of 128 x 128 share a processor of an H200, so that 1.5 waves of them beat smaller tiles.
// bk: where both factors have neighbours in k, 64 values at a time staged once are better, else 32
// staged twice (docs/benchmarks.md). halves: the arguments that may lie in 16 bits.
// Whole tiles of factors in 16 bits have kernels of their own: shaders/matmul_whole.coop.glsl.
#define HX_MATRIX_ROWS(name, type, cap, M, N, bk, precision, many, all, whole, halves)            \
    { name ".coop_" type, cap, N "/64, " M "/64", "4, 64, 64, 32, 32, 32", NULL, precision, 3,    \
      NULL, halves },                                                                             \
    { name ".coop_" type, cap | HX_CAP_GPU | HX_CAP_SHARED48, N "/64, " M "/128",                 \
      "8, 128, 64, 32, 32, 32", many, precision, 3, NULL, halves },                               \
    { name ".coop_" type, cap | HX_CAP_GPU | HX_CAP_SHARED48, N "/128, " M "/128",                \
      "4, 128, 128, " bk ", 64, 64", all, precision, 3, NULL, halves },                           \
    { name "_whole.coop_" type, cap | HX_CAP_GPU | HX_CAP_SHARED48, N "/128, " M "/128",          \
      "4, 128, 128, 32, 64, 64", whole, precision, 3, NULL, halves }
// Whether M x N makes few tiles of 64 x 64, many of 128 x 64, most or all of 128 x 128.
static inline bool hx_few_tiles(int64_t M, int64_t N)
{
    return hx_ceil_div(M, 64) * hx_ceil_div(N, 64) < 96;
}
static inline bool hx_many_tiles(int64_t M, int64_t N)
{
    return hx_ceil_div(M, 128) * hx_ceil_div(N, 64) >= 96;
}
static inline bool hx_most_tiles(int64_t M, int64_t N)
{
    return hx_ceil_div(M, 128) * hx_ceil_div(N, 128) >= 128;
}
static inline bool hx_all_tiles(int64_t M, int64_t N)
{
    return hx_ceil_div(M, 128) * hx_ceil_div(N, 128) >= 192;
}
// Whether these are tiles of 128 x 128 and nothing else, in pairs of steps of 32 terms.
static inline bool hx_whole_tiles(int64_t M, int64_t N, int64_t K)
{
    return !(M % 128 | N % 128 | K % 64) && hx_all_tiles(M, N);
}
