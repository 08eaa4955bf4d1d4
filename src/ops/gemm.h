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
// loads; GPUs. Spec: BM, BN, BK, TM, TN of shaders/matmul.glsl.
#define HX_PRODUCT_ROWS(name, N, M) {                                                         \
    { name, 0, N "/64, " M "/64", "64, 64, 16, 4, 4" },                                         \
    { name "_lanes", HX_CAP_SUBGROUP, N "/32, " M "/32" },                                      \
    { name, HX_CAP_GPU, N "/64, " M "/64", "64, 64, 16, 4, 4" } }
