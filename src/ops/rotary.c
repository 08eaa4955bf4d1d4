// rotary.c - rotary position embedding: pairs of channels turned by an angle that grows with t.
#include "attention.h"
#include <math.h>

typedef struct rotary_attrs { int32_t heads, axial; int32_t inverse; } rotary_attrs;
static const hx_field rotary_fields[] = {
    { "heads", HX_I32, offsetof(rotary_attrs, heads), "1", 1, 65535, "heads" },
    { "axial", HX_I32, offsetof(rotary_attrs, axial), "1", 1, 1 << 30, "tokens per position" },
    { "inverse", HX_I32, offsetof(rotary_attrs, inverse), "0", 0, 1, "1: turn back (transposed)" },
    { 0 }
};

// dims: B T D P K
static void rotary_ref(const hx_ref *r)
{
    const rotary_attrs *a = r->attrs;
    int64_t T = r->dim[1], D = r->dim[2], K = r->dim[4], half = K / 2;
    for (int64_t row = 0; row < r->dim[0] * T; row++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t j = 0; j < half; j++) {
                const real *cs = r->a[1] + row % T / a->axial * K;
                int64_t at = row*D + h*K + j;
                real x1 = r->a[0][at], x2 = r->a[0][at + half];
                real c = cs[j], s = a->inverse ? -cs[j + half] : cs[j + half];
                r->a[2][at] = x1*c - x2*s;
                r->a[2][at + half] = x2*c + x1*s;
            }
}

static const char *rotary_wrong(const int64_t *dim, const void *attrs)
{
    const rotary_attrs *a = attrs;
    if (a->heads < 1 || dim[2] != a->heads * dim[4]) return "x must be heads times as wide as cs";
    if (dim[4] % 2) return "a head needs an even number of channels";
    if (a->axial < 1) return "axial must be at least 1";
    if (hx_ceil_div(dim[1], a->axial) > dim[3]) return "cs has fewer positions than x";
    return NULL;
}

// ---- dcs: what a table that is learnt gets -------------------------------------------------
typedef struct dcs_attrs { int32_t heads, axial, inverse, positions; } dcs_attrs;
static const hx_field dcs_fields[] = {
    { "heads", HX_I32, offsetof(dcs_attrs, heads), "1", 1, 65535, "heads" },
    { "axial", HX_I32, offsetof(dcs_attrs, axial), "1", 1, 1 << 30, "tokens per position" },
    { "inverse", HX_I32, offsetof(dcs_attrs, inverse), "0", 0, 1, "1: turned back" },
    { "positions", HX_I32, offsetof(dcs_attrs, positions), "1", 1, 1 << 30, "rows of cs" },
    { 0 }
};

static const char *rotary_dcs_wrong(const int64_t *dim, const void *attrs)
{
    const dcs_attrs *a = attrs;
    if (a->heads < 1 || dim[2] % a->heads) return "heads must divide the width of x";
    if (dim[2] / a->heads % 2) return "a head needs an even number of channels";
    if (a->axial < 1) return "axial must be at least 1";
    if (hx_ceil_div(dim[1], a->axial) > a->positions) return "cs has fewer positions than x";
    return NULL;
}

static void rotary_dcs_ref(const hx_ref *r)
{
    const dcs_attrs *a = r->attrs;
    int64_t T = r->dim[1], D = r->dim[2], K = D / a->heads, half = K / 2;
    for (int64_t i = 0; i < a->positions * K; i++) r->a[2][i] = 0;
    for (int64_t row = 0; row < r->dim[0] * T; row++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t j = 0; j < half; j++) {
                real *dcs = r->a[2] + row % T / a->axial * K;
                const real *x = r->a[0] + row*D + h*K + j, *dy = r->a[1] + row*D + h*K + j;
                real ds = dy[half]*x[0] - dy[0]*x[half];
                dcs[j] += dy[0]*x[0] + dy[half]*x[half];
                dcs[j + half] += a->inverse ? -ds : ds;
            }
}

