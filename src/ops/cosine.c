// cosine.c - how well each token's prediction points at the next token, and the loss made of it.
#include "rows.h"
#include "t.h"
#include <math.h>

#define CLAMP 1e-12                        // smallest length divided by, as in F.normalize
enum { B, T, D };

// What a pair of rows gives: lengths (clamped, and whether they were) and cosine.
typedef struct pair { real np, ne, s; bool p_free, e_free; } pair;

static pair pair_of(const real *p, const real *e, int64_t d)
{
    real pp = 0, ee = 0, pe = 0;
    for (int64_t j = 0; j < d; j++) {
        pp += p[j] * p[j];
        ee += e[j] * e[j];
        pe += p[j] * e[j];
    }
    pair r = { .np = sqrt(pp), .ne = sqrt(ee) };
    r.p_free = !(r.np < CLAMP);
    r.e_free = !(r.ne < CLAMP);
    if (!r.p_free) r.np = CLAMP;
    if (!r.e_free) r.ne = CLAMP;
    r.s = pe / r.np / r.ne;
    return r;
}

static void cosine_ref(const hx_ref *f)
{
    const real *p = f->a[0], *e = f->a[1];
    int64_t n = f->dim[T] - 1, d = f->dim[D];
    for (int64_t b = 0; b < f->dim[B]; b++)
        for (int64_t t = 0; t < n; t++) {
            int64_t k = (b * f->dim[T] + t) * d;
            f->a[2][b*n + t] = pair_of(p + k, e + k + d, d).s;
        }
}

// With P = p/|p|, E = e/|e|:  dp = ds (E - P s)/|p|,  de = ds (P - E s)/|e|, where a clamped
// length is a constant and its term with s drops out. Row t does dp[t] and de[t+1 mod T].
static void cosine_bwd_ref(const hx_ref *f)
{
    const real *ds = f->a[0], *p = f->a[1], *e = f->a[2], *c = f->a[3];
    real *de = f->a[4], *dp = f->a[5];
    int64_t n = f->dim[T] - 1, d = f->dim[D];
    for (int64_t i = 0; i < f->dim[B] * f->dim[T] * d; i++) {
        dp[i] = 0;
        de[i] = c ? c[i] : 0;
    }
    for (int64_t b = 0; b < f->dim[B]; b++)
        for (int64_t t = 0; t < n; t++) {
            int64_t k = (b * f->dim[T] + t) * d, l = k + d;
            pair r = pair_of(p + k, e + l, d);
            for (int64_t j = 0; j < d; j++) {
                real P = p[k + j] / r.np, E = e[l + j] / r.ne;
                dp[k + j] += ds[b*n + t] * (E - (r.p_free ? P * r.s : 0)) / r.np;
                de[l + j] += ds[b*n + t] * (P - (r.e_free ? E * r.s : 0)) / r.ne;
            }
        }
}

// The same in fp32: reciprocal lengths, cosine, and how much of it comes back through a length.
typedef struct pair32 { float rp, re, s, sp, se; } pair32;

HX_INLINE pair32 pair32_of(const float *p, const float *e, int64_t d)
{
    HX_SUM(pp); HX_SUM(ee); HX_SUM(pe);
#define DOTS(type) type u = HX_OF(type, p), v = HX_OF(type, e);          \
    pp_##type += u * u;  ee_##type += v * v;  pe_##type += u * v
    HX_EACH(d, DOTS);
    float np = sqrtf(HX_TOTAL(pp)), ne = sqrtf(HX_TOTAL(ee)), least = (float)CLAMP;
    pair32 r = { .rp = 1 / (np < least ? least : np), .re = 1 / (ne < least ? least : ne) };
    r.s = HX_TOTAL(pe) * r.rp * r.re;
    r.sp = np < least ? 0 : r.s;
    r.se = ne < least ? 0 : r.s;
    return r;
}

