// rmt_lucidrains.c - Recurrent Memory Transformer: a decoder that reads memory slots before each
// segment of tokens and writes new ones behind it.
//
// After lucidrains' recurrent-memory-transformer-pytorch and hyper-connections (Bulatov et al. 2022,
// Recurrent Memory Transformer; Zhu et al. 2024, Hyper-Connections), whose constructor arguments,
// parameter names and initial distributions these are. Letters: B batch rows, n tokens of a segment,
// m slots, D width, H heads of K, S residual streams, X remembered keys of Transformer-XL.
//
// Rows are in the order of time: row t*B + b is slot or token t of batch row b, so that batch rows
// are the residue classes of attention, and [read; tokens; write] lie one below the other. Keys are
// [XL; null; read; tokens; write]. What differs from the reference: a causal model whose memory is
// causal, too, fails there without use_flash_attn; here everything sees what comes before it.
#include "by_time.h"
#include "parts.h"
#include <math.h>
#include <string.h>

enum { MAX_DEPTH = 1024, MAX_STREAMS = 64, MAX_TABLES = 16 };
#define THETA 32768                        // rotary base
#define FAR 10000                          // rotary position of the first token; memory is at 0
#define EPS 1.1920929e-7f                  // of torch.nn.RMSNorm in fp32

typedef struct rmt_conf {
    int32_t dim, num_tokens, depth, num_memory_tokens, seq_len, dim_head, heads, ignore_index;
    int32_t num_residual_streams;
    double  ff_mult, attn_dropout, ff_dropout, emb_gradient_frac;
    bool    causal, use_flash_attn, abs_pos_emb, rotary_pos_emb, use_xl_memories;
    bool    enhanced_xl_recurrence, memory_not_causal, add_write_to_next_write_mem;
    bool    next_write_mem_stop_grad, always_have_read_memories, carry_xl;
    hx_ints xl_mem_len, truncate_at_step;
    // derived
    int     inner, xl, truncate;           // xl: keys that are remembered, 0: all; truncate: 0 never
} rmt_conf;

