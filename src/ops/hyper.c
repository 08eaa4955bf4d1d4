// hyper.c - hyper-connections: S streams of a token are mixed into T by weights of that token, the
// opposite direction, and the gradient of the weights.
#include "elem.h"
#include "t.h"
#include <math.h>

// dims of hyper_in and hyper_weight: R S D T; of hyper_out: R T D S. `from` and `to` in the middle.
enum { R, FROM, D, TO };

// y[r,to] = c[r,to] + sum over from of weight x[r,from]; step: distances in w of from and to
static void mix_ref(const hx_ref *r, int64_t from_step, int64_t to_step)
{
    const real *x = r->a[0], *w = r->a[1], *c = r->a[2];
    int64_t F = r->dim[FROM], n = r->dim[D], T = r->dim[TO];
    for (int64_t i = 0; i < r->dim[R]; i++)
        for (int64_t t = 0; t < T; t++)
            for (int64_t d = 0; d < n; d++) {
                real sum = c ? c[(i * T + t) * n + d] : 0;
                for (int64_t s = 0; s < F; s++)
                    sum += w[i * F * T + s * from_step + t * to_step] * x[(i * F + s) * n + d];
                r->a[3][(i * T + t) * n + d] = sum;
            }
}

static void hyper_in_ref(const hx_ref *r) { mix_ref(r, r->dim[TO], 1); }
static void hyper_out_ref(const hx_ref *r) { mix_ref(r, 1, r->dim[FROM]); }

static void hyper_weight_ref(const hx_ref *r)
{
    int64_t S = r->dim[FROM], n = r->dim[D], T = r->dim[TO];
    for (int64_t i = 0; i < r->dim[R]; i++)
        for (int64_t s = 0; s < S; s++)
            for (int64_t t = 0; t < T; t++) {
                real sum = 0;
                for (int64_t d = 0; d < n; d++)
                    sum += r->a[0][(i * S + s) * n + d] * r->a[1][(i * T + t) * n + d];
                r->a[2][(i * S + s) * T + t] = sum;
            }
}

enum { TOKENS = 16 };                      // a task

// One token: y[to] = c[to] + sum of w x[from], stream by stream.
HX_INLINE void mix_token(const hx_call *c, int64_t i, bool out)
{
    int64_t F = c->dim[FROM], n = c->dim[D], T = c->dim[TO];
    for (int64_t t = 0; t < T; t++) {
        float *y = hx_at(c, 3, i * T + t, 0);
        const float *add = c->a[2] ? hx_at(c, 2, i * T + t, 0) : NULL;
        for (int64_t d = 0; d < n; d++) y[d] = add ? add[d] : 0;
        for (int64_t s = 0; s < F; s++) {
            float w = out ? *hx_at(c, 1, i * T + t, s) : *hx_at(c, 1, i * F + s, t);
            const float *x = hx_at(c, 0, i * F + s, 0);
            for (int64_t d = 0; d < n; d++) y[d] += w * x[d];
        }
    }
}

HX_CLONES static void hyper_in_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t last = hx_min(c->dim[R], (task + 1) * TOKENS);
    for (int64_t i = task * TOKENS; i < last; i++) mix_token(c, i, false);
}

HX_CLONES static void hyper_out_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t last = hx_min(c->dim[R], (task + 1) * TOKENS);
    for (int64_t i = task * TOKENS; i < last; i++) mix_token(c, i, true);
}

// eight running sums, added as a tree: the same order whatever the vector width
HX_INLINE float dot(const float *x, const float *y, int64_t n)
{
    float s[8] = { 0 };
    int64_t d = 0;
    for (; d + 8 <= n; d += 8)
        for (int k = 0; k < 8; k++) s[k] += x[d + k] * y[d + k];
    for (int k = 0; d + k < n; k++) s[k] += x[d + k] * y[d + k];
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

HX_CLONES static void hyper_weight_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t S = c->dim[FROM], n = c->dim[D], T = c->dim[TO];
    int64_t last = hx_min(c->dim[R], (task + 1) * TOKENS);
    for (int64_t i = task * TOKENS * S; i < last * S; i++)
        for (int64_t t = 0; t < T; t++)
            *hx_at(c, 2, i, t) = dot(hx_at(c, 0, i, 0), hx_at(c, 1, i / S * T + t, 0), n);
}

static void share(const hx_call *c, void (*task)(void *ctx, int64_t i))
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[R], TOKENS), task, (void *)c);
}
static void hyper_in_host(const hx_call *c) { share(c, hyper_in_task); }
static void hyper_out_host(const hx_call *c) { share(c, hyper_out_task); }
static void hyper_weight_host(const hx_call *c) { share(c, hyper_weight_task); }

