// gate.c - what gates a value: a share of each group of channels, and the GRU's two gates.
#include "rows.h"
#include "t.h"
#include <math.h>

static real share_real(real b) { return 1 / (1 + exp(-b)); }
HX_INLINE float share_f(float b) { return b < -80 ? 0 : 1 / (1 + hx_exp_f(-b)); }

// ---- y = a sigmoid(s g) x, one g for C/G channels ------------------------------------------
enum { R, C, G };
typedef struct { float a; int32_t rest; } gate_attrs;
static const hx_field gate_fields[] = {
    { "a", HX_F32, offsetof(gate_attrs, a), "1", 0, 0, "factor" },
    { "rest", HX_I32, offsetof(gate_attrs, rest), "0", 0, 1, "1: what the share leaves, 1 - sigmoid g" },
    { 0 }
};
static real sign_of(const gate_attrs *a) { return a->rest ? -1 : 1; }
extern const hx_op hx_op_gate_bwd, hx_op_gru_bwd;

static void gate_ref(const hx_ref *r)
{
    const gate_attrs *a = r->attrs;
    for (int64_t i = 0; i < r->dim[R] * r->dim[C]; i++) {
        int64_t at = i / r->dim[C] * r->dim[G] + i % r->dim[C] / (r->dim[C] / r->dim[G]);
        r->a[2][i] = (real)a->a * share_real(sign_of(a) * r->a[1][at]) * r->a[0][i];
    }
}

static void gate_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const gate_attrs *a = c->attrs;
    int64_t wide = c->dim[C] / c->dim[G], many = hx_rows_per_task(c->dim[C]);
    int64_t end = hx_min(c->dim[R], (task + 1) * many);
    float sign = (float)sign_of(a);
    for (int64_t row = task * many; row < end; row++)
        for (int64_t j = 0; j < c->dim[G]; j++) {
            float f = a->a * share_f(sign * *hx_at(c, 1, row, j));
            const float *x = hx_at(c, 0, row, j * wide);
            float *y = hx_at(c, 2, row, j * wide);
            for (int64_t i = 0; i < wide; i++) y[i] = f * x[i];
        }
}

static void gate_host(const hx_call *c) { hx_share_rows(c, c->dim[R], c->dim[C], gate_rows); }

static void gate_bwd_ref(const hx_ref *r)
{
    const gate_attrs *a = r->attrs;
    int64_t g = r->dim[G], wide = r->dim[C] / g;
    for (int64_t i = 0; i < r->dim[R] * g; i++) {
        real f = share_real(sign_of(a) * r->a[2][i]), s = 0;
        for (int64_t k = i * wide; k < (i + 1) * wide; k++) {
            s += r->a[0][k] * r->a[1][k];
            r->a[3][k] = (real)a->a * f * r->a[0][k];
        }
        r->a[4][i] = (real)a->a * sign_of(a) * f * (1 - f) * s;
    }
}

static void gate_bwd_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const gate_attrs *a = c->attrs;
    int64_t wide = c->dim[C] / c->dim[G], many = hx_rows_per_task(c->dim[C]);
    int64_t end = hx_min(c->dim[R], (task + 1) * many);
    float sign = (float)sign_of(a);
    for (int64_t row = task * many; row < end; row++)
        for (int64_t j = 0; j < c->dim[G]; j++) {
            float g = sign * *hx_at(c, 2, row, j), f = share_f(g), rest = share_f(-g);
            const float *dy = hx_at(c, 0, row, j * wide), *x = hx_at(c, 1, row, j * wide);
            float *dx = hx_at(c, 3, row, j * wide);
            HX_SUM(sum);
#define GATE_SUM(type) sum_##type += HX_OF(type, dy) * HX_OF(type, x)
            HX_EACH(wide, GATE_SUM);
            float s = HX_TOTAL(sum);
            for (int64_t i = 0; i < wide; i++) dx[i] = a->a * f * dy[i];
            *hx_at(c, 4, row, j) = a->a * sign * f * rest * s;
        }
}

static void gate_bwd_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[R], c->dim[C], gate_bwd_rows);
}

static const char *gate_wrong(const int64_t *dim, const void *attrs)
{
    (void)attrs;
    return dim[C] % dim[G] ? "gates must divide the channels" : NULL;
}

