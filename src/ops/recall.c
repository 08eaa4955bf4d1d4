// recall.c - what linear attention reads from a memory of keys and values: positive features, and the
// quotient of what they find, gated against what attention found in the segment itself.
#include "rows.h"
#include "t.h"
#include <math.h>

static real share_real(real b) { return 1 / (1 + exp(-b)); }
// hx_exp_f ends at e^80; 1 - f is the share of -b, without cancellation
HX_INLINE float share_f(float b) { return b < -80 ? 0 : 1 / (1 + hx_exp_f(-b)); }
HX_INLINE float exp_f(float x) { return x < -80 ? 0 : hx_exp_f(x); }

// ---- features: elu(x) + 1 -----------------------------------------------------------------
extern const hx_op hx_op_feature_bwd;

static void feature_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[0] * r->dim[1]; i++)
        r->a[1][i] = r->a[0][i] > 0 ? r->a[0][i] + 1 : exp(r->a[0][i]);
}

static void feature_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    const float *x = hx_at(c, 0, row, from);
    float *y = hx_at(c, 1, row, from);
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] > 0 ? x[i] + 1 : exp_f(x[i]);
}

static void feature_host(const hx_call *c) { hx_each_row(c, 1, feature_row); }

static void feature_bwd_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[0] * r->dim[1]; i++)
        r->a[2][i] = r->a[1][i] > 0 ? r->a[0][i] : r->a[0][i] * exp(r->a[1][i]);
}

static void feature_bwd_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    const float *dy = hx_at(c, 0, row, from), *x = hx_at(c, 1, row, from);
    float *dx = hx_at(c, 2, row, from);
    for (int64_t i = 0; i < n; i++)
        dx[i] = x[i] > 0 ? dy[i] : dy[i] * exp_f(x[i]);
}

static void feature_bwd_host(const hx_call *c) { hx_each_row(c, 2, feature_bwd_row); }

HX_OP(feature_bwd,
    .math = "dx = dy where x > 0, else dy e^x", .source = "differentiated from feature",
    .sig = "dy:[R,C] x:[R,C] -> dx:[R,C]",
    .ref = feature_bwd_ref, .host = feature_bwd_host, .grid = "R*C/256", .terms = "4",
    .flops = "5*R*C", .kernels = { { "feature_bwd" } },
    .check = "R=1 C=1; R=3 C=257; R=70 C=33",
    .wrong = "R=3 C=5 x=[3,4]: argument x does not fit", .fuzz = "-huge -inf",
    .bench = "R=8192 C=512");

static void feature_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(&hx_op_feature_bwd, NULL, (hx_t[]){ n->grad[0], n->arg[0] }, d);
}

HX_OP(feature,
    .math = "y = elu(x) + 1",
    .source = "Transformers are RNNs, Katharopoulos et al. 2020, eq. 7",
    .sig = "x:[R,C] -> y:[R,C]",
    .ref = feature_ref, .vjp = feature_vjp, .host = feature_host, .grid = "R*C/256", .terms = "4",
    .flops = "5*R*C", .kernels = { { "feature" } }, .cheap = hx_always_cheap,
    .check = "R=1 C=1; R=3 C=257; R=70 C=33",
    .bench = "R=8192 C=512");

// ---- what a memory answers: numerators side by side with their normaliser --------------------
// n has C - 1 numerators and their normaliser: n/d, d being at least eps.
enum { R, C };
typedef struct { float eps; } eps_attrs;
static const hx_field eps_fields[] = {
    { "eps", HX_F32, offsetof(eps_attrs, eps), "1e-10", 0, 0, "the least normaliser" }, { 0 }
};
static float eps_of(const void *attrs) { return ((const eps_attrs *)attrs)->eps; }
static real at_least(real d, real eps) { return d < eps ? eps : d; }

static const char *no_numerator(const int64_t *dim, const void *attrs)
{
    return eps_of(attrs) <= 0 ? "eps must be positive"
        : dim[C] < 2 ? "there must be a numerator beside the normaliser: C >= 2" : NULL;
}

// Normalisers of both kinds, away from where the quotient is steep.
static real memory_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, int memory)
{
    if (arg != memory || i % dim[C] != dim[C] - 1)
        return NAN;
    return (i / dim[C]) % 5 == 3 ? -1 - rnd * 0x1p-32 : 0.5 + (rnd >> 8) * 0x1p-24;
}

extern const hx_op hx_op_quotient_bwd, hx_op_recall_bwd;

static void quotient_ref(const hx_ref *r)
{
    int64_t c = r->dim[C], k = c - 1;
    for (int64_t row = 0; row < r->dim[R]; row++)
        for (int64_t i = 0; i < k; i++)
            r->a[1][row * k + i] = r->a[0][row * c + i]
                                   / at_least(r->a[0][row * c + k], eps_of(r->attrs));
}