#define F(type, name, def, min, max, help) \
    { #name, HX_##type, offsetof(rmt_conf, name), def, min, max, help },
static const hx_field fields[] = {
    F(I32,  dim, NULL, 1, 65536, "width")
    F(I32,  num_tokens, NULL, 1, 1 << 24, "size of the vocabulary")
    F(I32,  depth, NULL, 1, MAX_DEPTH, "layers")
    F(I32,  num_memory_tokens, NULL, 1, 1 << 16, "memory slots that a segment reads and writes")
    F(I32,  seq_len, NULL, 1, 1 << 24, "tokens of a segment")
    F(BOOL, causal, "true", 0, 0, "no token sees a later one")
    F(I32,  dim_head, "64", 1, 256, "width of an attention head")
    F(I32,  heads, "8", 1, 1024, "attention heads")
    F(F64,  ff_mult, "4", 1e-3, 1024, "width of the feed-forward layer over dim, before its gate")
    F(F64,  attn_dropout, "0", 0, 0.99, "share of attention weights dropped in training")
    F(F64,  ff_dropout, "0", 0, 0.99, "share of the feed-forward layers' inner activations dropped in training")
    F(BOOL, use_flash_attn, "false", 0, 0, "matters only where memory_not_causal is false: then "
            "query i sees keys 0 to i, the remembered and the null key among them")
    F(I32,  ignore_index, "-1", -2147483647, 2147483647, "label that is not trained on")
    F(BOOL, abs_pos_emb, "true", 0, 0, "learnt positions of the tokens of a segment")
    F(BOOL, rotary_pos_emb, "false", 0, 0, "rotary positions; memory slots are far from all tokens")
    F(BOOL, use_xl_memories, "true", 0, 0, "return keys and values for the next segment")
    F(INTS, xl_mem_len, "null", 0, 1 << 24, "how many of them, 0: all; null: seq_len")
    F(BOOL, enhanced_xl_recurrence, "false", 0, 0, "accepted for the reference's sake, without "
            "effect there, too")
    F(F64,  emb_gradient_frac, "0.1", 0, 1, "share of the gradient that reaches the embeddings")
    F(BOOL, memory_not_causal, "true", 0, 0, "slots see their side of memory whole; no token sees "
            "what is written")
    F(BOOL, add_write_to_next_write_mem, "false", 0, 0, "written slots start from the last ones")
    F(BOOL, next_write_mem_stop_grad, "true", 0, 0, "without a gradient through that")
    F(BOOL, always_have_read_memories, "true", 0, 0, "slots to read in the first segment, too")
    F(I32,  num_residual_streams, "4", 1, MAX_STREAMS, "of hyper-connections; 1: a plain residual")
    // arguments of the reference's calls
    F(INTS, truncate_at_step, "null", 1, 1 << 24, "segments after which gradients through memory end")
    F(BOOL, carry_xl, "false", 0, 0, "hand keys and values on from segment to segment; the "
            "reference's training never does")
    {0}
};
#undef F

// ---- validity ----------------------------------------------------------------------------

static hx_result one_or_null(const hx_ints *v, const char *name, int null, int *out)
{
    *out = !v->n || v->v[0] == HX_NULL ? null : v->v[0];
    if (v->n > 1)
        return hx_fail(HX_E_INPUT, "model.%s has %d values, one or null is needed [E-MODEL]", name,
            v->n);
    return HX_OK;
}

static hx_result check(void *conf)
{
    rmt_conf *k = conf;
    k->inner = (int)(k->dim * k->ff_mult * 2 / 3);
    HX_TRY(one_or_null(&k->xl_mem_len, "xl_mem_len", k->seq_len, &k->xl));
    HX_TRY(one_or_null(&k->truncate_at_step, "truncate_at_step", 0, &k->truncate));
    if (k->inner < 1)
        return hx_fail(HX_E_INPUT, "model.ff_mult: %g leaves no channel of dim %d [E-MODEL]",
            k->ff_mult, k->dim);
    if (!k->abs_pos_emb && !k->rotary_pos_emb)
        return hx_fail(HX_E_INPUT, "model.abs_pos_emb and model.rotary_pos_emb are both false: "
            "nothing would tell tokens apart by their place; set one [E-MODEL]");
    if (k->rotary_pos_emb && k->dim_head % 2)
        return hx_fail(HX_E_INPUT, "model.dim_head: %d must be even for the rotary embedding "
            "[E-MODEL]", k->dim_head);
    if (k->xl > k->seq_len)
        return hx_fail(HX_E_INPUT, "model.xl_mem_len: %d is more than seq_len %d [E-MODEL]", k->xl,
            k->seq_len);
    if (k->carry_xl && !k->use_xl_memories)
        return hx_fail(HX_E_INPUT, "model.carry_xl needs use_xl_memories: there would be nothing to "
            "hand on [E-MODEL]");
    return HX_OK;
}

// ---- parameters --------------------------------------------------------------------------

// How a branch hangs on the streams; only with more than one.
typedef struct { hx_p gamma, alpha, alpha_fn, alpha_scale, beta, beta_fn, beta_scale; } hyper;
typedef struct {
    hyper at_attn, at_ff;
    hx_p  norm, null, q, kv, out, mix;     // mix: of the first layer's values, 0 there
    hx_p  ff_norm, w1, w2;
} layer;
typedef struct {
    hx_p   E, pos, read, write, last, logits, logits_b;
    layer *layer;
} rmt;


// Stream `from` feeds the branch at first, and every stream itself.
static const float *first_weights(hx_params *ps, int64_t S, int64_t from)
{
    float *v = hx_new(ps->arena, float, S * (S + 1));
    for (int64_t s = 0; v && s < S; s++) {
        v[s * (S + 1)] = s == from;
        v[s * (S + 1) + 1 + s] = 1;
    }
    return v;
}

static hyper declare_hyper(const rmt_conf *k, hx_params *ps, int l, int branch)
{
    int64_t S = k->num_residual_streams, D = k->dim;
    hyper p = { 0 };
    const char *at = hx_sprintf(ps->arena, "layers.%d.%d", l, branch);
    const float *first = first_weights(ps, S, (2 * l + branch) % S);
    if (S == 1 || !at || !first) {
        ps->err = S == 1 ? ps->err : HX_E_NOMEM;
        return p;
    }
    p.alpha = hx_param_add(ps, CONST(0), SHAPE(S, S + 1), "%s.static_alpha", at);
    hx_param_start(ps, p.alpha, first);
    p.alpha_fn = hx_param_add(ps, CONST(0), SHAPE(D, S + 1), "%s.dynamic_alpha_fn", at);
    p.alpha_scale = hx_param_add(ps, CONST(1e-2), 0, NULL, "%s.dynamic_alpha_scale", at);
    p.beta = hx_param_add(ps, CONST(1), SHAPE(S), "%s.static_beta", at);
    p.beta_fn = hx_param_add(ps, CONST(0), SHAPE(D), "%s.dynamic_beta_fn", at);
    p.beta_scale = hx_param_add(ps, CONST(1e-2), 0, NULL, "%s.dynamic_beta_scale", at);
    p.gamma = hx_param_add(ps, CONST(0), SHAPE(D), "%s.norm.gamma", at);
    return p;
}

static void declare_layer(const rmt_conf *k, hx_params *ps, layer *p, int l)
{
    int64_t D = k->dim, H = k->heads, K = k->dim_head, hk = H * K, n = k->inner;
    p->at_attn = declare_hyper(k, ps, l, 0);
    p->norm = hx_param_add(ps, CONST(1), SHAPE(D), "layers.%d.0.branch.norm.weight", l);
    p->null = hx_param_add(ps, NORMAL(1), SHAPE(2, H, K), "layers.%d.0.branch.null_kv", l);
    p->q = hx_param_add(ps, LINEAR(D), SHAPE(hk, D), "layers.%d.0.branch.to_q.weight", l);
    p->kv = hx_param_add(ps, LINEAR(D), SHAPE(2 * hk, D), "layers.%d.0.branch.to_kv.weight", l);
    p->out = hx_param_add(ps, LINEAR(hk), SHAPE(D, hk), "layers.%d.0.branch.to_out.weight", l);
    if (l > 0)
        p->mix = hx_param_add(ps, LINEAR(D), SHAPE(H, D),
            "layers.%d.0.branch.learned_value_residual_mix.0.weight", l);
    p->at_ff = declare_hyper(k, ps, l, 1);
    p->ff_norm = hx_param_add(ps, CONST(1), SHAPE(D), "layers.%d.1.branch.0.weight", l);
    p->w1 = hx_param_add(ps, LINEAR(D), SHAPE(2 * n, D), "layers.%d.1.branch.1.weight", l);
    p->w2 = hx_param_add(ps, LINEAR(n), SHAPE(D, n), "layers.%d.1.branch.4.weight", l);
}

// 1 / theta^(2j/K), rounded to fp32 as the reference keeps it
static double turn_of(const rmt_conf *k, int64_t j)
{
    return (float)(1 / pow(THETA, 2.0 * (double)j / k->dim_head));
}

static void *declare(const void *conf, hx_params *ps)
{
    const rmt_conf *k = conf;
    int64_t D = k->dim, V = k->num_tokens, m = k->num_memory_tokens;
    rmt *p = hx_new(ps->arena, rmt, 1);
    float turn[128];
    if (!p || !(p->layer = hx_new(ps->arena, layer, k->depth))) {
        ps->err = HX_E_NOMEM;
        return NULL;
    }
    p->read = hx_param_add(ps, NORMAL(0.02), SHAPE(m, D), "read_memory_emb");
    p->write = hx_param_add(ps, NORMAL(0.02), SHAPE(m, D), "memory_tokens");
    p->E = hx_param_add(ps, NORMAL(1), SHAPE(V, D), "token_emb.weight");
    if (k->abs_pos_emb)
        p->pos = hx_param_add(ps, NORMAL(1), SHAPE(k->seq_len, D), "pos_emb.weight");
    for (int l = 0; l < k->depth && !ps->err; l++)
        declare_layer(k, ps, &p->layer[l], l);
    p->last = hx_param_add(ps, CONST(1), SHAPE(D), "norm.weight");
    p->logits = hx_param_add(ps, LINEAR(D), SHAPE(V, D), "to_logits.weight");
    p->logits_b = hx_param_add(ps, LINEAR(D), SHAPE(V), "to_logits.bias");
    for (int j = 0; j < k->dim_head / 2; j++) turn[j] = (float)turn_of(k, j);
    if (k->rotary_pos_emb && !ps->err)
        hx_param_buffer(ps, turn, k->dim_head / 2, "rotary_pos_emb.inv_freq");
    return ps->err ? NULL : p;
}

// ---- the model ---------------------------------------------------------------------------

// What a segment hands on: slots [1, m*B, D], keys and values [X*B, H*K] of each layer before they
// are turned; gone#[1,B]: how many of those are not there. HX_NONE: nothing yet, or all are there.
typedef struct { hx_t slots, *k, *v, gone; } memory;
// Weights of a branch's connections, the same for all segments.
typedef struct { hx_t g, w, scale, offset; } ready;
// A table of rotary positions: X keys and the null key, R slots, n tokens, m slots.
typedef struct { int64_t X, R, n; bool keys; hx_t cs; } table;
typedef struct run {
    const rmt_conf *k;
    const rmt      *m;
    hx_graph       *g;
    int64_t         B;
    bool            carry_xl;
    ready          *ready;                 // of branch 2*l + (0 | 1)
    hx_t            read, write;           // read_memory_emb and memory_tokens of all batch rows
    table           tables[MAX_TABLES];
    int             n_table;
} run;
// A segment on its way: X remembered keys, of which gone#[1,B] are not there, R slots to read, n tokens.
typedef struct { run *r; memory *mem; int64_t X, R, n; hx_t values, gone; } segment;

static hx_t normed(run *r, hx_t x, hx_p g) { return t_rmsnorm_eps(x, P(g), EPS); }

// ---- rotary positions --------------------------------------------------------------------

static void turn_row(const rmt_conf *k, int64_t position, float *cs)
{
    int64_t half = k->dim_head / 2;
    for (int64_t j = 0; j < half; j++) {
        double angle = (double)position * turn_of(k, j);
        cs[j] = (float)cos(angle);
        cs[j + half] = (float)sin(angle);
    }
}

// Queries [read; tokens; write], and before them keys [XL; null]: the reference counts the X + 1
// oldest keys from FAR - 1 on in this order, although the null key stands behind the others.
static hx_t positions(const segment *s, bool keys)
{
    run *r = s->r;
    int64_t m = r->k->num_memory_tokens, K = r->k->dim_head, old = keys ? s->X + 1 : 0;
    int64_t rows = old + s->R + s->n + m;
    for (int i = 0; i < r->n_table; i++) {
        const table *t = &r->tables[i];
        if (t->X == s->X && t->R == s->R && t->n == s->n && t->keys == keys)
            return t->cs;
    }
    float *cs = hx_new(r->g->tape->arena, float, rows * K), *at = cs;
    if (!cs) {
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "%s", hx_last_message());
        return (hx_t){ r->g->tape, 0 };
    }
    for (int64_t i = 0; i < old; i++, at += K) turn_row(r->k, FAR - 1 + i, at);
    for (int64_t i = 0; i < s->R; i++, at += K) turn_row(r->k, 0, at);
    for (int64_t i = 0; i < s->n; i++, at += K) turn_row(r->k, FAR + s->X + i, at);
    for (int64_t i = 0; i < m; i++, at += K) turn_row(r->k, 0, at);
    hx_t made = hx_constant(r->g->tape, false, 2, (int64_t[]){ rows, K }, cs);
    if (r->n_table < MAX_TABLES)
        r->tables[r->n_table++] = (table){ s->X, s->R, s->n, keys, made };
    return made;
}

