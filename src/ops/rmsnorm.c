// rmsnorm.c - norm of a row by its length, after an optional token shift, and its gradient.
#include "shift.h"
#include "t.h"
#include <math.h>
#include <string.h>

#define CLAMP 1e-12                        // smallest length divided by, as in F.normalize
enum { B, T, D };

// Whether r is that of a row whose length was below the clamp: r is then a constant.
#define CLAMPED(r, width) ((r) >= 0.999999 / CLAMP * sqrt((double)(width)))

static void rmsnorm_ref(const hx_ref *f)
{
    const real *x = f->a[0], *g = f->a[1];
    real *y = f->a[2], *r = f->a[3];
    int64_t t = f->dim[T], d = f->dim[D], shift = ((const hx_shift_attrs *)f->attrs)->shift;
    for (int64_t row = 0; row < f->dim[B] * t; row++) {
        real ss = 0;
        for (int64_t j = 0; j < d; j++) {
            int64_t k = hx_shift_from(row, j, t, d, shift);
            real s = k < 0 ? 0 : x[k];
            ss += s * s;
        }
        real n = sqrt(ss);
        r[row] = sqrt((real)d) / (n < CLAMP ? CLAMP : n);
        for (int64_t j = 0; j < d; j++) {
            int64_t k = hx_shift_from(row, j, t, d, shift);
            y[row*d + j] = (k < 0 ? 0 : x[k]) * r[row] * g[j];
        }
    }
}

// With m = mean_j(dy g s r):  ds = r (dy g - s r m), without m below the clamp
static void rmsnorm_bwd_ref(const hx_ref *f)
{
    const real *dy = f->a[0], *x = f->a[1], *g = f->a[2], *r = f->a[3], *c = f->a[4];
    real *dx = f->a[5], *p = f->a[6];
    int64_t t = f->dim[T], d = f->dim[D], rows = f->dim[B] * t;
    int64_t shift = ((const hx_shift_attrs *)f->attrs)->shift;
    for (int64_t i = 0; i < rows * d; i++) dx[i] = c ? c[i] : 0;
    for (int64_t i = 0; i < hx_ceil_div(rows, HX_ROWS_P) * d; i++) p[i] = 0;
    for (int64_t row = 0; row < rows; row++) {
        real m = 0;
        for (int64_t j = 0; j < d; j++) {
            int64_t k = hx_shift_from(row, j, t, d, shift);
            m += dy[row*d + j] * g[j] * (k < 0 ? 0 : x[k]) * r[row] / (real)d;
        }
        if (CLAMPED(r[row], d)) m = 0;
        for (int64_t j = 0; j < d; j++) {
            int64_t k = hx_shift_from(row, j, t, d, shift);
            if (k < 0) continue;
            dx[k] += r[row] * (dy[row*d + j] * g[j] - x[k] * r[row] * m);
            p[row / HX_ROWS_P * d + j] += dy[row*d + j] * x[k] * r[row];
        }
    }
    if (f->a[7])
        memcpy(f->a[7], dx, (size_t)(rows * d) * sizeof *dx);
}

HX_CLONES static void rmsnorm_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const float *x = c->a[0], *g = c->a[1];
    int64_t t = c->dim[T], d = c->dim[D], many = hx_rows_per_task(d);
    int64_t shift = ((const hx_shift_attrs *)c->attrs)->shift;
    int64_t end = hx_min((task + 1) * many, c->dim[B] * t);
    for (int64_t row = task * many; row < end; row++) {
        hx_part h[2];
        hx_halves(x, c->ld[0], row, t, d, shift, h);
        float ss = 0;
        for (int k = 0; k < 2; k++) {
            HX_SUM(ss);
#define SQUARES(type) ss_##type += HX_PART(type, h[k]) * HX_PART(type, h[k])
            HX_EACH(h[k].n, SQUARES);
            ss += HX_TOTAL(ss);
        }
        float n = sqrtf(ss), r = sqrtf((float)d) / (n < (float)CLAMP ? (float)CLAMP : n);
        ((float *)c->a[3])[row] = r;
        for (int k = 0; k < 2; k++) {
            const float *gk = g + h[k].at;
            float *y = (float *)c->a[2] + row * c->ld[2] + h[k].at;
#define SCALE(type) HX_AT(type, y) = HX_PART(type, h[k]) * r * HX_OF(type, gk)
            HX_EACH(h[k].n, SCALE);
        }
    }
}

static void rmsnorm_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[B] * c->dim[T], c->dim[D], rmsnorm_rows);
}

HX_CLONES static void rmsnorm_bwd_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const float *x = c->a[1], *g = c->a[2], *add = c->a[4];
    float *dx = c->a[5];
    int64_t t = c->dim[T], d = c->dim[D], many = hx_rows_per_task(d);
    int64_t shift = ((const hx_shift_attrs *)c->attrs)->shift;
    int64_t end = hx_min((task + 1) * many, c->dim[B] * t);
    for (int64_t row = task * many; row < end; row++) {
        const float *dy = (const float *)c->a[0] + row * c->ld[0];
        float r = ((const float *)c->a[3])[row], *p = (float *)c->a[6] + row / HX_ROWS_P * d;
        if (row % HX_ROWS_P == 0) memset(p, 0, (size_t)d * sizeof *p);
        hx_part h[2];
        hx_halves(x, c->ld[1], row, t, d, shift, h);
        float m = 0;
        for (int k = 0; k < 2; k++) {
            const float *dyk = dy + h[k].at, *gk = g + h[k].at;
            HX_SUM(m);
#define DOT(type) m_##type += HX_OF(type, dyk) * HX_OF(type, gk) * HX_PART(type, h[k])
            HX_EACH(h[k].n, DOT);
            m += HX_TOTAL(m);
        }
        m = CLAMPED(r, d) ? 0 : m * r / (float)d * r;
        for (int k = 0; k < 2; k++) {
            const float *dyk = dy + h[k].at, *gk = g + h[k].at;
            hx_part a = hx_part_of(add, c->ld[4], h[k].row, h[k].at, h[k].n);
            float *to = dx + h[k].row * c->ld[5] + h[k].at, *pk = p + h[k].at;
            if (!h[k].there) {
                hx_unread(&a, to);
                continue;
            }
#define BACK(type) type s = HX_PART(type, h[k]), v = HX_OF(type, dyk);     \
            HX_AT(type, to) = r * (v * HX_OF(type, gk) - s * m) + HX_PART(type, a); \
            HX_AT(type, pk) += v * s * r
            HX_EACH(h[k].n, BACK);
        }
    }
}