static void quotient_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t k = c->dim[C] - 1, many = hx_rows_per_task(k);
    int64_t end = hx_min(c->dim[R], (task + 1) * many);
    for (int64_t row = task * many; row < end; row++) {
        const float *n = hx_at(c, 0, row, 0);
        float *y = hx_at(c, 1, row, 0), eps = eps_of(c->attrs), d = n[k] < eps ? eps : n[k];
        for (int64_t i = 0; i < k; i++) y[i] = n[i] / d;
    }
}

static void quotient_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[R], c->dim[C], quotient_rows);
}

static void quotient_bwd_ref(const hx_ref *r)
{
    int64_t c = r->dim[C], k = c - 1;
    for (int64_t row = 0; row < r->dim[R]; row++) {
        const real *dy = r->a[0] + row * k, *n = r->a[1] + row * c;
        real *dn = r->a[2] + row * c, d = at_least(n[k], eps_of(r->attrs)), s = 0;
        for (int64_t i = 0; i < k; i++) {
            s += dy[i] * n[i] / d;
            dn[i] = dy[i] / d;
        }
        dn[k] = n[k] < eps_of(r->attrs) ? 0 : -s / d;
    }
}

static void quotient_bwd_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t k = c->dim[C] - 1, many = hx_rows_per_task(k);
    int64_t end = hx_min(c->dim[R], (task + 1) * many);
    for (int64_t row = task * many; row < end; row++) {
        const float *dy = hx_at(c, 0, row, 0), *n = hx_at(c, 1, row, 0);
        float *dn = hx_at(c, 2, row, 0), eps = eps_of(c->attrs), d = n[k] < eps ? eps : n[k];
        HX_SUM(sum);
#define QUOTIENT_SUM(type) sum_##type += HX_OF(type, dy) * (HX_OF(type, n) / d)
        HX_EACH(k, QUOTIENT_SUM);
        float s = HX_TOTAL(sum);
        for (int64_t i = 0; i < k; i++) dn[i] = dy[i] / d;
        dn[k] = n[k] < eps ? 0 : -s / d;
    }
}

static void quotient_bwd_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[R], c->dim[C], quotient_bwd_rows);
}

static real quotient_bwd_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim,
                              const void *attrs)
{
    (void)attrs;
    return memory_fill(arg, i, rnd, dim, 1);
}

HX_OP(quotient_bwd,
    .math = "dn = dy/c,  dd = -dy.n/c^2 where d >= eps, else 0,  c = max(d, eps)",
    .source = "differentiated from quotient",
    .sig = "dy:[R,C-1] nd:[R,C] -> dnd:[R,C]", .wrong_if = no_numerator,
    .attrs = eps_fields, .attrs_size = sizeof(eps_attrs), .fill = quotient_bwd_fill,
    .ref = quotient_bwd_ref, .host = quotient_bwd_host, .grid = "R/16", .terms = "C+4",
    .flops = "4*R*C", .kernels = { { "quotient_bwd" } },
    .check = "R=1 C=2; R=19 C=34; R=5 C=258",
    .wrong = "R=3 C=5 dy=[3,5]: argument dy does not fit", .fuzz = "C=2..300 -mixed -tiny -inf",
    .bench = "R=8192 C=65");

static void quotient_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(&hx_op_quotient_bwd, n->attrs, (hx_t[]){ n->grad[0], n->arg[0] }, d);
}

static real quotient_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)arg, (void)attrs;
    return i % dim[C] == dim[C] - 1 ? 0.5 + (rnd >> 8) * 0x1p-24 : NAN;
}

HX_OP(quotient,
    .math = "y = n / max(d, eps),  nd = n beside d",
    .source = "Infini-attention, Munkhdalai et al. 2024, eq. 3",
    .sig = "nd:[R,C] -> y:[R,C-1]", .wrong_if = no_numerator,
    .attrs = eps_fields, .attrs_size = sizeof(eps_attrs), .fill = quotient_fill,
    .ref = quotient_ref, .vjp = quotient_vjp, .host = quotient_host, .grid = "R*C/256",
    .flops = "R*C", .kernels = { { "quotient" } }, .terms = "2",
    .check = "R=1 C=2; R=19 C=34; R=5 C=258",
    .wrong = "R=3 C=1: a numerator", .fuzz = "C=2..300",
    .bench = "R=8192 C=65");

// ---- the gate of a head between its segment and its memory -----------------------------------
// An empty memory has no normaliser: there the segment alone counts.
enum { K = 1, H = 2 };                     // dims: R K H

