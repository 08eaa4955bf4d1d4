// unfold.c - the inputs that each output of a causal strided convolution sees, side by side, so
// that the convolution is a matrix product; and fold, its gradient.
#include "t.h"

enum { B, T, D };
typedef struct unfold_attrs { int32_t k, stride; } unfold_attrs;
static const hx_field unfold_fields[] = {
    { "k", HX_I32, offsetof(unfold_attrs, k), NULL, 1, INT32_MAX, "taps of the convolution" },
    { "stride", HX_I32, offsetof(unfold_attrs, stride), "1", 1, INT32_MAX, "tokens an output" },
    { 0 }
};

static void unfold_ref(const hx_ref *r)
{
    const unfold_attrs *a = r->attrs;
    int64_t d = r->dim[D], m = hx_ceil_div(r->dim[T], a->stride);
    for (int64_t b = 0; b < r->dim[B]; b++)
        for (int64_t j = 0; j < m; j++)
            for (int64_t i = 0; i < d; i++)
                for (int64_t p = 0; p < a->k; p++) {
                    int64_t t = j * a->stride - (a->k - 1) + p;
                    r->a[1][((b * m + j) * d + i) * a->k + p] =
                        t < 0 ? 0 : r->a[0][(b * r->dim[T] + t) * d + i];
                }
}

// One task: ROWS rows of u.
enum { ROWS = 16 };
static void unfold_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const unfold_attrs *a = c->attrs;
    int64_t d = c->dim[D], m = hx_ceil_div(c->dim[T], a->stride), k = a->k;
    int64_t last = hx_min(c->dim[B] * m, (task + 1) * ROWS);
    for (int64_t row = task * ROWS; row < last; row++) {
        float *restrict u = (float *)c->a[1] + row * d * k;
        for (int64_t p = 0; p < k; p++) {
            int64_t t = row % m * a->stride - (k - 1) + p;
            if (t < 0) {
                for (int64_t i = 0; i < d; i++)
                    u[i * k + p] = 0;
                continue;
            }
            const float *restrict x = (const float *)c->a[0] + (row / m * c->dim[T] + t) * c->ld[0];
            for (int64_t i = 0; i < d; i++)
                u[i * k + p] = x[i];
        }
    }
}

static void unfold_host(const hx_call *c)
{
    int64_t m = hx_ceil_div(c->dim[T], ((const unfold_attrs *)c->attrs)->stride);
    hx_pool_run(c->pool, hx_ceil_div(c->dim[B] * m, ROWS), unfold_task, (void *)c);
}

// ---- fold --------------------------------------------------------------------------------
enum { FM = 1, FW };                       // its dims: B M W, with W = D k
typedef struct fold_attrs { int32_t n, k, stride; } fold_attrs;
static const hx_field fold_fields[] = {
    { "n", HX_I32, offsetof(fold_attrs, n), NULL, 1, INT32_MAX, "tokens of x" },
    { "k", HX_I32, offsetof(fold_attrs, k), NULL, 1, INT32_MAX, "taps of the convolution" },
    { "stride", HX_I32, offsetof(fold_attrs, stride), "1", 1, INT32_MAX, "tokens an output" },
    { 0 }
};

// Rows j of u that hold token t are those with 0 <= t + k-1 - j stride < k: from (t rounded up)
// to (t + k-1 rounded down), in strides.
static void fold_ref(const hx_ref *r)
{
    const fold_attrs *a = r->attrs;
    int64_t m = r->dim[FM], d = r->dim[FW] / a->k;
    const real *u = r->a[0], *c = r->a[1];
    for (int64_t b = 0; b < r->dim[B]; b++)
        for (int64_t t = 0; t < a->n; t++)
            for (int64_t i = 0; i < d; i++) {
                int64_t at = (b * a->n + t) * d + i;
                real s = c ? c[at] : 0;
                for (int64_t j = 0; j < m; j++) {
                    int64_t p = t + a->k - 1 - j * a->stride;
                    if (p >= 0 && p < a->k)
                        s += u[((b * m + j) * d + i) * a->k + p];
                }
                r->a[2][at] = s;
            }
}

