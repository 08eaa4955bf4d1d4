// rel_attention_host.c - attention by distance on the host device: for each query of a head, keys
// in blocks. A block's scores are products with rows that lie evenly apart, upwards for keys,
// downwards for distances. The order of every sum is fixed by the problem.
#include "philox.h"
#include "rel_attention.h"
#include "rows.h"
#include <math.h>
#include <string.h>

enum { BLOCK = 256, QUERIES = 16 };        // keys at a time; queries of a task

// s[j] = x . y[j step], added to what is there or not;  j < n, K channels
HX_CLONES static void dots(const float *x, const float *y, int64_t step, int64_t n, int64_t K,
                           bool add, float *s)
{
    for (int64_t j = 0; j < n; j++) {
        const float *z = y + j * step;
        HX_SUM(t);
#define BODY(type) t_##type += HX_OF(type, x) * HX_OF(type, z)
        HX_EACH(K, BODY);
#undef BODY
        s[j] = (add ? s[j] : 0) + HX_TOTAL(t);
    }
}

// acc += sum_j f[j] y[j step]
HX_CLONES static void mix(const float *f, const float *y, int64_t step, int64_t n, int64_t K,
                          float *acc)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < K; c++) acc[c] += f[j] * y[j * step + c];
}

// y[j step] += f[j] x
HX_CLONES static void outer(const float *f, const float *x, int64_t n, int64_t K, float *y,
                            int64_t step)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < K; c++) y[j * step + c] += f[j] * x[c];
}

HX_CLONES static void weigh(float *s, float by, int64_t n)
{
    #pragma omp simd
    for (int64_t j = 0; j < n; j++) s[j] = hx_exp_f(s[j] - by);
}

// A call, of the plain operator, and what is left out of it: chance NULL: nothing.
typedef struct job { const hx_call *c; const attn_chance *chance; const int32_t *dice; } job;

// One head of one batch row.
typedef struct lane {
    const job *w;
    const hx_call *c;
    const rel_attrs *a;
    int64_t b, h, K, gone;
    float scale;
} lane;

static lane lane_of(const job *w, int64_t at)
{
    const hx_call *c = w->c;
    const rel_attrs *a = c->attrs;
    int64_t K = c->dim[REL_D] / a->heads;
    const int32_t *none = c->a[REL_GONE];
    int64_t b = at % c->dim[REL_B], gone = none ? none[b] : 0;
    return (lane){ w, c, a, b, at / c->dim[REL_B], K, gone, (float)(1 / sqrt((double)K)) };
}

static float *row_of(const lane *t, int arg, int64_t i)
{
    return hx_at(t->c, arg, i * t->c->dim[REL_B] + t->b, t->h * t->K);
}

static int64_t step_of(const lane *t, int arg) { return t->c->ld[arg] * t->c->dim[REL_B]; }

static float *stat_of(const lane *t, int arg, int64_t i)
{
    return (float *)t->c->a[arg] + (t->h * t->c->dim[REL_N] + i) * t->c->dim[REL_B] + t->b;
}

// query i with the head's u or w added
static void query(const lane *t, int64_t i, int bias, float *q)
{
    const float *x = row_of(t, REL_Q, i), *add = (const float *)t->c->a[bias] + t->h * t->K;
    for (int64_t c = 0; c < t->K; c++) q[c] = x[c] + add[c];
}

// Keys of a block whose rows of r lie one before the other, met by query `at`.
typedef struct piece { int64_t at, from, n; const float *r; } piece;

static int pieces(const lane *t, int64_t i, int64_t j0, int64_t n, piece out[2])
{
    const int64_t *dim = t->c->dim, own = hx_min(i + dim[REL_M] - dim[REL_N] + 1, j0 + n);
    int64_t from[2] = { j0, hx_max(j0, own + 1) }, end[2] = { own, j0 + n };
    int count = 0;
    for (int k = 0; k < 2; k++) {
        if (from[k] >= end[k]) continue;
        int64_t at = i, row = rel_row(dim, &at, from[k]);
        row += rel_slide(dim, t->a, t->gone);
        out[count++] = (piece){ at, from[k] - j0, end[k] - from[k],
                                hx_at(t->c, REL_R, row, t->h * t->K) };
    }
    return count;
}

// scores of query i and n keys from j0 on
static void scores(const lane *t, int64_t i, int64_t j0, int64_t n, float *s)
{
    float q[REL_MAX_K];
    piece part[2];
    query(t, i, REL_U, q);
    dots(q, row_of(t, REL_K, j0), step_of(t, REL_K), n, t->K, false, s);
    int count = pieces(t, i, j0, n, part);
    for (int k = 0; k < count; k++) {
        query(t, part[k].at, REL_W, q);
        dots(q, part[k].r, -t->c->ld[REL_R], part[k].n, t->K, true, s + part[k].from);
    }
    for (int64_t j = 0; j < n; j++) s[j] *= t->scale;
}

