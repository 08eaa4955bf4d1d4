// repeat.c - every token s times, every s-th token, and the gradients of both.
#include "t.h"
#include <string.h>

// All four take dims B, rows of the input, D, and the attributes: rows of the output, factor.
enum { B, M, D };
typedef struct repeat_attrs { int32_t n, s; } repeat_attrs;
static const hx_field repeat_fields[] = {
    { "n", HX_I32, offsetof(repeat_attrs, n), NULL, 1, INT32_MAX, "tokens of the result" },
    { "s", HX_I32, offsetof(repeat_attrs, s), "1", 1, INT32_MAX, "tokens here for one there" },
    { 0 }
};

enum { ROWS = 64 };                        // rows of the result a task
static void each_rows(const hx_call *c, void (*task)(void *ctx, int64_t i))
{
    int64_t rows = c->dim[B] * ((const repeat_attrs *)c->attrs)->n;
    hx_pool_run(c->pool, hx_ceil_div(rows, ROWS), task, (void *)c);
}

// ---- repeat ------------------------------------------------------------------------------
static void repeat_ref(const hx_ref *r)
{
    const repeat_attrs *a = r->attrs;
    for (int64_t b = 0; b < r->dim[B]; b++)
        for (int64_t p = 0; p < a->n; p++)
            for (int64_t i = 0; i < r->dim[D]; i++)
                r->a[1][(b * a->n + p) * r->dim[D] + i] =
                    r->a[0][(b * r->dim[M] + p / a->s) * r->dim[D] + i];
}

static void repeat_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const repeat_attrs *a = c->attrs;
    int64_t last = hx_min(c->dim[B] * a->n, (task + 1) * ROWS);
    for (int64_t row = task * ROWS; row < last; row++) {
        int64_t from = row / a->n * c->dim[M] + row % a->n / a->s;
        memcpy((float *)c->a[1] + row * c->ld[1], (const float *)c->a[0] + from * c->ld[0],
               (size_t)c->dim[D] * sizeof(float));
    }
}

static void repeat_host(const hx_call *c) { each_rows(c, repeat_task); }

static const char *repeat_wrong(const int64_t *dim, const void *attrs)
{
    const repeat_attrs *a = attrs;
    return a->n <= dim[M] * a->s ? NULL : "the result has more tokens than the repeats";
}

// dx[b,j] = c[b,j] + sum of dy[b,p] over j s <= p < j s + s
static void repeat_bwd_ref(const hx_ref *r)
{
    const repeat_attrs *a = r->attrs;
    int64_t d = r->dim[D], m = r->dim[M];
    const real *c = r->a[1];
    for (int64_t b = 0; b < r->dim[B]; b++)
        for (int64_t j = 0; j < a->n; j++)
            for (int64_t i = 0; i < d; i++) {
                real s = c ? c[(b * a->n + j) * d + i] : 0;
                for (int64_t p = j * a->s; p < hx_min(m, (j + 1) * a->s); p++)
                    s += r->a[0][(b * m + p) * d + i];
                r->a[2][(b * a->n + j) * d + i] = s;
            }
}

static void repeat_bwd_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const repeat_attrs *a = c->attrs;
    int64_t d = c->dim[D], m = c->dim[M], last = hx_min(c->dim[B] * a->n, (task + 1) * ROWS);
    for (int64_t row = task * ROWS; row < last; row++) {
        int64_t j = row % a->n, to = hx_min(m, (j + 1) * a->s);
        const float *add = c->a[1] ? (const float *)c->a[1] + row * d : NULL;
        float *dx = (float *)c->a[2] + row * d;
        for (int64_t i = 0; i < d; i++)
            dx[i] = add ? add[i] : 0;
        for (int64_t p = j * a->s; p < to; p++) {
            const float *dy = (const float *)c->a[0] + (row / a->n * m + p) * c->ld[0];
            for (int64_t i = 0; i < d; i++)
                dx[i] += dy[i];
        }
    }
}

static void repeat_bwd_host(const hx_call *c) { each_rows(c, repeat_bwd_task); }

HX_OP(repeat_bwd,
    .math = "dx[b,j] = c[b,j] + sum of dy[b,p] over j s <= p < j s + s",
    .source = "differentiated from repeat",
    .sig = "dy:[B,M,D] c?[B,n,D] -> dx[B,n,D]",
    .attrs = repeat_fields, .attrs_size = sizeof(repeat_attrs),
    .ref = repeat_bwd_ref, .host = repeat_bwd_host,
    .grid = "B*n/4", .terms = "s+1", .flops = "B*M*D", .adds = "c", .alias = "dx=c",
    .kernels = { { "repeat_bwd" } },
    .check = "B=1 M=1 D=1 n=1; B=2 M=7 D=3 n=7 -c; B=2 M=7 D=70 n=4 s=2; B=3 M=5 D=33 n=3 s=4",
    .wrong = "B=1 M=2 D=5 n=2 c=[1,3,5]: argument c does not fit",
    .fuzz = "s=1..9 n=1..M/s+3", .exact = "3",
    .bench = "B=4 M=1024 D=256 n=256 s=4");

static void repeat_vjp(const hx_node *n, hx_t *d)
{
    repeat_attrs a = { (int32_t)n->dim[M], ((const repeat_attrs *)n->attrs)->s };
    hx_apply(&hx_op_repeat_bwd, &a, (hx_t[]){ n->grad[0], HX_NONE }, d);
}

