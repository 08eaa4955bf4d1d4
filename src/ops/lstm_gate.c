// lstm_gate.c - the gate of a recurrent state with input and forget gates of each row.
#include "elem.h"
#include "t.h"
#include <math.h>

extern const hx_op hx_op_lstm_gate_bwd;
enum { R, C };

static real share_real(real b) { return 1 / (1 + exp(-b)); }
// hx_exp_f ends at e^80
HX_INLINE float share_f(float b) { return b < -80 ? 0 : 1 / (1 + hx_exp_f(-b)); }

static void lstm_gate_ref(const hx_ref *r)
{
    for (int64_t k = 0; k < r->dim[R] * r->dim[C]; k++) {
        real z = r->a[0][k], i = r->a[1][k], f = r->a[2][k], s = r->a[3][k];
        r->a[4][k] = share_real(f + 1) * s + share_real(i - 1) * tanh(z);
    }
}

static void lstm_gate_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    const float *z = hx_at(c, 0, row, from), *i = hx_at(c, 1, row, from), *f = hx_at(c, 2, row, from);
    const float *s = hx_at(c, 3, row, from);
    float *y = hx_at(c, 4, row, from);
    for (int64_t k = 0; k < n; k++)
        y[k] = share_f(f[k] + 1) * s[k] + share_f(i[k] - 1) * hx_tanh_f(z[k]);
}

static void lstm_gate_host(const hx_call *c) { hx_each_row(c, 4, lstm_gate_row); }

static void lstm_gate_bwd_ref(const hx_ref *r)
{
    for (int64_t k = 0; k < r->dim[R] * r->dim[C]; k++) {
        real dy = r->a[0][k], t = tanh(r->a[1][k]), c = cosh(r->a[1][k]), s = r->a[4][k];
        real i = share_real(r->a[2][k] - 1), f = share_real(r->a[3][k] + 1);
        r->a[5][k] = dy * i / c / c;
        r->a[6][k] = dy * i * (1 - i) * t;
        r->a[7][k] = dy * f * (1 - f) * s;
        r->a[8][k] = dy * f;
    }
}

static void lstm_gate_bwd_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    const float *dy = hx_at(c, 0, row, from), *z = hx_at(c, 1, row, from);
    const float *i = hx_at(c, 2, row, from), *f = hx_at(c, 3, row, from), *s = hx_at(c, 4, row, from);
    float *dz = hx_at(c, 5, row, from), *di = hx_at(c, 6, row, from);
    float *df = hx_at(c, 7, row, from), *ds = hx_at(c, 8, row, from);
    for (int64_t k = 0; k < n; k++) {
        // what is left of a share is the share of the opposite: without cancellation
        float t = hx_tanh_f(z[k]), in = share_f(i[k] - 1), keep = share_f(f[k] + 1);
        float in_left = share_f(1 - i[k]), keep_left = share_f(-1 - f[k]);
        dz[k] = dy[k] * in * hx_tanh_slope_f(z[k]);
        di[k] = dy[k] * in * in_left * t;
        df[k] = dy[k] * keep * keep_left * s[k];
        ds[k] = dy[k] * keep;
    }
}

static void lstm_gate_bwd_host(const hx_call *c) { hx_each_row(c, 8, lstm_gate_bwd_row); }

HX_OP(lstm_gate_bwd,
    .math = "dz = dy i (1 - t^2),  di = dy i (1-i) t,  df = dy f (1-f) s,  ds = dy f with t = tanh z, "
            "i = sigmoid(i - 1), f = sigmoid(f + 1)",
    .source = "differentiated from lstm_gate",
    .sig = "dy:[R,C] z:[R,C] i:[R,C] f:[R,C] s:[R,C] -> dz:[R,C] di:[R,C] df:[R,C] ds:[R,C]",
    .ref = lstm_gate_bwd_ref, .host = lstm_gate_bwd_host, .grid = "R*C/256",
    .terms = "16",                         // roundings of three factors, two of them with e^x
    .flops = "20*R*C", .kernels = { { "lstm_gate_bwd" } },
    .check = "R=1 C=1; R=3 C=257; R=70 C=33",
    .wrong = "R=3 C=5 z=[3,4]: argument z does not fit", .fuzz = "-huge -inf",
    .bench = "R=2048 C=512");

static void lstm_gate_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(&hx_op_lstm_gate_bwd, NULL,
             (hx_t[]){ n->grad[0], n->arg[0], n->arg[1], n->arg[2], n->arg[3] }, d);
}

HX_OP(lstm_gate,
    .math = "y = sigmoid(f + 1) s + sigmoid(i - 1) tanh z",
    .source = "Block-Recurrent Transformers, Hutchins et al. 2022, eq. 3, LSTM gate",
    .sig = "z:[R,C] i:[R,C] f:[R,C] s:[R,C] -> y:[R,C]",
    .ref = lstm_gate_ref, .vjp = lstm_gate_vjp, .host = lstm_gate_host, .grid = "R*C/256", .terms = "9",
    .flops = "12*R*C", .kernels = { { "lstm_gate" } },
    .check = "R=1 C=1; R=3 C=257; R=70 C=33",
    .wrong = "R=3 C=5 s=[3,4]: argument s does not fit", .bench = "R=2048 C=512");

hx_t t_lstm_gate(hx_t z, hx_t i, hx_t f, hx_t s)
{
    int64_t flat[2] = { hx_rows(s), hx_dim(s, -1) }, shape[HX_MAX_RANK];
    hx_t in[4] = { z, i, f, s }, y = HX_NONE;
    for (int k = 0; k < 4; k++) in[k] = hx_reshape(in[k], 2, flat);
    hx_apply(&hx_op_lstm_gate, NULL, in, &y);
    for (int k = 0; k < HX_MAX_RANK; k++) shape[k] = hx_dim(s, k);
    return hx_reshape(y, hx_value_of(s)->rank, shape);
}
