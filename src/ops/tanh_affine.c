// tanh_affine.c - tanh with a scale and an offset for each column, and its gradient.
#include "elem.h"
#include "t.h"
#include <math.h>

enum { R, C };
enum { ROWS = 16 };                        // rows that one sum takes, and a task

static void tanh_affine_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[R] * r->dim[C]; i++) {
        int64_t c = i % r->dim[C];
        r->a[3][i] = tanh(r->a[0][i]) * r->a[1][c] + r->a[2][c];
    }
}

static void tanh_affine_bwd_ref(const hx_ref *r)
{
    int64_t n = r->dim[C];
    for (int64_t i = 0; i < hx_ceil_div(r->dim[R], ROWS) * n; i++) r->a[4][i] = r->a[5][i] = 0;
    for (int64_t i = 0; i < r->dim[R] * n; i++) {
        real t = tanh(r->a[1][i]), c = cosh(r->a[1][i]), dy = r->a[0][i];
        r->a[3][i] = dy * r->a[2][i % n] / c / c;
        r->a[4][i / n / ROWS * n + i % n] += dy * t;
        r->a[5][i / n / ROWS * n + i % n] += dy;
    }
}

HX_CLONES static void tanh_affine_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const float *s = c->a[1], *a = c->a[2];
    int64_t last = hx_min(c->dim[R], (task + 1) * ROWS);
    for (int64_t row = task * ROWS; row < last; row++) {
        const float *z = hx_at(c, 0, row, 0);
        float *y = hx_at(c, 3, row, 0);
        for (int64_t i = 0; i < c->dim[C]; i++) y[i] = hx_tanh_f(z[i]) * s[i] + a[i];
    }
}

HX_CLONES static void tanh_affine_bwd_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const float *s = c->a[2];
    int64_t n = c->dim[C], last = hx_min(c->dim[R], (task + 1) * ROWS);
    float *p = (float *)c->a[4] + task * n, *q = (float *)c->a[5] + task * n;
    for (int64_t i = 0; i < n; i++) p[i] = q[i] = 0;
    for (int64_t row = task * ROWS; row < last; row++) {
        const float *dy = hx_at(c, 0, row, 0), *z = hx_at(c, 1, row, 0);
        float *dz = hx_at(c, 3, row, 0);
        for (int64_t i = 0; i < n; i++) {
            float t = hx_tanh_f(z[i]), v = dy[i];
            dz[i] = v * s[i] * hx_tanh_slope_f(z[i]);
            p[i] += v * t;
            q[i] += v;
        }
    }
}

static void tanh_affine_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], ROWS), tanh_affine_task, (void *)c);
}

static void tanh_affine_bwd_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], ROWS), tanh_affine_bwd_task, (void *)c);
}

HX_OP(tanh_affine_bwd,
    .math = "dz = dy s (1 - tanh^2 z),  p = sum of dy tanh z and q = sum of dy over 16 rows",
    .source = "differentiated from tanh_affine",
    .sig = "dy:[R,C] z:[R,C] s[C] -> dz:[R,C] p[R/16,C] q[R/16,C]",
    .ref = tanh_affine_bwd_ref, .host = tanh_affine_bwd_host, .grid = "R/16*C/64", .terms = "16",
    .flops = "12*R*C", .kernels = { { "tanh_affine_bwd" } },
    .check = "R=1 C=1; R=17 C=65; R=64 C=33; R=5 C=130",
    .wrong = "R=3 C=5 s=[4]: argument s does not fit", .fuzz = "-huge -inf",
    .bench = "R=2048 C=24");

static void tanh_affine_vjp(const hx_node *n, hx_t *d)
{
    hx_t out[3] = { HX_NONE, HX_NONE, HX_NONE };
    hx_apply(&hx_op_tanh_affine_bwd, NULL, (hx_t[]){ n->grad[0], n->arg[0], n->arg[1] }, out);
    d[0] = out[0];
    if (n->want[1]) d[1] = t_colsum(out[1]);
    if (n->want[2]) d[2] = t_colsum(out[2]);
}

HX_OP(tanh_affine,
    .math = "y = s tanh z + a",
    .source = "Hyper-Connections, Zhu et al. 2024, eq. 10 to 12: dynamic weights",
    .sig = "z:[R,C] s[C] a[C] -> y:[R,C]",
    .ref = tanh_affine_ref, .vjp = tanh_affine_vjp, .host = tanh_affine_host, .grid = "R*C/256",
    .terms = "4", .flops = "8*R*C", .kernels = { { "tanh_affine" } },
    .check = "R=1 C=1; R=17 C=65; R=64 C=33; R=5 C=130",
    .wrong = "R=3 C=5 a=[4]: argument a does not fit", .bench = "R=2048 C=24");

hx_t t_tanh_affine(hx_t z, hx_t s, hx_t a)
{
    hx_t y = HX_NONE;
    hx_apply(&hx_op_tanh_affine, NULL, (hx_t[]){ z, s, a }, &y);
    return y;
}