HX_CLONES static void cosine_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t n = c->dim[T] - 1, d = c->dim[D], many = hx_rows_per_task(d);
    int64_t end = hx_min((task + 1) * many, c->dim[B] * n);
    for (int64_t i = task * many; i < end; i++) {
        int64_t row = i / n * c->dim[T] + i % n;
        const float *p = (const float *)c->a[0] + row * c->ld[0];
        const float *e = (const float *)c->a[1] + (row + 1) * c->ld[1];
        ((float *)c->a[2])[i] = pair32_of(p, e, d).s;
    }
}

static void cosine_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[B] * (c->dim[T] - 1), c->dim[D], cosine_rows);
}

HX_CLONES static void cosine_bwd_rows(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    const float *ds = c->a[0], *add = c->a[3];
    int64_t t = c->dim[T], d = c->dim[D], many = hx_rows_per_task(d);
    int64_t end = hx_min((task + 1) * many, c->dim[B] * t);
    for (int64_t row = task * many; row < end; row++) {
        // the last token of a sequence writes the zeros of dp there and of de at the first token
        bool last = row % t == t - 1;
        int64_t next = last ? row - (t - 1) : row + 1;
        const float *p = (const float *)c->a[1] + row * c->ld[1];
        const float *e = (const float *)c->a[2] + next * c->ld[2];
        float *de = (float *)c->a[4] + next * c->ld[4], *dp = (float *)c->a[5] + row * c->ld[5];
        const float *from = add ? add + next * c->ld[3] : NULL;
        if (last) {                        // nothing of p and e, which need not be finite
            memset(dp, 0, (size_t)d * sizeof *dp);
            if (from) memmove(de, from, (size_t)d * sizeof *de);
            else memset(de, 0, (size_t)d * sizeof *de);
            continue;
        }
        pair32 r = pair32_of(p, e, d);
        float s = ds[row / t * (t - 1) + row % t];
        // dp = a E - b P,  de = u P - v E  with the lengths folded in
        float a = s * r.rp * r.re, b = s * r.sp * r.rp * r.rp, v = s * r.se * r.re * r.re;
#define DP(type) HX_AT(type, dp) = a * HX_OF(type, e) - b * HX_OF(type, p)
        HX_EACH(d, DP);
#define DE(type) HX_AT(type, de) = a * HX_OF(type, p) - v * HX_OF(type, e)
#define DE_C(type) HX_AT(type, de) = a * HX_OF(type, p) - v * HX_OF(type, e) + HX_OF(type, from)
        if (from) HX_EACH(d, DE_C); else HX_EACH(d, DE);
    }
}

static void cosine_bwd_host(const hx_call *c)
{
    hx_share_rows(c, c->dim[B] * c->dim[T], c->dim[D], cosine_bwd_rows);
}

static const char *one_token(const int64_t *dim, const void *attrs)
{
    (void)attrs;
    return dim[T] < 2 ? "a token needs a next one: T >= 2" : NULL;
}

// T = 2: predictions below the clamp
static real cosine_bwd_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)i; (void)attrs;
    return arg == 1 && dim[T] == 2 ? (float)(rnd * 0x1p-31 - 1) * 1e-14f : NAN;
}

HX_OP(cosine_bwd,
    .math = "dp[t] = ds (E - P s)/|p|,  de[t+1] = ds (P - E s)/|e| + c,  P = p/|p|, E = e/|e|",
    .source = "differentiated from cosine; a clamped length is a constant",
    .sig = "ds[B,T-1] p:[B,T,D] e:[B,T,D] c?:[B,T,D] -> de:[B,T,D] dp:[B,T,D]",
    .ref = cosine_bwd_ref, .host = cosine_bwd_host, .wrong_if = one_token,
    .adds = "c", .alias = "de=c",
    .grid = "B*T/16", .terms = "D+16", .flops = "14*B*T*D",
    .kernels = { { "cosine_bwd", .spec = "8", .grid = "B*T/32" },
                 { "cosine_bwd", .needs = HX_CAP_GPU, .spec = "64", .grid = "B*T/4" } },
    .check = "B=1 T=2 D=2; B=2 T=3 D=3 -c; B=3 T=7 D=33; B=2 T=19 D=64 -c; B=1 T=5 D=257",
    .fill = cosine_bwd_fill,
    .fuzz = "T=2..300 D=3..600 -mixed",
    .bench = "B=4 T=1024 D=512; B=1 T=8192 D=1024");

