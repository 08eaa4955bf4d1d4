// window_ids.c - windows of token ids: labels that follow the inputs, and what a compressed
// token has to reconstruct.
#include "t.h"

enum { B, N };
typedef struct window_attrs { int32_t m, width, stride, offset; } window_attrs;
static const hx_field window_fields[] = {
    { "m", HX_I32, offsetof(window_attrs, m), NULL, 1, INT32_MAX, "windows a sequence" },
    { "width", HX_I32, offsetof(window_attrs, width), "1", 1, INT32_MAX, "ids a window" },
    { "stride", HX_I32, offsetof(window_attrs, stride), "1", 1, INT32_MAX, "ids between windows" },
    { "offset", HX_I32, offsetof(window_attrs, offset), "0", 0, 0, "start of the first window" },
    { 0 }
};

// Position in the sequence of the i-th id of all windows of one sequence.
static int64_t position(const window_attrs *a, int64_t i)
{
    return i / a->width * a->stride + a->offset + i % a->width;
}

static void window_ids_ref(const hx_ref *r)
{
    const window_attrs *a = r->attrs;
    int64_t n = r->dim[N], count = (int64_t)a->m * a->width;
    for (int64_t b = 0; b < r->dim[B]; b++)
        for (int64_t i = 0; i < count; i++) {
            int64_t p = position(a, i);
            r->a[1][b * count + i] = p >= 0 && p < n ? r->a[0][b * n + p] : 0;
        }
}

static void window_ids_task(void *ctx, int64_t b)
{
    const hx_call *c = ctx;
    const window_attrs *a = c->attrs;
    int64_t n = c->dim[N], count = (int64_t)a->m * a->width;
    const int32_t *ids = (const int32_t *)c->a[0] + b * n;
    int32_t *y = (int32_t *)c->a[1] + b * count;
    for (int64_t i = 0; i < count; i++) {
        int64_t p = position(a, i);
        y[i] = p >= 0 && p < n ? ids[p] : 0;
    }
}

static void window_ids_host(const hx_call *c)
{
    hx_pool_run(c->pool, c->dim[B], window_ids_task, (void *)c);
}

static real window_ids_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)arg, (void)i, (void)dim, (void)attrs;
    return rnd % 50000;
}

HX_OP(window_ids,
    .math = "y[b,j,i] = ids[b, j stride + offset + i], 0 outside", .source = "definition",
    .sig = "ids#[B,N] -> y#[B,m,width]",
    .attrs = window_fields, .attrs_size = sizeof(window_attrs),
    .ref = window_ids_ref, .host = window_ids_host, .fill = window_ids_fill,
    .grid = "B*m*width/256", .flops = "0",
    .kernels = { { "window_ids" } },
    .check = "B=1 N=1 m=1; B=2 N=7 m=6 offset=1; B=3 N=10 m=5 width=4 stride=2 offset=-3; "
             "B=2 N=300 m=300 width=8 offset=-7",
    .wrong = "B=2 N=7 m=6 ids=[7]: argument ids does not fit",
    .fuzz = "m=1..N+3 width=1..9 stride=1..9 offset=0-9..9", .exact = "2",
    .bench = "B=4 N=1025 m=1024 width=8 offset=-7");

hx_t t_window_ids(hx_t ids, int64_t m, int width, int stride, int offset)
{
    hx_t y;
    hx_apply(&hx_op_window_ids, &(window_attrs){ (int32_t)m, width, stride, offset }, &ids, &y);
    return y;
}
