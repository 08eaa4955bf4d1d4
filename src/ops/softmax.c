// softmax.c - softmax of scores that lie in memory, with a bias and masks, and its gradient: attention
// whose scores depend on more than its kernels know.
#include "rows.h"
#include "t.h"
#include <math.h>

extern const hx_op hx_op_softmax_bwd;
enum { B, T, H, M };
typedef struct softmax_attrs { int32_t causal, own; } softmax_attrs;
static const hx_field softmax_fields[] = {
    { "causal", HX_I32, offsetof(softmax_attrs, causal), "0", 0, 1, "1: no key after the query" },
    { "own", HX_I32, offsetof(softmax_attrs, own), "0", 0, 1 << 30,
      "so many keys only the query of the same number sees" },
    { 0 }
};

static const char *softmax_wrong(const int64_t *dim, const void *attrs)
{
    return ((const softmax_attrs *)attrs)->own < dim[M] ? NULL : "own must be less than the keys";
}

static bool allowed(const softmax_attrs *a, int64_t t, int64_t j)
{
    return (!a->causal || j <= t) && (j >= a->own || j == t);
}

// ---- the meaning -------------------------------------------------------------------------

// Does query t of batch row b see key j? qm, km may be NULL.
static bool sees(const hx_ref *r, const real *qm, const real *km, int64_t b, int64_t t, int64_t j)
{
    const softmax_attrs *a = r->attrs;
    int64_t own = a->own;
    return (!qm || qm[b * r->dim[T] + t] != 0) && allowed(a, t, j)
           && (!km || j < own || km[b * (r->dim[M] - own) + j - own] != 0);
}

static void softmax_ref(const hx_ref *r)
{
    int64_t n = r->dim[M], rows = r->dim[B] * r->dim[T] * r->dim[H];
    for (int64_t row = 0; row < rows; row++) {
        int64_t t = row / r->dim[H] % r->dim[T], b = row / r->dim[H] / r->dim[T];
        const real *s = r->a[0] + row * n;
        const real *bias = r->a[1] ? r->a[1] + row % (r->dim[T] * r->dim[H]) * n : NULL;
        real *p = r->a[4] + row * n, top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++)
            if (sees(r, r->a[2], r->a[3], b, t, j)) top = fmax(top, s[j] + (bias ? bias[j] : 0));
        for (int64_t j = 0; j < n; j++) {
            bool seen = sees(r, r->a[2], r->a[3], b, t, j);
            p[j] = isinf(top) ? 1 : seen ? exp(s[j] + (bias ? bias[j] : 0) - top) : 0;
            sum += p[j];
        }
        for (int64_t j = 0; j < n; j++) p[j] /= sum;
    }
}

static void softmax_bwd_ref(const hx_ref *r)
{
    int64_t n = r->dim[M], rows = r->dim[B] * r->dim[T] * r->dim[H];
    for (int64_t row = 0; row < rows; row++) {
        int64_t t = row / r->dim[H] % r->dim[T], b = row / r->dim[H] / r->dim[T];
        const real *dp = r->a[0] + row * n, *p = r->a[1] + row * n;
        real sum = 0;
        bool any = false;
        for (int64_t j = 0; j < n; j++) {
            sum += dp[j] * p[j];
            any |= sees(r, r->a[2], r->a[3], b, t, j);
        }
        for (int64_t j = 0; j < n; j++) r->a[4][row * n + j] = any ? p[j] * (dp[j] - sum) : 0;
    }
}

// ---- host --------------------------------------------------------------------------------

// Marks in `seen` what row sees; how much.
static int64_t mark(const hx_call *c, int64_t row, bool *seen)
{
    const softmax_attrs *a = c->attrs;
    int64_t n = c->dim[M], t = row / c->dim[H] % c->dim[T], b = row / c->dim[H] / c->dim[T], count = 0;
    const int32_t *qm = c->a[2], *km = c->a[3];
    bool here = !qm || qm[b * c->dim[T] + t] != 0;
    for (int64_t j = 0; j < n; j++) {
        bool there = !km || j < a->own || km[b * (n - a->own) + j - a->own] != 0;
        seen[j] = here && there && allowed(a, t, j);
        count += seen[j];
    }
    return count;
}

enum { ROWS = 16, MOST = 65536 };          // rows of a task; keys that fit on its stack
static void softmax_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t n = c->dim[M], turn = c->dim[T] * c->dim[H], rows = c->dim[B] * turn;
    bool seen[MOST];
    for (int64_t row = task * ROWS; row < hx_min((task + 1) * ROWS, rows); row++) {
        const float *s = (const float *)c->a[0] + row * n;
        const float *bias = c->a[1] ? (const float *)c->a[1] + row % turn * n : NULL;
        float *p = (float *)c->a[4] + row * n, top = -INFINITY, sum = 0;
        int64_t count = mark(c, row, seen);
        for (int64_t j = 0; j < n; j++) {
            p[j] = s[j] + (bias ? bias[j] : 0);
            if (seen[j] && !(p[j] <= top)) top = p[j];
        }
        for (int64_t j = 0; j < n; j++) {
            p[j] = !count ? 1 : seen[j] ? hx_exp_f(p[j] - top) : 0;
            sum += p[j];
        }
        for (int64_t j = 0; j < n; j++) p[j] /= sum;
    }
}

