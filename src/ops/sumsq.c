// sumsq.c - the sum of squares of many numbers, in blocks.
#include "rows.h"
#include "t.h"

// Numbers a block; a power of two that 256 invocations share. Partial sums do not depend on how
// an arena is cut, as long as the cuts are multiples of this.
enum { BLOCK = 4096 };

static void sumsq_ref(const hx_ref *r)
{
    int64_t n = r->dim[0];
    for (int64_t i = 0; i < n; i += BLOCK) {
        real s = 0;
        for (int64_t j = i; j < hx_min(n, i + BLOCK); j++)
            s += r->a[0][j] * r->a[0][j];
        r->a[1][i / BLOCK] = s;
    }
}

HX_CLONES static float sum_of_squares(const float *g, int64_t n)
{
    HX_SUM(s);
#define BODY(type) s_##type += HX_OF(type, g) * HX_OF(type, g)
    HX_EACH(n, BODY);
#undef BODY
    return HX_TOTAL(s);
}

enum { BLOCKS = 16 };                      // a task
static void sumsq_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t n = c->dim[0], blocks = hx_ceil_div(n, BLOCK);
    for (int64_t p = task * BLOCKS; p < hx_min(blocks, (task + 1) * BLOCKS); p++)
        ((float *)c->a[1])[p * c->ld[1]] =
            sum_of_squares((const float *)c->a[0] + p * BLOCK, hx_min(BLOCK, n - p * BLOCK));
}

static void sumsq_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[0], BLOCK * BLOCKS), sumsq_task, (void *)c);
}

HX_OP(sumsq,
    .math = "p[i] = sum of g[j]^2 over 4096 i <= j < 4096 (i+1)", .source = "definition",
    .sig = "g[N] -> p:[N/4096,1]",
    .ref = sumsq_ref, .host = sumsq_host,
    .grid = "N/4096", .terms = "4096", .flops = "2*N",
    .kernels = { { "sumsq" } },
    .check = "N=1; N=4096; N=4097; N=20000; N=70001",
    .wrong = "N=4 g=[2,2]: argument g does not fit",
    .fuzz = "N=1..40000", .exact = "3",
    .bench = "N=16777216");

hx_t t_sumsq(hx_t g)
{
    hx_t p;
    hx_apply(&hx_op_sumsq, NULL, &g, &p);
    return p;
}