// ---- hyper-connections -------------------------------------------------------------------

// x[P,Q] -> [Q,P]
static hx_t transposed(hx_t x)
{
    int64_t P = hx_dim(x, 0), Q = hx_dim(x, 1);
    return hx_reshape(t_swap(hx_reshape(x, 4, (int64_t[]){ 1, P, Q, 1 })), 2, (int64_t[]){ Q, P });
}

// Both dynamic maps as one linear layer [S+2, D]; scales and offsets by column of z[., S*(S+2)], which
// holds for each stream S + 1 weights of alpha and one of beta.
static const ready *connections(run *r, const hyper *p, int branch)
{
    ready *w = &r->ready[branch];
    hx_tape *t = r->g->tape;
    int64_t S = r->k->num_residual_streams, D = r->k->dim, C = S * (S + 2), one[2] = { 1, 1 };
    if (hx_is(w->w))
        return w;
    float *ones = hx_new(t->arena, float, D);
    int32_t *which = hx_new(t->arena, int32_t, C);
    if (!ones || !which) {
        hx_tape_fail(t, HX_E_NOMEM, "%s", hx_last_message());
        w->g = w->w = w->scale = w->offset = (hx_t){ t, 0 };
        return w;
    }
    for (int64_t i = 0; i < D; i++) ones[i] = 1;
    for (int64_t i = 0; i < C; i++) which[i] = i % (S + 2) == S + 1;
    w->g = t_add(P(p->gamma), hx_constant(t, false, 1, (int64_t[]){ D }, ones));
    w->w = hx_concat(0, 2, (hx_t[]){ transposed(P(p->alpha_fn)),
                                     hx_reshape(P(p->beta_fn), 2, (int64_t[]){ 1, D }) });
    hx_t scales = hx_concat(0, 2, (hx_t[]){ hx_reshape(P(p->alpha_scale), 2, one),
                                            hx_reshape(P(p->beta_scale), 2, one) });
    hx_t ids = hx_constant(t, true, 2, (int64_t[]){ 1, C }, which);
    w->scale = hx_reshape(t_embedding(ids, scales, C), 1, (int64_t[]){ C });
    hx_t beta = hx_reshape(P(p->beta), 2, (int64_t[]){ S, 1 });
    w->offset = hx_reshape(hx_concat(1, 2, (hx_t[]){ P(p->alpha), beta }), 1, (int64_t[]){ C });
    return w;
}

