// hits.c - which labels the likeliest class meets, and how many of each sequence: exact integers.
#include "t.h"

enum { R, V };
typedef struct hits_attrs { int32_t ignore; } hits_attrs;
static const hx_field hits_fields[] = {
    { "ignore", HX_I32, offsetof(hits_attrs, ignore), "0", 0, 0, "label of rows left out" },
    { 0 }
};

// As in cross_entropy, labels outside the vocabulary are left out too.
static bool counts(int64_t y, int64_t vocabulary, const void *attrs)
{
    return y != ((const hits_attrs *)attrs)->ignore && y >= 0 && y < vocabulary;
}

static void hits_ref(const hx_ref *r)
{
    int64_t v = r->dim[V];
    for (int64_t i = 0; i < r->dim[R]; i++) {
        const real *z = r->a[0] + i * v;
        int64_t best = 0, y = (int64_t)r->a[1][i];
        for (int64_t j = 1; j < v; j++)
            best = z[j] > z[best] ? j : best;
        r->a[2][i] = counts(y, v, r->attrs) ? best == y : -1;
    }
}

enum { ROWS = 64 };                        // rows a task
static void hits_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t v = c->dim[V], last = hx_min(c->dim[R], (task + 1) * ROWS);
    for (int64_t i = task * ROWS; i < last; i++) {
        const float *z = (const float *)c->a[0] + i * c->ld[0];
        int64_t y = ((const int32_t *)c->a[1])[i];
        int32_t h = counts(y, v, c->attrs) ? 1 : -1;
        for (int64_t j = 0; j < v && h > 0; j++)
            if (j < y ? z[j] >= z[y] : z[j] > z[y])
                h = 0;
        ((int32_t *)c->a[2])[i] = h;
    }
}

static void hits_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], ROWS), hits_task, (void *)c);
}

// Few different logits, so that equal ones are met.
static real hits_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)i;
    if (arg == 0)
        return (real)(rnd % 7) - 3;
    int64_t y = rnd % (uint32_t)(dim[V] + 1);
    return y < dim[V] ? (real)y : ((const hits_attrs *)attrs)->ignore;
}

// A workgroup takes eight rows where one row would leave most of it without work.
static bool short_rows(const int64_t *dim, const void *attrs)
{
    (void)attrs;
    return dim[V] <= 2048;
}

HX_OP(hits,
    .math = "h[r] = 1 if y[r] is the first largest of z[r,:], else 0; -1 where y[r] = ignore",
    .source = "definition",
    .sig = "z:[R,V] y#[R] -> h#[R]",
    .attrs = hits_fields, .attrs_size = sizeof(hits_attrs),
    .ref = hits_ref, .host = hits_host, .fill = hits_fill,
    .grid = "R", .flops = "R*V",
    .kernels = {
        { "hits", .spec = "256" },
        { "hits", .grid = "R/8", .spec = "32", .fits = short_rows } },
    .check = "R=1 V=1 ignore=-1; R=70 V=3; R=33 V=2 ignore=1; R=50 V=20 ignore=-100; R=3 V=2500",
    .wrong = "R=3 V=5 y=[4]: argument y does not fit",
    .bench = "R=4096 V=256; R=512 V=32000");

hx_t t_hits(hx_t z, hx_t labels, int ignore)
{
    hx_t h;
    hx_apply(&hx_op_hits, &(hits_attrs){ ignore }, (hx_t[]){ z, labels }, &h);
    return h;
}

// ---- numbers of each sequence --------------------------------------------------------------
enum { B, T };
static void tally_ref(const hx_ref *r)
{
    for (int64_t b = 0; b < r->dim[B]; b++) {
        real *c = r->a[2] + 2 * b;
        for (int k = 0; k < 2; k++)
            c[k] = r->a[1] ? r->a[1][2 * b + k] : 0;
        for (int64_t t = 0; t < r->dim[T]; t++) {
            real h = r->a[0][b * r->dim[T] + t];
            c[0] += h == 1;
            c[1] += h == 0;
        }
    }
}

static void tally_task(void *ctx, int64_t b)
{
    const hx_call *c = ctx;
    const int32_t *h = (const int32_t *)c->a[0] + b * c->dim[T], *before = c->a[1];
    int32_t n[2] = { 0 };
    for (int64_t t = 0; t < c->dim[T]; t++) {
        n[0] += h[t] == 1;
        n[1] += h[t] == 0;
    }
    for (int k = 0; k < 2; k++)
        ((int32_t *)c->a[2])[2 * b + k] = n[k] + (before ? before[2 * b + k] : 0);
}

static void tally_host(const hx_call *c)
{
    hx_pool_run(c->pool, c->dim[B], tally_task, (void *)c);
}

static real tally_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)i, (void)dim, (void)attrs;
    return arg ? (real)(rnd % 1000) : (real)(rnd % 3) - 1;
}

HX_OP(tally,
    .math = "c[b,0] = number of h[b,t] = 1, c[b,1] = number of h[b,t] = 0, both + before[b,:]",
    .source = "definition",
    .sig = "h#[B,T] before#?[B,2] -> c#[B,2]",
    .ref = tally_ref, .host = tally_host, .fill = tally_fill,
    .grid = "B", .flops = "0",
    .kernels = { { "tally" } },
    .check = "B=1 T=1; B=3 T=1000; B=70 T=5 -before; B=2 T=257",
    .wrong = "B=2 T=3 h=[6]: argument h does not fit",
    .bench = "B=4 T=65536 -before");

hx_t t_tally(hx_t h, hx_t before)
{
    hx_t c;
    hx_apply(&hx_op_tally, NULL, (hx_t[]){ h, before }, &c);
    return c;
}
