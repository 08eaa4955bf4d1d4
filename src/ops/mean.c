// mean.c - the mean over the rows whose label counts.
#include "t.h"
#include <math.h>

enum { R };
typedef struct mean_attrs { int32_t ignore; } mean_attrs;
static const hx_field mean_fields[] = {
    { "ignore", HX_I32, offsetof(mean_attrs, ignore), "0", 0, 0, "label of rows left out" },
    { 0 }
};

static int32_t ignored(const void *attrs) { return ((const mean_attrs *)attrs)->ignore; }

static void mean_ref(const hx_ref *r)
{
    real s = 0, k = 0;
    for (int64_t i = 0; i < r->dim[R]; i++)
        if ((int32_t)r->a[1][i] != ignored(r->attrs))
            s += r->a[0][i], k++;
    r->a[2][0] = s / k;
    r->a[3][0] = k;
}

// 64 sums side by side, as a column of rows each, then a tree.
enum { SUMS = 64 };
static void mean_host(const hx_call *c)
{
    const float *n = c->a[0];
    const int32_t *y = c->a[1];
    float s[SUMS] = { 0 };
    int64_t count = 0;
    for (int64_t i = 0; i < c->dim[R]; i++)
        if (y[i] != ignored(c->attrs))
            s[i % SUMS] += n[i], count++;
    for (int k = SUMS / 2; k; k /= 2)
        for (int i = 0; i < k; i++)
            s[i] += s[i + k];
    *(float *)c->a[2] = count ? s[0] / (float)count : NAN;
    *(int32_t *)c->a[3] = (int32_t)count;
}

// A label that counts comes first, so that there is a mean.
static real mean_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)dim;
    if (arg != 1)
        return NAN;
    return i > 0 && rnd % 3 == 0 ? ignored(attrs) : ignored(attrs) + 1 + (real)(rnd % 7);
}

static const char *mean_wrong(const int64_t *dim, const void *attrs)
{
    (void)attrs;
    return dim[R] <= 15000000 ? NULL : "more than 15 million rows";
}

// ---- gradient ----------------------------------------------------------------------------
static void mean_bwd_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[R]; i++)
        r->a[3][i] = (int32_t)r->a[0][i] != ignored(r->attrs) ? r->a[2][0] / r->a[1][0] : 0;
}

static void mean_bwd_host(const hx_call *c)
{
    const int32_t *y = c->a[0];
    float dn = *(const float *)c->a[2] / (float)*(const int32_t *)c->a[1];
    for (int64_t i = 0; i < c->dim[R]; i++)
        ((float *)c->a[3])[i] = y[i] != ignored(c->attrs) ? dn : 0;
}

static real mean_bwd_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    return arg == 1 ? (real)dim[R] : arg == 0 ? mean_fill(1, i, rnd, dim, attrs) : NAN;
}

HX_OP(valid_mean_bwd,
    .math = "dn[r] = dm/k where y[r] != ignore, else 0",
    .source = "differentiated from valid_mean",
    .sig = "y#[R] k#[1] dm[1] -> dn[R]",
    .attrs = mean_fields, .attrs_size = sizeof(mean_attrs),
    .ref = mean_bwd_ref, .host = mean_bwd_host, .fill = mean_bwd_fill, .grid = "R/256",
    .kernels = { { "valid_mean_bwd" } },
    .check = "R=1; R=257 ignore=-1; R=1000 ignore=3",
    .wrong = "R=3 dm=[2]: argument dm does not fit",
    .bench = "R=65536");

static void mean_vjp(const hx_node *n, hx_t *d)
{
    if (hx_is(n->grad[0]))
        hx_apply(&hx_op_valid_mean_bwd, n->attrs,
                 (hx_t[]){ n->arg[1], n->arg[3], n->grad[0] }, d);
}

HX_OP(valid_mean,
    .math = "m = sum of n[r] over y[r] != ignore / k,  k = number of those rows",
    .source = "PyTorch's cross_entropy with ignore_index; 0/0 is NaN there, too",
    .sig = "n[R] y#[R] -> m[1] k#[1]",
    .attrs = mean_fields, .attrs_size = sizeof(mean_attrs),
    .ref = mean_ref, .vjp = mean_vjp, .host = mean_host, .fill = mean_fill,
    .wrong_if = mean_wrong, .grid = "1", .terms = "R", .flops = "R",
    .kernels = { { "valid_mean" } },
    .check = "R=1; R=257 ignore=-1; R=1000 ignore=3; R=65600",
    .wrong = "R=3 y=[2]: argument y does not fit",
    .bench = "R=65536");