typedef hx_t branch_fn(segment *s, int l, hx_t u, hx_t residual);

// The streams x[R,S,D] behind a branch: what goes in, what stays and where the result is added are
// mixtures whose weights each token finds for itself.
static hx_t connect(segment *s, const hyper *p, int l, int which, branch_fn *f, hx_t x)
{
    run *r = s->r;
    int64_t S = r->k->num_residual_streams, D = r->k->dim, R = hx_dim(x, 0);
    if (S == 1)
        return hx_reshape(f(s, l, hx_reshape(x, 3, (int64_t[]){ 1, R, D }),
                            hx_reshape(x, 3, (int64_t[]){ 1, R, D })), 3, (int64_t[]){ R, 1, D });
    const ready *w = connections(r, p, 2 * l + which);
    hx_t z = bt_linear(t_rmsnorm(hx_reshape(x, 3, (int64_t[]){ 1, R * S, D }), w->g, 0), w->w), part[3];
    z = t_tanh_affine(hx_reshape(z, 2, (int64_t[]){ R, S * (S + 2) }), w->scale, w->offset);
    hx_split(1, hx_reshape(z, 2, (int64_t[]){ R * S, S + 2 }), 3, (int64_t[]){ 1, S, 1 }, part);
    hx_t in = t_hyper_in(x, hx_reshape(part[0], 3, (int64_t[]){ R, S, 1 }));
    hx_t stay = t_hyper_in(x, hx_reshape(part[1], 3, (int64_t[]){ R, S, S }));
    hx_t y = f(s, l, hx_reshape(in, 3, (int64_t[]){ 1, R, D }), HX_NONE);
    y = hx_reshape(y, 3, (int64_t[]){ R, 1, D });
    return t_hyper_out(y, hx_reshape(part[2], 3, (int64_t[]){ R, S, 1 }), stay);
}