// Weights of query i for n keys from j0 on lose those that are left out; four keys share a drawing.
static void leave_out(const lane *t, int64_t i, int64_t j0, int64_t n, float *s)
{
    const attn_chance *a = t->w->chance;
    const int32_t *dice = t->w->dice;
    if (!a)
        return;
    uint32_t least = hx_least(a->drop), key = ((uint32_t)dice[1] ^ HX_DRAW_WEIGHTS) + (uint32_t)a->spot;
    int64_t line = t->b * t->a->heads + t->h, fours = hx_ceil_div(t->c->dim[REL_M], 4);
    for (int64_t from = j0 / 4 * 4; from < j0 + n; from += 4) {
        philox4x32_ctr_t x = hx_words(dice, key, (uint32_t)(i * fours + from / 4), (uint32_t)line);
        for (int64_t j = hx_max(from, j0); j < hx_min(from + 4, j0 + n); j++)
            s[j - j0] *= x.v[j - from] < least ? 0 : a->stays;
    }
}

// ---- forward ---------------------------------------------------------------------------------

static void attend(const lane *t, int64_t i)
{
    float s[BLOCK], acc[REL_MAX_K] = { 0 }, top = -3e38f, sum = 0;
    int64_t lo, hi;
    rel_keys(t->c->dim, t->a, t->gone, i, &lo, &hi);
    for (int64_t j = lo; j < hi; j += BLOCK) {
        int64_t n = hx_min(BLOCK, hi - j);
        scores(t, i, j, n, s);
        float m = top;
        for (int64_t e = 0; e < n; e++) m = s[e] > m ? s[e] : m;
        float old = j > lo ? expf(top - m) : 0;
        weigh(s, m, n);
        sum *= old;
        for (int64_t c = 0; c < t->K; c++) acc[c] *= old;
        for (int64_t e = 0; e < n; e++) sum += s[e];
        leave_out(t, i, j, n, s);
        mix(s, row_of(t, REL_V, j), step_of(t, REL_V), n, t->K, acc);
        top = m;
    }
    float *y = row_of(t, REL_OUT, i);
    for (int64_t c = 0; c < t->K; c++) y[c] = acc[c] / sum;
    *stat_of(t, REL_OUT + 1, i) = top + logf(sum);
}

static void forward_task(void *ctx, int64_t task)
{
    const hx_call *c = ((const job *)ctx)->c;
    int64_t tiles = hx_ceil_div(c->dim[REL_N], QUERIES), i = task % tiles * QUERIES;
    lane t = lane_of(ctx, task / tiles);
    for (int64_t end = hx_min(i + QUERIES, c->dim[REL_N]); i < end; i++) attend(&t, i);
}

static void by_queries(job w, void (*task)(void *, int64_t))
{
    const hx_call *c = w.c;
    int64_t lanes = c->dim[REL_B] * ((const rel_attrs *)c->attrs)->heads;
    hx_pool_run(c->pool, lanes * hx_ceil_div(c->dim[REL_N], QUERIES), task, &w);
}

void rel_attn_host(const hx_call *c) { by_queries((job){ .c = c }, forward_task); }

// ---- gradients -------------------------------------------------------------------------------

// p = exp(s - l) and ds = p (dy.v - e) / sqrt K of query i and n keys from j0 on
static void slopes(const lane *t, int64_t i, int64_t j0, int64_t n, float *p, float *ds)
{
    float e = *stat_of(t, REL_E, i);
    scores(t, i, j0, n, p);
    weigh(p, *stat_of(t, REL_L, i), n);
    dots(row_of(t, REL_DY, i), row_of(t, REL_V, j0), step_of(t, REL_V), n, t->K, false, ds);
    leave_out(t, i, j0, n, ds);
    for (int64_t j = 0; j < n; j++) ds[j] = p[j] * (ds[j] - e) * t->scale;
}

// a_i += ds_ij k_j of query i, c_i += ds r of what query `own` meets of query i's keys
static void dq_keys(const lane *t, int64_t i, int64_t own, float *a, float *c)
{
    float p[BLOCK], ds[BLOCK];
    int64_t lo, hi;
    rel_keys(t->c->dim, t->a, t->gone, i, &lo, &hi);
    for (int64_t j = lo; j < hi; j += BLOCK) {
        int64_t n = hx_min(BLOCK, hi - j);
        piece part[2];
        int count = pieces(t, i, j, n, part);
        slopes(t, i, j, n, p, ds);
        if (a) mix(ds, row_of(t, REL_K, j), step_of(t, REL_K), n, t->K, a);
        for (int k = 0; k < count; k++)
            if (part[k].at == own)
                mix(ds + part[k].from, part[k].r, -t->c->ld[REL_R], part[k].n, t->K, c);
    }
}

static void dq_task(void *ctx, int64_t task)
{
    const hx_call *c = ((const job *)ctx)->c;
    int64_t tiles = hx_ceil_div(c->dim[REL_N], QUERIES), i = task % tiles * QUERIES;
    lane t = lane_of(ctx, task / tiles);
    bool slots = t.a->read || t.a->write;
    for (int64_t end = hx_min(i + QUERIES, c->dim[REL_N]); i < end; i++) {
        float a[REL_MAX_K] = { 0 }, r[REL_MAX_K] = { 0 };
        size_t bytes = (size_t)t.K * sizeof *a;
        dq_keys(&t, i, i, a, r);
        if (slots && i > 0) dq_keys(&t, i - 1, i, NULL, r);
        memcpy(row_of(&t, REL_GRAD, i), a, bytes);
        memcpy(row_of(&t, REL_GRAD + 1, i), r, bytes);
    }
}