hx_t t_valid_mean(hx_t n, hx_t labels, int ignore)
{
    hx_t out[2];
    hx_apply(&hx_op_valid_mean, &(mean_attrs){ ignore }, (hx_t[]){ n, labels }, out);
    return out[0];
}

// ---- the mean in parts: the sum of some rows over the number of all -------------------------
static void count_ref(const hx_ref *r)
{
    real k = 0;
    for (int64_t i = 0; i < r->dim[R]; i++)
        k += (int32_t)r->a[0][i] != ignored(r->attrs);
    r->a[1][0] = fmax(k, 1);
}

static void count_host(const hx_call *c)
{
    const int32_t *y = c->a[0];
    int64_t k = 0;
    for (int64_t i = 0; i < c->dim[R]; i++)
        k += y[i] != ignored(c->attrs);
    *(int32_t *)c->a[1] = (int32_t)hx_max(k, 1);
}

static real count_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    return arg == 0 ? mean_fill(1, i, rnd, dim, attrs) : NAN;
}

HX_OP(count_valid,
    .math = "k = number of rows with y[r] != ignore, at least 1", .source = "definition",
    .sig = "y#[R] -> k#[1]",
    .attrs = mean_fields, .attrs_size = sizeof(mean_attrs),
    .ref = count_ref, .host = count_host, .fill = count_fill,
    .wrong_if = mean_wrong, .grid = "1", .flops = "0",
    .kernels = { { "count_valid" } },
    .check = "R=1; R=257 ignore=-1; R=1000 ignore=3; R=65600",
    .wrong = "R=3 y=[3,1]: argument y does not fit",
    .bench = "R=65536");

static void share_ref(const hx_ref *r)
{
    real s = 0;
    for (int64_t i = 0; i < r->dim[R]; i++)
        if ((int32_t)r->a[1][i] != ignored(r->attrs))
            s += r->a[0][i];
    r->a[3][0] = s / r->a[2][0];
}

static void share_host(const hx_call *c)
{
    const float *n = c->a[0];
    const int32_t *y = c->a[1];
    float s[SUMS] = { 0 };
    for (int64_t i = 0; i < c->dim[R]; i++)
        if (y[i] != ignored(c->attrs))
            s[i % SUMS] += n[i];
    for (int k = SUMS / 2; k; k /= 2)
        for (int i = 0; i < k; i++)
            s[i] += s[i + k];
    *(float *)c->a[3] = s[0] / (float)*(const int32_t *)c->a[2];
}

// Of more rows than these, so that the number of all is not that of the part.
static real share_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    return arg == 2 ? (real)(2 * dim[R]) : mean_fill(arg, i, rnd, dim, attrs);
}

static void share_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(&hx_op_valid_mean_bwd, n->attrs, (hx_t[]){ n->arg[1], n->arg[2], n->grad[0] }, d);
}

HX_OP(valid_share,
    .math = "s = sum of n[r] over y[r] != ignore / k", .source = "definition",
    .sig = "n[R] y#[R] k#[1] -> s[1]",
    .attrs = mean_fields, .attrs_size = sizeof(mean_attrs),
    .ref = share_ref, .vjp = share_vjp, .host = share_host, .fill = share_fill,
    .wrong_if = mean_wrong, .grid = "1", .terms = "R", .flops = "R",
    .kernels = { { "valid_share" } },
    .check = "R=1; R=257 ignore=-1; R=1000 ignore=3; R=65600",
    .wrong = "R=3 y=[2]: argument y does not fit",
    .bench = "R=65536");

hx_t t_count_valid(hx_t labels, int ignore)
{
    hx_t k;
    hx_apply(&hx_op_count_valid, &(mean_attrs){ ignore }, &labels, &k);
    return k;
}

hx_t t_valid_share(hx_t n, hx_t labels, hx_t count, int ignore)
{
    hx_t s;
    hx_apply(&hx_op_valid_share, &(mean_attrs){ ignore }, (hx_t[]){ n, labels, count }, &s);
    return s;
}
