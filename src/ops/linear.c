// linear.c - the affine layer with its activation and residual in one pass.
#include "act.h"
#include "gemm.h"
#include "t.h"
#include <string.h>

enum { R, I, O };                          // dims
enum { X, W, B, RES, Y, H };               // arguments
extern const hx_op hx_op_linear, hx_op_act, hx_op_act_bwd, hx_op_matmul_nn;

static void linear_ref(const hx_ref *r)
{
    const int64_t *d = r->dim;
    int act = ((const hx_act_attrs *)r->attrs)->act;
    for (int64_t i = 0; i < d[R]; i++)
        for (int64_t o = 0; o < d[O]; o++) {
            real s = r->a[B] ? r->a[B][o] : 0;
            for (int64_t j = 0; j < d[I]; j++)
                s += r->a[X][i * d[I] + j] * r->a[W][o * d[I] + j];
            if (r->a[H])
                r->a[H][i * d[O] + o] = s;
            r->a[Y][i * d[O] + o] = hx_act_real(act, s) + (r->a[RES] ? r->a[RES][i * d[O] + o] : 0);
        }
}

static void linear_host(const hx_call *c)
{
    hx_gemm_run(&(hx_gemm){ .tb = true, .M = c->dim[R], .K = c->dim[I], .N = c->dim[O],
        .a = c->a[X], .lda = c->ld[X], .b = c->a[W], .ldb = c->ld[W], .bias = c->a[B],
        .c = c->a[RES], .ldc = c->ld[RES], .y = c->a[Y], .ldy = c->ld[Y],
        .h = c->a[H], .ldh = c->ld[H], .act = ((const hx_act_attrs *)c->attrs)->act }, c->pool);
}

static hx_t product(const hx_op *op, hx_t a, hx_t b)
{
    hx_t y;
    hx_apply(op, NULL, (hx_t[]){ a, b, HX_NONE }, &y);
    return y;
}

// dh = act'(h) dy. An h that was not kept is made again.
static hx_t dh_of(const hx_node *n)
{
    const hx_act_attrs *a = (const hx_act_attrs *)n->attrs;
    if (!a->act)
        return n->grad[0];
    hx_t out[2] = { n->arg[H], HX_NONE }, dh;
    if (!hx_is(out[0]))
        hx_apply(n->op, NULL, (hx_t[]){ n->arg[X], n->arg[W], n->arg[B], HX_NONE }, out);
    hx_apply(&hx_op_act_bwd, a, (hx_t[]){ n->grad[0], out[0] }, &dh);
    return dh;
}

// dx = dh w,  dw = dh^T x,  db = sum_r dh,  dr = dy
static void linear_vjp(const hx_node *n, hx_t *d)
{
    if (n->want[X] || n->want[W] || n->want[B]) {
        hx_t dh = t_narrow(dh_of(n));
        if (n->want[X])
            d[X] = product(&hx_op_matmul_nn, dh, n->arg[W]);
        if (n->want[W])
            d[W] = t_matmul_tn(dh, n->arg[X]);
        if (n->want[B])
            d[B] = t_colsum(dh);
    }
    if (n->want[RES])
        d[RES] = n->grad[0];
}

// An activation is made again from h, which the backward pass keeps anyway.
static bool linear_cheap(const hx_node *n)
{
    bool kept = hx_is(n->arg[H]) && !hx_value_of(n->arg[H])->recompute;
    return kept && !hx_is(n->arg[RES]);
}

static hx_t linear_again(const hx_node *n)
{
    hx_t y;
    hx_apply(&hx_op_act, n->attrs, &n->arg[H], &y);
    return y;
}

static bool few(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_few_tiles(d[R], d[O]);
}

static bool many(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_many_tiles(d[R], d[O]);
}

static bool most(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_most_tiles(d[R], d[O]);
}

static bool all(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_all_tiles(d[R], d[O]);
}

static bool whole(const int64_t *d, const void *attrs)
{
    (void)attrs;
    return hx_whole_tiles(d[R], d[O], d[I]);
}

HX_OP(linear,
    .math = "h = x w^T + b,  y = act(h) + r", .source = "definition",
    .sig = "x:[R,I] w[O,I] b?[O] r?:[R,O] -> y:[R,O] h?[R,O]",
    .attrs = hx_act_fields, .attrs_size = sizeof(hx_act_attrs),
    .ref = linear_ref, .vjp = linear_vjp, .host = linear_host,
    .cheap = linear_cheap, .again = linear_again,
    .terms = "I+8*act", .flops = "2*R*I*O", .adds = "r", .alias = "y=r",
    .kernels = HX_PRODUCT_ROWS("linear", "R", "O", "64", few, many, most, all, whole,
                               1 << X | 1 << W | 1 << Y | 1 << H),
    .check = "R=1 I=1 O=1; R=5 I=33 O=7 act=1; R=70 I=17 O=130 act=2 -b; R=65 I=64 O=64 -r -h;"
             " R=64 I=128 O=64 act=1 -b -r -h; R=3 I=40 O=200 act=2 -h; R=9 I=16 O=5 -b -r;"
             " R=260 I=9 O=520 act=1 -h; R=260 I=9 O=520 -h -r; R=2048 I=3 O=1024 -b -r -h;"
             " R=2048 I=72 O=1536 -b -h; R=2048 I=64 O=1536 act=1 -r",
    .wrong = "R=3 I=5 O=4 w=[4,4]: argument w does not fit",
    .exact = "3-3*act",
    .bench = "R=4096 I=512 O=2048 act=1 -r; R=4096 I=2048 O=512 -h; R=512 I=512 O=512 -h");

static bool wants(hx_t x) { return hx_is(x) && hx_value_of(x)->wants_grad; }

hx_t t_linear(hx_t x, hx_t w, hx_t b, hx_act act, hx_t r)
{
    const hx_value *v = hx_value_of(x);
    int rank = v->rank;
    int64_t shape[HX_MAX_RANK], O_ = hx_dim(w, 0);
    memcpy(shape, v->shape, sizeof shape);
    bool keep = act && (wants(x) || wants(w) || wants(b));
    hx_t out[2] = { HX_NONE, keep ? HX_WANT(x.tape) : HX_NONE };
    hx_t in[4] = { t_narrow(x), t_narrow(w), b, r };
    if (rank != 2) {
        in[0] = t_flat(in[0]);
        if (hx_is(r))
            in[3] = hx_reshape(r, 2, (int64_t[]){ hx_rows(r), hx_dim(r, -1) });
    }
    hx_apply(&hx_op_linear, &(hx_act_attrs){ (int32_t)act }, in, out);
    // both outputs are made again by one product
    hx_tape *t = x.tape;
    if (keep && t->frugal == HX_KEEP_LEAST && t->backward_from < 0 && !hx_is(r))
        t->value[out[0].id].recompute = t->value[out[1].id].recompute = true;
    if (rank == 2)
        return out[0];
    shape[rank - 1] = O_;
    return hx_reshape(out[0], rank, shape);
}
