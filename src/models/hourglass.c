// hourglass.c - Hourglass: a transformer around one with fewer tokens, around one with fewer still.
//
// After lucidrains' hourglass-transformer-pytorch (Nawrot et al. 2021, Hierarchical Transformers
// Are More Efficient Language Models), whose constructor arguments, parameter names and initial
// distributions these are. Letters: s tokens become one, d width, H heads of K, n tokens. What
// differs from the reference:
//   - a length that s does not divide is padded on the right as its code means to; it fails instead
//   - in the attention back from the shortened sequence each query has one key, so that softmax
//     is 1: its query and key projections are not computed, and their gradient is zero
//   - a query all of whose keys are masked sees the keys up to itself alike; there, all of them
#include "head.h"
#include "parts.h"
#include "../ops/t.h"
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LEVELS = 12, FF_MULT = 4, MAX_DEPTH = 4096 };

typedef struct hourglass_conf {
    int32_t     num_tokens, dim, max_seq_len, heads, dim_head, ignore_index;
    const char *depth, *updown_sample_type;
    hx_ints     shorten_factor;
    double      attn_dropout, ff_dropout;
    bool        attn_resampling, causal;
    // derived: levels from the outside in, and the layers of the innermost transformer
    int         L, valley, pre[MAX_LEVELS], post[MAX_LEVELS], s[MAX_LEVELS];
    bool        linear;
} hourglass_conf;

