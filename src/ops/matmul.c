// matmul.c - matrix products without and with a transposed left factor: the gradients of linear,
// and their own.
#include "gemm.h"
#include "t.h"

extern const hx_op hx_op_matmul_nn, hx_op_matmul_tn, hx_op_linear;

static hx_t product(const hx_op *op, hx_t a, hx_t b)
{
    hx_t y;
    hx_apply(op, NULL, (hx_t[]){ a, b, HX_NONE }, &y);
    return y;
}

static hx_t product_nt(hx_t a, hx_t b)
{
    hx_t out[2] = { HX_NONE, HX_NONE };
    hx_apply(&hx_op_linear, NULL, (hx_t[]){ a, b, HX_NONE, HX_NONE }, out);
    return out[0];
}

// ---- y = a b + c --------------------------------------------------------------------------
static void nn_ref(const hx_ref *r)
{
    enum { M, K, N };
    const int64_t *d = r->dim;
    for (int64_t m = 0; m < d[M]; m++)
        for (int64_t n = 0; n < d[N]; n++) {
            real s = r->a[2] ? r->a[2][m * d[N] + n] : 0;
            for (int64_t k = 0; k < d[K]; k++)
                s += r->a[0][m * d[K] + k] * r->a[1][k * d[N] + n];
            r->a[3][m * d[N] + n] = s;
        }
}

static void nn_host(const hx_call *c)
{
    hx_gemm_run(&(hx_gemm){ .M = c->dim[0], .K = c->dim[1], .N = c->dim[2],
        .a = c->a[0], .lda = c->ld[0], .b = c->a[1], .ldb = c->ld[1],
        .c = c->a[2], .ldc = c->ld[2], .y = c->a[3], .ldy = c->ld[3] }, c->pool);
}

// da = dy b^T,  db = a^T dy,  dc = dy
static void nn_vjp(const hx_node *n, hx_t *d)
{
    hx_t dy = n->grad[0];
    if (n->want[0])
        d[0] = product_nt(dy, n->arg[1]);
    if (n->want[1])
        d[1] = product(&hx_op_matmul_tn, n->arg[0], dy);
    if (n->want[2])
        d[2] = dy;
}

static bool nn_few(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_few_tiles(d[0], d[2]);
}

static bool nn_many(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_many_tiles(d[0], d[2]);
}

static bool nn_most(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_most_tiles(d[0], d[2]);
}

HX_OP(matmul_nn,
    .math = "y = a b + c", .source = "definition",
    .sig = "a:[M,K] b:[K,N] c?:[M,N] -> y:[M,N]",
    .ref = nn_ref, .vjp = nn_vjp, .host = nn_host,
    .terms = "K", .flops = "2*M*N*K", .adds = "c", .alias = "y=c",
    .kernels = HX_PRODUCT_ROWS("matmul_nn", "M", "N", nn_few, nn_many, nn_most),
    .check = "M=1 K=1 N=1; M=5 K=33 N=7 -c; M=65 K=17 N=70; M=130 K=64 N=66 -c; M=64 K=128 N=64;"
             " M=260 K=9 N=520; M=1030 K=5 N=770 -c",
    .wrong = "M=3 K=5 N=4 b=[4,4]: argument b does not fit",
    .exact = "3",
    .bench = "M=4096 K=2048 N=512; M=512 K=512 N=512");

// ---- y = a^T b + c ------------------------------------------------------------------------
static void tn_ref(const hx_ref *r)
{
    enum { K, M, N };
    const int64_t *d = r->dim;
    for (int64_t m = 0; m < d[M]; m++)
        for (int64_t n = 0; n < d[N]; n++) {
            real s = r->a[2] ? r->a[2][m * d[N] + n] : 0;
            for (int64_t k = 0; k < d[K]; k++)
                s += r->a[0][k * d[M] + m] * r->a[1][k * d[N] + n];
            r->a[3][m * d[N] + n] = s;
        }
}

static void tn_host(const hx_call *c)
{
    hx_gemm_run(&(hx_gemm){ .ta = true, .K = c->dim[0], .M = c->dim[1], .N = c->dim[2],
        .a = c->a[0], .lda = c->ld[0], .b = c->a[1], .ldb = c->ld[1],
        .c = c->a[2], .ldc = c->ld[2], .y = c->a[3], .ldy = c->ld[3] }, c->pool);
}

// da = b dy^T,  db = a dy,  dc = dy
static void tn_vjp(const hx_node *n, hx_t *d)
{
    hx_t dy = n->grad[0];
    if (n->want[0])
        d[0] = product_nt(n->arg[1], dy);
    if (n->want[1])
        d[1] = product(&hx_op_matmul_nn, n->arg[0], dy);
    if (n->want[2])
        d[2] = dy;
}

static bool tn_few(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_few_tiles(d[1], d[2]);
}

static bool tn_many(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_many_tiles(d[1], d[2]);
}

static bool tn_most(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_most_tiles(d[1], d[2]);
}

HX_OP(matmul_tn,
    .math = "y = a^T b + c", .source = "definition",
    .sig = "a:[K,M] b:[K,N] c?:[M,N] -> y:[M,N]",
    .ref = tn_ref, .vjp = tn_vjp, .host = tn_host,
    .terms = "K", .flops = "2*M*N*K", .adds = "c", .alias = "y=c",
    .kernels = HX_PRODUCT_ROWS("matmul_tn", "M", "N", tn_few, tn_many, tn_most),
    .check = "M=1 K=1 N=1; M=5 K=33 N=7 -c; M=65 K=17 N=70; M=130 K=64 N=66 -c; M=64 K=128 N=64;"
             " M=260 K=9 N=520; M=1030 K=5 N=770 -c",
    .wrong = "M=3 K=5 N=4 b=[4,4]: argument b does not fit",
    .exact = "3",
    .bench = "M=2048 K=4096 N=512; M=512 K=512 N=512");
