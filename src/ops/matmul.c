// matmul.c - matrix products without and with a transposed left factor: the gradients of linear,
// and their own; products over many rows in parts.
#include "gemm.h"
#include "t.h"
#include <string.h>

extern const hx_op hx_op_matmul_nn, hx_op_matmul_tn, hx_op_linear, hx_op_matmul_split, hx_op_sum_parts;

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

static bool nn_all(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_all_tiles(d[0], d[2]);
}

static bool nn_whole(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_whole_tiles(d[0], d[2], d[1]);
}

HX_OP(matmul_nn,
    .math = "y = a b + c", .source = "definition",
    .sig = "a:[M,K] b:[K,N] c?:[M,N] -> y:[M,N]",
    .ref = nn_ref, .vjp = nn_vjp, .host = nn_host,
    .terms = "K", .flops = "2*M*N*K", .adds = "c", .alias = "y=c",
    .kernels = HX_PRODUCT_ROWS("matmul_nn", "M", "N", "64", nn_few, nn_many, nn_most, nn_all,
                               nn_whole, 1 | 2 | 8),
    .check = "M=1 K=1 N=1; M=5 K=33 N=7 -c; M=65 K=17 N=70; M=130 K=64 N=66 -c; M=64 K=128 N=64;"
             " M=260 K=9 N=520; M=1030 K=5 N=770 -c;"
             " M=7 K=64 N=40; M=2048 K=72 N=1536 -c; M=2048 K=128 N=1536",
    .wrong = "M=3 K=5 N=4 b=[4,4]: argument b does not fit",
    .exact = "3",
    .bench = "M=4096 K=2048 N=512; M=512 K=512 N=512");

hx_t t_matmul_nn(hx_t a, hx_t b)
{
    hx_t y;
    hx_apply(&hx_op_matmul_nn, NULL, (hx_t[]){ a, b, HX_NONE }, &y);
    return y;
}

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

static bool tn_all(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_all_tiles(d[1], d[2]);
}

static bool tn_whole(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_whole_tiles(d[1], d[2], d[0]);
}

HX_OP(matmul_tn,
    .math = "y = a^T b + c", .source = "definition",
    .sig = "a:[K,M] b:[K,N] c?:[M,N] -> y:[M,N]",
    .ref = tn_ref, .vjp = tn_vjp, .host = tn_host,
    .terms = "K", .flops = "2*M*N*K", .adds = "c", .alias = "y=c",
    .kernels = HX_PRODUCT_ROWS("matmul_tn", "M", "N", "32", tn_few, tn_many, tn_most, tn_all,
                               tn_whole, 1 | 2),
    .check = "M=1 K=1 N=1; M=5 K=33 N=7 -c; M=65 K=17 N=70; M=130 K=64 N=66 -c; M=64 K=128 N=64;"
             " M=260 K=9 N=520; M=1030 K=5 N=770 -c;"
             " M=7 K=64 N=40; M=2048 K=72 N=1536 -c; M=2048 K=64 N=1536",
    .wrong = "M=3 K=5 N=4 b=[4,4]: argument b does not fit",
    .exact = "3",
    .bench = "M=2048 K=4096 N=512; M=512 K=512 N=512");

// ---- y = a^T b in parts ---------------------------------------------------------------------
// Few sums of many terms leave a GPU idle. So the rows are cut into parts, which are multiplied each
// for itself and added up in order. The cut follows from the sizes, so that results do.
enum { K, M, N };
typedef struct split_attrs { int32_t parts; } split_attrs;
static const hx_field split_fields[] = {
    { "parts", HX_I32, offsetof(split_attrs, parts), "4", 1, 64, "parts of the rows" },
    { 0 }
};

static int64_t parts_of(const void *attrs) { return ((const split_attrs *)attrs)->parts; }
static int64_t part_rows(int64_t rows, const void *attrs)
{
    return hx_align(hx_ceil_div(rows, parts_of(attrs)), 128);
}

static void split_ref(const hx_ref *r)
{
    const int64_t *d = r->dim, step = part_rows(d[K], r->attrs);
    for (int64_t p = 0; p < parts_of(r->attrs); p++)
        for (int64_t m = 0; m < d[M]; m++)
            for (int64_t n = 0; n < d[N]; n++) {
                real s = 0;
                for (int64_t k = p * step; k < hx_min(d[K], (p + 1) * step); k++)
                    s += r->a[0][k * d[M] + m] * r->a[1][k * d[N] + n];
                r->a[2][(p * d[M] + m) * d[N] + n] = s;
            }
}

static void split_host(const hx_call *c)
{
    const int64_t *d = c->dim, step = part_rows(d[K], c->attrs);
    for (int64_t p = 0; p < parts_of(c->attrs); p++) {
        int64_t k = hx_min(d[K], p * step);
        float *y = (float *)c->a[2] + p * d[M] * d[N];
        if (k == d[K])
            memset(y, 0, (size_t)(d[M] * d[N]) * sizeof *y);
        else
            hx_gemm_run(&(hx_gemm){ .ta = true, .K = hx_min(step, d[K] - k), .M = d[M], .N = d[N],
                .a = (float *)c->a[0] + k * c->ld[0], .lda = c->ld[0],
                .b = (float *)c->a[1] + k * c->ld[1], .ldb = c->ld[1], .y = y, .ldy = d[N] },
                c->pool);
    }
}

