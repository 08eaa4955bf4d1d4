// colsum.c - sums over rows, and over everything, in a tree fixed by the shape.
#include "elem.h"
#include "t.h"

extern const hx_op hx_op_colsum, hx_op_spread;
enum { R, C };
// rows summed per level of the tree; so many as FEW at once, where there are columns to share out
enum { GROUP = 128, FEW = 512 };
typedef struct colsum_attrs { int32_t G; } colsum_attrs;
static const hx_field colsum_fields[] = {
    { "G", HX_I32, offsetof(colsum_attrs, G), "128", 1, 4096, "rows that one sum takes" },
    { 0 }
};

static int64_t group_of(const void *attrs) { return ((const colsum_attrs *)attrs)->G; }

static void colsum_ref(const hx_ref *r)
{
    int64_t G = group_of(r->attrs), P = hx_ceil_div(r->dim[R], G);
    for (int64_t p = 0; p < P; p++)
        for (int64_t c = 0; c < r->dim[C]; c++) {
            real s = 0;
            for (int64_t i = p * G; i < hx_min(r->dim[R], (p + 1) * G); i++)
                s += r->a[0][i * r->dim[C] + c];
            r->a[1][p * r->dim[C] + c] = s;
        }
}

// One task: one row of sums.
static void colsum_task(void *ctx, int64_t p)
{
    const hx_call *c = ctx;
    int64_t G = group_of(c->attrs), n = c->dim[C], last = hx_min(c->dim[R], (p + 1) * G);
    float *restrict y = (float *)c->a[1] + p * n;
    if (n == 1) {
        float s = 0;
        for (int64_t i = p * G; i < last; i++)
            s += *hx_at(c, 0, i, 0);
        *y = s;
        return;
    }
    for (int64_t j = 0; j < n; j++)
        y[j] = 0;
    for (int64_t i = p * G; i < last; i++) {
        const float *restrict x = hx_at(c, 0, i, 0);
        for (int64_t j = 0; j < n; j++)
            y[j] += x[j];
    }
}

static void colsum_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], group_of(c->attrs)), colsum_task, (void *)c);
}

// ---- spread: what colsum's gradient is -----------------------------------------------------
typedef struct spread_attrs { int32_t n, G; } spread_attrs;
static const hx_field spread_fields[] = {
    { "n", HX_I32, offsetof(spread_attrs, n), "1", 1, INT32_MAX, "rows of the result" },
    { "G", HX_I32, offsetof(spread_attrs, G), "128", 1, 4096, "times that a row is repeated" },
    { 0 }
};

static const char *spread_wrong(const int64_t *dim, const void *attrs)
{
    const spread_attrs *a = attrs;
    return hx_ceil_div(a->n, a->G) == dim[0] ? NULL : "n / G must be the number of rows";
}

static void spread_ref(const hx_ref *r)
{
    const spread_attrs *a = r->attrs;
    for (int64_t i = 0; i < a->n; i++)
        for (int64_t c = 0; c < r->dim[C]; c++)
            r->a[1][i * r->dim[C] + c] = r->a[0][i / a->G * r->dim[C] + c];
}

static void spread_vjp(const hx_node *n, hx_t *d)
{
    int32_t G = ((const spread_attrs *)n->attrs)->G;
    hx_apply(&hx_op_colsum, &(colsum_attrs){ G }, &n->grad[0], &d[0]);
}

HX_OP(spread,
    .math = "y[i,c] = x[i / G, c]", .source = "differentiated from colsum",
    .sig = "x:[P,C] -> y[n,C]", .attrs = spread_fields, .attrs_size = sizeof(spread_attrs),
    .ref = spread_ref, .vjp = spread_vjp, .wrong_if = spread_wrong,
    .grid = "n*C/256", .flops = "0",
    .kernels = { { "spread" } },
    .check = "P=1 C=1 n=1 G=1; P=3 C=257 n=8 G=3; P=2 C=33 n=256 G=128",
    .wrong = "P=3 C=4 n=10 G=3: number of rows",
    .fuzz = "G=1..300 n=P*G-G+1..P*G", .exact = "2",
    .bench = "P=64 C=512 n=8192");

// ---- colsum --------------------------------------------------------------------------------
static void colsum_vjp(const hx_node *n, hx_t *d)
{
    spread_attrs a = { (int32_t)n->dim[R], (int32_t)group_of(n->attrs) };
    hx_apply(&hx_op_spread, &a, &n->grad[0], &d[0]);
}

static bool wide(const int64_t *dim, const void *attrs)
{
    return dim[C] >= 16 && hx_ceil_div(dim[R], group_of(attrs)) < 65536;
}

static bool eights(const int64_t *dim, const void *attrs)
{
    return dim[C] % HX_HALF_EIGHT == 0 && wide(dim, attrs);
}

HX_OP(colsum,
    .math = "y[p,c] = sum_{i < G} x[p G + i, c]", .source = "definition",
    .sig = "x:[R,C] -> y[R/G,C]", .attrs = colsum_fields, .attrs_size = sizeof(colsum_attrs),
    .ref = colsum_ref, .vjp = colsum_vjp, .host = colsum_host,
    .grid = "R/G*C/256", .terms = "G", .flops = "R*C",
    .kernels = { { "colsum" }, { "colsum.wide", .needs = HX_CAP_GPU, .grid = "C/32, R/G", .fits = wide },
                 { "colsum.half", .grid = "C/64, R/G", .fits = eights,
                   .precision = HX_AUTO, .rounds = 1, .half = 1 } },
    .check = "R=1 C=1; R=129 C=1; R=300 C=33; R=7 C=257 G=2; R=64 C=5 G=64",
    .fuzz = "G=1..300", .exact = "3",
    .bench = "R=8192 C=512");

hx_t t_colsum(hx_t x)
{
    int64_t cols = hx_dim(x, -1);
    hx_t y = hx_reshape(x, 2, (int64_t[]){ hx_rows(x), cols });
    do {
        hx_t in = y;
        int64_t rows = hx_rows(y);
        hx_apply(&hx_op_colsum, &(colsum_attrs){ rows <= FEW && cols >= 64 ? FEW : GROUP }, &in, &y);
    } while (y.id && hx_rows(y) > 1);
    return hx_reshape(y, 1, &cols);
}

// Down the columns first, then along what is left.
hx_t t_sum(hx_t x)
{
    hx_t y = hx_rows(x) > 1 ? t_colsum(x) : x;
    return t_colsum(hx_reshape(y, 2, (int64_t[]){ hx_elems(y), 1 }));
}
