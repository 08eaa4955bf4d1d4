// span.c - parts of a vocabulary: ids within a part, rows of tokens that belong to it, and log
// probabilities of its classes.
#include "elem.h"
#include "t.h"
#include <math.h>
#include <string.h>

// ---- span_ids ------------------------------------------------------------------------------
enum { R, D };
typedef struct span_attrs { int32_t first, n, to; } span_attrs;
static const hx_field span_fields[] = {
    { "first", HX_I32, offsetof(span_attrs, first), "0", 0, INT32_MAX, "id that becomes 0" },
    { "n", HX_I32, offsetof(span_attrs, n), "1", 1, INT32_MAX, "ids of the part" },
    { "to", HX_I32, offsetof(span_attrs, to), "-1", -1, INT32_MAX, "they become; -1: 0 .. n-1" },
    { 0 }
};

static bool within(int64_t id, const span_attrs *a)
{
    return id >= a->first && id - a->first < a->n;
}

static void span_ids_ref(const hx_ref *r)
{
    const span_attrs *a = r->attrs;
    for (int64_t i = 0; i < r->dim[R]; i++) {
        int64_t id = (int64_t)r->a[0][i], other = r->a[1] ? (int64_t)r->a[1][i] : -1;
        r->a[2][i] = (real)(!within(id, a) ? other : a->to >= 0 ? a->to : id - a->first);
    }
}

static void span_ids_host(const hx_call *c)
{
    const span_attrs *a = c->attrs;
    const int32_t *ids = c->a[0], *other = c->a[1];
    int32_t *y = c->a[2];
    for (int64_t i = 0; i < c->dim[R]; i++)
        y[i] = !within(ids[i], a) ? other ? other[i] : -1 : a->to >= 0 ? a->to : ids[i] - a->first;
}

static real span_ids_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    const span_attrs *a = attrs;
    (void)arg, (void)i, (void)dim;
    int64_t near = (int64_t)a->first - 2 + rnd % 100 % ((int64_t)a->n + 4);
    return (real)(rnd % 4 ? near : (int64_t)(rnd % 1000));
}

HX_OP(span_ids,
    .math = "y[r] = (to < 0 ? ids[r] - first : to) where first <= ids[r] < first + n, else "
            "other[r] or -1",
    .source = "definition", .sig = "ids#[R] other?#[R] -> y#[R]",
    .attrs = span_fields, .attrs_size = sizeof(span_attrs),
    .ref = span_ids_ref, .host = span_ids_host, .fill = span_ids_fill,
    .grid = "R/256", .flops = "0", .kernels = { { "span_ids" } },
    .check = "R=1 first=0 n=3; R=300 first=10 n=7 to=5; R=77 first=3 n=90 -other; R=600 first=40",
    .wrong = "R=3 other=[2]: argument other does not fit",
    .fuzz = "first=0..200 n=1..200", .bench = "R=8192 first=100 n=1000");

hx_t t_span_ids(hx_t ids, hx_t other, int64_t first, int64_t n, int64_t to)
{
    hx_t y = HX_NONE;
    hx_apply(&hx_op_span_ids, &(span_attrs){ (int32_t)first, (int32_t)n, (int32_t)to },
             (hx_t[]){ ids, other }, &y);
    return y;
}

// ---- keep_rows -----------------------------------------------------------------------------
static void keep_rows_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[R] * r->dim[D]; i++)
        r->a[2][i] = r->a[1][i / r->dim[D]] < 0 ? 0 : r->a[0][i];
}

enum { ROWS = 64 };                        // rows a task
static void keep_rows_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    size_t bytes = (size_t)c->dim[D] * sizeof(float);
    for (int64_t i = task * ROWS; i < hx_min(c->dim[R], (task + 1) * ROWS); i++)
        if (((const int32_t *)c->a[1])[i] < 0)
            memset(hx_at(c, 2, i, 0), 0, bytes);
        else
            memmove(hx_at(c, 2, i, 0), hx_at(c, 0, i, 0), bytes);
}

static void keep_rows_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], ROWS), keep_rows_task, (void *)c);
}

static real keep_rows_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)i, (void)dim, (void)attrs;
    return arg == 1 ? (real)(rnd % 50) - 20 : NAN;
}

static void keep_rows_vjp(const hx_node *n, hx_t *d)
{
    if (n->want[0]) d[0] = t_keep_rows(n->grad[0], n->arg[1]);
}

HX_OP(keep_rows,
    .math = "y[r] = x[r], 0 where ids[r] < 0", .source = "definition",
    .sig = "x:[R,D] ids#[R] -> y:[R,D]",
    .ref = keep_rows_ref, .vjp = keep_rows_vjp, .host = keep_rows_host, .fill = keep_rows_fill,
    .grid = "R*D/256", .flops = "0", .kernels = { { "keep_rows" } },
    .check = "R=1 D=1; R=70 D=33; R=3 D=257",
    .wrong = "R=3 D=2 ids=[2]: argument ids does not fit", .exact = "2",
    .bench = "R=8192 D=512");

hx_t t_keep_rows(hx_t x, hx_t ids)
{
    hx_t y = HX_NONE;
    hx_apply(&hx_op_keep_rows, NULL, (hx_t[]){ x, ids }, &y);
    return y;
}

// ---- log_softmax ---------------------------------------------------------------------------
static void log_softmax_ref(const hx_ref *r)
{
    int64_t V = r->dim[D];
    for (int64_t i = 0; i < r->dim[R]; i++) {
        real top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < V; j++) top = fmax(top, r->a[0][i * V + j]);
        for (int64_t j = 0; j < V; j++) sum += exp(r->a[0][i * V + j] - top);
        for (int64_t j = 0; j < V; j++)
            r->a[2][i * V + j] = r->a[0][i * V + j] - (top + log(sum)) + (r->a[1] ? r->a[1][i] : 0);
    }
}

HX_OP(log_softmax,
    .math = "y[r,v] = z[r,v] - log sum_u exp z[r,u] + c[r]", .source = "definition",
    .sig = "z:[R,V] c?:[R,1] -> y:[R,V]", .ref = log_softmax_ref,
    .grid = "R", .terms = "V", .flops = "4*R*V", .kernels = { { "log_softmax" } },
    .check = "R=1 V=1; R=33 V=257; R=5 V=70 -c; R=2 V=1025",
    .wrong = "R=3 V=2 c=[2,1]: argument c does not fit", .fuzz = "-nan -inf -huge",
    .bench = "R=512 V=20000");

hx_t t_log_softmax(hx_t z, hx_t c)
{
    hx_t y = HX_NONE;
    hx_apply(&hx_op_log_softmax, NULL, (hx_t[]){ z, c }, &y);
    return y;
}