HX_OP(rotary_dcs,
    .math = "dc = dy1 x1 + dy2 x2, ds = dy2 x1 - dy1 x2, summed over heads, batch and the tokens "
            "of each position; inverse: -ds for ds",
    .source = "differentiated from rotary",
    .sig = "x:[B,T,D] dy:[B,T,D] -> dcs[positions,D/heads]",
    .attrs = dcs_fields, .attrs_size = sizeof(dcs_attrs), .ref = rotary_dcs_ref,
    .wrong_if = rotary_dcs_wrong, .grid = "D/heads/2*positions/64",
    .terms = "2*B*axial*heads", .flops = "4*B*T*D", .kernels = { { "rotary_dcs" } },
    .check = "B=1 T=1 D=2; B=2 T=9 D=24 positions=11 heads=3;"
             "B=2 T=33 D=20 positions=11 axial=3;"
             "B=1 T=7 D=256 positions=4 heads=2 axial=2 inverse=1",
    .wrong = "B=1 T=4 D=8 positions=4 heads=3: must divide;"
             "B=1 T=4 D=6 positions=4 heads=2: even number;"
             "B=1 T=9 D=8 positions=4 axial=2: fewer positions",
    .fuzz = "heads=1..5 D=heads*2..heads*256:heads*2 axial=1..5 positions=T/axial..T/axial+3", .exact = "1",
    .bench = "B=2 T=2048 D=512 positions=2048 heads=8");

// The matrix of each pair is c times a turn, so its transpose has the opposite s.
static void rotary_vjp(const hx_node *n, hx_t *d)
{
    rotary_attrs a = *(const rotary_attrs *)n->attrs;
    dcs_attrs f = { a.heads, a.axial, a.inverse, (int32_t)n->dim[3] };
    if (n->want[1]) hx_apply(&hx_op_rotary_dcs, &f, (hx_t[]){ n->arg[0], n->grad[0] }, d + 1);
    a.inverse = !a.inverse;
    if (n->want[0]) hx_apply(n->op, &a, (hx_t[]){ n->grad[0], n->arg[1] }, d);
}

// floats of a cache line; rows that are fetched ahead of use
enum { LINE = 16, AHEAD = 4 };

static void rotary_task(void *ctx, int64_t at)
{
    const hx_call *c = ctx;
    const rotary_attrs *a = c->attrs;
    int64_t T = c->dim[1], K = c->dim[4], half = K / 2;
    float turn = a->inverse ? -1.0f : 1.0f;
    int64_t end = hx_min((at + 1) * 32, c->dim[0] * T);
    for (int64_t row = at * 32; row < end; row++) {
        const float *co = (const float *)c->a[1] + row % T / a->axial * K, *si = co + half;
        for (int64_t h = 0; h < a->heads; h++) {
            const float *x = (const float *)c->a[0] + row*c->ld[0] + h*K;
            float *y = (float *)c->a[2] + row*c->ld[2] + h*K;
            for (int64_t j = 0; j < K; j += LINE) {
                __builtin_prefetch(x + AHEAD*c->ld[0] + j, 0, 2);
                __builtin_prefetch(y + AHEAD*c->ld[2] + j, 1, 2);
            }
            for (int64_t j = 0; j < half; j++) {
                float x1 = x[j], x2 = x[j + half], s = turn * si[j];
                y[j] = x1*co[j] - x2*s;
                y[j + half] = x2*co[j] + x1*s;
            }
        }
    }
}

static void rotary_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[0] * c->dim[1], 32), rotary_task, (void *)c);
}

// are the halves of a head whole eights?
static bool rotary_eights(const int64_t *dim, const void *attrs)
{
    (void)attrs;
    return dim[4] % 16 == 0;
}