// ---- layers ------------------------------------------------------------------------------

static bool remembers(const run *r)
{
    return r->carry_xl || (r->g->purpose == HX_FOR_PARITY && r->k->use_xl_memories);
}

// Everything [XL; null; read; tokens; write] sees what is older than it and all that was read; what is
// written sees everything.
static hx_t look(const segment *s, hx_t q, hx_t k, hx_t v)
{
    const rmt_conf *c = s->r->k;
    int H = c->heads, B = (int)s->r->B, m = c->num_memory_tokens;
    hx_left_out less = left_out(s->r->g, c->attn_dropout);
    hx_t qs[3], ks[3], vs[3];
    if (!c->causal)
        return t_attention_full_less(q, k, v, H, B, less);
    if (c->memory_not_causal && s->R > 0)
        return t_attention_slots(q, k, v, H, B, m, s->gone, less);
    if (c->memory_not_causal) {
        bt_cut(q, s->n * B, (int64_t)m * B, 0, qs);
        bt_cut(k, (s->X + 1 + s->n) * B, (int64_t)m * B, 0, ks);
        bt_cut(v, (s->X + 1 + s->n) * B, (int64_t)m * B, 0, vs);
        hx_t y = t_attention_less(bt_rows3(qs[0]), bt_rows3(ks[0]), bt_rows3(vs[0]), H, B, -1, HX_NONE, less);
        less = left_out(s->r->g, c->attn_dropout);
        return bt_rows3(bt_stack(y, t_attention_full_less(bt_rows3(qs[1]), k, v, H, B, less), HX_NONE));
    }
    if (!c->use_flash_attn)
        return t_attention_less(q, k, v, H, B, -1, s->gone, less);
    // there the causal mask begins at the oldest key
    bt_cut(k, hx_rows(q), hx_rows(k) - hx_rows(q), 0, ks);
    bt_cut(v, hx_rows(q), hx_rows(v) - hx_rows(q), 0, vs);
    return t_attention_less(q, bt_rows3(ks[0]), bt_rows3(vs[0]), H, B, -1, HX_NONE, less);
}

// The newest of [null; read; tokens; write], without a gradient.
static hx_t newest(const segment *s, hx_t x)
{
    int64_t own = hx_rows(x) / s->r->B - s->X, keep = s->r->k->xl ? hx_min(s->r->k->xl, own) : own;
    hx_t part[3];
    bt_cut(x, hx_rows(x) - keep * s->r->B, keep * s->r->B, 0, part);
    return hx_detach(bt_rows3(part[1]));
}

// (1-f) x + f y with f = sigmoid g, one for each head
static hx_t blend(hx_t x, hx_t y, hx_t g)
{
    return t_add(t_gate(x, g, 1, true), t_gate(y, g, 1, false));
}

static hx_t attend(segment *s, int l, hx_t u, hx_t residual)
{
    run *r = s->r;
    const layer *p = &r->m->layer[l];
    int64_t H = r->k->heads, hk = H * r->k->dim_head;
    hx_t w[3], null[3];
    u = normed(r, u, p->norm);
    bt_cut(P(p->kv), hk, hk, 0, w);
    bt_cut(hx_reshape(P(p->null), 2, (int64_t[]){ 2, hk }), 1, 1, 0, null);
    hx_t q = bt_linear(u, P(p->q)), v = bt_linear(u, w[1]);
    if (l == 0)
        s->values = v;
    else
        v = blend(v, s->values, bt_linear(u, P(p->mix)));
    bool xl = s->X > 0;
    hx_t k = bt_rows3(bt_stack(xl ? s->mem->k[l] : HX_NONE, bt_for_batch(null[0], r->B),
                               bt_linear(u, w[0])));
    v = bt_rows3(bt_stack(xl ? s->mem->v[l] : HX_NONE, bt_for_batch(null[1], r->B), v));
    if (remembers(r)) {
        s->mem->k[l] = newest(s, k);
        s->mem->v[l] = newest(s, v);
    }
    if (r->k->rotary_pos_emb) {
        int B = (int)r->B;
        q = t_rotary(q, positions(s, false), (int)H, B);
        k = remembers(r) ? t_rotary_copy(k, positions(s, true), (int)H, B)
                         : t_rotary(k, positions(s, true), (int)H, B);
    }
    return t_linear(look(s, q, k, v), P(p->out), HX_NONE, HX_ACT_NONE, residual);
}