static real memory_of(const real *n, int64_t k, int64_t i, const void *attrs)
{
    return n[i] / at_least(n[k], eps_of(attrs));
}

static void recall_ref(const hx_ref *r)
{
    int64_t k = r->dim[K];
    for (int64_t row = 0; row < r->dim[R]; row++)
        for (int64_t i = 0; i < k; i++) {
            const real *n = r->a[1] + row * (k + 1);
            real x = r->a[0][row * k + i], f = share_real(r->a[2][row % r->dim[H]]);
            r->a[3][row * k + i] = n[k] > 0 ? f * x + (1 - f) * memory_of(n, k, i, r->attrs) : x;
        }
}

static void recall_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t k = c->dim[K], many = hx_rows_per_task(k);
    int64_t end = hx_min(c->dim[R], (task + 1) * many);
    for (int64_t row = task * many; row < end; row++) {
        const float *x = hx_at(c, 0, row, 0), *n = hx_at(c, 1, row, 0);
        float g = ((const float *)c->a[2])[row % c->dim[H]], *y = hx_at(c, 3, row, 0);
        float eps = eps_of(c->attrs), d = n[k] < eps ? eps : n[k];
        bool there = n[k] > 0 || n[k] != n[k];
        float own = there ? share_f(g) : 1, past = there ? share_f(-g) : 0;
        for (int64_t i = 0; i < k; i++) y[i] = there ? own * x[i] + past * (n[i] / d) : x[i];
    }
}

static void recall_host(const hx_call *c) { hx_share_rows(c, c->dim[R], c->dim[K], recall_rows); }

static void recall_bwd_ref(const hx_ref *r)
{
    int64_t k = r->dim[K];
    for (int64_t row = 0; row < r->dim[R]; row++) {
        const real *dy = r->a[0] + row * k, *x = r->a[1] + row * k, *n = r->a[2] + row * (k + 1);
        real *dx = r->a[4] + row * k, *dn = r->a[5] + row * (k + 1), f, d, sx = 0, sm = 0;
        bool there = n[k] > 0;
        f = there ? share_real(r->a[3][row % r->dim[H]]) : 1;
        d = at_least(n[k], eps_of(r->attrs));
        for (int64_t i = 0; i < k; i++) {
            sx += dy[i] * x[i];
            sm += dy[i] * n[i] / d;
            dx[i] = f * dy[i];
            dn[i] = there ? (1 - f) * dy[i] / d : 0;
        }
        dn[k] = there && n[k] >= eps_of(r->attrs) ? -(1 - f) * sm / d : 0;
        r->a[6][row] = there ? f * (1 - f) * (sx - sm) : 0;
    }
}

static void recall_bwd_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t k = c->dim[K], many = hx_rows_per_task(k);
    int64_t end = hx_min(c->dim[R], (task + 1) * many);
    for (int64_t row = task * many; row < end; row++) {
        const float *dy = hx_at(c, 0, row, 0), *x = hx_at(c, 1, row, 0), *n = hx_at(c, 2, row, 0);
        float *dx = hx_at(c, 4, row, 0), *dn = hx_at(c, 5, row, 0), *dg = (float *)c->a[6] + row;
        float g = ((const float *)c->a[3])[row % c->dim[H]];
        float eps = eps_of(c->attrs), d = n[k] < eps ? eps : n[k];
        bool there = n[k] > 0 || n[k] != n[k];
        float own = there ? share_f(g) : 1, past = there ? share_f(-g) : 0;
        HX_SUM(sx);
        HX_SUM(sm);
#define RECALL_X(type) sx_##type += HX_OF(type, dy) * HX_OF(type, x)
#define RECALL_M(type) sm_##type += HX_OF(type, dy) * (HX_OF(type, n) / d)
        HX_EACH(k, RECALL_X);
        HX_EACH(k, RECALL_M);
        float of_x = HX_TOTAL(sx), of_m = HX_TOTAL(sm);
        for (int64_t i = 0; i < k; i++) {
            dx[i] = own * dy[i];
            dn[i] = there ? past * dy[i] / d : 0;
        }
        dn[k] = there && !(n[k] < eps) ? -past * of_m / d : 0;
        *dg = there ? own * past * (of_x - of_m) : 0;
    }
}

static void recall_bwd_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[R], c->dim[K], recall_bwd_rows);
}

static const char *recall_wrong(const int64_t *dim, const void *attrs)
{
    return eps_of(attrs) <= 0 ? "eps must be positive"
        : dim[R] % dim[H] ? "heads must divide the rows" : NULL;
}