HX_OP(rotary,
    .math = "y1 = x1 c - x2 s, y2 = x2 c + x1 s; x1, x2 the halves of a head of K channels, "
            "c, s the halves of cs[t/axial]; inverse: -s for s",
    .source = "RoFormer, Su et al. 2021, eq. 34",
    .sig = "x:[B,T,D] cs[P,K] -> y:[B,T,D]",
    .attrs = rotary_fields, .attrs_size = sizeof(rotary_attrs), .ref = rotary_ref,
    .vjp = rotary_vjp, .wrong_if = rotary_wrong, .host = rotary_host, .grid = "B*T",
    .terms = "2", .flops = "3*B*T*D", .alias = "y=x",
    .kernels = { { "rotary" }, { "rotary.half", .grid = "B*T*D/1024", .fits = rotary_eights,
                   .precision = HX_AUTO, .rounds = 1, .half = 5 } },
    .check = "B=1 T=1 D=2 P=1 K=2; B=2 T=9 D=24 P=9 K=8 heads=3;"
             "B=1 T=33 D=20 P=11 K=20 axial=3; B=2 T=7 D=128 P=4 K=64 heads=2 axial=2 inverse=1;"
             "B=1 T=5 D=512 P=8 K=256 heads=2 axial=4",
    .wrong = "B=1 T=4 D=8 P=4 K=6: heads times as wide; B=1 T=4 D=3 P=4 K=3: even number;"
             "B=1 T=9 D=8 P=4 K=8 axial=2: fewer positions",
    .fuzz = "heads=1..5 K=2..256:2 D=heads*K axial=1..5 P=T/axial..T/axial+3", .exact = "1",
    .bench = "B=2 T=2048 D=512 P=2048 K=64 heads=8");

hx_t t_rotary_copy(hx_t x, hx_t cs, int heads, int axial)
{
    rotary_attrs a = { heads, axial, 0 };
    hx_t y = HX_NONE;
    hx_apply(&hx_op_rotary, &a, (hx_t[]){ x, cs }, &y);
    return y;
}

hx_t t_rotary(hx_t x, hx_t cs, int heads, int axial)
{
    hx_t y = t_rotary_copy(x, cs, heads, axial);
    // a table that is learnt needs x again
    if (cs.id && !hx_value_of(cs)->wants_grad)
        hx_in_place(y, x);
    return y;
}

// xPos (Sun et al. 2022) scales channel pair j of position p by zeta_j ^ ((p - all/2) / 512) for
// queries and by its inverse for keys: only the distance remains in their product.
hx_t t_rotary_table(hx_tape *t, int64_t n, int head_width, int xpos)
{
    return t_rotary_span(t, 0, n, n, head_width, xpos);
}

hx_t t_rotary_span(hx_tape *t, int64_t first, int64_t n, int64_t all, int head_width, int xpos)
{
    int64_t K = head_width, half = K / 2, count, bytes;
    hx_t none = { t, 0 };
    if (n < 1 || K < 2 || K % 2 || !hx_mul(n, K, &count) || !hx_mul(count, 4, &bytes)) {
        hx_tape_fail(t, HX_E_SHAPE, "rotary table: %lld positions of %d channels; needs at least "
                     "one position and an even number of channels [E-ROTARY]",
                     (long long)n, head_width);
        return none;
    }
    float *cs = hx_alloc(t->arena, (size_t)bytes);
    if (!cs) {
        hx_tape_fail(t, HX_E_NOMEM, "%s", hx_last_message());
        return none;
    }
    for (int64_t j = 0; j < half; j++) {
        double turn = pow(10000, -2.0 * (double)j / (double)K);
        double zeta = (2.0 * (double)j + 0.4 * (double)K) / (1.4 * (double)K);
        for (int64_t i = 0; i < n; i++) {
            int64_t p = first + i;
            double scale = xpos ? pow(zeta, xpos * (double)(p - all / 2) / 512) : 1;
            // outside of this, queries or keys have lost their digits or overflow
            if (scale < 1e-37 || scale > 1e37) {
                hx_tape_fail(t, HX_E_SHAPE, "rotary table: the xPos scale %.3g of position %lld "
                             "of %lld leaves the range of fp32; use at most 65536 positions "
                             "[E-XPOS]", scale, (long long)p, (long long)all);
                return none;
            }
            cs[i*K + j] = (float)(cos((double)p * turn) * scale);
            cs[i*K + j + half] = (float)(sin((double)p * turn) * scale);
        }
    }
    return hx_constant(t, false, 2, (int64_t[]){ n, K }, cs);
}
