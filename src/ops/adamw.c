// adamw.c - one step of Adam over flat arrays, with decoupled or with plain weight decay.
#include "elem.h"
#include "t.h"
#include <math.h>

enum { P, G, M, V, F, K, P2, M2, V2 };     // arguments
static const hx_field adam_fields[] = {
    { "beta1", HX_F32, offsetof(hx_optim_conf, beta1), "0.9", 0, 1, "decay of the mean" },
    { "beta2", HX_F32, offsetof(hx_optim_conf, beta2), "0.999", 0, 1, "decay of the square" },
    { "eps", HX_F32, offsetof(hx_optim_conf, eps), "1e-8", 0, 1, "added to the denominator" },
    { "weight_decay", HX_F32, offsetof(hx_optim_conf, weight_decay), "0.01", 0, 1e6,
      "per unit of learning rate" },
    { 0 }
};

static void step_ref(const hx_ref *r, bool decoupled)
{
    const hx_optim_conf *a = r->attrs;
    const real *k = r->a[K], lr = k[HX_STEP_LR];
    for (int64_t i = 0; i < r->dim[0]; i++) {
        real p = r->a[P][i], g = r->a[G][i] * r->a[F][0];
        if (r->a[F][0] < 0) {
            r->a[P2][i] = p;
            r->a[M2][i] = r->a[M][i];
            r->a[V2][i] = r->a[V][i];
            continue;
        }
        if (decoupled)
            p -= lr * a->weight_decay * p;
        else if (a->weight_decay != 0)
            g += a->weight_decay * p;
        real m = a->beta1 * r->a[M][i] + (1 - (real)a->beta1) * g;
        real v = a->beta2 * r->a[V][i] + (1 - (real)a->beta2) * g * g;
        r->a[M2][i] = m;
        r->a[V2][i] = v;
        real denominator = sqrt(v) / sqrt(k[HX_STEP_BIAS2]) + a->eps;
        r->a[P2][i] = p - lr / k[HX_STEP_BIAS1] * m / denominator;
    }
}

// What one step multiplies with, once for all elements.
typedef struct { float f, keep, decay, b1, b2, eps, rate, root2; } factors;
static factors factors_of(const hx_call *c, bool decoupled)
{
    const hx_optim_conf *a = c->attrs;
    const float *k = c->a[K], wd = a->weight_decay;
    return (factors){
        .f = *(const float *)c->a[F],
        .keep = decoupled ? 1 - k[HX_STEP_LR] * wd : 1, .decay = decoupled ? 0 : wd,
        .b1 = a->beta1, .b2 = a->beta2, .eps = a->eps,
        .rate = k[HX_STEP_LR] / k[HX_STEP_BIAS1], .root2 = 1 / sqrtf(k[HX_STEP_BIAS2]),
    };
}

// Arrays of outputs may be those of inputs: an element is read before it is written.
enum { BLOCK = 1 << 14 };                  // elements a task
HX_CLONES static void step_block(const hx_call *c, const factors *factor, int64_t block)
{
    factors k = *factor;
    int64_t from = block * BLOCK, n = hx_min(BLOCK, c->dim[0] - from);
    const float *p = (const float *)c->a[P] + from, *g = (const float *)c->a[G] + from;
    const float *m = (const float *)c->a[M] + from, *v = (const float *)c->a[V] + from;
    float *p2 = (float *)c->a[P2] + from;
    float *m2 = (float *)c->a[M2] + from, *v2 = (float *)c->a[V2] + from;
    if (k.f < 0) {                         // a step that is left out
        memmove(p2, p, (size_t)n * sizeof *p);
        memmove(m2, m, (size_t)n * sizeof *m);
        memmove(v2, v, (size_t)n * sizeof *v);
        return;
    }
    #pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float d = g[i] * k.f;
        if (k.decay != 0)                  // else a p that is not finite stays out of the means
            d += p[i] * k.decay;
        float mean = k.b1 * m[i] + (1 - k.b1) * d, square = k.b2 * v[i] + (1 - k.b2) * d * d;
        p2[i] = p[i] * k.keep - k.rate * mean / (sqrtf(square) * k.root2 + k.eps);
        m2[i] = mean;
        v2[i] = square;
    }
}

