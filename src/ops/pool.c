// pool.c - the mean of every s tokens, later by some tokens so that it can be causal; its gradient.
#include "t.h"

// dims of both: B, tokens of the input, D
enum { B, M, D };
typedef struct pool_attrs { int32_t s, shift; } pool_attrs;
static const hx_field pool_fields[] = {
    { "s", HX_I32, offsetof(pool_attrs, s), NULL, 1, 1 << 24, "tokens of a mean" },
    { "shift", HX_I32, offsetof(pool_attrs, shift), "0", 0, 1 << 24, "tokens later" },
    { 0 }
};
typedef struct pool_bwd_attrs { int32_t n, s, shift; } pool_bwd_attrs;
static const hx_field pool_bwd_fields[] = {
    { "n", HX_I32, offsetof(pool_bwd_attrs, n), NULL, 1, INT32_MAX, "tokens of x" },
    { "s", HX_I32, offsetof(pool_bwd_attrs, s), NULL, 1, 1 << 24, "tokens of a mean" },
    { "shift", HX_I32, offsetof(pool_bwd_attrs, shift), "0", 0, 1 << 24, "tokens later" },
    { 0 }
};
enum { ROWS = 32 };                        // rows of the result a task

// Tokens of x in mean j: [lo, hi). Outside of the sequence there are zeros.
static void members(int64_t j, int64_t s, int64_t shift, int64_t n, int64_t *lo, int64_t *hi)
{
    *lo = hx_max(j * s - shift, 0);
    *hi = hx_min((j + 1) * s - shift, n);
}

// ---- gradient ----------------------------------------------------------------------------
static void pool_bwd_ref(const hx_ref *r)
{
    const pool_bwd_attrs *a = r->attrs;
    for (int64_t b = 0; b < r->dim[B]; b++)
        for (int64_t t = 0; t < a->n; t++)
            for (int64_t i = 0; i < r->dim[D]; i++) {
                int64_t j = (t + a->shift) / a->s;
                r->a[1][(b * a->n + t) * r->dim[D] + i] =
                    j < r->dim[M] ? r->a[0][(b * r->dim[M] + j) * r->dim[D] + i] / a->s : 0;
            }
}

static void pool_bwd_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const pool_bwd_attrs *a = c->attrs;
    int64_t last = hx_min(c->dim[B] * a->n, (task + 1) * ROWS);
    float part = 1 / (float)a->s;
    for (int64_t row = task * ROWS; row < last; row++) {
        int64_t j = (row % a->n + a->shift) / a->s;
        bool there = j < c->dim[M];
        int64_t from = row / a->n * c->dim[M] + (there ? j : 0);
        const float *dy = (const float *)c->a[0] + from * c->ld[0];
        float *dx = (float *)c->a[1] + row * c->ld[1];
        for (int64_t i = 0; i < c->dim[D]; i++)
            dx[i] = there ? dy[i] * part : 0;
    }
}

static void pool_bwd_host(const hx_call *c)
{
    int64_t rows = c->dim[B] * ((const pool_bwd_attrs *)c->attrs)->n;
    hx_pool_run(c->pool, hx_ceil_div(rows, ROWS), pool_bwd_task, (void *)c);
}

HX_OP(pool_bwd,
    .math = "dx[b,t] = dy[b, (t + shift)/s] / s, 0 where there is no such mean",
    .source = "differentiated from pool",
    .sig = "dy:[B,M,D] -> dx:[B,n,D]",
    .attrs = pool_bwd_fields, .attrs_size = sizeof(pool_bwd_attrs),
    .ref = pool_bwd_ref, .host = pool_bwd_host, .grid = "B*n/4",
    .kernels = { { "pool_bwd" } },
    .check = "B=1 M=1 D=1 n=1 s=1; B=2 M=3 D=3 n=7 s=3 shift=2; B=2 M=4 D=70 n=7 s=2; "
             "B=3 M=2 D=33 n=9 s=5 shift=4",
    .wrong = "B=1 M=2 D=5 n=2 s=2 dy=[2,5]: argument dy does not fit",
    .bench = "B=4 M=342 D=256 n=1024 s=3 shift=2");

// ---- mean --------------------------------------------------------------------------------
static void pool_ref(const hx_ref *r)
{
    const pool_attrs *a = r->attrs;
    int64_t n = r->dim[M], m = hx_ceil_div(n, a->s), lo, hi;
    for (int64_t b = 0; b < r->dim[B]; b++)
        for (int64_t j = 0; j < m; j++)
            for (int64_t i = 0; i < r->dim[D]; i++) {
                real sum = 0;
                members(j, a->s, a->shift, n, &lo, &hi);
                for (int64_t t = lo; t < hi; t++)
                    sum += r->a[0][(b * n + t) * r->dim[D] + i];
                r->a[1][(b * m + j) * r->dim[D] + i] = sum / a->s;
            }
}

static void pool_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const pool_attrs *a = c->attrs;
    int64_t n = c->dim[M], d = c->dim[D], m = hx_ceil_div(n, a->s), lo, hi;
    int64_t last = hx_min(c->dim[B] * m, (task + 1) * ROWS);
    float part = 1 / (float)a->s;
    for (int64_t row = task * ROWS; row < last; row++) {
        float *restrict y = (float *)c->a[1] + row * c->ld[1];
        members(row % m, a->s, a->shift, n, &lo, &hi);
        for (int64_t i = 0; i < d; i++)
            y[i] = 0;
        for (int64_t t = lo; t < hi; t++) {
            const float *restrict x = (const float *)c->a[0] + (row / m * n + t) * c->ld[0];
            for (int64_t i = 0; i < d; i++)
                y[i] += x[i];
        }
        for (int64_t i = 0; i < d; i++)
            y[i] *= part;
    }
}

static void pool_host(const hx_call *c)
{
    int64_t m = hx_ceil_div(c->dim[M], ((const pool_attrs *)c->attrs)->s);
    hx_pool_run(c->pool, hx_ceil_div(c->dim[B] * m, ROWS), pool_task, (void *)c);
}

static void pool_vjp(const hx_node *n, hx_t *d)
{
    const pool_attrs *a = (const pool_attrs *)n->attrs;
    hx_apply(&hx_op_pool_bwd, &(pool_bwd_attrs){ (int32_t)n->dim[M], a->s, a->shift }, n->grad, d);
}

HX_OP(pool,
    .math = "y[b,j] = 1/s sum of x[b,t] over j s - shift <= t < j s - shift + s",
    .source = "Hourglass, Nawrot et al. 2021, section 2.2",
    .sig = "x:[B,M,D] -> y:[B,M/s,D]",
    .attrs = pool_fields, .attrs_size = sizeof(pool_attrs),
    .ref = pool_ref, .vjp = pool_vjp, .host = pool_host,
    .grid = "M/s*B/4", .terms = "s", .flops = "B*M*D",
    .kernels = { { "pool" } },
    .check = "B=1 M=1 D=1 s=1; B=2 M=7 D=3 s=3 shift=2; B=2 M=7 D=70 s=2; "
             "B=3 M=9 D=33 s=5 shift=4; B=1 M=5 D=4 s=2 shift=7",
    .wrong = "B=1 M=2 D=5 s=2 x=[2,5]: argument x does not fit",
    .bench = "B=4 M=1024 D=256 s=3 shift=2");

hx_t t_pool(hx_t x, int s, int shift)
{
    hx_t y;
    hx_apply(&hx_op_pool, &(pool_attrs){ s, shift }, &x, &y);
    return y;
}
