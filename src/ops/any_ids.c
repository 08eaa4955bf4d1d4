// any_ids.c - whether anything in a row is not zero: masks of what was put together.
#include "t.h"

enum { R, W };

static void any_ids_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[R]; i++) {
        r->a[1][i] = 0;
        for (int64_t k = 0; k < r->dim[W]; k++)
            if (r->a[0][i * r->dim[W] + k] != 0)
                r->a[1][i] = 1;
    }
}

enum { ROWS = 256 };                       // rows a task
static void any_ids_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const int32_t *x = c->a[0];
    int32_t *y = c->a[1];
    int64_t last = hx_min(c->dim[R], (task + 1) * ROWS);
    for (int64_t i = task * ROWS; i < last; i++) {
        y[i] = 0;
        for (int64_t k = 0; k < c->dim[W]; k++)
            y[i] |= x[i * c->dim[W] + k] != 0;
    }
}

static void any_ids_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], ROWS), any_ids_task, (void *)c);
}

static real any_ids_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)arg, (void)i, (void)dim, (void)attrs;
    return rnd % 3 ? 0 : (real)(rnd % 7) - 3;
}

HX_OP(any_ids,
    .math = "y[r] = 1 if x[r,k] is not 0 for some k, else 0", .source = "definition",
    .sig = "x#[R,W] -> y#[R]",
    .ref = any_ids_ref, .host = any_ids_host, .fill = any_ids_fill,
    .grid = "R/256", .flops = "0",
    .kernels = { { "any_ids" } },
    .check = "R=1 W=1; R=300 W=1; R=7 W=5; R=513 W=3",
    .wrong = "R=2 W=3 x=[6]: argument x does not fit",
    .bench = "R=65536 W=3");

hx_t t_any_ids(hx_t x)
{
    hx_t y, flat = hx_reshape(x, 2, (int64_t[]){ hx_rows(x), hx_dim(x, -1) });
    hx_apply(&hx_op_any_ids, NULL, &flat, &y);
    return y;
}
