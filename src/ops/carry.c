// carry.c - what is left of earlier steps: states begin anew where a document does, and memories
// have as many keys as there were tokens.
#include "t.h"
#include <math.h>

// ---- renew: a row whose document begins gets its initial state ------------------------------
enum { B, A, C };
typedef struct renew_attrs { int32_t flip; } renew_attrs;
static const hx_field renew_fields[] = {
    { "flip", HX_I32, offsetof(renew_attrs, flip), "0", 0, 1, "1: the other way round" },
    { 0 }
};

static void renew_ref(const hx_ref *r)
{
    const real *age = r->a[0], *old = r->a[1], *init = r->a[2];
    bool flip = ((const renew_attrs *)r->attrs)->flip;
    for (int64_t i = 0; i < r->dim[A] * r->dim[B] * r->dim[C]; i++)
        r->a[3][i] = (age[i / r->dim[C] % r->dim[B]] > 0) != flip ? old[i] : init ? init[i] : 0;
}

static void renew_task(void *ctx, int64_t row)
{
    const hx_call *c = ctx;
    int64_t n = c->dim[C];
    bool keep = (((const int32_t *)c->a[0])[row % c->dim[B]] > 0)
                != ((const renew_attrs *)c->attrs)->flip;
    const float *from = c->a[keep ? 1 : 2];
    float *y = (float *)c->a[3] + row * n;
    for (int64_t i = 0; i < n; i++)
        y[i] = from ? from[row * n + i] : 0;
}

static void renew_host(const hx_call *c)
{
    hx_pool_run(c->pool, c->dim[A] * c->dim[B], renew_task, (void *)c);
}

static real age_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)i, (void)dim, (void)attrs;
    return arg == 0 ? rnd % 3 ? (real)(rnd % 50) : 0 : NAN;
}

static void renew_vjp(const hx_node *n, hx_t *d);

HX_OP(renew,
    .math = "y[a,b] = old[a,b] where age[b] > 0, else init[a,b], or 0 without; flip: the other way",
    .source = "definition",
    .sig = "age#[B] old[A,B,C] init?[A,B,C] -> y[A,B,C]",
    .attrs = renew_fields, .attrs_size = sizeof(renew_attrs),
    .ref = renew_ref, .vjp = renew_vjp, .host = renew_host, .fill = age_fill,
    .grid = "A*B*C/1024", .flops = "0",
    .kernels = { { "renew" } },
    .check = "A=1 B=1 C=1; A=3 B=4 C=33 -init; A=1 B=5 C=700; A=7 B=3 C=256 flip=1; "
             "A=2 B=2 C=600 flip=1 -init",
    .wrong = "A=2 B=3 C=4 age=[2]: argument old does not fit",
    .fuzz = "flip=0..1", .exact = "2",
    .bench = "A=1 B=4 C=262144; A=512 B=4 C=512");

static void renew_vjp(const hx_node *n, hx_t *d)
{
    const renew_attrs *a = (const renew_attrs *)n->attrs;
    for (int i = 1; i < 3; i++)
        if (n->want[i])
            hx_apply(&hx_op_renew, &(renew_attrs){ i == 1 ? a->flip : !a->flip },
                     (hx_t[]){ n->arg[0], n->grad[0], HX_NONE }, &d[i]);
}

hx_t t_renew(hx_t age, hx_t old, hx_t init)
{
    hx_t y = HX_NONE;
    hx_apply(&hx_op_renew, &(renew_attrs){ 0 }, (hx_t[]){ age, old, init }, &y);
    return y;
}

// ---- older: ages some tokens later ----------------------------------------------------------
typedef struct older_attrs { int32_t plus; } older_attrs;
static const hx_field older_fields[] = {
    { "plus", HX_I32, offsetof(older_attrs, plus), "0", 0, 1 << 30, "tokens" },
    { 0 }
};

static void older_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[0]; i++)
        r->a[2][i] = r->a[1] && r->a[1][i] != 0
                         ? 0 : r->a[0][i] + ((const older_attrs *)r->attrs)->plus;
}