static void adamw_task(void *ctx, int64_t i)
{
    factors k = factors_of(ctx, true);
    step_block(ctx, &k, i);
}

static void adam_task(void *ctx, int64_t i)
{
    factors k = factors_of(ctx, false);
    step_block(ctx, &k, i);
}

static void adamw_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[0], BLOCK), adamw_task, (void *)c);
}

static void adam_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[0], BLOCK), adam_task, (void *)c);
}

static void adamw_ref(const hx_ref *r) { step_ref(r, true); }
static void adam_ref(const hx_ref *r) { step_ref(r, false); }

// Squares, bias corrections and the factor are positive; the rest is around zero. 300 weights are
// left out.
static real adam_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)attrs;
    real u = (rnd & 0xffff) / 65536.0;
    if (arg == V)
        return u;
    if (arg == F)
        return dim[0] == 300 ? -1 : 0.1 + u;
    if (arg != K)
        return NAN;
    return i == HX_STEP_LR ? 0.01 : 0.1 + 0.5 * u;
}

HX_OP(adamw,
    .math = "p2 = p - lr wd p - lr/b1 m2 / (sqrt(v2/b2) + eps),  m2, v2 = means of f g, (f g)^2;  "
            "f < 0: all as they are",
    .source = "Loshchilov & Hutter 2019, algorithm 2; order of operations as in torch.optim.AdamW",
    .sig = "p[N] g[N] m[N] v[N] f[1] k[16] -> p2[N] m2[N] v2[N]",
    .attrs = adam_fields, .attrs_size = sizeof(hx_optim_conf),
    .ref = adamw_ref, .host = adamw_host, .fill = adam_fill,
    .grid = "N/1024", .terms = "4", .flops = "16*N", .alias = "p2=p m2=m v2=v",
    .kernels = { { "adamw" } },
    .check = "N=1; N=257 weight_decay=0; N=300; N=40000 beta1=0.5 eps=1e-3",
    .wrong = "N=3 g=[4]: argument g does not fit",
    .bench = "N=16777216");

HX_OP(adam,
    .math = "p2 = p - lr/b1 m2 / (sqrt(v2/b2) + eps),  m2, v2 = means of f g + wd p and its "
            "square;  f < 0: all as they are",
    .source = "Kingma & Ba 2015, algorithm 1; weight decay as in torch.optim.Adam",
    .sig = "p[N] g[N] m[N] v[N] f[1] k[16] -> p2[N] m2[N] v2[N]",
    .attrs = adam_fields, .attrs_size = sizeof(hx_optim_conf),
    .ref = adam_ref, .host = adam_host, .fill = adam_fill,
    .grid = "N/1024", .terms = "4", .flops = "16*N", .alias = "p2=p m2=m v2=v",
    .kernels = { { "adam" } },
    .check = "N=1; N=257 weight_decay=0; N=300; N=40000 beta1=0.5 eps=1e-3",
    .wrong = "N=3 g=[4]: argument g does not fit",
    .bench = "N=16777216");

static void update(const hx_op *op, const hx_optim_conf *k, const hx_t *in)
{
    hx_t out[3];
    hx_apply(op, k, in, out);
    hx_deliver(out[0], in[P], false);
    hx_deliver(out[1], in[M], false);
    hx_deliver(out[2], in[V], false);
}

void t_adamw(const hx_optim_conf *k, hx_t step, hx_t factor, hx_t p, hx_t g, hx_t m, hx_t v)
{
    update(&hx_op_adamw, k, (hx_t[]){ p, g, m, v, factor, step });
}

void t_adam(const hx_optim_conf *k, hx_t step, hx_t factor, hx_t p, hx_t g, hx_t m, hx_t v)
{
    update(&hx_op_adam, k, (hx_t[]){ p, g, m, v, factor, step });
}
