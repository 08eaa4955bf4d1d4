// attention_host.c - attention on the host device: tiles of 32 tokens of one residue class lie in
// the lanes of vectors, the tokens that they see stream past in blocks of 64.
//
// All products have one form, C[M,32] (+)= A[M,N] B[N,32], where A is read in place with any two
// strides: keys and values are never copied, and transposed products cost no transpose. The order
// of every sum is fixed by the problem.
#include "attention.h"
#include "philox.h"
#include <math.h>
#include <string.h>

enum { LANES = 32, BLOCK = 64, LINE = 16 };        // LINE: floats of a cache line
typedef float   v16 __attribute__((vector_size(64)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef struct vec { v16 v[2]; } vec;                // one value per lane

// The stretch that each lane's token sees, in class positions; empty for lanes without a token.
typedef struct span { i16 lo[2], hi[2]; } span;

// Vectors never cross a call that is not inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

// A width's products may use fused multiply-adds where the machine has them.
#ifdef __clang__
#define WIDTH_BEGIN(t) _Pragma("clang fp contract(fast)") \
    _Pragma(WORDS(clang attribute push(__attribute__((target(t))), apply_to = function)))
#define WIDTH_END _Pragma("clang attribute pop")
#else
#define WIDTH_BEGIN(t) _Pragma("GCC push_options") _Pragma("GCC optimize(\"fp-contract=fast\")") \
    _Pragma(WORDS(GCC target(t)))
#define WIDTH_END _Pragma("GCC pop_options")
#endif
#define WORDS(...) #__VA_ARGS__

typedef struct kernels {
    void (*product)(int64_t M, int64_t N, const float *a, int64_t am, int64_t an, int64_t ahead,
                    const vec *b, vec *c, bool add);
    void (*soften)(vec *s, int64_t n, int64_t j0, const span *see, bool edge, vec *top, vec *sum,
                   vec *acc, int64_t K);
    void (*weigh)(vec *s, vec *dp, int64_t n, int64_t i0, const span *see, bool edge, bool rows,
                  const float *l, const float *e, int64_t step);
    void (*turn_in)(vec *t, const float *x, int64_t step, int64_t n, int64_t K,
                    int64_t ahead, float scale);
    void (*turn_out)(float *x, int64_t step, int64_t n, int64_t K, int64_t ahead,
                     const vec *t, const float *f);
} kernels;

#define SIMD(f) f##_any
#include "attention_simd.h"
#undef SIMD
#ifdef __x86_64__
WIDTH_BEGIN("avx2,fma")
#define SIMD(f) f##_avx2
#include "attention_simd.h"
#undef SIMD
WIDTH_END
WIDTH_BEGIN("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")
#define SIMD(f) f##_avx512
#include "attention_simd.h"
#undef SIMD
WIDTH_END
#endif

// the widest vectors that this machine has
static const kernels *widest(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return &kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return &kernels_avx2;
#endif
    return &kernels_any;
}

// ---- tasks: tiles of one class of one head ---------------------------------------------------
typedef struct job job;
struct job {
    const attn_rule *rule;
    const hx_call   *c;
    const kernels   *f;
    bool             keys;                 // tiles are of keys, which queries stream past
    int64_t          tiles;                // of one class
    int64_t          n, group;             // tiles of everything; how many one task has
    const attn_chance *chance;             // of weights that are left out; NULL: none are
    const int32_t   *dice;
    void           (*run)(const job *w, int64_t i);
};

typedef struct tile {
    const attn_attrs *a;
    int64_t nq, nk, off;                   // queries and keys of the class; position of query 0
    int64_t gone;                          // so many of the keys are not there
    int64_t at, count;                     // the tile's first token; how many
    int64_t b, h, r, K, part;                    // h: a head of queries, or of keys in dkv
    float   scale;
    span    see;
    int64_t lo, hi;                        // what the whole tile sees
    int64_t full_lo, full_hi;              // what every lane of it sees
} tile;

static int64_t class_of(int64_t T, int64_t r, int64_t axial)
{
    return r < T ? hx_ceil_div(T - r, axial) : 0;
}

// what token i of the tile's own sees: keys, or indices of queries
static void range_of(const job *w, const tile *t, int64_t i, int64_t *lo, int64_t *hi)
{
    if (!w->keys) {
        w->rule->keys(i + t->off, t->off, t->nk, t->a, lo, hi);
        *lo = hx_max(*lo, t->gone);
        *hi = hx_max(*hi, *lo);
        return;
    }
    w->rule->queries(i, t->off, t->nk, t->a, lo, hi);
    *lo -= t->off;
    *hi = i < t->gone ? *lo : *hi - t->off;
}

static tile tile_of(const job *w, int64_t task)
{
    const hx_call *c = w->c;
    const attn_attrs *a = c->attrs;
    int64_t heads = w->keys ? a->heads / a->share : a->heads, rest = task / heads;
    tile t = { .a = a, .K = c->dim[ATTN_D] / a->heads, .at = rest % w->tiles * LANES };
    // heads first: their channels lie side by side in memory
    t.h = task % heads;
    t.r = rest / w->tiles % a->axial;
    t.b = rest / w->tiles / a->axial % c->dim[ATTN_B];
    t.part = rest / w->tiles / a->axial / c->dim[ATTN_B];
    t.nq = class_of(c->dim[ATTN_N], t.r, a->axial);
    t.nk = class_of(c->dim[ATTN_M], t.r, a->axial);
    t.off = t.nk - t.nq;
    const int32_t *gone = c->a[c->sig->n_in - 1];
    t.gone = gone ? hx_min(hx_max(gone[t.b * a->axial + t.r], 0), t.nk) : 0;
    int64_t own = w->keys ? t.nk : t.nq;
    t.count = hx_max(hx_min(LANES, own - t.at), 0);
    t.scale = (float)(1 / sqrt((double)t.K));
    for (int64_t i = 0; i < t.count; i++) {
        int64_t lo, hi;
        range_of(w, &t, t.at + i, &lo, &hi);
        t.see.lo[i / 16][i % 16] = (int32_t)lo;
        t.see.hi[i / 16][i % 16] = (int32_t)hi;
        if (i == 0) { t.lo = lo; t.full_hi = hi; }
        t.hi = hi;
        t.full_lo = lo;
    }
    if (t.count < LANES) t.full_lo = INT32_MAX;      // every block is an edge
    return t;
}

// class position i of argument `arg`, which has T tokens, at the channels of head h
static float *row_at(const job *w, const tile *t, int arg, int64_t T, int64_t h, int64_t i)
{
    return (float *)w->c->a[arg] + (t->b*T + t->r + i * t->a->axial) * w->c->ld[arg] + h * t->K;
}

static float *query(const job *w, const tile *t, int arg, int64_t h, int64_t i)
{
    return row_at(w, t, arg, w->c->dim[ATTN_N], h, i);
}

static float *key(const job *w, const tile *t, int arg, int64_t h, int64_t j)
{
    return row_at(w, t, arg, w->c->dim[ATTN_M], h, j);
}

static float *stat_of(const job *w, const tile *t, int arg, int64_t h, int64_t i)
{
    return (float *)w->c->a[arg] + (t->b * t->a->heads + h) * w->c->dim[ATTN_N] + t->r
         + i * t->a->axial;
}

// From a row to the same row of the next tile: the channels of the next head, or 32 tokens on.
static int64_t to_next(const job *w, const tile *t, int64_t step)
{
    int64_t heads = w->keys ? t->a->heads / t->a->share : t->a->heads;
    return t->h + 1 < heads ? t->K : LANES * step - t->h * t->K;
}

// Weights of n tokens from i0 on for a tile's own, which are queries or keys, lose those that are left out; four
// keys share a drawing. h: head of queries.
static void leave_out(const job *w, const tile *t, int64_t h, int64_t i0, int64_t n, vec *s)
{
    uint32_t least = hx_least(w->chance->drop), line = (uint32_t)((t->b * t->a->axial + t->r) * t->a->heads + h);
    uint32_t key = ((uint32_t)w->dice[1] ^ HX_DRAW_WEIGHTS) + (uint32_t)w->chance->spot;
    int64_t fours = hx_ceil_div(hx_ceil_div(w->c->dim[ATTN_M], t->a->axial), 4);
    int64_t q0 = w->keys ? i0 : t->at, q1 = w->keys ? i0 + n : t->at + t->count;
    int64_t k0 = w->keys ? t->at : i0, k1 = w->keys ? t->at + t->count : i0 + n;
    for (int64_t i = q0; i < q1; i++)
        for (int64_t from = k0 / 4 * 4; from < k1; from += 4) {
            philox4x32_ctr_t x = hx_words(w->dice, key, (uint32_t)(i * fours + from / 4), line);
            for (int64_t j = hx_max(from, k0); j < hx_min(from + 4, k1); j++) {
                int64_t row = (w->keys ? i : j) - i0, lane = (w->keys ? j : i) - t->at;
                s[row].v[lane / 16][lane % 16] *= x.v[j - from] < least ? 0 : w->chance->stays;
            }
        }
}

static void forward_tile(const job *w, int64_t task)
{
    tile t = tile_of(w, task);
    if (!t.count) return;
    int64_t K = t.K, hk = t.h / t.a->share, step[5];
    for (int i = 0; i < 5; i++) step[i] = w->c->ld[i] * t.a->axial;
    vec q[ATTN_MAX_K], acc[ATTN_MAX_K], s[BLOCK], top, sum = { 0 };
    for (int i = 0; i < LANES; i++) top.v[i / 16][i % 16] = -3e38f;
    memset(acc, 0, (size_t)K * sizeof *acc);
    w->f->turn_in(q, query(w, &t, 0, t.h, t.at), step[0], t.count, K,
                  to_next(w, &t, step[0]), t.scale);
    for (int64_t j = t.lo; j < t.hi; j += BLOCK) {
        int64_t n = hx_min(BLOCK, t.hi - j);
        w->f->product(n, K, key(w, &t, 1, hk, j), step[1], 1, to_next(w, &t, step[1]), q, s, false);
        w->f->soften(s, n, j, &t.see, j < t.full_lo || j + n > t.full_hi, &top, &sum, acc, K);
        if (w->chance) leave_out(w, &t, t.h, j, n, s);
        w->f->product(K, n, key(w, &t, 2, hk, j), 1, step[2], to_next(w, &t, step[2]), s, acc, true);
    }
    float f[LANES], *l = stat_of(w, &t, 5, t.h, t.at);
    for (int64_t i = 0; i < t.count; i++) {
        float total = sum.v[i / 16][i % 16];
        f[i] = total == 0 ? 0 : 1 / total;
        l[i * t.a->axial] = total == 0 ? -3e38f : top.v[i / 16][i % 16] + logf(total);
    }
    w->f->turn_out(query(w, &t, 4, t.h, t.at), step[4], t.count, K,
                   to_next(w, &t, step[4]), acc, f);
}

static void dq_tile(const job *w, int64_t task)
{
    tile t = tile_of(w, task);
    if (!t.count) return;
    int64_t K = t.K, hk = t.h / t.a->share, A = t.a->axial, *ld = (int64_t *)w->c->ld, next[9];
    for (int i = 0; i < 9; i++) next[i] = to_next(w, &t, ld[i] * A);
    vec q[ATTN_MAX_K], dy[ATTN_MAX_K], dq[ATTN_MAX_K], s[BLOCK], dp[BLOCK];
    float l[LANES] = { 0 }, e[LANES] = { 0 }, f[LANES];
    memset(dq, 0, (size_t)K * sizeof *dq);
    w->f->turn_in(q, query(w, &t, 0, t.h, t.at), ld[0] * A, t.count, K, next[0], t.scale);
    w->f->turn_in(dy, query(w, &t, 3, t.h, t.at), ld[3] * A, t.count, K, next[3], 1);
    for (int64_t i = 0; i < t.count; i++) {
        l[i] = stat_of(w, &t, 4, t.h, t.at)[i * A];
        e[i] = stat_of(w, &t, 5, t.h, t.at)[i * A];
        f[i] = t.scale;
    }
    for (int64_t j = t.lo; j < t.hi; j += BLOCK) {
        int64_t n = hx_min(BLOCK, t.hi - j);
        const float *k = key(w, &t, 1, hk, j);
        w->f->product(n, K, k, ld[1] * A, 1, next[1], q, s, false);
        w->f->product(n, K, key(w, &t, 2, hk, j), ld[2] * A, 1, next[2], dy, dp, false);
        if (w->chance) leave_out(w, &t, t.h, j, n, dp);
        w->f->weigh(s, dp, n, j, &t.see, j < t.full_lo || j + n > t.full_hi, false, l, e, 0);
        w->f->product(K, n, k, 1, ld[1] * A, 0, dp, dq, true);
    }
    w->f->turn_out(query(w, &t, 7, t.h, t.at), ld[7] * A, t.count, K, next[7], dq, f);
}

static void dkv_tile(const job *w, int64_t task)
{
    tile t = tile_of(w, task);
    if (!t.count) return;
    int64_t K = t.K, A = t.a->axial, *ld = (int64_t *)w->c->ld, next[9];
    for (int i = 0; i < 9; i++) next[i] = to_next(w, &t, ld[i] * A);
    vec k[ATTN_MAX_K], v[ATTN_MAX_K], dk[ATTN_MAX_K], dv[ATTN_MAX_K], s[BLOCK], dp[BLOCK];
    float one[LANES], f[LANES];
    memset(dk, 0, (size_t)K * sizeof *dk);
    memset(dv, 0, (size_t)K * sizeof *dv);
    w->f->turn_in(k, key(w, &t, 1, t.h, t.at), ld[1] * A, t.count, K, next[1], t.scale);
    w->f->turn_in(v, key(w, &t, 2, t.h, t.at), ld[2] * A, t.count, K, next[2], 1);
    int64_t some = t.a->share / t.a->parts, h0 = t.h * t.a->share + t.part * some;
    for (int64_t h = h0; h < h0 + some; h++)
        for (int64_t i = t.lo; i < t.hi; i += BLOCK) {
            int64_t n = hx_min(BLOCK, t.hi - i);
            const float *q = query(w, &t, 0, h, i), *dy = query(w, &t, 3, h, i);
            w->f->product(n, K, q, ld[0] * A, 1, next[0], k, s, false);
            w->f->product(n, K, dy, ld[3] * A, 1, next[3], v, dp, false);
            if (w->chance) leave_out(w, &t, h, i, n, dp);
            w->f->weigh(s, dp, n, i, &t.see, i < t.full_lo || i + n > t.full_hi, true,
                  stat_of(w, &t, 4, h, i), stat_of(w, &t, 5, h, i), A);
            if (w->chance) leave_out(w, &t, h, i, n, s);
            w->f->product(K, n, dy, 1, ld[3] * A, 0, s, dv, true);
            w->f->product(K, n, q, 1, ld[0] * A, 0, dp, dk, true);
        }
    for (int i = 0; i < LANES; i++) { one[i] = 1; f[i] = t.scale; }
    t.b += t.part * w->c->dim[ATTN_B];
    w->f->turn_out(key(w, &t, 7, t.h, t.at), ld[7] * A, t.count, K, next[7], dk, f);
    w->f->turn_out(key(w, &t, 8, t.h, t.at), ld[8] * A, t.count, K, next[8], dv, one);
}

// A task has the heads of a tile, as far as there are tasks enough: their channels lie side by side.
static void run_task(void *ctx, int64_t task)
{
    const job *w = ctx;
    for (int64_t i = task * w->group; i < hx_min(w->n, (task + 1) * w->group); i++) w->run(w, i);
}

static void share_out(job w)
{
    const hx_call *c = w.c;
    const attn_attrs *a = c->attrs;
    int64_t own = c->dim[w.keys ? ATTN_M : ATTN_N], heads = w.keys ? a->heads / a->share : a->heads;
    w.f = widest();
    w.tiles = hx_ceil_div(hx_ceil_div(own, a->axial), LANES);
    w.n = w.tiles * c->dim[ATTN_B] * heads * a->axial * (w.keys ? a->parts : 1);
    w.group = hx_max(hx_min(heads, w.n / 64), 1);
    hx_pool_run(c->pool, hx_ceil_div(w.n, w.group), run_task, &w);
}

void attn_host(const attn_rule *rule, const hx_call *c)
{
    share_out((job){ .rule = rule, .c = c, .run = forward_tile });
}

void attn_dq_host(const attn_rule *rule, const hx_call *c)
{
    share_out((job){ .rule = rule, .c = c, .run = dq_tile });
}

void attn_dkv_host(const attn_rule *rule, const hx_call *c)
{
    share_out((job){ .rule = rule, .c = c, .keys = true, .run = dkv_tile });
}

// As the plain operator, whose arguments are these without dice, its last input.
static void with_chance(const hx_op *plain, const hx_call *c, job w)
{
    hx_call bare = *c;
    int n = c->sig->n_in - 1, rest = c->sig->n_out;
    w.chance = &((const attn_drop_attrs *)c->attrs)->chance;
    w.dice = c->a[n];
    w.c = &bare;
    bare.op = plain;
    bare.sig = hx_sig_of(plain);
    memmove(bare.a + n, c->a + n + 1, (size_t)rest * sizeof *bare.a);
    memmove(bare.ld + n, c->ld + n + 1, (size_t)rest * sizeof *bare.ld);
    share_out(w);
}

void attn_drop_host(const attn_rule *rule, const hx_op *plain, const hx_call *c)
{
    with_chance(plain, c, (job){ .rule = rule, .run = forward_tile });
}

void attn_drop_dq_host(const attn_rule *rule, const hx_op *plain, const hx_call *c)
{
    with_chance(plain, c, (job){ .rule = rule, .run = dq_tile });
}

void attn_drop_dkv_host(const attn_rule *rule, const hx_op *plain, const hx_call *c)
{
    with_chance(plain, c, (job){ .rule = rule, .keys = true, .run = dkv_tile });
}
