// add.c - sums and multiples, element by element, and the copy that the tape inserts.
#include "elem.h"
#include "t.h"
#include <string.h>

typedef struct scale_attrs { float s; } scale_attrs;
static const hx_field scale_fields[] = {
    { "s", HX_F32, offsetof(scale_attrs, s), "1", 0, 0, "factor" },
    { 0 }
};

// Values of any rank are applied as [rows, last dimension]; the result gets the shape of `like`.
static hx_t shaped(hx_t y, hx_t like)
{
    const hx_value *v = hx_value_of(like);
    int64_t shape[HX_MAX_RANK];
    int rank = v->rank;
    memcpy(shape, v->shape, sizeof shape);
    return hx_reshape(y, rank, shape);
}

// ---- add ---------------------------------------------------------------------------------
static void add_ref(const hx_ref *r)
{
    int64_t n = r->dim[0] * r->dim[1];
    for (int64_t i = 0; i < n; i++)
        r->a[2][i] = r->a[0][i] + r->a[1][i];
    if (r->a[3])
        memcpy(r->a[3], r->a[2], (size_t)n * sizeof(real));
}

static void add_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    const float *x = hx_at(c, 0, row, from), *y = hx_at(c, 1, row, from);
    float *z = hx_at(c, 2, row, from);
    for (int64_t i = 0; i < n; i++)
        z[i] = x[i] + y[i];
}

static void add_host(const hx_call *c)
{
    hx_each_row(c, 2, add_row);
    hx_twin_rows(c, 2, 3, c->dim[0], c->dim[1]);
}

static void add_vjp(const hx_node *n, hx_t *d) { d[0] = d[1] = n->grad[0]; }

HX_OP(add,
    .math = "z = x + y,  twin = z", .source = "definition",
    .sig = "x:[R,C] y:[R,C] -> z:[R,C] twin?[R,C]", .twin = "twin",
    .ref = add_ref, .vjp = add_vjp, .host = add_host,
    .grid = "R*C/256", .alias = "z=x",
    .kernels = { { "add" }, { "add.half", .grid = "R*C/2048", .fits = hx_in_eights, .precision = HX_AUTO,
                   .half = 8 } },
    .check = "R=1 C=1; R=3 C=257; R=70 C=33 -twin; R=70 C=40; R=5 C=8 -twin",
    .wrong = "R=3 C=5 y=[3,4]: argument y does not fit",
    .exact = "3",
    .bench = "R=4096 C=512 -twin; R=8192 C=512");

hx_t t_add(hx_t x, hx_t y)
{
    hx_t z[2] = { HX_NONE, HX_NONE };
    hx_apply(&hx_op_add, NULL, (hx_t[]){ t_flat(x), t_flat(y) }, z);
    return shaped(z[0], x);
}

// ---- scale -------------------------------------------------------------------------------
static void scale_ref(const hx_ref *r)
{
    real s = ((const scale_attrs *)r->attrs)->s;
    int64_t n = r->dim[0] * r->dim[1];
    for (int64_t i = 0; i < n; i++)
        r->a[1][i] = s * r->a[0][i];
}

static void scale_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    float s = ((const scale_attrs *)c->attrs)->s;
    const float *x = hx_at(c, 0, row, from);
    float *y = hx_at(c, 1, row, from);
    for (int64_t i = 0; i < n; i++)
        y[i] = s * x[i];
}

static void scale_host(const hx_call *c) { hx_each_row(c, 1, scale_row); }

static void scale_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(n->op, n->attrs, &n->grad[0], &d[0]);
}

HX_OP(scale,
    .math = "y = s x", .source = "definition",
    .sig = "x:[R,C] -> y:[R,C]", .attrs = scale_fields, .attrs_size = sizeof(scale_attrs),
    .ref = scale_ref, .vjp = scale_vjp, .host = scale_host,
    .grid = "R*C/256", .alias = "y=x",
    .kernels = { { "scale" } },
    .check = "R=1 C=1 s=2; R=3 C=257 s=-0.37; R=70 C=33 s=0",
    .exact = "1",
    .bench = "R=4096 C=512 s=0.5");

hx_t t_scale(hx_t x, float s)
{
    hx_t y, in = t_flat(x);
    hx_apply(&hx_op_scale, &(scale_attrs){ s }, &in, &y);
    return shaped(y, x);
}

// ---- axpy --------------------------------------------------------------------------------
static void axpy_ref(const hx_ref *r)
{
    real s = ((const scale_attrs *)r->attrs)->s;
    int64_t n = r->dim[0] * r->dim[1];
    for (int64_t i = 0; i < n; i++)
        r->a[2][i] = s * r->a[0][i] + r->a[1][i];
}

static void axpy_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    float s = ((const scale_attrs *)c->attrs)->s;
    const float *x = hx_at(c, 0, row, from), *y = hx_at(c, 1, row, from);
    float *z = hx_at(c, 2, row, from);
    for (int64_t i = 0; i < n; i++)
        z[i] = s * x[i] + y[i];
}

static void axpy_host(const hx_call *c) { hx_each_row(c, 2, axpy_row); }

// dx = s dz,  dy = dz
static void axpy_vjp(const hx_node *n, hx_t *d)
{
    if (n->want[0])
        hx_apply(&hx_op_scale, n->attrs, &n->grad[0], &d[0]);
    d[1] = n->grad[0];
}

HX_OP(axpy,
    .math = "z = s x + y", .source = "definition",
    .sig = "x:[R,C] y:[R,C] -> z:[R,C]", .attrs = scale_fields,
    .attrs_size = sizeof(scale_attrs),
    .ref = axpy_ref, .vjp = axpy_vjp, .host = axpy_host,
    .grid = "R*C/256", .terms = "2", .flops = "2*R*C", .alias = "z=y",
    .kernels = { { "axpy" } },
    .check = "R=1 C=1 s=2; R=3 C=257 s=-0.37; R=70 C=33 s=0.5",
    .exact = "1",
    .bench = "R=4096 C=512 s=0.5");

hx_t t_axpy(hx_t x, hx_t y, float s)
{
    hx_t z;
    hx_apply(&hx_op_axpy, &(scale_attrs){ s }, (hx_t[]){ t_flat(x), t_flat(y) }, &z);
    return shaped(z, x);
}

// ---- copy --------------------------------------------------------------------------------
static void copy_ref(const hx_ref *r)
{
    memcpy(r->a[1], r->a[0], (size_t)(r->dim[0] * r->dim[1]) * sizeof(real));
}

// Bit patterns, never float arithmetic: the tape copies integers with it too.
static void copy_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    memcpy(hx_at(c, 1, row, from), hx_at(c, 0, row, from), (size_t)n * 4);
}

static void copy_host(const hx_call *c) { hx_each_row(c, 1, copy_row); }

static void copy_vjp(const hx_node *n, hx_t *d) { d[0] = n->grad[0]; }

HX_OP(copy,
    .math = "y = x, bit for bit (fp32 or int32)", .source = "definition",
    .sig = "x:[R,C] -> y:[R,C]",
    .ref = copy_ref, .vjp = copy_vjp, .host = copy_host,
    .grid = "R*C/256", .flops = "0",
    .kernels = { { "copy" } },
    .check = "R=1 C=1; R=3 C=257; R=70 C=33",
    .exact = "2",
    .bench = "R=4096 C=512");
