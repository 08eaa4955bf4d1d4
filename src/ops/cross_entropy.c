// cross_entropy.c - the negative log-likelihood of one label per row of logits.
#include "rows.h"
#include "t.h"
#include <math.h>

enum { R, V };
typedef struct ce_attrs { int32_t ignore; float share; } ce_attrs;
static const hx_field ce_fields[] = {
    { "ignore", HX_I32, offsetof(ce_attrs, ignore), "0", 0, 0, "label of rows left out" },
    { "share", HX_F32, offsetof(ce_attrs, share), "0", 0, 1, "share of a label for all V tokens" },
    { 0 }
};

// Labels outside the vocabulary are left out too: whoever brings them in has refused such ones.
static bool counts(int64_t y, int64_t vocabulary, const void *attrs)
{
    return y != ((const ce_attrs *)attrs)->ignore && y >= 0 && y < vocabulary;
}

static float smoothing(const void *attrs) { return ((const ce_attrs *)attrs)->share; }

static void ce_ref(const hx_ref *r)
{
    int64_t v = r->dim[V];
    real e = smoothing(r->attrs);
    for (int64_t i = 0; i < r->dim[R]; i++) {
        const real *z = r->a[0] + i * v;
        real m = z[0], s = 0;
        for (int64_t j = 1; j < v; j++)
            m = fmax(m, z[j]);
        for (int64_t j = 0; j < v; j++)
            s += exp(z[j] - m);
        int64_t y = (int64_t)r->a[1][i];
        r->a[3][i] = m + log(s);
        real all = 0;
        for (int64_t j = 0; j < v && e > 0; j++)
            all += z[j];
        bool in = counts(y, v, r->attrs);
        r->a[2][i] = in ? r->a[3][i] - (e > 0 ? (1 - e) * z[y] + e * all / v : z[y]) : 0;
    }
}

enum { ROWS = 8 };                         // rows a task
enum { CHUNK = 256 };                      // exponentials summed at a time

// Largest logit of a row, and the sum of exp(z - top) in an order that v fixes.
HX_CLONES static void ce_row(const float *z, int64_t v, float *top, float *sum)
{
    float m = z[0], e[CHUNK];
    HX_SUM(s);
    #pragma omp simd reduction(max: m)
    for (int64_t j = 1; j < v; j++)
        m = z[j] > m ? z[j] : m;
    for (int64_t from = 0; from < v; from += CHUNK) {
        int64_t n = hx_min(CHUNK, v - from);
        #pragma omp simd
        for (int64_t j = 0; j < n; j++)
            e[j] = hx_exp_f(z[from + j] - m);
#define BODY(type) s_##type += HX_OF(type, e)
        HX_EACH(n, BODY);
#undef BODY
    }
    *top = m;
    *sum = HX_TOTAL(s);
}

// Sum of z - top over a row.
HX_CLONES static float ce_sum(const float *z, int64_t v, float top)
{
    float e[CHUNK];
    HX_SUM(s);
    for (int64_t from = 0; from < v; from += CHUNK) {
        int64_t n = hx_min(CHUNK, v - from);
        #pragma omp simd
        for (int64_t j = 0; j < n; j++)
            e[j] = z[from + j] - top;
#define BODY(type) s_##type += HX_OF(type, e)
        HX_EACH(n, BODY);
#undef BODY
    }
    return HX_TOTAL(s);
}

static void ce_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    float share = smoothing(c->attrs);
    for (int64_t i = task * ROWS; i < hx_min(c->dim[R], (task + 1) * ROWS); i++) {
        const float *z = (const float *)c->a[0] + i * c->ld[0];
        int64_t y = ((const int32_t *)c->a[1])[i];
        float m, s;
        ce_row(z, c->dim[V], &m, &s);
        s = logf(s);
        bool in = counts(y, c->dim[V], c->attrs);
        float drop = in ? m - z[y] : 0;    // from the top to the label's logit, or to their mix
        if (in && share > 0)
            drop = (1 - share) * drop - share / (float)c->dim[V] * ce_sum(z, c->dim[V], m);
        ((float *)c->a[2])[i] = in ? s + drop : 0;
        ((float *)c->a[3])[i] = m + s;
    }
}

static void ce_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], ROWS), ce_task, (void *)c);
}

static real ce_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    if (arg != 1)
        return NAN;
    // every label as often as any other, and as often one to be ignored; the first row counts
    int64_t y = rnd % (uint32_t)(dim[V] + 1);
    if (y < dim[V] && (i > 0 || counts(y, dim[V], attrs)))
        return (real)y;
    return i > 0 ? ((const ce_attrs *)attrs)->ignore : (real)(dim[V] - 1);
}

// ---- gradient ----------------------------------------------------------------------------
static void ce_bwd_ref(const hx_ref *r)
{
    int64_t v = r->dim[V];
    for (int64_t i = 0; i < r->dim[R]; i++) {
        int64_t y = (int64_t)r->a[1][i];
        bool in = counts(y, v, r->attrs);
        real e = smoothing(r->attrs);
        for (int64_t j = 0; j < v; j++) {
            real label = (1 - e) * (j == y) + e / v;
            r->a[4][i * v + j] = in ? r->a[3][i] * (exp(r->a[0][i * v + j] - r->a[2][i]) - label) : 0;
        }
    }
}