static hx_t feed_forward(segment *s, int l, hx_t u, hx_t residual)
{
    run *r = s->r;
    const layer *p = &r->m->layer[l];
    hx_t v = t_geglu(bt_linear(normed(r, u, p->ff_norm), P(p->w1)));
    return t_linear(dropped(r->g, v, r->k->ff_dropout), P(p->w2), HX_NONE, HX_ACT_NONE, residual);
}

// ---- segments ----------------------------------------------------------------------------

// n tokens from `from` on: [1, n*B, D]
static hx_t embed(run *r, int64_t from, int64_t n)
{
    hx_t ids = hx_reshape(t_turn_ids(r->g->ids, from, n), 2, (int64_t[]){ 1, n * r->B }), part[3];
    hx_t x = t_embedding(ids, P(r->m->E), n * r->B);
    float f = (float)r->k->emb_gradient_frac;
    if (r->k->abs_pos_emb) {
        bt_cut(P(r->m->pos), n, r->k->seq_len - n, 0, part);
        x = t_add(x, bt_for_batch(part[0], r->B));
    }
    return f == 1 ? x : t_axpy(x, t_scale(hx_detach(x), 1 - f), f);
}

// n tokens from `from` on behind the memory: their rows [n*B, D] before the head. The memory becomes
// what the segment has written.
static hx_t forward(run *r, memory *mem, int64_t from, int64_t n)
{
    const rmt_conf *k = r->k;
    int64_t B = r->B, m = k->num_memory_tokens, D = k->dim, S = k->num_residual_streams;
    bool first = !hx_is(mem->slots);
    segment s = { r, mem, 0, first && !k->always_have_read_memories ? 0 : m, n, HX_NONE, mem->gone };
    s.X = mem->k && hx_is(mem->k[0]) ? hx_rows(mem->k[0]) / B : 0;
    hx_t read = first ? r->read : t_add(mem->slots, r->read), write = r->write, part[3];
    if (!first && k->add_write_to_next_write_mem)
        write = t_add(write, k->next_write_mem_stop_grad ? hx_detach(mem->slots) : mem->slots);
    hx_t x = bt_stack(s.R ? read : HX_NONE, embed(r, from, n), write);
    int64_t R = hx_rows(x);
    if (S > 1)
        x = t_repeat(hx_reshape(x, 3, (int64_t[]){ 1, R, D }), R * S, (int)S);
    x = hx_reshape(x, 3, (int64_t[]){ R, S, D });
    for (int l = 0; l < k->depth; l++) {
        x = connect(&s, &r->m->layer[l].at_attn, l, 0, attend, x);
        x = connect(&s, &r->m->layer[l].at_ff, l, 1, feed_forward, x);
    }
    // the sum of the streams is S times their mean
    x = hx_reshape(x, 3, (int64_t[]){ 1, R * S, D });
    if (S > 1)
        x = t_scale(t_pool(x, (int)S, 0), (float)S);
    bt_cut(normed(r, x, r->m->last), s.R * B, n * B, m * B, part);
    mem->slots = bt_rows3(part[2]);
    return part[1];
}

static bool start(run *r, memory *mem, bool carry_xl)
{
    hx_arena *a = r->g->tape->arena;
    *mem = (memory){ HX_NONE, hx_new(a, hx_t, r->k->depth), hx_new(a, hx_t, r->k->depth), HX_NONE };
    r->carry_xl = carry_xl;
    if (!mem->k || !mem->v)
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "%s", hx_last_message());
    return mem->k && mem->v;
}

// What the next segment needs stays when this one is made again.
static void keep(run *r, memory *mem)
{
    mem->slots = hx_hand_on(r->g, mem->slots);
    for (int l = 0; l < r->k->depth; l++) {
        mem->k[l] = hx_hand_on(r->g, mem->k[l]);
        mem->v[l] = hx_hand_on(r->g, mem->v[l]);
    }
    hx_segment_done(r->g);
}

