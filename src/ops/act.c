// act.c - GELU, SiLU and ReLU: their values for linear's epilogue, and their gradients.
#include "act.h"
#include "elem.h"
#include "t.h"
#include <math.h>
#include <string.h>

const hx_field hx_act_fields[] = {
    { "act", HX_I32, offsetof(hx_act_attrs, act), "0", 0, 3, "0 none, 1 exact GELU, 2 SiLU, 3 ReLU" },
    { 0 }
};

// ---- the definition ----------------------------------------------------------------------
static real normal_cdf(real x) { return 0.5 * erfc(-x * M_SQRT1_2); }
static real logistic(real x) { return 1 / (1 + exp(-x)); }

// gelu(x) = x Phi(x),  silu(x) = x s(x)
real hx_act_real(int act, real x)
{
    return act == HX_ACT_GELU ? x * normal_cdf(x) : act == HX_ACT_SILU ? x * logistic(x)
         : act == HX_ACT_RELU && x < 0 ? 0 : x;
}

// gelu'(x) = Phi(x) + x phi(x),  silu'(x) = s (1 + x (1 - s))
real hx_act_slope_real(int act, real x)
{
    real s = logistic(x), phi = exp(-x * x / 2) / sqrt(2 * M_PI);
    return act == HX_ACT_GELU ? normal_cdf(x) + x * phi
         : act == HX_ACT_SILU ? s * (1 + x * (1 - s)) : act == HX_ACT_RELU && x <= 0 ? 0 : 1;
}

// ---- floats, without branches so that loops over them become vector code -------------------
// Phi(x), given e = exp(-x^2/2): Phi(-|x|) = e u P(u) with u = 1 / (1 + 0.35 |x|), relative error
// 4e-8 before rounding for |x| <= 14; the other half by symmetry. No cancellation on either side.
HX_INLINE float normal_cdf_f(float x, float e)
{
    float u = 1 / (1 + 0.35f * fabsf(x));
    float p = 0.1396187126f + u * (0.1399122981f + u * (0.1194449168f + u * (0.1071145876f
              + u * (-0.02704660827f + u * (0.1650509959f + u * (-0.2609612283f
              + u * (0.1465458303f + u * -0.029679522f)))))));
    float tail = e * (u * p);
    return x > 0 ? 1 - tail : tail;
}

HX_INLINE float gelu_f(float x) { return x * normal_cdf_f(x, hx_exp_f(-0.5f * x * x)); }
HX_INLINE float silu_f(float x) { return x / (1 + hx_exp_f(-x)); }

HX_INLINE float gelu_slope_f(float x)
{
    float e = hx_exp_f(-0.5f * x * x);
    return normal_cdf_f(x, e) + x * e * 0.398942280f;
}

HX_INLINE float silu_slope_f(float x)
{
    float e = hx_exp_f(-x), s = 1 / (1 + e);
    return s * (1 + x * (e * s));
}

HX_CLONES static void gelu_row(int64_t n, const float *h, const float *r, float *y)
{
    if (r) {
        #pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = gelu_f(h[i]) + r[i];
    } else {
        #pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = gelu_f(h[i]);
    }
}

HX_CLONES static void silu_row(int64_t n, const float *h, const float *r, float *y)
{
    if (r) {
        #pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = silu_f(h[i]) + r[i];
    } else {
        #pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = silu_f(h[i]);
    }
}

HX_CLONES static void relu_row(int64_t n, const float *h, const float *r, float *y)
{
    if (r) {
        #pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = (h[i] < 0 ? 0 : h[i]) + r[i];
    } else {
        #pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = h[i] < 0 ? 0 : h[i];
    }
}

HX_CLONES static void plain_row(int64_t n, const float *h, const float *r, float *y)
{
    if (r) {
        #pragma omp simd
        for (int64_t i = 0; i < n; i++)
            y[i] = h[i] + r[i];
    } else {
        memmove(y, h, (size_t)n * sizeof *y);
    }
}

void hx_act_row(int act, int64_t n, const float *h, const float *r, float *y)
{
    (act == HX_ACT_GELU ? gelu_row : act == HX_ACT_SILU ? silu_row
     : act == HX_ACT_RELU ? relu_row : plain_row)(n, h, r, y);
}

// ---- act -----------------------------------------------------------------------------------
extern const hx_op hx_op_act_bwd;