HX_OP(repeat,
    .math = "y[b,p] = x[b, p/s]", .source = "definition",
    .sig = "x:[B,M,D] -> y:[B,n,D]",
    .attrs = repeat_fields, .attrs_size = sizeof(repeat_attrs),
    .ref = repeat_ref, .vjp = repeat_vjp, .host = repeat_host, .wrong_if = repeat_wrong,
    .grid = "B*n/4", .flops = "0",
    .kernels = { { "repeat" } },
    .check = "B=1 M=1 D=1 n=1; B=2 M=7 D=3 n=7; B=2 M=4 D=70 n=7 s=2; B=3 M=5 D=33 n=9 s=4",
    .wrong = "B=1 M=2 D=5 n=7 s=3: the result has more tokens than the repeats",
    .fuzz = "s=1..9 n=1..M*s", .exact = "2",
    .bench = "B=4 M=256 D=256 n=1024 s=4");

hx_t t_repeat(hx_t x, int64_t n, int s)
{
    hx_t y;
    hx_apply(&hx_op_repeat, &(repeat_attrs){ (int32_t)n, s }, &x, &y);
    return y;
}

// ---- take --------------------------------------------------------------------------------
static void take_ref(const hx_ref *r)
{
    const repeat_attrs *a = r->attrs;
    for (int64_t b = 0; b < r->dim[B]; b++)
        for (int64_t j = 0; j < a->n; j++)
            for (int64_t i = 0; i < r->dim[D]; i++)
                r->a[1][(b * a->n + j) * r->dim[D] + i] =
                    r->a[0][(b * r->dim[M] + j * a->s) * r->dim[D] + i];
}

static void take_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const repeat_attrs *a = c->attrs;
    int64_t last = hx_min(c->dim[B] * a->n, (task + 1) * ROWS);
    for (int64_t row = task * ROWS; row < last; row++) {
        int64_t from = row / a->n * c->dim[M] + row % a->n * a->s;
        memcpy((float *)c->a[1] + row * c->ld[1], (const float *)c->a[0] + from * c->ld[0],
               (size_t)c->dim[D] * sizeof(float));
    }
}

static void take_host(const hx_call *c) { each_rows(c, take_task); }

static const char *take_wrong(const int64_t *dim, const void *attrs)
{
    const repeat_attrs *a = attrs;
    return ((int64_t)a->n - 1) * a->s < dim[M] ? NULL : "the last token taken is not there";
}

// dx[b,t] = dy[b,t/s] where s divides t, else 0
static void take_bwd_ref(const hx_ref *r)
{
    const repeat_attrs *a = r->attrs;
    for (int64_t b = 0; b < r->dim[B]; b++)
        for (int64_t t = 0; t < a->n; t++)
            for (int64_t i = 0; i < r->dim[D]; i++)
                r->a[1][(b * a->n + t) * r->dim[D] + i] = t % a->s || t / a->s >= r->dim[M]
                    ? 0 : r->a[0][(b * r->dim[M] + t / a->s) * r->dim[D] + i];
}

static void take_bwd_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const repeat_attrs *a = c->attrs;
    size_t bytes = (size_t)c->dim[D] * sizeof(float);
    int64_t last = hx_min(c->dim[B] * a->n, (task + 1) * ROWS);
    for (int64_t row = task * ROWS; row < last; row++) {
        int64_t t = row % a->n, j = t / a->s;
        float *dx = (float *)c->a[1] + row * c->ld[1];
        if (t % a->s || j >= c->dim[M])
            memset(dx, 0, bytes);
        else
            memcpy(dx, (const float *)c->a[0] + (row / a->n * c->dim[M] + j) * c->ld[0], bytes);
    }
}

static void take_bwd_host(const hx_call *c) { each_rows(c, take_bwd_task); }

HX_OP(take_bwd,
    .math = "dx[b,t] = dy[b,t/s] where s divides t, else 0",
    .source = "differentiated from take",
    .sig = "dy:[B,M,D] -> dx:[B,n,D]",
    .attrs = repeat_fields, .attrs_size = sizeof(repeat_attrs),
    .ref = take_bwd_ref, .host = take_bwd_host, .grid = "B*n/4", .flops = "0",
    .kernels = { { "take_bwd" } },
    .check = "B=1 M=1 D=1 n=1; B=2 M=3 D=3 n=7; B=2 M=4 D=70 n=7 s=2; B=3 M=3 D=33 n=9 s=4",
    .wrong = "B=1 M=2 D=5 n=2 dy=[2,5]: argument dy does not fit",
    .fuzz = "s=1..9 n=1..M*s+3", .exact = "2",
    .bench = "B=4 M=256 D=256 n=1024 s=4");

static void take_vjp(const hx_node *n, hx_t *d)
{
    repeat_attrs a = { (int32_t)n->dim[M], ((const repeat_attrs *)n->attrs)->s };
    hx_apply(&hx_op_take_bwd, &a, n->grad, d);
}

HX_OP(take,
    .math = "y[b,j] = x[b, j s]", .source = "definition",
    .sig = "x:[B,M,D] -> y:[B,n,D]",
    .attrs = repeat_fields, .attrs_size = sizeof(repeat_attrs),
    .ref = take_ref, .vjp = take_vjp, .host = take_host, .wrong_if = take_wrong,
    .grid = "B*n/4", .flops = "0",
    .kernels = { { "take" } },
    .check = "B=1 M=1 D=1 n=1; B=2 M=7 D=3 n=3; B=2 M=7 D=70 n=4 s=2; B=3 M=9 D=33 n=3 s=4",
    .wrong = "B=1 M=9 D=5 n=4 s=3: the last token taken is not there",
    .fuzz = "s=1..9 n=1..M/s", .exact = "2",
    .bench = "B=4 M=1024 D=256 n=256 s=4");

hx_t t_take(hx_t x, int64_t m, int s)
{
    hx_t y;
    hx_apply(&hx_op_take, &(repeat_attrs){ (int32_t)m, s }, &x, &y);
    return y;
}
