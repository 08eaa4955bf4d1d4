// geglu.c - one half of a linear layer's channels, gated by the GELU of the other.
#include "act.h"
#include "elem.h"
#include "t.h"

extern const hx_op hx_op_geglu_bwd;
enum { R, C };

static void geglu_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[R] * r->dim[C]; i++)
        r->a[2][i] = r->a[0][i] * hx_act_real(HX_ACT_GELU, r->a[1][i]);
}

static void geglu_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    const float *x = hx_at(c, 0, row, from);
    float *y = hx_at(c, 2, row, from);
    hx_act_row(HX_ACT_GELU, n, hx_at(c, 1, row, from), NULL, y);
    for (int64_t i = 0; i < n; i++)
        y[i] *= x[i];
}

static void geglu_host(const hx_call *c) { hx_each_row(c, 2, geglu_row); }

static void geglu_bwd_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[R] * r->dim[C]; i++) {
        real dy = r->a[0][i], x = r->a[1][i], g = r->a[2][i];
        r->a[3][i] = dy * hx_act_real(HX_ACT_GELU, g);
        r->a[4][i] = dy * x * hx_act_slope_real(HX_ACT_GELU, g);
    }
}

static void geglu_bwd_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    const float *dy = hx_at(c, 0, row, from), *x = hx_at(c, 1, row, from);
    const float *g = hx_at(c, 2, row, from);
    float *dx = hx_at(c, 3, row, from), *dg = hx_at(c, 4, row, from);
    hx_act_row(HX_ACT_GELU, n, g, NULL, dx);
    hx_act_slope_row(HX_ACT_GELU, n, g, x, dg);
    for (int64_t i = 0; i < n; i++) {
        dx[i] *= dy[i];
        dg[i] *= dy[i];
    }
}

static void geglu_bwd_host(const hx_call *c) { hx_each_row(c, 4, geglu_bwd_row); }

HX_OP(geglu_bwd,
    .math = "dx = dy gelu(g),  dg = dy x gelu'(g)", .source = "differentiated from geglu",
    .sig = "dy:[R,C] x:[R,C] g:[R,C] -> dx:[R,C] dg:[R,C]",
    .ref = geglu_bwd_ref, .host = geglu_bwd_host, .grid = "R*C/256", .terms = "9",
    .flops = "60*R*C", .kernels = { { "geglu_bwd" }, { "geglu_bwd.half", .grid = "R*C/2048",
                   .fits = hx_in_eights, .precision = HX_AUTO, .rounds = 7, .half = 31 } },
    .check = "R=1 C=1; R=3 C=257; R=70 C=33; R=5 C=40",
    .wrong = "R=3 C=5 x=[3,4]: argument x does not fit", .bench = "R=8192 C=1365");

static void geglu_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(&hx_op_geglu_bwd, NULL, (hx_t[]){ n->grad[0], n->arg[0], n->arg[1] }, d);
}

HX_OP(geglu,
    .math = "y = x gelu(g)", .source = "GLU Variants Improve Transformer, Shazeer 2020, eq. 6",
    .sig = "x:[R,C] g:[R,C] -> y:[R,C]",
    .ref = geglu_ref, .vjp = geglu_vjp, .host = geglu_host, .grid = "R*C/256", .terms = "9",
    .flops = "30*R*C", .kernels = { { "geglu" }, { "geglu.half", .grid = "R*C/2048",
                   .fits = hx_in_eights, .precision = HX_AUTO, .rounds = 3, .half = 7 } },
    .check = "R=1 C=1; R=3 C=257; R=70 C=33; R=5 C=40",
    .wrong = "R=3 C=5 g=[3,4]: argument g does not fit", .bench = "R=8192 C=1365");

hx_t t_gelu_gate(hx_t x, hx_t g)
{
    hx_t y = HX_NONE;
    hx_apply(&hx_op_geglu, NULL, (hx_t[]){ x, g }, &y);
    return y;
}

hx_t t_geglu(hx_t x)
{
    int64_t n = hx_dim(x, -1) / 2, shape[HX_MAX_RANK] = { 0 };
    hx_t half[2] = { HX_NONE };
    hx_split(1, hx_reshape(x, 2, (int64_t[]){ hx_rows(x), 2 * n }), 2, (int64_t[]){ n, n }, half);
    hx_t y = t_gelu_gate(half[0], half[1]);
    if (!y.id) return y;
    int rank = hx_value_of(x)->rank;
    for (int i = 0; i < rank; i++) shape[i] = i < rank - 1 ? hx_dim(x, i) : n;
    return hx_reshape(y, rank, shape);
}