HX_CLONES static void ce_bwd_row(const float *z, float l, float dn, float each, int64_t v, float *dz)
{
    #pragma omp simd
    for (int64_t j = 0; j < v; j++)
        dz[j] = dn * (hx_exp_f(z[j] - l) - each);
}

static void ce_bwd_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t v = c->dim[V];
    for (int64_t i = task * ROWS; i < hx_min(c->dim[R], (task + 1) * ROWS); i++) {
        const float *z = (const float *)c->a[0] + i * c->ld[0];
        float *dz = (float *)c->a[4] + i * v, dn = ((const float *)c->a[3])[i];
        int64_t y = ((const int32_t *)c->a[1])[i];
        if (counts(y, v, c->attrs)) {
            float share = smoothing(c->attrs);
            ce_bwd_row(z, ((const float *)c->a[2])[i], dn, share / (float)v, v, dz);
            dz[y] -= dn * (1 - share);
        } else                             // 0 even where z is not finite
            memset(dz, 0, (size_t)v * sizeof *dz);
    }
}

static void ce_bwd_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], ROWS), ce_bwd_task, (void *)c);
}

// A workgroup takes eight rows where one row would leave most of it without work.
static bool short_rows(const int64_t *dim, const void *attrs)
{
    (void)attrs;
    return dim[V] <= 2048;
}

static bool short_eights(const int64_t *dim, const void *attrs)
{
    return short_rows(dim, attrs) && hx_in_eights(dim, attrs);
}

HX_OP(cross_entropy_bwd,
    .math = "dz[r,v] = dn[r] (exp(z[r,v] - l[r]) - (1-e) [v = y[r]] - e/V), 0 where y[r] = ignore;  "
            "e = share",
    .source = "differentiated from cross_entropy",
    .sig = "z:[R,V] y#[R] l[R] dn[R] -> dz[R,V]",
    .attrs = ce_fields, .attrs_size = sizeof(ce_attrs),
    .ref = ce_bwd_ref, .host = ce_bwd_host, .fill = ce_fill,
    .grid = "R", .terms = "9", .flops = "10*R*V", .alias = "dz=z",
    .kernels = {
        { "cross_entropy_bwd", .spec = "256" },
        { "cross_entropy_bwd", .grid = "R/8", .spec = "32", .fits = short_rows },
        { "cross_entropy_bwd.half", .spec = "256", .fits = hx_in_eights, .precision = HX_AUTO, .half = 16 },
        { "cross_entropy_bwd.half", .grid = "R/8", .spec = "32", .fits = short_eights,
          .precision = HX_AUTO, .half = 16 } },
    .check = "R=1 V=1 ignore=-1; R=3 V=5; R=33 V=257 ignore=3; R=70 V=20 ignore=-100; R=3 V=2500; "
             "R=9 V=50 share=0.1; R=2 V=2100 ignore=-1 share=0.3; R=9 V=40 ignore=3 share=0.1; R=2 V=2504",
    .wrong = "R=3 V=5 l=[4]: argument l does not fit",
    .fuzz = "V=2..4099 -huge -inf",
    .bench = "R=4096 V=256; R=512 V=32000");

static void ce_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(&hx_op_cross_entropy_bwd, n->attrs,
             (hx_t[]){ n->arg[0], n->arg[1], n->arg[3], n->grad[0] }, d);
}

HX_OP(cross_entropy,
    .math = "n[r] = l[r] - (1-e) z[r,y[r]] - e/V sum_v z[r,v], 0 where y[r] = ignore;  "
            "l[r] = log sum_v exp z[r,v],  e = share",
    .source = "definition; smoothed labels: Szegedy et al. 2016, section 7",
    .sig = "z:[R,V] y#[R] -> n[R] l[R]",
    .attrs = ce_fields, .attrs_size = sizeof(ce_attrs),
    .ref = ce_ref, .vjp = ce_vjp, .host = ce_host, .fill = ce_fill,
    .grid = "R", .terms = "V", .flops = "10*R*V",
    .kernels = {
        { "cross_entropy", .spec = "256" },
        { "cross_entropy", .grid = "R/8", .spec = "32", .fits = short_rows } },
    .check = "R=1 V=1 ignore=-1; R=3 V=5; R=33 V=257 ignore=3; R=70 V=20 ignore=-100; R=3 V=2500; "
             "R=9 V=50 share=0.1; R=2 V=2100 ignore=-1 share=0.3",
    .wrong = "R=3 V=5 y=[4]: argument y does not fit",
    .bench = "R=4096 V=256; R=512 V=32000");

hx_t t_cross_entropy(hx_t z, hx_t labels, int ignore)
{
    hx_t out[2] = { HX_NONE, HX_NONE };
    hx_apply(&hx_op_cross_entropy, &(ce_attrs){ ignore, z.tape ? z.tape->smooth : 0 }, (hx_t[]){ z, labels }, out);
    return out[0];
}