// whole tiles and steps, and no part without any
static bool split_whole(const int64_t *d, const void *attrs)
{
    return !(d[M] % 128 | d[N] % 128 | d[K] % 128) &&
        (parts_of(attrs) - 1) * part_rows(d[K], attrs) < d[K];
}

HX_OP(matmul_split,
    .math = "p_s = a^T b over the s-th part of the rows", .source = "definition",
    .sig = "a:[K,M] b:[K,N] -> p[parts*M,N]",
    .attrs = split_fields, .attrs_size = sizeof(split_attrs),
    .ref = split_ref, .host = split_host, .terms = "K", .flops = "2*M*N*K",
    .exact = "1",
    .kernels = {
        { "matmul_split", 0, "N/64, M/64, parts", "64, 64, 16, 4, 4", NULL },
        { "matmul_split_lanes", HX_CAP_SUBGROUP, "N/32, M/32, parts", NULL, NULL },
        { "matmul_split", HX_CAP_GPU, "N/128, M/128, parts", "128, 128, 16, 8, 8", NULL },
        { "matmul_split.coop_fp16", HX_CAP_COOPMAT, "N/64, M/64, parts", "4, 64, 64, 32, 32, 32",
          NULL, HX_FP16, 3, NULL, 3 },
        { "matmul_split.coop_bf16", HX_CAP_COOPMAT_BF | HX_CAP_GPU | HX_CAP_SHARED48,
          "N/128, M/128, parts", "4, 128, 128, 32, 64, 64", NULL, HX_BF16, 3, NULL, 3 },
        { "matmul_split_whole.coop_fp16", HX_CAP_COOPMAT | HX_CAP_GPU | HX_CAP_SHARED48,
          "N/128, M/128, parts", "4, 128, 128, 32, 64, 64", split_whole, HX_FP16, 3, NULL, 3 },
        { "matmul_split_whole.coop_bf16", HX_CAP_COOPMAT_BF | HX_CAP_GPU | HX_CAP_SHARED48,
          "N/128, M/128, parts", "4, 128, 128, 32, 64, 64", split_whole, HX_BF16, 3, NULL, 3 } },
    .check = "K=1 M=1 N=1 parts=1; K=100 M=5 N=7 parts=3; K=300 M=65 N=70 parts=4;"
             " K=513 M=128 N=136 parts=8; K=520 M=128 N=136 parts=3; K=70 M=130 N=64 parts=5;"
             " K=768 M=128 N=256 parts=3; K=640 M=256 N=128 parts=2",
    .wrong = "K=3 M=5 N=4 b=[4,4]: argument b does not fit",
    .bench = "K=8192 M=2048 N=512 parts=4; K=8192 M=512 N=512 parts=16");

static void sum_parts_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[1]; i++) {
        real s = r->a[1] ? r->a[1][i] : 0;
        for (int64_t p = 0; p < r->dim[0]; p++)
            s += r->a[0][p * r->dim[1] + i];
        r->a[2][i] = s;
    }
}

static void sum_parts_task(void *ctx, int64_t i)
{
    const hx_call *c = ctx;
    int64_t S = c->dim[0], C = c->dim[1], at = i * 4096, n = hx_min(4096, C - at);
    const float *p = (const float *)c->a[0] + at, *add = c->a[1];
    float *y = (float *)c->a[2] + at, sum[4096] = {0};
    for (int64_t s = 0; s < S; s++)
        for (int64_t j = 0; j < n; j++)
            sum[j] += p[s * C + j];
    for (int64_t j = 0; j < n; j++)
        y[j] = add ? sum[j] + add[at + j] : sum[j];
}

static void sum_parts_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[1], 4096), sum_parts_task, (void *)c);
}

HX_OP(sum_parts,
    .math = "y_i = sum_s p_si + c_i", .source = "definition",
    .sig = "p[S,C] c?[C] -> y[C]", .ref = sum_parts_ref, .host = sum_parts_host,
    .terms = "S", .flops = "S*C", .adds = "c", .alias = "y=c", .exact = "1", .grid = "C/256",
    .kernels = { { "sum_parts", 0, NULL, NULL, NULL } },
    .check = "S=1 C=1; S=4 C=1000; S=16 C=257 -c; S=3 C=9000",
    .wrong = "S=3 C=5 c=[4]: argument c does not fit",
    .bench = "S=4 C=1048576; S=16 C=262144 -c");

// Parts that make between one and two workgroups of 128 x 128 sums a processor of a large GPU.
static int64_t good_parts(int64_t rows, int64_t m, int64_t n)
{
    int64_t tiles = hx_max(1, hx_ceil_div(m, 128) * hx_ceil_div(n, 128));
    return tiles > 132 ? 1 : hx_max(1, hx_min(hx_min(264 / tiles, rows / 512), 16));
}

hx_t t_matmul_tn(hx_t a, hx_t b)
{
    int64_t m = hx_dim(a, 1), n = hx_dim(b, 1), parts = good_parts(hx_dim(a, 0), m, n);
    if (parts < 2)
        return product(&hx_op_matmul_tn, a, b);
    hx_t p, y;
    hx_apply(&hx_op_matmul_split, &(split_attrs){ (int32_t)parts }, (hx_t[]){ a, b }, &p);
    hx_apply(&hx_op_sum_parts, NULL,
             (hx_t[]){ hx_reshape(p, 2, (int64_t[]){ parts, m * n }), HX_NONE }, &y);
    return hx_reshape(y, 2, (int64_t[]){ m, n });
}
