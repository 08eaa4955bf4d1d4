// layernorm.c - layer normalisation of rows, after an optional token shift, and its gradient.
#include "shift.h"
#include "t.h"
#include <math.h>
#include <string.h>

#define EPS 1e-5                           // added to the variance
enum { B, T, D };

static void layernorm_ref(const hx_ref *f)
{
    const real *x = f->a[0], *g = f->a[1], *b = f->a[2];
    real *y = f->a[3], *m = f->a[4], *r = f->a[5];
    int64_t t = f->dim[T], d = f->dim[D], shift = ((const hx_shift_attrs *)f->attrs)->shift;
    for (int64_t row = 0; row < f->dim[B] * t; row++) {
        real mean = 0, var = 0;
        for (int64_t j = 0; j < d; j++) {
            int64_t k = hx_shift_from(row, j, t, d, shift);
            mean += (k < 0 ? 0 : x[k]) / (real)d;
        }
        for (int64_t j = 0; j < d; j++) {
            int64_t k = hx_shift_from(row, j, t, d, shift);
            real s = (k < 0 ? 0 : x[k]) - mean;
            var += s * s / (real)d;
        }
        m[row] = mean;
        r[row] = 1 / sqrt(var + EPS);
        for (int64_t j = 0; j < d; j++) {
            int64_t k = hx_shift_from(row, j, t, d, shift);
            y[row*d + j] = ((k < 0 ? 0 : x[k]) - mean) * r[row] * g[j] + (b ? b[j] : 0);
        }
    }
}

// With h = dy g and n = (s - m) r:  ds = r (h - mean_j h - n mean_j(h n))
static void layernorm_bwd_ref(const hx_ref *f)
{
    const real *dy = f->a[0], *x = f->a[1], *g = f->a[2], *m = f->a[3], *r = f->a[4], *c = f->a[5];
    real *dx = f->a[6], *p = f->a[7], *q = f->a[8];
    int64_t t = f->dim[T], d = f->dim[D], rows = f->dim[B] * t;
    int64_t shift = ((const hx_shift_attrs *)f->attrs)->shift;
    for (int64_t i = 0; i < rows * d; i++) dx[i] = c ? c[i] : 0;
    for (int64_t i = 0; i < hx_ceil_div(rows, HX_ROWS_P) * d; i++) {
        p[i] = 0;
        if (q) q[i] = 0;
    }
    for (int64_t row = 0; row < rows; row++) {
        real h1 = 0, hn = 0;
        for (int64_t j = 0; j < d; j++) {
            int64_t k = hx_shift_from(row, j, t, d, shift);
            real h = dy[row*d + j] * g[j], n = ((k < 0 ? 0 : x[k]) - m[row]) * r[row];
            h1 += h / (real)d;
            hn += h * n / (real)d;
        }
        for (int64_t j = 0; j < d; j++) {
            int64_t k = hx_shift_from(row, j, t, d, shift);
            real h = dy[row*d + j] * g[j], n = ((k < 0 ? 0 : x[k]) - m[row]) * r[row];
            if (k >= 0) dx[k] += r[row] * (h - h1 - n * hn);
            p[row / HX_ROWS_P * d + j] += dy[row*d + j] * n;
            if (q) q[row / HX_ROWS_P * d + j] += dy[row*d + j];
        }
    }
    if (f->a[9])
        memcpy(f->a[9], dx, (size_t)(rows * d) * sizeof *dx);
}

HX_CLONES static void layernorm_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const float *g = c->a[1];
    int64_t t = c->dim[T], d = c->dim[D], many = hx_rows_per_task(d);
    int64_t shift = ((const hx_shift_attrs *)c->attrs)->shift;
    int64_t end = hx_min((task + 1) * many, c->dim[B] * t);
    for (int64_t row = task * many; row < end; row++) {
        hx_part h[2];
        hx_halves(c->a[0], c->ld[0], row, t, d, shift, h);
        float m = 0, var = 0;
        for (int k = 0; k < 2; k++) {
            HX_SUM(m);
#define MEAN(type) m_##type += HX_PART(type, h[k])
            HX_EACH(h[k].n, MEAN);
            m += HX_TOTAL(m);
        }
        m /= (float)d;
        for (int k = 0; k < 2; k++) {
            HX_SUM(var);
#define VAR(type) type s = HX_PART(type, h[k]) - m; var_##type += s * s
            HX_EACH(h[k].n, VAR);
            var += HX_TOTAL(var);
        }
        float r = 1 / sqrtf(var / (float)d + (float)EPS);
        ((float *)c->a[4])[row] = m;
        ((float *)c->a[5])[row] = r;
        for (int k = 0; k < 2; k++) {
            const float *gk = g + h[k].at;
            hx_part b = hx_part_of(c->a[2], 0, 0, h[k].at, h[k].n);
            float *y = (float *)c->a[3] + row * c->ld[3] + h[k].at;
#define SCALE(type) HX_AT(type, y) =                                     \
            (HX_PART(type, h[k]) - m) * r * HX_OF(type, gk) + HX_PART(type, b)
            HX_EACH(h[k].n, SCALE);
        }
    }
}

