// delay.c - a sequence moved along time, with zeros where nothing moves in: padding, cropping and
// causal shifts.
#include "t.h"
#include <string.h>

extern const hx_op hx_op_delay;

enum { B, T, D };
typedef struct delay_attrs { int32_t n, shift; } delay_attrs;
static const hx_field delay_fields[] = {
    { "n", HX_I32, offsetof(delay_attrs, n), NULL, 1, INT32_MAX, "tokens of the result" },
    { "shift", HX_I32, offsetof(delay_attrs, shift), "0", 0, 0, "tokens later; negative: earlier" },
    { 0 }
};

static void delay_ref(const hx_ref *r)
{
    const delay_attrs *a = r->attrs;
    for (int64_t b = 0; b < r->dim[B]; b++)
        for (int64_t t = 0; t < a->n; t++)
            for (int64_t i = 0; i < r->dim[D]; i++) {
                int64_t from = t - a->shift;
                bool there = from >= 0 && from < r->dim[T];
                r->a[1][(b * a->n + t) * r->dim[D] + i] =
                    there ? r->a[0][(b * r->dim[T] + from) * r->dim[D] + i] : 0;
            }
}

enum { ROWS = 64 };                        // rows of the result a task
static void delay_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const delay_attrs *a = c->attrs;
    size_t bytes = (size_t)c->dim[D] * sizeof(float);
    int64_t last = hx_min(c->dim[B] * a->n, (task + 1) * ROWS);
    for (int64_t row = task * ROWS; row < last; row++) {
        int64_t from = row % a->n - a->shift;
        float *y = (float *)c->a[1] + row * c->ld[1];
        if (from < 0 || from >= c->dim[T])
            memset(y, 0, bytes);
        else
            memcpy(y, (const float *)c->a[0] + (row / a->n * c->dim[T] + from) * c->ld[0], bytes);
    }
}

static void delay_host(const hx_call *c)
{
    int64_t rows = c->dim[B] * ((const delay_attrs *)c->attrs)->n;
    hx_pool_run(c->pool, hx_ceil_div(rows, ROWS), delay_task, (void *)c);
}

static const char *delay_wrong(const int64_t *dim, const void *attrs)
{
    const delay_attrs *a = attrs;
    bool far = a->shift == INT32_MIN || dim[T] > INT32_MAX;
    return far ? "a sequence can be moved by at most 2^31 - 1 tokens" : NULL;
}

// what moved later moves back
static void delay_vjp(const hx_node *n, hx_t *d)
{
    delay_attrs a = { (int32_t)n->dim[T], -((const delay_attrs *)n->attrs)->shift };
    hx_apply(&hx_op_delay, &a, n->grad, d);
}

HX_OP(delay,
    .math = "y[b,t] = x[b, t - shift], 0 outside", .source = "definition",
    .sig = "x:[B,T,D] -> y:[B,n,D]",
    .attrs = delay_fields, .attrs_size = sizeof(delay_attrs),
    .ref = delay_ref, .vjp = delay_vjp, .host = delay_host, .wrong_if = delay_wrong,
    .grid = "B*n/4", .flops = "0", .cheap = hx_always_cheap,
    .kernels = { { "delay" } },
    .check = "B=1 T=1 D=1 n=1; B=2 T=7 D=3 n=9 shift=2; B=2 T=9 D=70 n=5 shift=-3; "
             "B=3 T=5 D=33 n=6; B=1 T=4 D=5 n=4 shift=9; B=1 T=4 D=5 n=3 shift=-6",
    .wrong = "B=1 T=2 D=5 n=2 x=[2,5]: argument x does not fit",
    .bench = "B=4 T=1024 D=256 n=1024 shift=3");

hx_t t_delay(hx_t x, int64_t n, int64_t shift)
{
    hx_t y;
    hx_apply(&hx_op_delay, &(delay_attrs){ (int32_t)n, (int32_t)shift }, &x, &y);
    return y;
}