static void fold_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const fold_attrs *a = c->attrs;
    int64_t m = c->dim[FM], k = a->k, d = c->dim[FW] / k;
    int64_t last = hx_min(c->dim[B] * a->n, (task + 1) * ROWS);
    for (int64_t row = task * ROWS; row < last; row++) {
        int64_t t = row % a->n, to = hx_min(m - 1, (t + k - 1) / a->stride);
        const float *add = c->a[1] ? (const float *)c->a[1] + row * d : NULL;
        float *dx = (float *)c->a[2] + row * d;
        for (int64_t i = 0; i < d; i++)
            dx[i] = add ? add[i] : 0;
        for (int64_t j = hx_ceil_div(t, a->stride); j <= to; j++) {
            const float *u = (const float *)c->a[0] + (row / a->n * m + j) * c->dim[FW]
                             + t + k - 1 - j * a->stride;
            for (int64_t i = 0; i < d; i++)
                dx[i] += u[i * k];
        }
    }
}

static void fold_host(const hx_call *c)
{
    int64_t rows = c->dim[B] * ((const fold_attrs *)c->attrs)->n;
    hx_pool_run(c->pool, hx_ceil_div(rows, ROWS), fold_task, (void *)c);
}

static const char *fold_wrong(const int64_t *dim, const void *attrs)
{
    const fold_attrs *a = attrs;
    if (dim[FW] % a->k)
        return "columns of u are no multiple of k";
    return dim[FM] == hx_ceil_div(a->n, a->stride) ? NULL : "rows of u do not fit n and stride";
}

HX_OP(fold,
    .math = "dx[b,t,i] = c[b,t,i] + sum_j du[b,j, i k + t + k-1 - j stride]",
    .source = "differentiated from unfold",
    .sig = "du[B,M,W] c?[B,n,W/k] -> dx[B,n,W/k]",
    .attrs = fold_fields, .attrs_size = sizeof(fold_attrs),
    .ref = fold_ref, .host = fold_host, .wrong_if = fold_wrong,
    .grid = "B*n/4", .terms = "k/stride+1", .flops = "B*M*W", .adds = "c", .alias = "dx=c",
    .kernels = { { "fold" } },
    .check = "B=1 M=1 W=1 n=1 k=1; B=2 M=7 W=6 n=7 k=2 -c; B=2 M=5 W=132 n=9 k=4 stride=2; "
             "B=3 M=3 W=24 n=20 k=8 stride=8; B=2 M=4 W=9 n=10 k=3 stride=3",
    .wrong = "B=1 M=2 W=5 n=2 k=2: columns of u are no multiple of k",
    .fuzz = "n=1..70 k=1..9 stride=1..9 M=n/stride W=k..k*40:k", .exact = "3",
    .bench = "B=4 M=1024 W=2048 n=1024 k=8");

static void unfold_vjp(const hx_node *n, hx_t *d)
{
    unfold_attrs a = *(const unfold_attrs *)n->attrs;
    hx_apply(&hx_op_fold, &(fold_attrs){ (int32_t)n->dim[T], a.k, a.stride },
             (hx_t[]){ n->grad[0], HX_NONE }, d);
}

static bool columns_in_eights(const int64_t *dim, const void *attrs)
{
    return dim[2] * ((const unfold_attrs *)attrs)->k % HX_HALF_EIGHT == 0;
}

HX_OP(unfold,
    .math = "u[b,j, i k + p] = x[b, j stride - (k-1) + p, i], 0 before the start",
    .source = "definition of a causal convolution; columns as in PyTorch's weight [O,I,k]",
    .sig = "x:[B,T,D] -> u[B,T/stride,D*k]",
    .attrs = unfold_fields, .attrs_size = sizeof(unfold_attrs),
    .ref = unfold_ref, .vjp = unfold_vjp, .host = unfold_host, .cheap = hx_always_cheap,
    .grid = "T/stride*B/4", .flops = "0",
    .kernels = { { "unfold" }, { "unfold.half", .grid = "T/stride*B*D*k/2048", .fits = columns_in_eights,
                   .precision = HX_AUTO, .rounds = 1, .half = 2 } },
    .check = "B=1 T=1 D=1 k=1; B=2 T=7 D=3 k=2; B=2 T=9 D=33 k=4 stride=2; "
             "B=3 T=20 D=3 k=8 stride=8; B=1 T=3 D=70 k=5; B=2 T=9 D=24 k=2; B=1 T=11 D=8 k=3 stride=2; B=2 T=3 D=5 k=8",
    .wrong = "B=1 T=2 D=3 k=2 x=[2,3]: argument x does not fit",
    .fuzz = "k=1..9 stride=1..9", .exact = "2",
    .bench = "B=4 T=1024 D=256 k=8");

hx_t t_unfold(hx_t x, int k, int stride)
{
    hx_t u;
    hx_apply(&hx_op_unfold, &(unfold_attrs){ k, stride }, &x, &u);
    return u;
}