static void rmsnorm_bwd_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[B] * c->dim[T], c->dim[D], rmsnorm_bwd_rows);
    hx_twin_rows(c, 5, 7, c->dim[B] * c->dim[T], c->dim[D]);
}

// r is that of a forward pass: positive; at its greatest for rows below the clamp, those of T = 1
static real rmsnorm_bwd_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim,
                             const void *attrs)
{
    (void)i; (void)attrs;
    float u = (float)(rnd * 0x1p-31 - 1);
    if (arg == 1 && dim[T] == 1) return u * 1e-14f;
    if (arg == 3) return dim[T] == 1 ? sqrtf((float)dim[D]) * 1e12f : 1.5f + u / 2;
    return NAN;
}

HX_OP(rmsnorm_bwd,
    .math = "dx = unshifted r (dy g - s r mean(dy g s r)) + c,  p = sum of dy s r over 16 rows,  twin = dx",
    .source = "differentiated from rmsnorm; below the clamp r is a constant",
    .sig = "dy:[B,T,D] x:[B,T,D] g[D] r[B,T] c?:[B,T,D] -> dx:[B,T,D] p[B*T/16,D] twin?[B,T,D]",
    .attrs = hx_shift_fields, .attrs_size = sizeof(hx_shift_attrs),
    .ref = rmsnorm_bwd_ref, .host = rmsnorm_bwd_host, .adds = "c", .alias = "dx=c", .twin = "twin",
    .grid = "B*T/16", .terms = "D+16", .flops = "12*B*T*D",
    .kernels = { { "rmsnorm_bwd" }, { "rmsnorm_bwd.half", .spec = "16", .fits = hx_pairs,
                   .precision = HX_AUTO, .rounds = 1, .half = 129 } },
    .check = "B=1 T=1 D=1; B=1 T=1 D=5 shift=1 -c -twin; B=2 T=3 D=2 shift=5; B=3 T=7 D=3 shift=1 -c;"
             "B=2 T=19 D=33 shift=4; B=2 T=5 D=48 shift=2; B=2 T=5 D=257 -c -twin; B=1 T=2 D=1030 shift=1; B=1 T=40 D=64",
    .fill = rmsnorm_bwd_fill,
    .fuzz = "shift=0..T+2",
    .bench = "B=4 T=1024 D=512 shift=1; B=1 T=8192 D=1024");

static void rmsnorm_vjp(const hx_node *n, hx_t *d)
{
    hx_t out[3] = { HX_NONE, HX_NONE, HX_NONE };
    hx_apply(&hx_op_rmsnorm_bwd, n->attrs,
             (hx_t[]){ n->grad[0], n->arg[0], n->arg[1], n->arg[3], HX_NONE }, out);
    d[0] = out[0];
    if (n->want[1]) d[1] = t_colsum(out[1]);
}

// r is for the gradient only: nothing flows back through it.
HX_OP(rmsnorm,
    .math = "y = s r g,  r = sqrt(D) / max(|s|, 1e-12),  s = x shifted",
    .source = "Zhang & Sennrich 2019, eq. 4, with the clamp of F.normalize",
    .sig = "x:[B,T,D] g[D] -> y:[B,T,D] r[B,T]",
    .attrs = hx_shift_fields, .attrs_size = sizeof(hx_shift_attrs),
    .ref = rmsnorm_ref, .vjp = rmsnorm_vjp, .host = rmsnorm_host, .cheap = hx_always_cheap,
    .grid = "B*T/16", .terms = "D", .flops = "4*B*T*D",
    .kernels = { { "rmsnorm", .spec = "8", .grid = "B*T/32" },
                 { "rmsnorm", .needs = HX_CAP_GPU, .spec = "64", .grid = "B*T/4" },
                 { "rmsnorm.half", .spec = "64", .grid = "B*T/4", .fits = hx_pairs,
                   .precision = HX_AUTO, .half = 4 } },
    .check = "B=1 T=1 D=1; B=1 T=1 D=5 shift=1; B=2 T=3 D=2 shift=5; B=3 T=7 D=3 shift=1;"
             "B=2 T=19 D=33 shift=4; B=2 T=5 D=257; B=1 T=2 D=1030 shift=1",
    .wrong = "B=2 T=3 D=5 g=[4]: argument g does not fit",
    .fuzz = "shift=0..T+2",
    .bench = "B=4 T=1024 D=512 shift=1; B=1 T=8192 D=1024");

hx_t t_rmsnorm(hx_t x, hx_t g, int shift)
{
    hx_t y[2] = { HX_NONE, HX_NONE };
    hx_apply(&hx_op_rmsnorm, &(hx_shift_attrs){ shift }, (hx_t[]){ x, g }, y);
    return y[0];
}