// Between segments.
static void hand_on(run *r, memory *mem, int64_t s)
{
    if (r->k->truncate && (s + 1) % r->k->truncate == 0)
        mem->slots = hx_detach(mem->slots);
    mem->gone = HX_NONE;
    for (int l = 0; l < r->k->depth && !r->carry_xl; l++)
        mem->k[l] = mem->v[l] = HX_NONE;
}

// ---- from step to step -------------------------------------------------------------------

static const char *numbered(run *r, const char *what, int l)
{
    const char *name = hx_sprintf(r->g->tape->arena, "%s.%d", what, l);
    return name ? name : what;
}

// Rows whose document begins read slots of zeros: what the reference's first segment reads. Keys and
// values are as many for every row, so that their tokens stand X further from the slots.
static void take_over(run *r, memory *mem)
{
    const rmt_conf *k = r->k;
    int64_t B = r->B, m = k->num_memory_tokens, hk = (int64_t)k->heads * k->dim_head;
    hx_t old = hx_carry(r->g, "slots", 3, (int64_t[]){ m, B, k->dim });
    if (!hx_is(old))
        return;
    mem->slots = bt_rows3(t_renew(r->g->age, old, HX_NONE));
    if (!r->carry_xl)
        return;
    int64_t own = 1 + 2 * m + k->seq_len, X = k->xl ? hx_min(k->xl, own) : own;
    for (int l = 0; l < k->depth; l++) {
        hx_t keys = hx_carry(r->g, numbered(r, "key", l), 3, (int64_t[]){ X, B, hk });
        hx_t values = hx_carry(r->g, numbered(r, "value", l), 3, (int64_t[]){ X, B, hk });
        mem->k[l] = bt_rows3(t_renew(r->g->age, keys, HX_NONE));
        mem->v[l] = bt_rows3(t_renew(r->g->age, values, HX_NONE));
    }
    mem->gone = hx_reshape(t_gone(r->g->age, HX_NONE, X, 0, 1, X), 2, (int64_t[]){ 1, B });
}

static void hand_over(run *r, const memory *mem)
{
    hx_carry_out(r->g, "slots", mem->slots);
    for (int l = 0; l < r->k->depth && r->carry_xl; l++) {
        hx_carry_out(r->g, numbered(r, "key", l), mem->k[l]);
        hx_carry_out(r->g, numbered(r, "value", l), mem->v[l]);
    }
}

// What cannot be carried, before anything is built.
static bool can_carry(const rmt_conf *k, hx_graph *g, int64_t T)
{
    const char *wrong = NULL;
    if (g->carries && !k->always_have_read_memories)
        wrong = "model.always_have_read_memories must be true";
    else if (g->carries && k->carry_xl && (!k->causal || (!k->memory_not_causal && k->use_flash_attn)))
        wrong = "model.carry_xl needs causal, and memory_not_causal or no use_flash_attn,";
    if (wrong)
        hx_tape_fail(g->tape, HX_E_INPUT, "%s for memories that go from step to step [E-MODEL]", wrong);
    else if (g->carries && T % k->seq_len)
        hx_tape_fail(g->tape, HX_E_INPUT, "train.seq_len: %lld is no multiple of model.seq_len %d, as "
            "segments that carry memories on must be [E-SEGMENT]", (long long)T, k->seq_len);
    return !wrong && (!g->carries || T % k->seq_len == 0);
}

// ---- results -----------------------------------------------------------------------------

static hx_t logits_of(run *r, hx_t e)
{
    return t_linear(e, P(r->m->logits), P(r->m->logits_b), HX_ACT_NONE, HX_NONE);
}

// keys and values of layer l as the reference hands them on: [2*B*H, X, K]
static void show_xl(run *r, const memory *mem, int64_t s, int l)
{
    int64_t H = r->k->heads, K = r->k->dim_head, X = hx_rows(mem->k[l]) / r->B;
    hx_t kv[2] = { mem->k[l], mem->v[l] };
    for (int i = 0; i < 2; i++)
        kv[i] = t_flat(t_swap(hx_reshape(bt_by_batch(kv[i], r->B), 4, (int64_t[]){ r->B, X, H, K })));
    hx_t both = hx_reshape(hx_concat(0, 2, kv), 4, (int64_t[]){ 2, r->B * H, X, K });
    bt_named(r->g, "xl_memories", s, l, both);
}

static void show(run *r, const memory *mem, int64_t s, hx_t e)
{
    bt_named(r->g, "logits", s, -1, bt_by_batch(logits_of(r, e), r->B));
    bt_named(r->g, "memories", s, -1, bt_by_batch(mem->slots, r->B));
    for (int l = 0; l < r->k->depth && r->k->use_xl_memories; l++)
        show_xl(r, mem, s, l);
}

