// narrow.c - a copy for those who round what they read: a planner stores it in 16 bits.
#include "elem.h"
#include "t.h"
#include <string.h>

extern const hx_op hx_op_narrow;

static void narrow_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[0] * r->dim[1]; i++)
        r->a[1][i] = r->a[0][i];
}

static void narrow_row(const hx_call *c, int64_t row, int64_t from, int64_t n)
{
    memcpy(hx_at(c, 1, row, from), hx_at(c, 0, row, from), (size_t)n * 4);
}

static void narrow_host(const hx_call *c) { hx_each_row(c, 1, narrow_row); }

static void narrow_vjp(const hx_node *n, hx_t *d) { d[0] = n->grad[0]; }

// Weights are there in the backward pass anyway.
static bool narrow_cheap(const hx_node *n)
{
    const hx_tape *t = n->arg[0].tape;
    return t->storage[hx_value_of(n->arg[0])->storage].place == HX_PARAM;
}

HX_OP(narrow,
    .math = "y = x, rounded where the device is open for 16 bits", .source = "definition",
    .sig = "x:[R,C] -> y:[R,C]",
    .ref = narrow_ref, .vjp = narrow_vjp, .host = narrow_host,
    .cheap = narrow_cheap,
    .grid = "R*C/256", .flops = "0",
    .kernels = { { "copy" }, { "narrow", .grid = "R*C/2048", .fits = hx_in_eights,
                   .precision = HX_AUTO, .rounds = 1, .half = 3 } },
    .check = "R=1 C=1; R=3 C=257; R=70 C=40; R=5 C=8",
    .exact = "2",
    .bench = "R=8192 C=512");

// the node that makes the memory behind x
static const hx_node *maker(hx_t x)
{
    int node = hx_value_of(x)->node;
    const hx_node *n = node < 0 ? NULL : &x.tape->node[node];
    return n && n->op->view && n->n_in == 1 && n->n_out == 1 ? maker(n->arg[0]) : n;
}

// Can what makes x, or all its parts, write it in 16 bits? Then a copy would gain nothing.
static bool made_narrow(hx_t x)
{
    const hx_node *n = maker(x);
    const hx_storage *s = &x.tape->storage[hx_value_of(x)->storage];
    if (n && n->op->view && n->n_out == 1) {
        int parts = 0;
        while (parts < n->n_in && &x.tape->storage[hx_value_of(n->arg[parts])->storage] == s &&
               made_narrow(n->arg[parts]))
            parts++;
        return parts == n->n_in;
    }
    if (!n || n->op->view)
        return false;
    for (int i = 0; i < HX_MAX_ROWS && n->op->kernels[i].name; i++)
        for (int k = n->n_in; k < n->n_in + n->n_out; k++)
            if (n->op->kernels[i].half >> k & 1 && hx_is(n->arg[k]) &&
                &x.tape->storage[hx_value_of(n->arg[k])->storage] == s)
                return true;
    return false;
}

hx_t t_narrow(hx_t x)
{
    hx_tape *t = x.tape;
    if (!hx_is(x) || !x.id || !t->narrow || hx_dim(x, -1) % HX_HALF_EIGHT || made_narrow(x))
        return x;
    const hx_value *v = hx_value_of(x);
    if (v->narrow)
        return (hx_t){ t, v->narrow };
    int rank = v->rank;
    int64_t shape[HX_MAX_RANK];
    memcpy(shape, v->shape, sizeof shape);
    hx_t y = hx_twin(x);
    if (!hx_is(y)) {
        hx_t flat = t_flat(x);
        hx_apply(&hx_op_narrow, NULL, &flat, &y);
        y = hx_reshape(y, rank, shape);
    }
    t->value[x.id].narrow = y.id;
    return y;
}