HX_OP(gate_bwd,
    .math = "dx = a f dy,  dg = +-a f (1-f) sum of dy x over the channels of a gate",
    .source = "differentiated from gate",
    .sig = "dy:[R,C] x:[R,C] g:[R,G] -> dx:[R,C] dg:[R,G]", .wrong_if = gate_wrong,
    .attrs = gate_fields, .attrs_size = sizeof(gate_attrs),
    .ref = gate_bwd_ref, .host = gate_bwd_host, .grid = "R*G/64", .terms = "C/G+4",
    .flops = "3*R*C", .kernels = { { "gate_bwd" } },
    .check = "R=1 C=1 G=1; R=7 C=65 G=65 a=2; R=33 C=24 G=3 rest=1; R=5 C=512 G=2",
    .wrong = "R=3 C=5 G=2: gates must divide",
    .fuzz = "G=1..40 C=G..G*9:G -huge -inf", .bench = "R=8192 C=512 G=8; R=8192 C=512 G=512");

static void gate_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(&hx_op_gate_bwd, n->attrs, (hx_t[]){ n->grad[0], n->arg[0], n->arg[1] }, d);
}

HX_OP(gate,
    .math = "y = a f x,  f = sigmoid g, or 1 - sigmoid g",
    .source = "definition",
    .sig = "x:[R,C] g:[R,G] -> y:[R,C]", .wrong_if = gate_wrong,
    .attrs = gate_fields, .attrs_size = sizeof(gate_attrs),
    .ref = gate_ref, .vjp = gate_vjp, .host = gate_host, .grid = "R*C/256", .terms = "4",
    .flops = "4*R*C", .kernels = { { "gate" } },
    .check = "R=1 C=1 G=1; R=7 C=65 G=65 a=2; R=33 C=24 G=3 rest=1; R=5 C=512 G=2",
    .wrong = "R=3 C=5 G=2: gates must divide", .fuzz = "G=1..40 C=G..G*9:G",
    .bench = "R=8192 C=512 G=8; R=8192 C=512 G=512");

hx_t t_gate(hx_t x, hx_t g, float a, bool rest)
{
    hx_t y = HX_NONE, in[2] = { t_flat(x), t_flat(g) };
    int64_t shape[HX_MAX_RANK];
    hx_apply(&hx_op_gate, &(gate_attrs){ a, rest }, in, &y);
    if (!y.id) return y;
    for (int i = 0; i < HX_MAX_RANK; i++) shape[i] = hx_dim(x, i);
    return hx_reshape(y, hx_value_of(x)->rank, shape);
}

// ---- GRU ------------------------------------------------------------------------------------
// Rows of i and h are three parts of D: reset, update, new; both linear layers' biases are in them.
enum { D = 1 };

static void gru_ref(const hx_ref *f)
{
    int64_t d = f->dim[D];
    for (int64_t at = 0; at < f->dim[R] * d; at++) {
        const real *i = f->a[0] + at / d * 3 * d + at % d, *h = f->a[1] + at / d * 3 * d + at % d;
        real r = share_real(i[0] + h[0]), z = share_real(i[d] + h[d]);
        real n = tanh(i[2 * d] + r * h[2 * d]);
        f->a[3][at] = (1 - z) * n + z * f->a[2][at];
    }
}

static void gru_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t d = c->dim[D], many = hx_rows_per_task(d);
    int64_t end = hx_min(c->dim[R], (task + 1) * many);
    for (int64_t row = task * many; row < end; row++) {
        const float *i = hx_at(c, 0, row, 0), *h = hx_at(c, 1, row, 0), *x = hx_at(c, 2, row, 0);
        float *y = hx_at(c, 3, row, 0);
        for (int64_t k = 0; k < d; k++) {
            float r = share_f(i[k] + h[k]), u = i[d + k] + h[d + k];
            float n = hx_tanh_f(i[2 * d + k] + r * h[2 * d + k]);
            y[k] = share_f(-u) * n + share_f(u) * x[k];
        }
    }
}

static void gru_host(const hx_call *c) { hx_share_rows(c, c->dim[R], 3 * c->dim[D], gru_rows); }