// The mean over T tokens, segment by segment, of what each segment has lost.
static hx_t segments(run *r, int64_t T, bool carry_xl, bool shown)
{
    hx_graph *g = r->g;
    memory mem;
    hx_t loss = HX_NONE;
    int64_t L = r->k->seq_len;
    if (!start(r, &mem, carry_xl))
        return (hx_t){ g->tape, 0 };
    take_over(r, &mem);
    for (int64_t s = 0; s * L < T; s++) {
        int64_t n = hx_min(L, T - s * L);
        hx_t e = forward(r, &mem, s * L, n);
        hx_t labels = hx_reshape(t_turn_ids(g->labels, s * L + 1, n), 1, (int64_t[]){ n * r->B });
        hx_t part = hx_loss_part(g, e, P(r->m->logits), P(r->m->logits_b), labels,
                                 r->k->ignore_index, true);
        loss = s ? t_add(loss, part) : part;
        if (shown)
            show(r, &mem, s, e);
        hand_on(r, &mem, s);
        if ((s + 1) * L < T)
            keep(r, &mem);
    }
    hand_over(r, &mem);
    return loss;
}

// Logits behind the token at g->position.
static void one_position(run *r, int64_t T)
{
    int64_t L = r->k->seq_len, count = hx_ceil_div(T, L);
    hx_t *part = hx_new(r->g->tape->arena, hx_t, count);
    memory mem;
    if (!r->k->causal)
        hx_tape_fail(r->g->tape, HX_E_INPUT, "text cannot be generated by a model that sees what "
                     "comes: model.causal is false [E-MODEL]");
    if (!part || !start(r, &mem, r->k->carry_xl)) {
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "no memory for %lld segments [E-NOMEM]",
                     (long long)count);
        return;
    }
    for (int64_t s = 0; s < count; s++) {
        part[s] = forward(r, &mem, s * L, hx_min(L, T - s * L));
        hand_on(r, &mem, s);
    }
    hx_t at = hx_reshape(r->g->position, 2, (int64_t[]){ 1, 1 });
    hx_output(r->g, "logits", logits_of(r, t_embedding(at, hx_concat(0, (int)count, part), 1)));
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    const rmt_conf *k = conf;
    int64_t T = g->tokens - (g->purpose != HX_FOR_LOGITS);
    run *r = hx_new(g->tape->arena, run, 1);
    ready *w = hx_new(g->tape->arena, ready, 2 * k->depth);
    if (!r || !w || T < 1) {
        hx_tape_fail(g->tape, T < 1 ? HX_E_INPUT : HX_E_NOMEM, "a sequence of %lld tokens cannot be "
            "computed [E-LENGTH]", (long long)T);
        return;
    }
    *r = (run){ .k = k, .m = self, .g = g, .B = g->batch, .ready = w };
    if (!can_carry(k, g, T))
        return;
    r->read = bt_for_batch(P(r->m->read), r->B);
    r->write = bt_for_batch(P(r->m->write), r->B);
    if (g->purpose == HX_FOR_LOGITS) {
        one_position(r, T);
        return;
    }
    bool parity = g->purpose == HX_FOR_PARITY;
    g->loss = segments(r, T, k->carry_xl, parity);
    hx_output(g, "loss", g->loss);
    // the reference's own loss over segments hands no keys and values on
    if (parity)
        hx_output(g, "wrapper_loss", k->carry_xl ? segments(r, T, false, false)
                                                 : t_scale(g->loss, 1));
}

static int64_t size(const void *conf, const char *what)
{
    const rmt_conf *k = conf;
    return !strcmp(what, "num_tokens") ? k->num_tokens
        : !strcmp(what, "seq_len") || !strcmp(what, "segment") ? k->seq_len
        : !strcmp(what, "ignore_index") ? k->ignore_index : 0;
}

HX_MODEL(rmt_lucidrains,
    .no_trunk = "it has a recurrent memory",
    .title = "Recurrent Memory Transformer",
    .source = "recurrent-memory-transformer-pytorch; Bulatov et al. 2022",
    .fields = fields, .conf_size = sizeof(rmt_conf),
    .check = check, .declare = declare, .build = build, .size = size,
    .samples = "dim=24 num_tokens=29 depth=2 num_memory_tokens=3 seq_len=9 heads=2 dim_head=8 "
               "use_xl_memories=false B=2 N=28; "
               "dim=20 num_tokens=29 depth=2 num_memory_tokens=2 seq_len=8 heads=1 dim_head=12 "
               "num_residual_streams=1 always_have_read_memories=false emb_gradient_frac=1 "
               "add_write_to_next_write_mem=true next_write_mem_stop_grad=false B=2 N=20; "
               "dim=16 num_tokens=29 depth=3 num_memory_tokens=2 seq_len=8 heads=2 dim_head=8 "
               "num_residual_streams=3 abs_pos_emb=false rotary_pos_emb=true xl_mem_len=6 "
               "carry_xl=true B=2 N=23");