#define F(type, name, def, min, max, help) \
    { #name, HX_##type, offsetof(hourglass_conf, name), def, min, max, help },
static const hx_field fields[] = {
    F(I32,  num_tokens, NULL, 1, 1 << 24, "size of the vocabulary")
    F(I32,  dim, NULL, 1, 65536, "width")
    F(I32,  max_seq_len, NULL, 1, 1 << 24, "longest sequence, in tokens")
    F(STR,  depth, "[]", 0, 0, "layers: a number, or [before, depth of the shortened part, after]")
    F(INTS, shorten_factor, "null", 1, 1 << 20, "tokens that become one; one or one a level")
    F(I32,  heads, "8", 1, 1024, "attention heads")
    F(I32,  dim_head, "64", 1, 256, "width of an attention head")
    F(BOOL, attn_resampling, "true", 0, 0, "attend where the sequence becomes shorter and longer")
    F(STR,  updown_sample_type, "naive", 0, 0, "naive (mean and repetition) or linear (maps)")
    F(F64,  attn_dropout, "0", 0, 0.99, "share of attention weights dropped in training; not those of one key")
    F(F64,  ff_dropout, "0", 0, 0.99, "share of the feed-forward layers' inner activations dropped in training")
    F(BOOL, causal, "true", 0, 0, "no token sees a later one")
    F(I32,  ignore_index, "0", -2147483647, 2147483647, "label that is not trained on; -1: none")
    {0}
};
#undef F

// ---- validity ----------------------------------------------------------------------------

static const char *skip_blanks(const char *at)
{
    while (isspace((unsigned char)*at))
        at++;
    return at;
}

// A number of layers; NULL when there is none.
static const char *read_count(const char *at, int *count)
{
    at = skip_blanks(at);
    if (!isdigit((unsigned char)*at))
        return NULL;
    char *end;
    long n = strtol(at, &end, 10);
    if (n > MAX_DEPTH)
        return NULL;
    *count = (int)n;
    return skip_blanks(end);
}

// depth = number | [number, depth, number], from level `l` inwards; the end, or NULL.
static const char *read_depth(hourglass_conf *k, const char *at, int l)
{
    at = skip_blanks(at);
    if (*at != '[') {
        k->L = l;
        return read_count(at, &k->valley);
    }
    if (l == MAX_LEVELS || !(at = read_count(at + 1, &k->pre[l])) || *at != ',')
        return NULL;
    if (!(at = read_depth(k, at + 1, l + 1)) || *at != ',')
        return NULL;
    if (!(at = read_count(at + 1, &k->post[l])) || *at != ']')
        return NULL;
    return skip_blanks(at + 1);
}

static hx_result spread_factors(hourglass_conf *k)
{
    const hx_ints *f = &k->shorten_factor;
    bool none = f->n == 0 || (f->scalar && f->v[0] == HX_NULL);
    if (none && k->L > 0)
        return hx_fail(HX_E_INPUT, "model.shorten_factor must be given: depth %s has %d shortened "
                       "parts [E-MODEL]", k->depth, k->L);
    if (!none && k->L == 0)
        return hx_fail(HX_E_INPUT, "model.shorten_factor must be null: depth %s shortens nothing "
                       "[E-MODEL]", k->depth);
    if (!none && !f->scalar && f->n != k->L)
        return hx_fail(HX_E_INPUT, "model.shorten_factor has %d values, depth %s has %d shortened "
                       "parts [E-MODEL]", f->n, k->depth, k->L);
    int64_t all = 1;
    for (int l = 0; l < k->L; l++) {
        k->s[l] = f->v[f->scalar ? 0 : l];
        if (k->s[l] == HX_NULL)
            return hx_fail(HX_E_INPUT, "model.shorten_factor: value %d cannot be null [E-MODEL]",
                           l + 1);
        all *= k->s[l];
        if (all > 1 << 24)
            return hx_fail(HX_E_INPUT, "model.shorten_factor: %lld tokens become one, %d is the "
                           "most [E-MODEL]", (long long)all, 1 << 24);
    }
    return HX_OK;
}

static hx_result check(void *conf)
{
    hourglass_conf *k = conf;
    k->L = k->valley = 0;
    const char *end = read_depth(k, k->depth, 0);
    if (!end || *end)
        return hx_fail(HX_E_INPUT, "model.depth: '%.60s' is neither a number of layers nor "
                       "[before, depth, after], at most %d levels and %d layers each [E-MODEL]",
                       k->depth, MAX_LEVELS, MAX_DEPTH);
    k->linear = !strcmp(k->updown_sample_type, "linear");
    if (!k->linear && strcmp(k->updown_sample_type, "naive"))
        return hx_fail(HX_E_INPUT, "model.updown_sample_type: '%.40s' is neither naive nor linear "
                       "[E-MODEL]", k->updown_sample_type);
    return spread_factors(k);
}

// ---- parameters --------------------------------------------------------------------------

typedef struct { hx_p w_q, w_kv; pair norm, out, ff_norm, ff1, ff2; } layer;
typedef struct { int n; layer *layer; } stack;
typedef struct { pair down, up; stack pool, spread, pre, post; } level;
typedef struct hourglass {
    hx_p   E, P;                           // of tokens, of positions
    level  level[MAX_LEVELS];
    stack  valley;
    pair   last, logits;
} hourglass;

static hx_p declare_weight(hx_params *ps, const char *at, const char *name, int64_t out, int64_t in)
{
    return hx_param_add(ps, LINEAR(in), SHAPE(out, in), "%s%s.weight", at, name);
}

// n layers called AT NAME layers.0 ... layers.(n-1)
static stack declare_stack(const hourglass_conf *k, hx_params *ps, const char *at, const char *name,
                           int n)
{
    int64_t d = k->dim, hk = (int64_t)k->heads * k->dim_head;
    stack made = { n, hx_new(ps->arena, layer, n + 1) };
    if (!made.layer)
        ps->err = HX_E_NOMEM;
    for (int i = 0; i < n && !ps->err; i++) {
        layer *p = &made.layer[i];
        char in[512];
        snprintf(in, sizeof in, "%s%slayers.%d.", at, name, i);
        p->norm = declare_norm(ps, in, "0.norm", d);
        p->w_q = declare_weight(ps, in, "0.fn.to_q", hk, d);
        p->w_kv = declare_weight(ps, in, "0.fn.to_kv", 2 * hk, d);
        p->out = declare_linear(ps, in, "0.fn.to_out", d, hk);
        p->ff_norm = declare_norm(ps, in, "1.norm", d);
        p->ff1 = declare_linear(ps, in, "1.fn.0", FF_MULT * d, d);
        p->ff2 = declare_linear(ps, in, "1.fn.3", d, FF_MULT * d);
    }
    return made;
}

// Level l and everything inside it, named from AT on, in the reference's order.
static void declare_level(const hourglass_conf *k, hx_params *ps, hourglass *m, const char *at,
                          int l)
{
    level *p = &m->level[l];
    int64_t d = k->dim, s = k->s[l];
    char in[512];
    snprintf(in, sizeof in, "%svalley_transformer.", at);
    if (k->linear) {
        p->down = declare_linear(ps, at, "downsample.proj", d, s * d);
        p->up = declare_linear(ps, at, "upsample.proj", s * d, d);
    }
    if (l + 1 < k->L)
        declare_level(k, ps, m, in, l + 1);
    else
        m->valley = declare_stack(k, ps, in, "", k->valley);
    if (k->attn_resampling) {
        p->pool = declare_stack(k, ps, at, "attn_resampling_pre_valley.", 1);
        p->spread = declare_stack(k, ps, at, "attn_resampling_post_valley.", 1);
    }
    p->pre = declare_stack(k, ps, at, "pre_transformer.", k->pre[l]);
    p->post = declare_stack(k, ps, at, "post_transformer.", k->post[l]);
}

static void *declare(const void *conf, hx_params *ps)
{
    const hourglass_conf *k = conf;
    hourglass *m = hx_new(ps->arena, hourglass, 1);
    if (!m) {
        ps->err = HX_E_NOMEM;
        return NULL;
    }
    m->E = hx_param_add(ps, HX_INIT_NORMAL, 1, SHAPE(k->num_tokens, k->dim), "token_emb.weight");
    m->P = hx_param_add(ps, HX_INIT_NORMAL, 1, SHAPE(k->max_seq_len, k->dim), "pos_emb.weight");
    if (k->L > 0)
        declare_level(k, ps, m, "transformer.", 0);
    else
        m->valley = declare_stack(k, ps, "transformer.", "", k->valley);
    m->last = declare_norm(ps, "transformer.", k->L > 0 ? "norm_out" : "norm", k->dim);
    m->logits = declare_linear(ps, "", "to_logits", k->num_tokens, k->dim);
    return ps->err ? NULL : m;
}

// ---- the model ---------------------------------------------------------------------------

typedef struct { const hourglass_conf *k; const hourglass *m; hx_graph *g; } run;

static hx_t apply(const run *r, pair p, hx_t x, hx_act act, hx_t y)
{
    return t_linear(x, P(p.w), P(p.b), act, y);
}

static hx_t normed(const run *r, pair p, hx_t x) { return t_layernorm(x, P(p.w), P(p.b), 0); }

// [rows, 4] with a in the first column
static hx_t column(hx_tape *t, int64_t rows, double a)
{
    float *v = hx_new(t->arena, float, 4 * rows);
    if (!v) {
        hx_tape_fail(t, HX_E_NOMEM, "%s", hx_last_message());
        return (hx_t){ t, 0 };
    }
    for (int64_t i = 0; i < rows; i++)
        v[4 * i] = (float)a;
    return hx_constant(t, false, 2, (int64_t[]){ rows, 4 }, v);
}

// x[B,T,H*K] and four channels more for each head -> [B,T,H*(K+4)]
static hx_t widen(const run *r, hx_t x, hx_t more)
{
    int64_t B = hx_dim(x, 0), T = hx_dim(x, 1), H = r->k->heads, K = r->k->dim_head;
    hx_t part[2] = { hx_reshape(x, 2, (int64_t[]){ B * T * H, K }),
                     hx_reshape(more, 2, (int64_t[]){ B * T * H, 4 }) };
    return hx_reshape(hx_concat(1, 2, part), 3, (int64_t[]){ B, T, H * (K + 4) });
}

static hx_t attention_of(const run *r, hx_t q, hx_t k, hx_t v, bool causal)
{
    hx_left_out less = left_out(r->g, r->k->attn_dropout);
    int H = r->k->heads;
    return causal ? t_attention_less(q, k, v, H, 1, -1, HX_NONE, less) : t_attention_full_less(q, k, v, H, 1, less);
}

// Attention that a mask of keys limits: a further channel adds -1e30 to the scores of masked keys,
// which leaves nothing else of them. mask#[B,M]
static hx_t masked_attention(const run *r, hx_t q, hx_t k, hx_t v, hx_t mask, bool causal)
{
    int64_t H = r->k->heads, K = r->k->dim_head, M = hx_dim(k, 1), four = 4 * H, hk = H * K;
    hx_tape *t = r->g->tape;
    hx_t none = column(t, hx_rows(k) * H, 0), one = column(t, hx_rows(q) * H, 1);
    hx_t first = column(t, H, -1e30), rest = column(t, H, 0);
    hx_t table = hx_concat(0, 2, (hx_t[]){ hx_reshape(first, 2, (int64_t[]){ 1, four }),
                                           hx_reshape(rest, 2, (int64_t[]){ 1, four }) });
    k = widen(r, k, t_embedding(mask, table, M));
    v = widen(r, v, none);
    q = widen(r, t_scale(q, (float)sqrt((double)(K + 4) / (double)K)), one);
    hx_t y = attention_of(r, q, k, v, causal), part[2];
    y = hx_reshape(y, 2, (int64_t[]){ hx_rows(y) * H, K + 4 });
    hx_split(1, y, 2, (int64_t[]){ K, 4 }, part);
    return hx_reshape(part[0], 3, (int64_t[]){ hx_dim(q, 0), hx_dim(q, 1), hk });
}

// Attention of what q was made from to `from`.   mask: which keys count, or NONE
static hx_t attention(const run *r, const layer *p, hx_t q, hx_t from, hx_t mask, bool causal)
{
    int64_t hk = (int64_t)r->k->heads * r->k->dim_head;
    hx_t kv[2];
    hx_split(1, t_linear(from, P(p->w_kv), HX_NONE, HX_ACT_NONE, HX_NONE), 2, (int64_t[]){ hk, hk },
             kv);
    if (hx_is(mask))
        return masked_attention(r, q, kv[0], kv[1], mask, causal);
    return attention_of(r, q, kv[0], kv[1], causal);
}

static hx_t query(const run *r, const layer *p, hx_t u)
{
    return t_linear(u, P(p->w_q), HX_NONE, HX_ACT_NONE, HX_NONE);
}

// x + attention of norm(x) to itself
static hx_t attend(const run *r, const layer *p, hx_t x, hx_t mask)
{
    hx_t u = normed(r, p->norm, x);
    hx_t y = attention(r, p, query(r, p, u), u, mask, r->k->causal);
    return apply(r, p->out, y, HX_ACT_NONE, x);
}

// x + attention of norm(x) to the s tokens that each was made from, which are not normed.
// x[B,m,d] from[B*m,s,d], mask#[B*m,s] or NONE
static hx_t attend_to_parts(const run *r, const layer *p, hx_t x, hx_t from, hx_t mask)
{
    int64_t hk = (int64_t)r->k->heads * r->k->dim_head;
    hx_t q = query(r, p, normed(r, p->norm, x));
    hx_t y = attention(r, p, hx_reshape(q, 3, (int64_t[]){ hx_rows(x), 1, hk }), from, mask, false);
    y = hx_reshape(y, 3, (int64_t[]){ hx_dim(x, 0), hx_dim(x, 1), hk });
    return apply(r, p->out, y, HX_ACT_NONE, x);
}

// x + W2 gelu(W1 norm(x))
static hx_t feed_forward(const run *r, const layer *p, hx_t x)
{
    hx_t v = apply(r, p->ff1, normed(r, p->ff_norm, x), HX_ACT_GELU, HX_NONE);
    return apply(r, p->ff2, dropped(r->g, v, r->k->ff_dropout), HX_ACT_NONE, x);
}

static hx_t transform(const run *r, const stack *s, hx_t x, hx_t mask)
{
    for (int i = 0; i < s->n; i++) {
        const layer *p = &s->layer[i];
        x = feed_forward(r, p, attend(r, p, x, mask));
    }
    return x;
}

// By how many tokens level l delays what it puts together: s - 1 when causal, so that the last of s
// is the first that the result stands beside.
static int late(const run *r, int l) { return r->k->causal ? r->k->s[l] - 1 : 0; }

// x[B,n,d] -> [B,m,d], m = ceil(n/s); mask#[B,m*s] or NONE
static hx_t shorten(const run *r, int l, hx_t x, hx_t mask)
{
    const level *p = &r->m->level[l];
    int64_t s = r->k->s[l], B = hx_dim(x, 0), m = hx_ceil_div(hx_dim(x, 1), s), d = r->k->dim;
    hx_t moved = t_delay(x, m * s, late(r, l)), y;
    if (r->k->linear)
        y = apply(r, p->down, hx_reshape(moved, 3, (int64_t[]){ B, m, s * d }), HX_ACT_NONE,
                  HX_NONE);
    else
        y = t_pool(x, (int)s, late(r, l));
    if (!r->k->attn_resampling)
        return y;
    // each of the m attends to the s that it was made from
    const layer *q = p->pool.layer;
    hx_t context = hx_reshape(moved, 3, (int64_t[]){ B * m, s, d });
    if (hx_is(mask))
        mask = hx_reshape(mask, 2, (int64_t[]){ B * m, s });
    return feed_forward(r, q, attend_to_parts(r, q, y, context, mask));
}

// Attention to one key: its value, whatever the query.   y[B,m,d]
static hx_t only_value(const run *r, const layer *p, hx_t y)
{
    int64_t hk = (int64_t)r->k->heads * r->k->dim_head;
    hx_t w[2];
    hx_split(0, P(p->w_kv), 2, (int64_t[]){ hk, hk }, w);
    return apply(r, p->out, t_linear(y, w[1], HX_NONE, HX_ACT_NONE, HX_NONE), HX_ACT_NONE, HX_NONE);
}

// y[B,m,d] back to the n tokens of x, and x
static hx_t lengthen(const run *r, int l, hx_t y, hx_t x)
{
    const level *p = &r->m->level[l];
    int64_t s = r->k->s[l], B = hx_dim(x, 0), n = hx_dim(x, 1), m = hx_dim(y, 1), d = r->k->dim;
    const layer *q = r->k->attn_resampling ? p->spread.layer : NULL;
    hx_t v = q ? only_value(r, q, y) : HX_NONE;
    if (r->k->linear) {
        hx_t up = apply(r, p->up, y, HX_ACT_NONE, HX_NONE);
        up = hx_reshape(up, 3, (int64_t[]){ B, m * s, d });
        x = t_add(x, m * s > n ? t_delay(up, n, 0) : up);
        y = v;
    } else if (q) {
        y = t_add(y, v);
    }
    if (hx_is(y))
        x = t_add(x, t_repeat(y, n, (int)s));
    return q ? feed_forward(r, q, x) : x;
}

// The mask of the tokens that level l puts together, #[B,m*s], and of what they become, #[B,m].
static void shorten_mask(const run *r, int l, hx_t mask, hx_t *moved, hx_t *fewer)
{
    int64_t s = r->k->s[l], B = hx_dim(mask, 0), m = hx_ceil_div(hx_dim(mask, 1), s);
    hx_t w = t_window_ids(mask, m, (int)s, (int)s, -late(r, l));
    *fewer = hx_reshape(t_any_ids(w), 2, (int64_t[]){ B, m });
    *moved = hx_reshape(w, 2, (int64_t[]){ B, m * s });
}

// Level l and everything inside it.   x[B,n,d], mask#[B,n] or NONE
static hx_t hourglass_at(const run *r, int l, hx_t x, hx_t mask)
{
    if (l == r->k->L)
        return transform(r, &r->m->valley, x, mask);
    hx_t moved = HX_NONE, fewer = HX_NONE;
    if (hx_is(mask))
        shorten_mask(r, l, mask, &moved, &fewer);
    x = transform(r, &r->m->level[l].pre, x, mask);
    hx_t y = hourglass_at(r, l + 1, shorten(r, l, x, moved), fewer);
    return transform(r, &r->m->level[l].post, lengthen(r, l, y, x), mask);
}

// x[B,n,d] + P[0 .. n-1]
static hx_t placed(const run *r, hx_t x)
{
    hx_graph *g = r->g;
    int64_t n = hx_dim(x, 1);
    int32_t *at = hx_new(g->tape->arena, int32_t, g->batch * n);
    if (!at) {
        hx_tape_fail(g->tape, HX_E_NOMEM, "%s", hx_last_message());
        return (hx_t){ g->tape, 0 };
    }
    for (int64_t i = 0; i < g->batch * n; i++)
        at[i] = (int32_t)(i % n);
    hx_t positions = hx_constant(g->tape, true, 2, (int64_t[]){ g->batch, n }, at);
    return t_add(x, t_embedding(positions, P(r->m->P), n));
}

// the final embeddings of x[B,n,d]
static hx_t encode(const run *r, hx_t x, hx_t mask)
{
    return normed(r, r->m->last, hourglass_at(r, 0, placed(r, x), mask));
}

static hx_t embed(const run *r, int64_t n) { return t_embedding(r->g->ids, P(r->m->E), n); }

static void parity(const run *r, int64_t n, hx_t e)
{
    hx_t mask = hx_input(r->g, "mask", true, 2, (int64_t[]){ r->g->batch, n });
    hx_output(r->g, "logits", apply(r, r->m->logits, e, HX_ACT_NONE, HX_NONE));
    if (!hx_is(mask))
        return;
    // whatever is not 0 counts
    mask = hx_reshape(t_any_ids(hx_reshape(mask, 2, (int64_t[]){ r->g->batch * n, 1 })), 2,
                      (int64_t[]){ r->g->batch, n });
    e = encode(r, embed(r, n), mask);
    hx_output(r->g, "masked_logits", apply(r, r->m->logits, e, HX_ACT_NONE, HX_NONE));
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    const hourglass_conf *k = conf;
    run made = { k, self, g }, *r = &made;
    int64_t n = g->tokens - (g->purpose != HX_FOR_LOGITS);
    if (n < 1 || n > k->max_seq_len) {
        hx_tape_fail(g->tape, HX_E_INPUT, "a sequence of %lld tokens: the model takes 1 to %d "
                     "(max_seq_len) [E-LENGTH]", (long long)n, k->max_seq_len);
        return;
    }
    if (g->purpose == HX_FOR_LOGITS && !k->causal) {
        hx_tape_fail(g->tape, HX_E_INPUT, "text cannot be generated by a model that sees what "
                     "comes: model.causal is false [E-MODEL]");
        return;
    }
    hx_t e = encode(r, embed(r, n), HX_NONE);
    if (g->purpose == HX_FOR_LOGITS) {
        hx_t at = hx_reshape(g->position, 2, (int64_t[]){ 1, 1 });
        hx_output(g, "logits", apply(r, r->m->logits, t_embedding(at, t_flat(e), 1), HX_ACT_NONE,
                                     HX_NONE));
        return;
    }
    if (g->purpose == HX_FOR_PARITY)
        parity(r, n, e);
    hx_t labels = t_window_ids(g->labels, n, 1, 1, 1);
    g->loss = hx_loss_part(g, t_flat(e), P(r->m->logits.w), P(r->m->logits.b),
                           hx_reshape(labels, 1, (int64_t[]){ hx_elems(labels) }), k->ignore_index, false);
    hx_output(g, "loss", g->loss);
}

static int64_t size(const void *conf, const char *what)
{
    const hourglass_conf *k = conf;
    return !strcmp(what, "num_tokens") ? k->num_tokens : !strcmp(what, "seq_len") ? k->max_seq_len
        : !strcmp(what, "ignore_index") ? k->ignore_index : 0;
}

// ---- inside another model ----------------------------------------------------------------

static hx_result trunk_fits(const void *conf, int64_t n, int64_t *width)
{
    const hourglass_conf *k = conf;
    *width = k->dim;
    if (!k->causal)
        return hx_fail(HX_E_INPUT, "causal: false lets tokens see later ones, slots that are to be written "
                       "among them; leave it true [E-MODEL]");
    return n <= k->max_seq_len ? HX_OK
        : hx_fail(HX_E_INPUT, "max_seq_len: %d, and %lld rows are a segment with its slots [E-MODEL]",
                  k->max_seq_len, (long long)n);
}

static hx_t trunk_rows(const void *conf, const void *self, hx_graph *g, hx_t x)
{
    run r = { conf, self, g };
    return encode(&r, x, HX_NONE);
}

static void trunk_words(const void *self, hx_p *embedding, hx_p *weight, hx_p *bias)
{
    const hourglass *m = self;
    *embedding = m->E, *weight = m->logits.w, *bias = m->logits.b;
}

static const hx_trunk trunk = { trunk_fits, trunk_rows, trunk_words };

HX_MODEL(hourglass,
    .title = "Hourglass", .trunk = &trunk, .source = "hourglass-transformer-pytorch; Nawrot et al. 2021",
    .inputs = "mask", .fields = fields, .conf_size = sizeof(hourglass_conf),
    .check = check, .declare = declare, .build = build, .size = size,
    .samples = "num_tokens=29 dim=20 max_seq_len=32 depth=2 heads=2 dim_head=8 B=2 N=25; "
               "num_tokens=29 dim=24 max_seq_len=32 depth=[1,1,1] shorten_factor=3 heads=2 "
               "dim_head=12 B=2 N=31; "
               "num_tokens=29 dim=16 max_seq_len=48 depth=[1,[1,1,1],1] shorten_factor=[2,3] "
               "heads=2 dim_head=8 updown_sample_type=linear ignore_index=-1 B=1 N=40; "
               "num_tokens=29 dim=16 max_seq_len=48 depth=[1,2,0] shorten_factor=4 heads=1 "
               "dim_head=16 attn_resampling=false B=2 N=38");