static void older_host(const hx_call *c)
{
    const int32_t *age = c->a[0], *drop = c->a[1];
    for (int64_t i = 0; i < c->dim[0]; i++)
        ((int32_t *)c->a[2])[i] = drop && drop[i] ? 0 : age[i] + ((const older_attrs *)c->attrs)->plus;
}

static real older_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)i, (void)dim, (void)attrs;
    return arg == 0 ? rnd % 1000 : rnd % 2;
}

HX_OP(older,
    .math = "y[b] = 0 where drop[b] is not 0, else age[b] + plus", .source = "definition",
    .sig = "age#[B] drop?#[B] -> y#[B]",
    .attrs = older_fields, .attrs_size = sizeof(older_attrs),
    .ref = older_ref, .host = older_host, .fill = older_fill,
    .grid = "B/64", .flops = "0",
    .kernels = { { "older" } },
    .check = "B=1; B=70 plus=3; B=300 plus=7 -drop",
    .wrong = "B=2 drop=[3]: argument drop does not fit",
    .fuzz = "plus=0..1000",
    .bench = "B=64 plus=3");

hx_t t_older(hx_t age, hx_t drop, int64_t plus)
{
    hx_t y = HX_NONE;
    hx_apply(&hx_op_older, &(older_attrs){ (int32_t)plus }, (hx_t[]){ age, drop }, &y);
    return y;
}

// ---- gone: how many slots of a memory nothing has come to yet -------------------------------
typedef struct gone_attrs { int32_t size, plus, unit, per; } gone_attrs;
static const hx_field gone_fields[] = {
    { "size", HX_I32, offsetof(gone_attrs, size), NULL, 1, 1 << 30, "slots of the memory" },
    { "plus", HX_I32, offsetof(gone_attrs, plus), "0", -(1 << 30), 1 << 30, "added to the age" },
    { "unit", HX_I32, offsetof(gone_attrs, unit), "1", 1, 1 << 30, "so many tokens become" },
    { "per", HX_I32, offsetof(gone_attrs, per), "1", 0, 1 << 30, "so many slots" },
    { 0 }
};

static void gone_ref(const hx_ref *r)
{
    const gone_attrs *a = r->attrs;
    for (int64_t i = 0; i < r->dim[0]; i++) {
        real had = floor(fmax(r->a[0][i] + a->plus, 0) / a->unit) * a->per;
        r->a[2][i] = a->size - fmin(had, a->size) + (r->a[1] ? r->a[1][i] : 0);
    }
}

static void gone_host(const hx_call *c)
{
    const gone_attrs *a = c->attrs;
    const int32_t *age = c->a[0], *more = c->a[1];
    for (int64_t i = 0; i < c->dim[0]; i++) {
        int64_t had = hx_max((int64_t)age[i] + a->plus, 0) / a->unit * a->per;
        ((int32_t *)c->a[2])[i] = (int32_t)(a->size - hx_min(had, a->size)) + (more ? more[i] : 0);
    }
}

static real gone_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)i, (void)dim, (void)attrs;
    return arg == 0 ? rnd % 2000 : rnd % 100;
}

HX_OP(gone,
    .math = "y[b] = more[b] + size - min(size, floor(max(age[b] + plus, 0) / unit) per)",
    .source = "definition",
    .sig = "age#[B] more?#[B] -> y#[B]",
    .attrs = gone_fields, .attrs_size = sizeof(gone_attrs),
    .ref = gone_ref, .host = gone_host, .fill = gone_fill,
    .grid = "B/64", .flops = "0",
    .kernels = { { "gone" } },
    .check = "B=1 size=5; B=70 size=900 plus=-40; B=300 size=512 plus=7 unit=64 per=16 -more; "
             "B=9 size=1000000 unit=2 per=1000000",
    .wrong = "B=2 size=3 more=[3]: argument more does not fit",
    .fuzz = "size=1..2000 plus=-300..300 unit=1..50 per=0..9",
    .bench = "B=64 size=512");

hx_t t_gone(hx_t age, hx_t more, int64_t size, int64_t plus, int64_t unit, int64_t per)
{
    hx_t y = HX_NONE;
    gone_attrs a = { (int32_t)size, (int32_t)plus, (int32_t)unit, (int32_t)per };
    hx_apply(&hx_op_gone, &a, (hx_t[]){ age, more }, &y);
    return y;
}
