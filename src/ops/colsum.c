// colsum.c - sums over rows, and over everything, in a tree fixed by the shape.
#include "elem.h"
#include "t.h"

enum { R, C };
enum { GROUP = 128 };                      // rows summed one after another per level of the tree
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

// dx[i] = dy[i / G]
static void colsum_vjp(const hx_node *n, hx_t *d)
{
    int64_t G = group_of(n->attrs), rows = n->dim[R], cols = n->dim[C];
    hx_t dy = hx_reshape(n->grad[0], 3, (int64_t[]){ 1, hx_ceil_div(rows, G), cols });
    d[0] = hx_reshape(t_repeat(dy, rows, (int)G), 2, (int64_t[]){ rows, cols });
}

HX_OP(colsum,
    .math = "y[p,c] = sum_{i < G} x[p G + i, c]", .source = "definition",
    .sig = "x:[R,C] -> y[R/G,C]", .attrs = colsum_fields, .attrs_size = sizeof(colsum_attrs),
    .ref = colsum_ref, .vjp = colsum_vjp, .host = colsum_host,
    .grid = "R/G*C/256", .terms = "G", .flops = "R*C",
    .kernels = { { "colsum" } },
    .check = "R=1 C=1; R=129 C=1; R=300 C=33; R=7 C=257 G=2; R=64 C=5 G=64",
    .bench = "R=8192 C=512");

hx_t t_colsum(hx_t x)
{
    int64_t cols = hx_dim(x, -1);
    hx_t y = hx_reshape(x, 2, (int64_t[]){ hx_rows(x), cols });
    do {
        hx_t in = y;
        hx_apply(&hx_op_colsum, &(colsum_attrs){ GROUP }, &in, &y);
    } while (hx_rows(y) > 1);
    return hx_reshape(y, 1, &cols);
}

// Down the columns first, then along what is left.
hx_t t_sum(hx_t x)
{
    hx_t y = hx_rows(x) > 1 ? t_colsum(x) : x;
    return t_colsum(hx_reshape(y, 2, (int64_t[]){ hx_elems(y), 1 }));
}