static void softmax_bwd_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t n = c->dim[M], rows = c->dim[B] * c->dim[T] * c->dim[H];
    bool seen[MOST];
    for (int64_t row = task * ROWS; row < hx_min((task + 1) * ROWS, rows); row++) {
        const float *dp = (const float *)c->a[0] + row * n, *p = (const float *)c->a[1] + row * n;
        float *ds = (float *)c->a[4] + row * n, sum = 0;
        bool any = mark(c, row, seen) > 0;
        for (int64_t j = 0; j < n; j++) sum += dp[j] * p[j];
        for (int64_t j = 0; j < n; j++) ds[j] = any ? p[j] * (dp[j] - sum) : 0;
    }
}

static void share(const hx_call *c, void (*task)(void *ctx, int64_t i))
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[B] * c->dim[T] * c->dim[H], ROWS), task, (void *)c);
}
static void softmax_host(const hx_call *c) { share(c, softmax_rows); }
static void softmax_bwd_host(const hx_call *c) { share(c, softmax_bwd_rows); }

static const char *softmax_limits(const int64_t *dim, const void *attrs)
{
    return dim[M] > MOST ? "more than 65536 keys" : softmax_wrong(dim, attrs);
}

// masks: a few zeros, and in every third batch row nothing else
static real mask_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    int64_t width = arg == 2 ? dim[T] : dim[M] - ((const softmax_attrs *)attrs)->own;
    return arg < 2 ? NAN : i / width % 3 == 2 ? 0 : rnd % 4 != 0;
}

#define CHECK "B=1 T=1 H=1 M=1; B=3 T=5 H=2 M=7; B=1 T=9 H=3 M=9 causal=1 -qm -km;"              \
    "B=3 T=4 H=2 M=40 own=4 -qm -bias; B=3 T=3 H=1 M=300 -bias -km; B=2 T=33 H=4 M=33 causal=1"
#define COMMON                                                                                    \
    .attrs = softmax_fields, .attrs_size = sizeof(softmax_attrs), .wrong_if = softmax_limits,    \
    .grid = "B*T*H/16", .wrong = "B=1 T=2 H=1 M=3 own=3 -km: own must be less",                       \
    .fuzz = "causal=0..1 M=1..300 own=0..M-1 -huge -inf -nan", .bench = "B=4 T=256 H=8 M=256 -qm"

HX_OP(softmax_bwd,
    .math = "ds = p (dp - p.dp) where the query sees anything, else 0",
    .source = "differentiated from softmax",
    .sig = "dp[B,T,H,M] p[B,T,H,M] qm?#[B,T] km?#[B,M-own] -> ds[B,T,H,M]",
    .ref = softmax_bwd_ref, .host = softmax_bwd_host, .terms = "M+2", .flops = "4*B*T*H*M",
    .alias = "ds=dp", .fill = mask_fill, .kernels = { { "softmax_bwd" } },
    .check = "B=1 T=1 H=1 M=1; B=3 T=5 H=2 M=7; B=1 T=9 H=3 M=9 causal=1 -qm -km;"
             "B=3 T=4 H=2 M=40 own=4 -qm; B=3 T=3 H=1 M=300 -km; B=2 T=33 H=4 M=33 causal=1",
    COMMON);

static void softmax_vjp(const hx_node *n, hx_t *d)
{
    int64_t bias[3] = { n->dim[T], n->dim[H], n->dim[M] }, all = bias[0] * bias[1] * bias[2];
    hx_t ds = HX_NONE;
    hx_apply(&hx_op_softmax_bwd, n->attrs, (hx_t[]){ n->grad[0], n->arg[4], n->arg[2], n->arg[3] },
             &ds);
    d[0] = ds;
    if (n->want[1])
        d[1] = hx_reshape(t_colsum(hx_reshape(ds, 2, (int64_t[]){ n->dim[B], all })), 3, bias);
}

HX_OP(softmax,
    .math = "p_j = exp(s_j + bias_j) / sum over the keys that the query sees, 0 for others; a query "
            "that sees none: 1/M for all",
    .source = "definition; the last as masked_fill with the least number does",
    .sig = "s[B,T,H,M] bias?[T,H,M] qm?#[B,T] km?#[B,M-own] -> p[B,T,H,M]",
    .ref = softmax_ref, .host = softmax_host, .vjp = softmax_vjp, .terms = "M+4",
    .flops = "6*B*T*H*M", .alias = "p=s", .fill = mask_fill, .kernels = { { "softmax" } },
    .check = CHECK, COMMON);

hx_t t_softmax(hx_t s, hx_t bias, hx_t qm, hx_t km, bool causal, int own)
{
    hx_t p = HX_NONE;
    hx_apply(&hx_op_softmax, &(softmax_attrs){ causal, own }, (hx_t[]){ s, bias, qm, km }, &p);
    return p;
}
