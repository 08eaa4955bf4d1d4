// rmsnorm_eps.c - norm of a row by its root mean square with eps under the root, as in torch.nn.RMSNorm.
#include "rows.h"
#include "shift.h"
#include "t.h"
#include <math.h>

extern const hx_op hx_op_rmsnorm_bwd;
enum { B, T, D };
typedef struct eps_attrs { float eps; } eps_attrs;
static const hx_field eps_fields[] = {
    { "eps", HX_F32, offsetof(eps_attrs, eps), "1.1920929e-7", 1e-30, 1, "under the root" },
    { 0 }
};

static void rmsnorm_eps_ref(const hx_ref *f)
{
    int64_t d = f->dim[D];
    real eps = ((const eps_attrs *)f->attrs)->eps;
    for (int64_t row = 0; row < f->dim[B] * f->dim[T]; row++) {
        const real *x = f->a[0] + row * d;
        real ss = 0;
        for (int64_t j = 0; j < d; j++) ss += x[j] * x[j];
        real r = 1 / sqrt(ss / (real)d + eps);
        f->a[3][row] = r;
        for (int64_t j = 0; j < d; j++) f->a[2][row * d + j] = x[j] * r * f->a[1][j];
    }
}

HX_CLONES static void rmsnorm_eps_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const float *g = c->a[1];
    float eps = ((const eps_attrs *)c->attrs)->eps;
    int64_t d = c->dim[D], many = hx_rows_per_task(d);
    int64_t end = hx_min((task + 1) * many, c->dim[B] * c->dim[T]);
    for (int64_t row = task * many; row < end; row++) {
        const float *x = (const float *)c->a[0] + row * c->ld[0];
        float *y = (float *)c->a[2] + row * c->ld[2];
        HX_SUM(ss);
#define SQUARES(type) ss_##type += HX_OF(type, x) * HX_OF(type, x)
        HX_EACH(d, SQUARES);
        float r = 1 / sqrtf(HX_TOTAL(ss) / (float)d + eps);
        ((float *)c->a[3])[row] = r;
#define SCALE(type) HX_AT(type, y) = HX_OF(type, x) * r * HX_OF(type, g)
        HX_EACH(d, SCALE);
    }
}

static void rmsnorm_eps_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[B] * c->dim[T], c->dim[D], rmsnorm_eps_rows);
}

// given r, the gradient is that of rmsnorm
static void rmsnorm_eps_vjp(const hx_node *n, hx_t *d)
{
    hx_t out[3] = { HX_NONE, HX_NONE, HX_NONE };
    hx_apply(&hx_op_rmsnorm_bwd, &(hx_shift_attrs){ 0 },
             (hx_t[]){ n->grad[0], n->arg[0], n->arg[1], n->arg[3], HX_NONE }, out);
    d[0] = out[0];
    if (n->want[1]) d[1] = t_colsum(out[1]);
}

// r is for the gradient only: nothing flows back through it.
HX_OP(rmsnorm_eps,
    .math = "y = x r g,  r = 1 / sqrt(mean x^2 + eps)",
    .source = "Zhang & Sennrich 2019, eq. 4, with the eps of torch.nn.RMSNorm",
    .sig = "x:[B,T,D] g[D] -> y:[B,T,D] r[B,T]",
    .attrs = eps_fields, .attrs_size = sizeof(eps_attrs),
    .ref = rmsnorm_eps_ref, .vjp = rmsnorm_eps_vjp, .host = rmsnorm_eps_host,
    .cheap = hx_always_cheap, .grid = "B*T/16", .terms = "D", .flops = "4*B*T*D",
    .kernels = { { "rmsnorm_eps", .spec = "8", .grid = "B*T/32" },
                 { "rmsnorm_eps", .needs = HX_CAP_GPU, .spec = "64", .grid = "B*T/4" } },
    .check = "B=1 T=1 D=1; B=1 T=1 D=5 eps=1e-3; B=2 T=3 D=2; B=2 T=19 D=33 eps=1e-5;"
             "B=2 T=5 D=257; B=1 T=2 D=1030",
    .wrong = "B=2 T=3 D=5 g=[4]: argument g does not fit",
    .bench = "B=4 T=1024 D=512; B=1 T=8192 D=1024");

hx_t t_rmsnorm_eps(hx_t x, hx_t g, float eps)
{
    hx_t y[2] = { HX_NONE, HX_NONE };
    hx_apply(&hx_op_rmsnorm_eps, &(eps_attrs){ eps }, (hx_t[]){ x, g }, y);
    return y[0];
}
