// shift.c - the token shift on its own: half of the channels come some tokens late.
#include "shift.h"
#include "t.h"

enum { B, T, D };

static void shift_ref(const hx_ref *f)
{
    const real *x = f->a[0];
    real *y = f->a[1];
    int64_t t = f->dim[T], d = f->dim[D], shift = ((const hx_shift_attrs *)f->attrs)->shift;
    for (int64_t row = 0; row < f->dim[B] * t; row++)
        for (int64_t j = 0; j < d; j++) {
            int64_t k = hx_shift_from(row, j, t, d, shift);
            y[row*d + j] = k < 0 ? 0 : x[k];
        }
}

static void shift_bwd_ref(const hx_ref *f)
{
    const real *dy = f->a[0], *c = f->a[1];
    real *dx = f->a[2];
    int64_t t = f->dim[T], d = f->dim[D], shift = ((const hx_shift_attrs *)f->attrs)->shift;
    for (int64_t i = 0; i < f->dim[B] * t * d; i++) dx[i] = c ? c[i] : 0;
    for (int64_t row = 0; row < f->dim[B] * t; row++)
        for (int64_t j = 0; j < d; j++) {
            int64_t k = hx_shift_from(row, j, t, d, shift);
            if (k >= 0) dx[k] += dy[row*d + j];
        }
}

HX_CLONES static void shift_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t t = c->dim[T], d = c->dim[D], many = hx_rows_per_task(d);
    int64_t shift = ((const hx_shift_attrs *)c->attrs)->shift;
    int64_t end = hx_min((task + 1) * many, c->dim[B] * t);
    for (int64_t row = task * many; row < end; row++) {
        hx_part h[2];
        hx_halves(c->a[0], c->ld[0], row, t, d, shift, h);
        for (int k = 0; k < 2; k++) {
            float *y = (float *)c->a[1] + row * c->ld[1] + h[k].at;
#define MOVE(type) HX_AT(type, y) = HX_PART(type, h[k])
            HX_EACH(h[k].n, MOVE);
        }
    }
}

static void shift_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[B] * c->dim[T], c->dim[D], shift_rows);
}

HX_CLONES static void shift_bwd_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t t = c->dim[T], d = c->dim[D], many = hx_rows_per_task(d);
    int64_t shift = ((const hx_shift_attrs *)c->attrs)->shift;
    int64_t end = hx_min((task + 1) * many, c->dim[B] * t);
    for (int64_t row = task * many; row < end; row++) {
        hx_part h[2];
        hx_halves(c->a[2], c->ld[2], row, t, d, shift, h);
        for (int k = 0; k < 2; k++) {
            const float *dy = (const float *)c->a[0] + row * c->ld[0] + h[k].at;
            hx_part a = hx_part_of(c->a[1], c->ld[1], h[k].row, h[k].at, h[k].n);
            float *dx = (float *)c->a[2] + h[k].row * c->ld[2] + h[k].at;
#define BACK(type) HX_AT(type, dx) = HX_OF(type, dy) + HX_PART(type, a)
            if (h[k].there)
                HX_EACH(h[k].n, BACK);
            else
                hx_unread(&a, dx);
        }
    }
}

static void shift_bwd_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[B] * c->dim[T], c->dim[D], shift_bwd_rows);
}

#define SAMPLES "B=1 T=1 D=1 shift=1; B=1 T=3 D=2; B=2 T=3 D=5 shift=7; B=3 T=7 D=3 shift=1;" \
                "B=2 T=19 D=33 shift=4; B=1 T=5 D=257 shift=5"

HX_OP(shift_bwd,
    .math = "dx[t,j] = dy[t,j] + c for j < ceil(D/2), else dy[t+shift,j] + c",
    .source = "differentiated from shift",
    .sig = "dy:[B,T,D] c?:[B,T,D] -> dx:[B,T,D]",
    .attrs = hx_shift_fields, .attrs_size = sizeof(hx_shift_attrs),
    .ref = shift_bwd_ref, .host = shift_bwd_host, .adds = "c", .alias = "dx=c",
    .grid = "B*T*D/1024",
    .kernels = { { "shift_bwd" } },
    .check = SAMPLES "; B=2 T=9 D=6 shift=2 -c",
    .fuzz = "shift=0..T+2", .exact = "3",
    .bench = "B=4 T=1024 D=512 shift=1");

static void shift_vjp(const hx_node *n, hx_t *d)
{
    hx_apply(&hx_op_shift_bwd, n->attrs, (hx_t[]){ n->grad[0], HX_NONE }, d);
}

HX_OP(shift,
    .math = "y[t,j] = x[t,j] for j < ceil(D/2), else x[t-shift,j], 0 for t < shift",
    .source = "definition",
    .sig = "x:[B,T,D] -> y:[B,T,D]",
    .attrs = hx_shift_fields, .attrs_size = sizeof(hx_shift_attrs),
    .ref = shift_ref, .vjp = shift_vjp, .host = shift_host,
    .grid = "B*T*D/1024",
    .kernels = { { "shift" } },
    .check = SAMPLES,
    .fuzz = "shift=0..T+2", .exact = "2",
    .bench = "B=4 T=1024 D=512 shift=1");

hx_t t_shift(hx_t x, int shift)
{
    hx_t y[1] = { HX_NONE };
    hx_apply(&hx_op_shift, &(hx_shift_attrs){ shift }, (hx_t[]){ x }, y);
    return y[0];
}