static void act_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[0] * r->dim[1]; i++)
        r->a[1][i] = hx_act_real(((const hx_act_attrs *)r->attrs)->act, r->a[0][i]);
}

static void act_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    hx_act_row(((const hx_act_attrs *)c->attrs)->act, n, hx_at(c, 0, row, from), NULL, hx_at(c, 1, row, from));
}

static void act_host(const hx_call *c) { hx_each_row(c, 1, act_row); }

static void act_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(&hx_op_act_bwd, n->attrs, (hx_t[]){ n->grad[0], n->arg[0] }, d);
}

HX_OP(act,
    .math = "y = act(h)", .source = "Hendrycks and Gimpel 2016",
    .sig = "h[R,C] -> y[R,C]",
    .attrs = hx_act_fields, .attrs_size = sizeof(hx_act_attrs),
    .ref = act_ref, .vjp = act_vjp, .host = act_host,
    .grid = "R*C/256", .terms = "9", .flops = "30*R*C",
    .kernels = { { "act" }, { "act.half", .grid = "R*C/2048", .fits = hx_in_eights, .precision = HX_AUTO,
                   .rounds = 1, .half = 3 } },
    .check = "R=1 C=1 act=1; R=3 C=257 act=1; R=70 C=33 act=2; R=9 C=31 act=3; R=5 C=4 act=0",
    .wrong = "R=3 C=5 act=1 h=[3]: argument h does not fit",
    .bench = "R=4096 C=2048 act=1");

// ---- act_bwd -------------------------------------------------------------------------------
static int act_of(const void *attrs) { return ((const hx_act_attrs *)attrs)->act; }

static void act_bwd_ref(const hx_ref *r)
{
    int64_t n = r->dim[0] * r->dim[1];
    for (int64_t i = 0; i < n; i++)
        r->a[2][i] = r->a[0][i] * hx_act_slope_real(act_of(r->attrs), r->a[1][i]);
}

HX_CLONES static void gelu_bwd_row(int64_t n, const float *dy, const float *h, float *dh)
{
    #pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dh[i] = dy[i] * gelu_slope_f(h[i]);
}

HX_CLONES static void silu_bwd_row(int64_t n, const float *dy, const float *h, float *dh)
{
    #pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dh[i] = dy[i] * silu_slope_f(h[i]);
}

HX_CLONES static void relu_bwd_row(int64_t n, const float *dy, const float *h, float *dh)
{
    #pragma omp simd
    for (int64_t i = 0; i < n; i++)
        dh[i] = dy[i] * (h[i] <= 0 ? 0.0f : 1.0f);     // not a number stays not a number
}

void hx_act_slope_row(int act, int64_t n, const float *h, const float *dy, float *dh)
{
    if (act)
        (act == HX_ACT_GELU ? gelu_bwd_row : act == HX_ACT_SILU ? silu_bwd_row : relu_bwd_row)
            (n, dy, h, dh);
    else
        memmove(dh, dy, (size_t)n * sizeof *dh);
}

static void act_bwd_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    hx_act_slope_row(act_of(c->attrs), n, hx_at(c, 1, row, from), hx_at(c, 0, row, from),
                     hx_at(c, 2, row, from));
}

static void act_bwd_host(const hx_call *c) { hx_each_row(c, 2, act_bwd_row); }

HX_OP(act_bwd,
    .math = "dh = act'(h) dy", .source = "Hendrycks and Gimpel 2016, differentiated",
    .sig = "dy:[R,C] h[R,C] -> dh[R,C]",
    .attrs = hx_act_fields, .attrs_size = sizeof(hx_act_attrs),
    .ref = act_bwd_ref, .host = act_bwd_host,
    .grid = "R*C/256", .terms = "9", .flops = "40*R*C", .alias = "dh=h",
    .kernels = { { "act_bwd" }, { "act_bwd.half", .grid = "R*C/2048", .fits = hx_in_eights,
                   .precision = HX_AUTO, .rounds = 3, .half = 7 } },
    .check = "R=1 C=1 act=1; R=3 C=257 act=1; R=70 C=33 act=2; R=9 C=31 act=3; R=5 C=4 act=0",
    .wrong = "R=3 C=5 h=[3,4]: argument h does not fit",
    .bench = "R=4096 C=2048 act=1");