static void layernorm_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[B] * c->dim[T], c->dim[D], layernorm_rows);
}

// Half h of one row: dx, partial sums p and, if there is one, q.
HX_INLINE void layernorm_back_half(const hx_call *c, const hx_part *h, const float *dy, float m,
                                   float r, float h1, float hn, float *p, float *q)
{
    const float *g = (const float *)c->a[2] + h->at;
    hx_part a = hx_part_of(c->a[5], c->ld[5], h->row, h->at, h->n);
    float *to = (float *)c->a[6] + h->row * c->ld[6] + h->at;
#define BACK(type) type n = (HX_PART(type, *h) - m) * r;                 \
    HX_AT(type, to) = r * (HX_OF(type, dy) * HX_OF(type, g) - h1 - n * hn) + HX_PART(type, a)
    if (h->there)
        HX_EACH(h->n, BACK);
    else
        hx_unread(&a, to);
#define GAIN(type) HX_AT(type, p) += HX_OF(type, dy) * (HX_PART(type, *h) - m) * r
    HX_EACH(h->n, GAIN);
#define BIAS(type) HX_AT(type, q) += HX_OF(type, dy)
    if (q) HX_EACH(h->n, BIAS);
}

HX_CLONES static void layernorm_bwd_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const float *g = c->a[2];
    int64_t t = c->dim[T], d = c->dim[D], many = hx_rows_per_task(d);
    int64_t shift = ((const hx_shift_attrs *)c->attrs)->shift;
    int64_t end = hx_min((task + 1) * many, c->dim[B] * t);
    for (int64_t row = task * many; row < end; row++) {
        const float *dy = (const float *)c->a[0] + row * c->ld[0];
        float m = ((const float *)c->a[3])[row], r = ((const float *)c->a[4])[row];
        float *p = (float *)c->a[7] + row / HX_ROWS_P * d;
        float *q = c->a[8] ? (float *)c->a[8] + row / HX_ROWS_P * d : NULL;
        if (row % HX_ROWS_P == 0) {
            memset(p, 0, (size_t)d * sizeof *p);
            if (q) memset(q, 0, (size_t)d * sizeof *q);
        }
        hx_part h[2];
        hx_halves(c->a[1], c->ld[1], row, t, d, shift, h);
        float h1 = 0, hn = 0;
        for (int k = 0; k < 2; k++) {
            const float *dyk = dy + h[k].at, *gk = g + h[k].at;
            HX_SUM(h1); HX_SUM(hn);
#define DOT(type) type e = HX_OF(type, dyk) * HX_OF(type, gk);           \
            h1_##type += e;  hn_##type += e * (HX_PART(type, h[k]) - m)
            HX_EACH(h[k].n, DOT);
            h1 += HX_TOTAL(h1);
            hn += HX_TOTAL(hn);
        }
        for (int k = 0; k < 2; k++)
            layernorm_back_half(c, &h[k], dy + h[k].at, m, r, h1 / (float)d, hn * r / (float)d,
                                p + h[k].at, q ? q + h[k].at : NULL);
    }
}

static void layernorm_bwd_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[B] * c->dim[T], c->dim[D], layernorm_bwd_rows);
    hx_twin_rows(c, 6, 9, c->dim[B] * c->dim[T], c->dim[D]);
}

// r is that of a forward pass: positive
static real layernorm_bwd_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim,
                             const void *attrs)
{
    (void)i; (void)dim; (void)attrs;
    return arg == 4 ? (float)(rnd * 0x1p-32 + 1) : NAN;
}