HX_OP(hyper_weight,
    .math = "w[r,s,t] = x[r,s].y[r,t]", .source = "differentiated from hyper_in",
    .sig = "x:[R,S,D] y:[R,T,D] -> w:[R,S,T]",
    .ref = hyper_weight_ref, .host = hyper_weight_host, .grid = "R*S*T/32", .terms = "D",
    .flops = "2*R*S*T*D", .exact = "1",
    .kernels = { { "hyper_weight", .spec = "8" },
                 { "hyper_weight", .needs = HX_CAP_GPU, .spec = "32", .grid = "R*S*T/8" } },
    .check = "R=1 S=1 D=1 T=1; R=3 S=4 D=33 T=5; R=17 S=1 D=70 T=4; R=40 S=3 D=257 T=1",
    .wrong = "R=3 S=2 D=5 T=1 y=[3,1,4]: argument y does not fit", .fuzz = "S=1..6 T=1..7",
    .bench = "R=2048 S=4 D=512 T=4; R=2048 S=4 D=512 T=1");

extern const hx_op hx_op_hyper_out;

static void hyper_in_vjp(const hx_node *n, hx_t *d)
{
    hx_t dy = n->grad[0];
    if (n->want[0])
        hx_apply(&hx_op_hyper_out, NULL, (hx_t[]){ dy, n->arg[1], HX_NONE }, &d[0]);
    if (n->want[1])
        hx_apply(&hx_op_hyper_weight, NULL, (hx_t[]){ n->arg[0], dy }, &d[1]);
    d[2] = dy;
}

HX_OP(hyper_in,
    .math = "y[r,t] = c[r,t] + sum_s w[r,s,t] x[r,s]",
    .source = "Hyper-Connections, Zhu et al. 2024, eq. 1 and 2: width connections",
    .sig = "x:[R,S,D] w:[R,S,T] c?:[R,T,D] -> y:[R,T,D]",
    .ref = hyper_in_ref, .vjp = hyper_in_vjp, .host = hyper_in_host, .adds = "c", .alias = "y=c",
    .grid = "R*T*D/256", .terms = "S+1", .flops = "2*R*S*T*D", .exact = "1",
    .kernels = { { "hyper_in" } },
    .check = "R=1 S=1 D=1 T=1; R=3 S=4 D=33 T=5 -c; R=17 S=1 D=70 T=4; R=40 S=3 D=257 T=1 -c",
    .wrong = "R=3 S=2 D=5 T=1 x=[3,1,5]: argument", .fuzz = "S=1..6 T=1..7",
    .bench = "R=2048 S=4 D=512 T=4 -c; R=2048 S=4 D=512 T=1 -c");

static void hyper_out_vjp(const hx_node *n, hx_t *d)
{
    hx_t dy = n->grad[0];
    if (n->want[0])
        hx_apply(&hx_op_hyper_in, NULL, (hx_t[]){ dy, n->arg[1], HX_NONE }, &d[0]);
    if (n->want[1])
        hx_apply(&hx_op_hyper_weight, NULL, (hx_t[]){ dy, n->arg[0] }, &d[1]);
    d[2] = dy;
}

HX_OP(hyper_out,
    .math = "y[r,s] = c[r,s] + sum_t w[r,s,t] x[r,t]",
    .source = "Hyper-Connections, Zhu et al. 2024, eq. 1 and 2: depth connections",
    .sig = "x:[R,T,D] w:[R,S,T] c?:[R,S,D] -> y:[R,S,D]",
    .ref = hyper_out_ref, .vjp = hyper_out_vjp, .host = hyper_out_host, .adds = "c",
    .alias = "y=c", .grid = "R*S*D/256", .terms = "T+1", .flops = "2*R*S*T*D", .exact = "1",
    .kernels = { { "hyper_out" } },
    .check = "R=1 S=1 D=1 T=1; R=3 S=5 D=33 T=4 -c; R=17 S=4 D=70 T=1; R=40 S=1 D=257 T=3 -c",
    .wrong = "R=3 S=2 D=5 T=1 c=[3,1,5]: argument", .fuzz = "S=1..6 T=1..7",
    .bench = "R=2048 S=4 D=512 T=4 -c; R=2048 S=4 D=512 T=1");

hx_t t_hyper_in(hx_t x, hx_t w)
{
    hx_t y = HX_NONE;
    hx_apply(&hx_op_hyper_in, NULL, (hx_t[]){ x, w, HX_NONE }, &y);
    return y;
}

hx_t t_hyper_out(hx_t x, hx_t w, hx_t c)
{
    hx_t y = HX_NONE;
    hx_apply(&hx_op_hyper_out, NULL, (hx_t[]){ x, w, c }, &y);
    return y;
}
