// follow.c - the moving mean of weights over steps.
#include "elem.h"
#include "t.h"

enum { E, P, K, E2 };                      // arguments

static void follow_ref(const hx_ref *r)
{
    for (int64_t i = 0; i < r->dim[0]; i++)
        r->a[E2][i] = r->a[E][i] + r->a[K][HX_STEP_EMA] * (r->a[P][i] - r->a[E][i]);
}

enum { BLOCK = 1 << 14 };                  // elements a task
HX_CLONES static void follow_block(const hx_call *c, int64_t block)
{
    int64_t from = block * BLOCK, n = hx_min(BLOCK, c->dim[0] - from);
    const float *e = (const float *)c->a[E] + from, *p = (const float *)c->a[P] + from;
    float *e2 = (float *)c->a[E2] + from, rate = ((const float *)c->a[K])[HX_STEP_EMA];
    #pragma omp simd
    for (int64_t i = 0; i < n; i++)
        e2[i] = e[i] + rate * (p[i] - e[i]);
}

static void follow_task(void *ctx, int64_t i) { follow_block(ctx, i); }

static void follow_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[0], BLOCK), follow_task, (void *)c);
}

HX_OP(follow,
    .math = "e2 = e + rate (p - e)",
    .source = "definition of an exponential moving average; rate is 1 - decay",
    .sig = "e[N] p[N] k[16] -> e2[N]",
    .ref = follow_ref, .host = follow_host,
    .grid = "N/1024", .terms = "2", .flops = "3*N", .alias = "e2=e",
    .kernels = { { "follow" } },
    .check = "N=1; N=257; N=40000",
    .wrong = "N=3 p=[4]: argument p does not fit",
    .bench = "N=16777216");

void t_follow(hx_t step, hx_t e, hx_t p)
{
    hx_t out;
    hx_apply(&hx_op_follow, NULL, (hx_t[]){ e, p, step }, &out);
    hx_deliver(out, e, false);
}
