// swap.c - two neighbouring dimensions change places: batch and time, heads and halves.
#include "t.h"
#include <string.h>

enum { A, P, Q, D };
enum { ROWS = 64 };                        // rows of the result a task

static void swap_ref(const hx_ref *r)
{
    int64_t p_n = r->dim[P], q_n = r->dim[Q], d = r->dim[D];
    for (int64_t a = 0; a < r->dim[A]; a++)
        for (int64_t q = 0; q < q_n; q++)
            for (int64_t p = 0; p < p_n; p++)
                for (int64_t i = 0; i < d; i++)
                    r->a[1][((a * q_n + q) * p_n + p) * d + i] =
                        r->a[0][((a * p_n + p) * q_n + q) * d + i];
}

static void swap_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t p_n = c->dim[P], q_n = c->dim[Q], d = c->dim[D];
    int64_t last = hx_min(c->dim[A] * p_n * q_n, (task + 1) * ROWS);
    for (int64_t row = task * ROWS; row < last; row++) {
        int64_t a = row / (p_n * q_n), q = row / p_n % q_n, p = row % p_n;
        const float *x = (const float *)c->a[0] + ((a * p_n + p) * q_n + q) * c->ld[0];
        memcpy((float *)c->a[1] + row * c->ld[1], x, (size_t)d * sizeof(float));
    }
}

static void swap_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[A] * c->dim[P] * c->dim[Q], ROWS), swap_task, (void *)c);
}

static void swap_vjp(const hx_node *n, hx_t *d) { d[0] = t_swap(n->grad[0]); }

HX_OP(swap,
    .math = "y[a,q,p] = x[a,p,q]", .source = "definition",
    .sig = "x:[A,P,Q,D] -> y:[A,Q,P,D]",
    .ref = swap_ref, .vjp = swap_vjp, .host = swap_host, .grid = "A*P*Q/16", .flops = "0",
    .kernels = { { "swap" } },
    .check = "A=1 P=1 Q=1 D=1; A=2 P=3 Q=5 D=1; A=1 P=7 Q=4 D=33; A=3 P=2 Q=9 D=70",
    .wrong = "A=1 P=2 Q=3 D=4 x=[2,3,4]: argument x does not fit",
    .bench = "A=1 P=2048 Q=4 D=512; A=512 P=8 Q=2 D=64");

hx_t t_swap(hx_t x)
{
    hx_t y = HX_NONE;
    hx_apply(&hx_op_swap, NULL, &x, &y);
    return y;
}

// ---- ids in the order of time ---------------------------------------------------------------
enum { IB, IN_ };                          // its dims: B N
typedef struct turn_attrs { int32_t m, from; } turn_attrs;
static const hx_field turn_fields[] = {
    { "m", HX_I32, offsetof(turn_attrs, m), NULL, 1, INT32_MAX, "tokens taken" },
    { "from", HX_I32, offsetof(turn_attrs, from), "0", 0, INT32_MAX, "the first of them" },
    { 0 }
};

static void turn_ref(const hx_ref *r)
{
    const turn_attrs *a = r->attrs;
    for (int64_t t = 0; t < a->m; t++)
        for (int64_t b = 0; b < r->dim[IB]; b++)
            r->a[1][t * r->dim[IB] + b] = r->a[0][b * r->dim[IN_] + a->from + t];
}

static void turn_host(const hx_call *c)
{
    const turn_attrs *a = c->attrs;
    const int32_t *ids = c->a[0];
    int32_t *y = c->a[1];
    for (int64_t t = 0; t < a->m; t++)
        for (int64_t b = 0; b < c->dim[IB]; b++)
            y[t * c->dim[IB] + b] = ids[b * c->dim[IN_] + a->from + t];
}

static const char *turn_wrong(const int64_t *dim, const void *attrs)
{
    const turn_attrs *a = attrs;
    return (int64_t)a->from + a->m <= dim[IN_] ? NULL : "more tokens are taken than a row has";
}

static real turn_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)arg, (void)i, (void)dim, (void)attrs;
    return rnd % 50000;
}

HX_OP(turn_ids,
    .math = "y[t,b] = ids[b, from + t],  t < m", .source = "definition",
    .sig = "ids#[B,N] -> y#[m,B]", .attrs = turn_fields, .attrs_size = sizeof(turn_attrs),
    .ref = turn_ref, .host = turn_host, .fill = turn_fill, .wrong_if = turn_wrong,
    .grid = "B*m/256", .flops = "0", .kernels = { { "turn_ids" } },
    .check = "B=1 N=1 m=1; B=3 N=10 m=7 from=2; B=2 N=300 m=300",
    .wrong = "B=2 N=7 m=6 from=2: more tokens are taken than a row has",
    .bench = "B=4 N=2049 m=2048 from=1");

hx_t t_turn_ids(hx_t ids, int64_t from, int64_t m)
{
    hx_t y = HX_NONE;
    hx_apply(&hx_op_turn_ids, &(turn_attrs){ (int32_t)m, (int32_t)from }, &ids, &y);
    return y;
}
