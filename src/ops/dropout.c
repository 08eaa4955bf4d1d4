// dropout.c - elements left out at random (Srivastava et al. 2014): which ones is a function of numbers
// that the host writes before a step, so the backward pass leaves out the same.
#include "elem.h"
#include "philox.h"
#include "t.h"
#include <math.h>

enum { R, C };
typedef struct dropout_attrs { float p, scale; int32_t place; } dropout_attrs;
static const hx_field dropout_fields[] = {
    { "p", HX_F32, offsetof(dropout_attrs, p), "0", 0, 0.999, "chance of every element" },
    { "scale", HX_F32, offsetof(dropout_attrs, scale), "1", 0, 1e4, "of those that stay" },
    { "place", HX_I32, offsetof(dropout_attrs, place), "0", 0, INT32_MAX,
      "which of the model's dropouts" },
    { 0 }
};

// Four random words for elements 4 j .. 4 j + 3.
static philox4x32_ctr_t words(const int32_t *dice, int32_t place, int64_t j)
{
    return hx_words(dice, (uint32_t)dice[1] ^ HX_DRAW_ELEMENTS, (uint32_t)j, (uint32_t)place);
}

static void dropout_ref(const hx_ref *r)
{
    const dropout_attrs *a = r->attrs;
    int32_t dice[4];
    for (int i = 0; i < 4; i++)
        dice[i] = (int32_t)r->a[1][i];
    for (int64_t i = 0; i < r->dim[R] * r->dim[C]; i++)
        r->a[2][i] = words(dice, a->place, i / 4).v[i % 4] < hx_least(a->p) ? 0 : a->scale * r->a[0][i];
}

enum { ROWS = 16 };                        // rows a task
static void dropout_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const dropout_attrs *a = c->attrs;
    int64_t n = c->dim[C], last = -1;
    uint32_t from = hx_least(a->p);
    philox4x32_ctr_t w = {{ 0 }};
    for (int64_t r = task * ROWS; r < hx_min(c->dim[R], (task + 1) * ROWS); r++) {
        const float *x = hx_at(c, 0, r, 0);
        float *y = hx_at(c, 2, r, 0);
        for (int64_t k = 0; k < n; k++) {
            int64_t i = r * n + k;
            if (i / 4 != last)
                w = words(c->a[1], a->place, last = i / 4);
            y[k] = w.v[i % 4] < from ? 0 : a->scale * x[k];
        }
    }
}

static void dropout_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], ROWS), dropout_task, (void *)c);
}

static real dropout_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)i, (void)dim, (void)attrs;
    return arg == 1 ? (real)(int32_t)rnd : NAN;
}

static void dropout_vjp(const hx_node *n, hx_t *d)
{
    if (n->want[0])
        hx_apply(n->op, n->attrs, (hx_t[]){ n->grad[0], n->arg[1] }, &d[0]);
}

HX_OP(dropout,
    .math = "y[i] = 0 where philox(dice, place, i) < p, else scale x[i]",
    .source = "Srivastava et al. 2014; Philox4x32-10: Salmon et al. 2011",
    .sig = "x:[R,C] dice#[4] -> y:[R,C]",
    .attrs = dropout_fields, .attrs_size = sizeof(dropout_attrs),
    .ref = dropout_ref, .vjp = dropout_vjp, .host = dropout_host, .fill = dropout_fill,
    .grid = "R*C/1024", .flops = "R*C", .alias = "y=x", .kernels = { { "dropout" } },
    .check = "R=1 C=1 p=0.5 scale=2; R=70 C=33 p=0.1 scale=1.25 place=3; R=3 C=257 p=0.9; R=9 C=1030",
    .wrong = "R=3 C=2 dice=[3]: argument dice does not fit",
    .fuzz = "place=0..500", .bench = "R=4096 C=512 p=0.1");

hx_t t_dropout(hx_t x, hx_t dice, double p, int place)
{
    hx_t y = HX_NONE;
    if (!hx_is(dice) || !x.id)
        return x;
    dropout_attrs a = { (float)p, (float)(1 / (1 - p)), place };
    hx_apply(&hx_op_dropout, &a, (hx_t[]){ t_flat(x), dice }, &y);
    return y.id ? hx_reshape(y, hx_value_of(x)->rank, hx_value_of(x)->shape) : y;
}
