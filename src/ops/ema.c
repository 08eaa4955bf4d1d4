// ema.c - the gate of a recurrent state: a learnt share of the new value per channel.
#include "elem.h"
#include "t.h"
#include <math.h>

extern const hx_op hx_op_ema_bwd;
enum { R, C };
enum { ROWS = 16 };                        // rows that one sum of p takes, and a task

static real share_real(real b) { return 1 / (1 + exp(-b)); }
// hx_exp_f ends at e^80. What is left, 1 - f, is the share of -b: without cancellation.
HX_INLINE float share_f(float b) { return b < -80 ? 0 : 1 / (1 + hx_exp_f(-b)); }

static void ema_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[R] * r->dim[C]; i++) {
        real f = share_real(r->a[2][i % r->dim[C]]);
        r->a[3][i] = f * r->a[0][i] + (1 - f) * r->a[1][i];
    }
}

static void ema_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const float *b = c->a[2];
    int64_t last = hx_min(c->dim[R], (task + 1) * ROWS);
    for (int64_t row = task * ROWS; row < last; row++) {
        const float *z = hx_at(c, 0, row, 0), *s = hx_at(c, 1, row, 0);
        float *y = hx_at(c, 3, row, 0);
        for (int64_t i = 0; i < c->dim[C]; i++) {
            y[i] = share_f(b[i]) * z[i] + share_f(-b[i]) * s[i];
        }
    }
}

static void ema_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], ROWS), ema_task, (void *)c);
}

static void ema_bwd_ref(const hx_ref *r)
{
    int64_t n = r->dim[C];
    for (int64_t i = 0; i < hx_ceil_div(r->dim[R], ROWS) * n; i++) r->a[6][i] = 0;
    for (int64_t i = 0; i < r->dim[R] * n; i++) {
        real f = share_real(r->a[3][i % n]), dy = r->a[0][i];
        r->a[4][i] = f * dy;
        r->a[5][i] = (1 - f) * dy;
        r->a[6][i / n / ROWS * n + i % n] += f * (1 - f) * dy * (r->a[1][i] - r->a[2][i]);
    }
}

static void ema_bwd_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const float *b = c->a[3];
    int64_t n = c->dim[C], last = hx_min(c->dim[R], (task + 1) * ROWS);
    float *p = (float *)c->a[6] + task * n;
    for (int64_t i = 0; i < n; i++) p[i] = 0;
    for (int64_t row = task * ROWS; row < last; row++) {
        const float *dy = hx_at(c, 0, row, 0), *z = hx_at(c, 1, row, 0), *s = hx_at(c, 2, row, 0);
        float *dz = hx_at(c, 4, row, 0), *ds = hx_at(c, 5, row, 0);
        for (int64_t i = 0; i < n; i++) {
            float f = share_f(b[i]), g = share_f(-b[i]);
            dz[i] = f * dy[i];
            ds[i] = g * dy[i];
            p[i] += f * g * dy[i] * (z[i] - s[i]);
        }
    }
}

static void ema_bwd_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], ROWS), ema_bwd_task, (void *)c);
}

HX_OP(ema_bwd,
    .math = "dz = f dy,  ds = (1-f) dy,  p = sum of f (1-f) dy (z-s) over 16 rows,  f = sigmoid b",
    .source = "differentiated from ema",
    .sig = "dy:[R,C] z:[R,C] s:[R,C] b[C] -> dz:[R,C] ds:[R,C] p[R/16,C]",
    .ref = ema_bwd_ref, .host = ema_bwd_host, .grid = "R/16*C/64", .terms = "16",
    .flops = "9*R*C", .kernels = { { "ema_bwd" } },
    .check = "R=1 C=1; R=17 C=65; R=64 C=33; R=5 C=130",
    .wrong = "R=3 C=5 b=[4]: argument b does not fit", .fuzz = "-huge -inf",                  // the slope of a sigmoid far out: e^-80 for 0
    .bench = "R=2048 C=512");

static void ema_vjp(const hx_node *n, hx_t *d)
{
    hx_t out[3] = { HX_NONE, HX_NONE, HX_NONE };
    hx_apply(&hx_op_ema_bwd, NULL, (hx_t[]){ n->grad[0], n->arg[0], n->arg[1], n->arg[2] }, out);
    d[0] = out[0];
    d[1] = out[1];
    if (n->want[2]) d[2] = t_colsum(out[2]);
}

HX_OP(ema,
    .math = "y = f z + (1-f) s,  f = sigmoid b",
    .source = "Block-Recurrent Transformers, Hutchins et al. 2022, eq. 2, fixed gate",
    .sig = "z:[R,C] s:[R,C] b[C] -> y:[R,C]",
    .ref = ema_ref, .vjp = ema_vjp, .host = ema_host, .grid = "R*C/256", .terms = "4",
    .flops = "4*R*C", .kernels = { { "ema" } },
    .check = "R=1 C=1; R=17 C=65; R=64 C=33; R=5 C=130",
    .wrong = "R=3 C=5 b=[4]: argument b does not fit", .bench = "R=2048 C=512");

hx_t t_ema(hx_t z, hx_t s, hx_t b)
{
    int64_t flat[2] = { hx_rows(z), hx_dim(z, -1) }, shape[HX_MAX_RANK];
    hx_t y = HX_NONE, in[3] = { hx_reshape(z, 2, flat), hx_reshape(s, 2, flat), b };
    hx_apply(&hx_op_ema, NULL, in, &y);
    for (int i = 0; i < HX_MAX_RANK; i++) shape[i] = hx_dim(z, i);
    return hx_reshape(y, hx_value_of(z)->rank, shape);
}