static void cosine_vjp(const hx_node *n, hx_t *d)
{
    hx_t out[2] = { HX_NONE, HX_NONE };
    hx_apply(&hx_op_cosine_bwd, NULL, (hx_t[]){ n->grad[0], n->arg[0], n->arg[1], HX_NONE }, out);
    d[0] = out[1];
    d[1] = out[0];
}

HX_OP(cosine,
    .math = "s[b,t] = p[b,t].e[b,t+1] / (max(|p[b,t]|, 1e-12) max(|e[b,t+1]|, 1e-12))",
    .source = "definition",
    .sig = "p:[B,T,D] e:[B,T,D] -> s[B,T-1]",
    .ref = cosine_ref, .vjp = cosine_vjp, .host = cosine_host, .wrong_if = one_token,
    .grid = "B*T/16", .terms = "D", .flops = "6*B*T*D",
    .kernels = { { "cosine", .spec = "8", .grid = "B*T/32" },
                 { "cosine", .needs = HX_CAP_GPU, .spec = "64", .grid = "B*T/4" } },
    .check = "B=1 T=2 D=1; B=1 T=2 D=2; B=2 T=3 D=3; B=3 T=7 D=33; B=2 T=19 D=64; B=1 T=5 D=257",
    .wrong = "B=2 T=1 D=3: next one",
    .fuzz = "T=2..300",
    .bench = "B=4 T=1024 D=512; B=1 T=8192 D=1024");

// ---- the loss: y = a x + b of the sum ------------------------------------------------------
typedef struct { float a, b; } affine_attrs;
static const hx_field affine_fields[] = {
    { "a", HX_F32, offsetof(affine_attrs, a), "1", 0, 0, "factor" },
    { "b", HX_F32, offsetof(affine_attrs, b), "0", 0, 0, "added" },
    {0}
};

static void affine_ref(const hx_ref *f)
{
    const affine_attrs *at = f->attrs;
    for (int64_t i = 0; i < f->dim[0]; i++) f->a[1][i] = (real)at->a * f->a[0][i] + (real)at->b;
}

static void affine_vjp(const hx_node *n, hx_t *d)
{
    d[0] = t_scale(n->grad[0], ((const affine_attrs *)n->attrs)->a);
}

HX_OP(affine,
    .math = "y = a x + b",
    .source = "definition",
    .sig = "x[N] -> y[N]",
    .attrs = affine_fields, .attrs_size = sizeof(affine_attrs),
    .ref = affine_ref, .vjp = affine_vjp, .grid = "N/256", .flops = "2*N",
    .kernels = { { "affine" } },
    .check = "N=1 a=-0.25 b=1; N=257 a=3; N=70 b=-2",
    .exact = "1",
    .bench = "N=1 a=2 b=1");

hx_t t_cosine_loss(hx_t p, hx_t e)
{
    if (!p.tape || !p.id) return p;
    int64_t b = hx_dim(p, 0), n = hx_dim(p, 1) - 1;
    // the mean of nothing, as in the reference
    if (n < 1) return hx_constant(p.tape, false, 1, (int64_t[]){ 1 }, (float[]){ NAN });
    hx_t s[1] = { HX_NONE }, loss[1] = { HX_NONE };
    hx_apply(&hx_op_cosine, NULL, (hx_t[]){ p, e }, s);
    affine_attrs mean = { -1 / (float)(b * n), 1 };
    hx_apply(&hx_op_affine, &mean, (hx_t[]){ t_sum(s[0]) }, loss);
    return loss[0];
}