HX_OP(layernorm_bwd,
    .math = "dx = unshifted r (h - mean h - n mean(h n)) + c,  h = dy g,  n = (s-m) r,"
            "  p, q = sums of dy n, dy over 16 rows,  twin = dx",
    .source = "differentiated from layernorm",
    .sig = "dy:[B,T,D] x:[B,T,D] g[D] m[B,T] r[B,T] c?:[B,T,D]"
           " -> dx:[B,T,D] p[B*T/16,D] q?[B*T/16,D] twin?[B,T,D]",
    .attrs = hx_shift_fields, .attrs_size = sizeof(hx_shift_attrs),
    .ref = layernorm_bwd_ref, .host = layernorm_bwd_host, .adds = "c", .alias = "dx=c", .twin = "twin",
    .grid = "B*T/16", .terms = "D+16", .flops = "16*B*T*D",
    .kernels = { { "layernorm_bwd" }, { "layernorm_bwd.half", .spec = "16", .fits = hx_pairs,
                   .precision = HX_AUTO, .rounds = 1, .half = 513 } },
    .check = "B=1 T=1 D=1; B=1 T=1 D=5 shift=1 -c -twin; B=2 T=3 D=2 shift=5 -q;"
             "B=3 T=7 D=3 shift=1 -c -q; B=2 T=5 D=48 shift=2;"
             "B=2 T=19 D=33 shift=4; B=2 T=5 D=257 -c; B=1 T=2 D=1030 shift=1; B=1 T=40 D=64",
    .fill = layernorm_bwd_fill,
    .fuzz = "shift=0..T+2",
    .bench = "B=4 T=1024 D=512 shift=1; B=1 T=8192 D=1024");

static void layernorm_vjp(const hx_node *n, hx_t *d)
{
    const hx_t *a = n->arg;
    bool bias = hx_is(a[2]) && n->want[2];
    hx_t out[4] = { HX_NONE, HX_NONE, bias ? HX_WANT(a[0].tape) : HX_NONE };
    hx_apply(&hx_op_layernorm_bwd, n->attrs,
             (hx_t[]){ n->grad[0], a[0], a[1], a[4], a[5], HX_NONE }, out);
    d[0] = out[0];
    if (n->want[1]) d[1] = t_colsum(out[1]);
    if (bias) d[2] = t_colsum(out[2]);
}

// m and r are for the gradient only: nothing flows back through them.
HX_OP(layernorm,
    .math = "y = (s-m) r g + b,  m = mean s,  r = 1/sqrt(mean (s-m)^2 + 1e-5),  s = x shifted",
    .source = "Ba, Kiros & Hinton 2016, eq. 4",
    .sig = "x:[B,T,D] g[D] b?[D] -> y:[B,T,D] m[B,T] r[B,T]",
    .attrs = hx_shift_fields, .attrs_size = sizeof(hx_shift_attrs),
    .ref = layernorm_ref, .vjp = layernorm_vjp, .host = layernorm_host, .cheap = hx_always_cheap,
    .grid = "B*T/16", .terms = "D", .flops = "8*B*T*D",
    .kernels = { { "layernorm", .spec = "8", .grid = "B*T/32" },
                 { "layernorm", .needs = HX_CAP_GPU, .spec = "64", .grid = "B*T/4" },
                 { "layernorm.half", .spec = "64", .grid = "B*T/4", .fits = hx_pairs,
                   .precision = HX_AUTO, .half = 8 } },
    .check = "B=1 T=1 D=1; B=1 T=1 D=5 shift=1 -b; B=2 T=3 D=2 shift=5; B=3 T=7 D=3 shift=1 -b;"
             "B=2 T=19 D=33 shift=4; B=2 T=5 D=257; B=1 T=2 D=1030 shift=1",
    .wrong = "B=2 T=3 D=5 g=[4]: argument g does not fit",
    .fuzz = "shift=0..T+2 D=1|3..2100",
    .bench = "B=4 T=1024 D=512 shift=1; B=1 T=8192 D=1024");

hx_t t_layernorm(hx_t x, hx_t g, hx_t b, int shift)
{
    hx_t y[3] = { HX_NONE, HX_NONE, HX_NONE };
    hx_apply(&hx_op_layernorm, &(hx_shift_attrs){ shift }, (hx_t[]){ x, g, b }, y);
    return y[0];
}