static void gru_bwd_ref(const hx_ref *f)
{
    int64_t d = f->dim[D];
    for (int64_t at = 0; at < f->dim[R] * d; at++) {
        int64_t from = at / d * 3 * d + at % d;
        const real *i = f->a[1] + from, *h = f->a[2] + from;
        real *di = f->a[4] + from, *dh = f->a[5] + from, dy = f->a[0][at];
        real r = share_real(i[0] + h[0]), z = share_real(i[d] + h[d]);
        real a = i[2 * d] + r * h[2 * d], n = tanh(a), dn = dy * (1 - z) / cosh(a) / cosh(a);
        di[0] = dh[0] = dn * h[2 * d] * r * (1 - r);
        di[d] = dh[d] = dy * (f->a[3][at] - n) * z * (1 - z);
        di[2 * d] = dn;
        dh[2 * d] = dn * r;
        f->a[6][at] = dy * z;
    }
}

static void gru_bwd_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t d = c->dim[D], many = hx_rows_per_task(d);
    int64_t end = hx_min(c->dim[R], (task + 1) * many);
    for (int64_t row = task * many; row < end; row++) {
        const float *dy = hx_at(c, 0, row, 0), *i = hx_at(c, 1, row, 0), *h = hx_at(c, 2, row, 0);
        const float *x = hx_at(c, 3, row, 0);
        float *di = hx_at(c, 4, row, 0), *dh = hx_at(c, 5, row, 0), *dx = hx_at(c, 6, row, 0);
        for (int64_t k = 0; k < d; k++) {
            float s = i[k] + h[k], u = i[d + k] + h[d + k], past = h[2 * d + k];
            float r = share_f(s), z = share_f(u), left = share_f(-u);
            float a = i[2 * d + k] + r * past, n = hx_tanh_f(a);
            float dn = dy[k] * left * hx_tanh_slope_f(a);
            di[k] = dh[k] = dn * past * r * share_f(-s);
            di[d + k] = dh[d + k] = dy[k] * (x[k] - n) * z * left;
            di[2 * d + k] = dn;
            dh[2 * d + k] = dn * r;
            dx[k] = dy[k] * z;
        }
    }
}

static void gru_bwd_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[R], 3 * c->dim[D], gru_bwd_rows);
}

HX_OP(gru_bwd,
    .math = "dn = dy (1-z)(1-n^2),  dr = dn h_n r(1-r),  dz = dy (x-n) z(1-z),  dx = dy z;  "
            "di = dr | dz | dn,  dh = dr | dz | dn r",
    .source = "differentiated from gru",
    .sig = "dy:[R,D] i:[R,3*D] h:[R,3*D] x:[R,D] -> di:[R,3*D] dh:[R,3*D] dx:[R,D]",
    .ref = gru_bwd_ref, .host = gru_bwd_host, .grid = "R*D/256", .terms = "16",
    .flops = "40*R*D", .kernels = { { "gru_bwd" } },
    .check = "R=1 D=1; R=3 D=257; R=70 D=33",
    .wrong = "R=3 D=5 i=[3,5]: argument i does not fit", .fuzz = "-huge -inf -mixed",
    .bench = "R=8192 D=512");

static void gru_vjp(const hx_node *n, hx_t *d)
{
    hx_t out[3] = { HX_NONE, HX_NONE, HX_NONE };
    hx_apply(&hx_op_gru_bwd, NULL, (hx_t[]){ n->grad[0], n->arg[0], n->arg[1], n->arg[2] }, out);
    for (int i = 0; i < 3; i++) d[i] = out[i];
}

HX_OP(gru,
    .math = "y = (1-z) n + z x,  r = sigmoid(i_r + h_r),  z = sigmoid(i_z + h_z),  "
            "n = tanh(i_n + r h_n)",
    .source = "Cho et al. 2014, with the reset after the product",
    .sig = "i:[R,3*D] h:[R,3*D] x:[R,D] -> y:[R,D]",
    .ref = gru_ref, .vjp = gru_vjp, .host = gru_host, .grid = "R*D/256", .terms = "16",
    .flops = "30*R*D", .kernels = { { "gru" } },
    .check = "R=1 D=1; R=3 D=257; R=70 D=33",
    .wrong = "R=3 D=5 i=[3,5]: argument i does not fit", .fuzz = "-huge -inf",
    .bench = "R=8192 D=512");

hx_t t_gru(hx_t i, hx_t h, hx_t x)
{
    hx_t y = HX_NONE, in[3] = { t_flat(i), t_flat(h), t_flat(x) };
    int64_t shape[HX_MAX_RANK];
    hx_apply(&hx_op_gru, NULL, in, &y);
    if (!y.id) return y;
    for (int k = 0; k < HX_MAX_RANK; k++) shape[k] = hx_dim(x, k);
    return hx_reshape(y, hx_value_of(x)->rank, shape);
}
