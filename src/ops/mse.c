// mse.c - the mean of squared differences, row by row first.
#include "rows.h"
#include "t.h"

enum { R, C };
extern const hx_op hx_op_sqdist_bwd;

static void sqdist_ref(const hx_ref *r)
{
    for (int64_t row = 0; row < r->dim[R]; row++) {
        real s = 0;
        for (int64_t i = row * r->dim[C]; i < (row + 1) * r->dim[C]; i++)
            s += (r->a[0][i] - r->a[1][i]) * (r->a[0][i] - r->a[1][i]);
        r->a[2][row] = s;
    }
}

static void sqdist_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t n = c->dim[C], many = hx_rows_per_task(n), end = hx_min(c->dim[R], (task + 1) * many);
    for (int64_t row = task * many; row < end; row++) {
        const float *x = hx_at(c, 0, row, 0), *y = hx_at(c, 1, row, 0);
        HX_SUM(sum);
#define SQUARE(type) type d_##type = HX_OF(type, x) - HX_OF(type, y); sum_##type += d_##type * d_##type
        HX_EACH(n, SQUARE);
        ((float *)c->a[2])[row] = HX_TOTAL(sum);
    }
}

static void sqdist_host(const hx_call *c) { hx_share_rows(c, c->dim[R], c->dim[C], sqdist_rows); }

static void sqdist_bwd_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[R] * r->dim[C]; i++) {
        r->a[3][i] = 2 * r->a[0][i / r->dim[C]] * (r->a[1][i] - r->a[2][i]);
        r->a[4][i] = -r->a[3][i];
    }
}

static void sqdist_bwd_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t n = c->dim[C], many = hx_rows_per_task(n), end = hx_min(c->dim[R], (task + 1) * many);
    for (int64_t row = task * many; row < end; row++) {
        const float *x = hx_at(c, 1, row, 0), *y = hx_at(c, 2, row, 0);
        float s = 2 * ((const float *)c->a[0])[row], *dx = hx_at(c, 3, row, 0);
        float *dy = hx_at(c, 4, row, 0);
        for (int64_t i = 0; i < n; i++) {
            dx[i] = s * (x[i] - y[i]);
            dy[i] = -dx[i];
        }
    }
}

static void sqdist_bwd_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[R], c->dim[C], sqdist_bwd_rows);
}

HX_OP(sqdist_bwd,
    .math = "dx = 2 ds (x - y),  dy = -dx", .source = "differentiated from sqdist",
    .sig = "ds[R] x:[R,C] y:[R,C] -> dx:[R,C] dy:[R,C]",
    .ref = sqdist_bwd_ref, .host = sqdist_bwd_host, .grid = "R*C/256", .terms = "2",
    .flops = "3*R*C", .kernels = { { "sqdist_bwd" } }, .exact = "1",
    .check = "R=1 C=1; R=19 C=34; R=5 C=257",
    .wrong = "R=3 C=5 y=[3,4]: argument y does not fit", .bench = "R=8192 C=512");

static void sqdist_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(&hx_op_sqdist_bwd, NULL, (hx_t[]){ n->grad[0], n->arg[0], n->arg[1] }, d);
}

HX_OP(sqdist,
    .math = "s_r = |x_r - y_r|^2", .source = "definition",
    .sig = "x:[R,C] y:[R,C] -> s[R]",
    .ref = sqdist_ref, .vjp = sqdist_vjp, .host = sqdist_host, .grid = "R/16", .terms = "C+2",
    .flops = "3*R*C", .kernels = { { "sqdist" } }, .exact = "1",
    .check = "R=1 C=1; R=19 C=34; R=5 C=257",
    .wrong = "R=3 C=5 y=[3,4]: argument y does not fit", .bench = "R=8192 C=512");

hx_t t_mse(hx_t x, hx_t y)
{
    hx_t s = HX_NONE, in[2] = { t_flat(x), t_flat(y) };
    hx_apply(&hx_op_sqdist, NULL, in, &s);
    return s.id ? t_scale(t_sum(s), (float)(1 / (double)hx_elems(x))) : s;
}