void rel_attn_dq_host(const hx_call *c) { by_queries((job){ .c = c }, dq_task); }

static void clear(float *x, int64_t step, int64_t n, int64_t K)
{
    for (int64_t j = 0; j < n; j++) memset(x + j * step, 0, (size_t)K * sizeof *x);
}

static void dkv_task(void *ctx, int64_t task)
{
    const hx_call *c = ((const job *)ctx)->c;
    lane t = lane_of(ctx, task);
    float p[BLOCK], ds[BLOCK], q[REL_MAX_K];
    int64_t dk = step_of(&t, REL_GRAD), dv = step_of(&t, REL_GRAD + 1);
    clear(row_of(&t, REL_GRAD, 0), dk, c->dim[REL_M], t.K);
    clear(row_of(&t, REL_GRAD + 1, 0), dv, c->dim[REL_M], t.K);
    for (int64_t i = 0; i < c->dim[REL_N]; i++) {
        int64_t lo, hi;
        rel_keys(c->dim, t.a, t.gone, i, &lo, &hi);
        query(&t, i, REL_U, q);
        for (int64_t j = lo; j < hi; j += BLOCK) {
            int64_t n = hx_min(BLOCK, hi - j);
            slopes(&t, i, j, n, p, ds);
            outer(ds, q, n, t.K, row_of(&t, REL_GRAD, j), dk);
            leave_out(&t, i, j, n, p);
            outer(p, row_of(&t, REL_DY, i), n, t.K, row_of(&t, REL_GRAD + 1, j), dv);
        }
    }
}

static void by_lanes(job w, void (*task)(void *, int64_t))
{
    const hx_call *c = w.c;
    hx_pool_run(c->pool, c->dim[REL_B] * ((const rel_attrs *)c->attrs)->heads, task, &w);
}

void rel_attn_dkv_host(const hx_call *c) { by_lanes((job){ .c = c }, dkv_task); }

static void dr_task(void *ctx, int64_t task)
{
    const hx_call *c = ((const job *)ctx)->c;
    lane t = lane_of(ctx, task);
    float p[BLOCK], ds[BLOCK], q[REL_MAX_K];
    int64_t D = c->dim[REL_D], M = c->dim[REL_M];
    float *dr = (float *)c->a[REL_GRAD] + t.b * M * D;
    clear(dr + t.h * t.K, D, M, t.K);
    for (int64_t i = 0; i < c->dim[REL_N]; i++) {
        int64_t lo, hi;
        rel_keys(c->dim, t.a, t.gone, i, &lo, &hi);
        for (int64_t j = lo; j < hi; j += BLOCK) {
            int64_t n = hx_min(BLOCK, hi - j);
            piece part[2];
            int count = pieces(&t, i, j, n, part);
            slopes(&t, i, j, n, p, ds);
            for (int k = 0; k < count; k++) {
                int64_t at = i, row = rel_row(c->dim, &at, j + part[k].from);
                row += rel_slide(c->dim, t.a, t.gone);
                query(&t, part[k].at, REL_W, q);
                outer(ds + part[k].from, q, part[k].n, t.K, dr + row * D + t.h * t.K, -D);
            }
        }
    }
}

void rel_attn_dr_host(const hx_call *c) { by_lanes((job){ .c = c }, dr_task); }

// ---- with weights left out ---------------------------------------------------------------------

// As the plain operator, whose arguments are these without dice, the last input.
static job with_chance(const hx_op *plain, const hx_call *c, hx_call *bare)
{
    int n = c->sig->n_in - 1, rest = c->sig->n_out;
    *bare = *c;
    bare->op = plain;
    bare->sig = hx_sig_of(plain);
    memmove(bare->a + n, c->a + n + 1, (size_t)rest * sizeof *bare->a);
    memmove(bare->ld + n, c->ld + n + 1, (size_t)rest * sizeof *bare->ld);
    return (job){ bare, &((const rel_drop_attrs *)c->attrs)->chance, c->a[n] };
}

void rel_attn_drop_host(const hx_call *c)
{
    hx_call bare;
    by_queries(with_chance(&hx_op_rel_attn, c, &bare), forward_task);
}

void rel_attn_drop_dq_host(const hx_call *c)
{
    hx_call bare;
    by_queries(with_chance(&hx_op_rel_attn_dq, c, &bare), dq_task);
}

void rel_attn_drop_dkv_host(const hx_call *c)
{
    hx_call bare;
    by_lanes(with_chance(&hx_op_rel_attn_dkv, c, &bare), dkv_task);
}

void rel_attn_drop_dr_host(const hx_call *c)
{
    hx_call bare;
    by_lanes(with_chance(&hx_op_rel_attn_dr, c, &bare), dr_task);
}