// the memory is one column wider than x, and argument 1 of recall, 2 of its derivative
static real recall_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)attrs;
    return memory_fill(arg, i, rnd, (int64_t[]){ dim[R], dim[K] + 1 }, 1);
}

static real recall_bwd_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim,
                            const void *attrs)
{
    (void)attrs;
    return memory_fill(arg, i, rnd, (int64_t[]){ dim[R], dim[K] + 1 }, 2);
}

HX_OP(recall_bwd,
    .math = "dx = f dy,  dn = (1-f) dy/c,  dd = -(1-f) dy.n/c^2,  dg = f(1-f) dy.(x - n/c) per row",
    .source = "differentiated from recall",
    .sig = "dy:[R,K] x:[R,K] nd:[R,K+1] g[H] -> dx:[R,K] dnd:[R,K+1] dg[R]",
    .attrs = eps_fields, .attrs_size = sizeof(eps_attrs), .wrong_if = recall_wrong,
    .ref = recall_bwd_ref, .host = recall_bwd_host, .fill = recall_bwd_fill,
    .grid = "R/16", .terms = "K+8", .flops = "9*R*K", .kernels = { { "recall_bwd" } },
    .check = "R=1 K=1 H=1; R=21 K=33 H=3; R=10 K=256 H=5",
    .wrong = "R=7 K=4 H=3: heads must divide", .fuzz = "H=1..5 R=H..H*40:H -huge -mixed -tiny -inf",
    .bench = "R=32768 K=64 H=8");

static void recall_vjp(const hx_node *n, hx_t *d)
{
    hx_t out[3] = { HX_NONE, HX_NONE, HX_NONE };
    int64_t heads = n->dim[H];
    hx_apply(&hx_op_recall_bwd, n->attrs, (hx_t[]){ n->grad[0], n->arg[0], n->arg[1], n->arg[2] },
             out);
    d[0] = out[0];
    d[1] = out[1];
    if (n->want[2])
        d[2] = t_colsum(hx_reshape(out[2], 2, (int64_t[]){ n->dim[R] / heads, heads }));
}

HX_OP(recall,
    .math = "y = f x + (1-f) n / max(d, eps) where d > 0, else x;  f = sigmoid g of the row's head",
    .source = "Infini-attention, Munkhdalai et al. 2024, eq. 3 and 6, with the gate of "
              "infini-transformer-pytorch: the share of the segment",
    .sig = "x:[R,K] nd:[R,K+1] g[H] -> y:[R,K]",
    .attrs = eps_fields, .attrs_size = sizeof(eps_attrs), .wrong_if = recall_wrong,
    .ref = recall_ref, .vjp = recall_vjp, .host = recall_host, .fill = recall_fill,
    .grid = "R*K/256", .terms = "6", .flops = "5*R*K", .kernels = { { "recall" } },
    .check = "R=1 K=1 H=1; R=21 K=33 H=3; R=10 K=256 H=5",
    .wrong = "R=7 K=4 H=3: heads must divide", .fuzz = "H=1..5 R=H..H*40:H -mixed",
    .bench = "R=32768 K=64 H=8");

// ---- for models ----------------------------------------------------------------------------
static hx_t shaped_as(hx_t y, hx_t x, int64_t width)
{
    int64_t shape[HX_MAX_RANK];
    int rank = y.id ? hx_value_of(x)->rank : 1;
    for (int i = 0; i < rank; i++) shape[i] = i == rank - 1 ? width : hx_dim(x, i);
    return hx_reshape(y, rank, shape);
}

hx_t t_feature(hx_t x)
{
    hx_t y = HX_NONE, flat = t_flat(x);
    hx_apply(&hx_op_feature, NULL, &flat, &y);
    return shaped_as(y, x, hx_dim(x, -1));
}

hx_t t_quotient(hx_t nd, int heads)
{
    int64_t wide = hx_dim(nd, -1) / heads;
    hx_t y = HX_NONE, in = hx_reshape(nd, 2, (int64_t[]){ hx_rows(nd) * heads, wide });
    hx_apply(&hx_op_quotient, NULL, &in, &y);
    return shaped_as(y, nd, heads * (wide - 1));
}

hx_t t_recall(hx_t x, hx_t nd, hx_t g)
{
    int64_t H_ = hx_elems(g), k = hx_dim(x, -1) / H_, rows = hx_rows(x) * H_;
    hx_t y = HX_NONE, in[3] = { hx_reshape(x, 2, (int64_t[]){ rows, k }),
                                hx_reshape(nd, 2, (int64_t[]){ rows, k + 1 }), g };
    hx_apply(&hx_op_recall, NULL, in, &y);
    return shaped_as(y, x, hx_dim(x, -1));
}
