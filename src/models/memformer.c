// memformer.c - Memformer: an encoder that looks at memory slots, a decoder that looks at the encoder,
// and slots that every segment renews through a gate.
//
// After lucidrains' memformer (Wu et al. 2020, Memformer: A Memory-Augmented Transformer for Sequence
// Modeling), whose constructor arguments, parameter names and initial distributions these are. Letters:
// B batch rows, n tokens of a segment, m slots, D width, H heads of K. Its quirks are kept: the encoder's
// buckets of distances are those for causal attention and the decoder's the others, and a masked query
// looks at all keys alike.
//
// The reference trains on pairs of source and target. A text of tokens is made into such pairs here:
// each segment but the first is the target of the segment before it.
#include "head.h"
#include "parts.h"
#include "../ops/t.h"
#include <stdio.h>
#include <math.h>
#include <string.h>

enum { MAX_DEPTH = 1024, FF_MULT = 4, BUCKETS = 32, MAX_DISTANCE = 128, IGNORE = -100 };

typedef struct memformer_conf {
    int32_t dim, num_memory_slots, num_mem_updates, mem_update_attn_heads;
    int32_t enc_num_tokens, enc_max_seq_len, enc_depth, enc_heads;
    int32_t dec_num_tokens, dec_max_seq_len, dec_depth, dec_heads;
    bool    encoder_only;
} memformer_conf;

#define F(type, name, def, min, max, help) \
    { #name, HX_##type, offsetof(memformer_conf, name), def, min, max, help },
static const hx_field fields[] = {
    F(I32,  dim, NULL, 1, 65536, "width")
    F(I32,  num_memory_slots, NULL, 1, 1 << 16, "slots")
    F(I32,  num_mem_updates, "1", 0, 1024, "times that a segment renews them")
    F(BOOL, encoder_only, "false", 0, 0, "no decoder, and so no loss")
    F(I32,  mem_update_attn_heads, "8", 1, 1024, "attention heads of that")
    F(I32,  enc_num_tokens, NULL, 1, 1 << 24, "size of the source's vocabulary")
    F(I32,  enc_max_seq_len, NULL, 1, 1 << 16, "tokens of a segment of text; sources may be longer")
    F(I32,  enc_depth, NULL, 1, MAX_DEPTH, "layers of the encoder")
    F(I32,  enc_heads, "8", 1, 1024, "its attention heads")
    F(I32,  dec_num_tokens, "1", 1, 1 << 24, "size of the target's vocabulary")
    F(I32,  dec_max_seq_len, "1", 1, 1 << 16, "accepted; targets may be longer")
    F(I32,  dec_depth, "1", 1, MAX_DEPTH, "layers of the decoder")
    F(I32,  dec_heads, "8", 1, 1024, "its attention heads")
    {0}
};
#undef F

static hx_result check_heads(const memformer_conf *k, const char *name, int heads)
{
    if (k->dim % heads)
        return hx_fail(HX_E_INPUT, "model.%s: %d does not divide dim %d [E-MODEL]", name, heads, k->dim);
    if (k->dim / heads > 256)
        return hx_fail(HX_E_INPUT, "model.%s: a head of %d channels is wider than 256 [E-MODEL]", name,
            k->dim / heads);
    return HX_OK;
}

static hx_result check(void *conf)
{
    const memformer_conf *k = conf;
    HX_TRY(check_heads(k, "enc_heads", k->enc_heads));
    HX_TRY(check_heads(k, "mem_update_attn_heads", k->mem_update_attn_heads));
    return k->encoder_only ? HX_OK : check_heads(k, "dec_heads", k->dec_heads);
}

// ---- parameters --------------------------------------------------------------------------

typedef struct { pair q, kv, out; } attention;
typedef struct { pair norm, ff1, ff2; } forward;
typedef struct { pair self_norm, cross_norm; attention self, cross; forward ff; } layer;
typedef struct { hx_p E, bias; layer *layer; int depth, heads; pair norm; } stack;
typedef struct {
    hx_p      slots, ih, hh, b_ih, b_hh;   // the last four: of the GRU
    stack     enc, dec;
    pair      logits;
    attention update;
    forward   ff;
} memformer;

static attention declare_attention(hx_params *ps, const char *at, int64_t D)
{
    attention p;
    p.q = declare_linear(ps, at, "to_q", D, D);
    p.kv = declare_linear(ps, at, "to_kv", 2 * D, D);
    p.out = declare_linear(ps, at, "to_out", D, D);
    return p;
}

static forward declare_forward(hx_params *ps, const char *at, int64_t D)
{
    forward p;
    p.ff1 = declare_linear(ps, at, "fn.fn.net.0", FF_MULT * D, D);
    p.ff2 = declare_linear(ps, at, "fn.fn.net.2", D, FF_MULT * D);
    p.norm = declare_norm(ps, at, "fn.norm", D);
    return p;
}

static void declare_layer(hx_params *ps, layer *p, const char *at, int l, int64_t D)
{
    char in[128];
    snprintf(in, sizeof in, "%slayer_blocks.layers.%d.0.fn.fn.", at, l);
    p->self = declare_attention(ps, in, D);
    snprintf(in, sizeof in, "%slayer_blocks.layers.%d.0.fn.", at, l);
    p->self_norm = declare_norm(ps, in, "norm", D);
    snprintf(in, sizeof in, "%slayer_blocks.layers.%d.1.fn.fn.", at, l);
    p->cross = declare_attention(ps, in, D);
    snprintf(in, sizeof in, "%slayer_blocks.layers.%d.1.fn.", at, l);
    p->cross_norm = declare_norm(ps, in, "norm", D);
    snprintf(in, sizeof in, "%slayer_blocks.layers.%d.2.", at, l);
    p->ff = declare_forward(ps, in, D);
}

static void declare_stack(hx_params *ps, stack *p, const char *at, int64_t V, int64_t D)
{
    p->E = hx_param_add(ps, NORMAL(1), SHAPE(V, D), "%stoken_emb.weight", at);
    p->bias = hx_param_add(ps, NORMAL(1), SHAPE(BUCKETS, p->heads),
        "%slayer_blocks.rel_pos_emb.relative_attention_bias.weight", at);
    p->layer = hx_new(ps->arena, layer, p->depth);
    if (!p->layer)
        ps->err = HX_E_NOMEM;
    for (int l = 0; l < p->depth && !ps->err; l++)
        declare_layer(ps, &p->layer[l], at, l, D);
    p->norm = declare_norm(ps, at, "norm", D);
}

static void *declare(const void *conf, hx_params *ps)
{
    const memformer_conf *k = conf;
    int64_t D = k->dim;
    memformer *p = hx_new(ps->arena, memformer, 1);
    if (!p) {
        ps->err = HX_E_NOMEM;
        return NULL;
    }
    p->slots = hx_param_add(ps, NORMAL(1), SHAPE(k->num_memory_slots, D), "memory_slots");
    p->enc = (stack){ .depth = k->enc_depth, .heads = k->enc_heads };
    declare_stack(ps, &p->enc, "encoder.", k->enc_num_tokens, D);
    if (!k->encoder_only) {
        p->dec = (stack){ .depth = k->dec_depth, .heads = k->dec_heads };
        declare_stack(ps, &p->dec, "decoder.net.", k->dec_num_tokens, D);
        p->logits = declare_linear(ps, "decoder.net.", "to_logits", k->dec_num_tokens, D);
    }
    p->update = declare_attention(ps, "mem_updater.", D);
    p->ih = hx_param_add(ps, LINEAR(D), SHAPE(3 * D, D), "gru.weight_ih");
    p->hh = hx_param_add(ps, LINEAR(D), SHAPE(3 * D, D), "gru.weight_hh");
    p->b_ih = hx_param_add(ps, LINEAR(D), SHAPE(3 * D), "gru.bias_ih");
    p->b_hh = hx_param_add(ps, LINEAR(D), SHAPE(3 * D), "gru.bias_hh");
    p->ff = declare_forward(ps, "mem_ff.", D);
    return ps->err ? NULL : p;
}

// ---- attention ---------------------------------------------------------------------------

typedef struct { const memformer_conf *k; const memformer *m; hx_graph *g; int64_t B; } run;

static hx_t apply(const run *r, pair p, hx_t x, hx_act act, hx_t y)
{
    return t_linear(x, P(p.w), P(p.b), act, y);
}

static hx_t normed(const run *r, pair p, hx_t x) { return t_layernorm(x, P(p.w), P(p.b), 0); }

// The bucket of a key that stands `ahead` of the query, in fp32 as the reference computes it: near
// distances have one each, far ones share them by their logarithm.
static int32_t bucket(int64_t ahead, bool both)
{
    int of = both ? BUCKETS / 2 : BUCKETS, exact = of / 2, first = both && ahead > 0 ? of : 0;
    int64_t n = both && ahead > 0 ? ahead : hx_max(-ahead, 0);
    if (n < exact)
        return first + (int32_t)n;
    float far = logf((float)n / (float)exact) / (float)log((double)MAX_DISTANCE / exact);
    return first + (int32_t)hx_min(exact + (int64_t)(far * (float)(of - exact)), of - 1);
}

// What a stack adds to the scores of n tokens: [n, H, n]
static hx_t distances(const run *r, const stack *p, int64_t n, bool both)
{
    hx_tape *t = r->g->tape;
    int32_t *ids = hx_new(t->arena, int32_t, n * n);
    if (!ids) {
        hx_tape_fail(t, HX_E_NOMEM, "%s", hx_last_message());
        return (hx_t){ t, 0 };
    }
    for (int64_t i = 0; i < n * n; i++) ids[i] = bucket(i % n - i / n, both);
    hx_t of = hx_constant(t, true, 2, (int64_t[]){ 1, n * n }, ids);
    hx_t y = hx_reshape(t_embedding(of, P(p->bias), n * n), 4, (int64_t[]){ n, n, p->heads, 1 });
    return hx_reshape(t_swap(y), 3, (int64_t[]){ n, p->heads, n });
}

// What limits attention; HX_NONE, false, 0: nothing does.
typedef struct { hx_t bias, queries, keys; bool causal; int own; } limits;

// Attention of x[B,T,D] to y[B,M,D], + residual
static hx_t attend(const run *r, const attention *p, int heads, hx_t x, hx_t y, const limits *l,
                   hx_t residual)
{
    int64_t D = r->k->dim, K = D / heads, B = r->B, T = hx_dim(x, 1), M = hx_dim(y, 1);
    hx_t w[2], b[2], q = apply(r, p->q, x, HX_ACT_NONE, HX_NONE), a;
    hx_split(0, P(p->kv.w), 2, (int64_t[]){ D, D }, w);
    hx_split(1, P(p->kv.b), 2, (int64_t[]){ D, D }, b);
    hx_t k = t_linear(y, w[0], b[0], HX_ACT_NONE, HX_NONE);
    hx_t v = t_linear(y, w[1], b[1], HX_ACT_NONE, HX_NONE);
    bool free = !hx_is(l->bias) && !hx_is(l->queries) && !hx_is(l->keys) && !l->own;
    if (free) {
        a = t_attention_full(q, k, v, heads, 1);
    } else {
        hx_t kt = hx_reshape(t_swap(hx_reshape(k, 4, (int64_t[]){ B, M, D, 1 })), 3,
                             (int64_t[]){ B, D, M });
        hx_t s = t_heads(t_scale(q, (float)(1 / sqrt((double)K))), kt, heads);
        s = t_softmax(hx_reshape(s, 4, (int64_t[]){ B, T, heads, M }), l->bias, l->queries, l->keys,
                      l->causal, l->own);
        v = hx_reshape(t_swap(hx_reshape(v, 4, (int64_t[]){ B, M, heads, K })), 3,
                       (int64_t[]){ B, heads * M, K });
        a = t_heads(hx_reshape(s, 3, (int64_t[]){ B, T, heads * M }), v, heads);
    }
    return apply(r, p->out, a, HX_ACT_NONE, residual);
}

// x + W2 gelu(W1 norm(x))
static hx_t feed_forward(const run *r, const forward *p, hx_t x)
{
    hx_t y = apply(r, p->ff1, normed(r, p->norm, x), HX_ACT_GELU, HX_NONE);
    return apply(r, p->ff2, y, HX_ACT_NONE, x);
}

// The first n tokens of ids[B,.] looking at each other and at context: [B,n,D], normed
static hx_t transform(const run *r, const stack *p, hx_t ids, int64_t n, hx_t context,
                      const limits *self, const limits *cross)
{
    hx_t x = t_embedding(ids, P(p->E), n);
    for (int i = 0; i < p->depth; i++) {
        const layer *q = &p->layer[i];
        hx_t u = normed(r, q->self_norm, x);
        x = attend(r, &q->self, p->heads, u, u, self, x);
        u = normed(r, q->cross_norm, x);
        x = attend(r, &q->cross, p->heads, u, context, cross, x);
        x = feed_forward(r, &q->ff, x);
    }
    return normed(r, p->norm, x);
}

// ---- segments ----------------------------------------------------------------------------

static hx_t encode(const run *r, hx_t src, int64_t n, hx_t memory, hx_t mask)
{
    limits self = { distances(r, &r->m->enc, n, false), mask, mask, false, 0 }, cross = { 0 };
    return transform(r, &r->m->enc, src, n, memory, &self, &cross);
}

// The first n tokens of tgt behind what was encoded, before the logits
static hx_t decode(const run *r, hx_t tgt, int64_t n, hx_t enc, hx_t mask, hx_t src_mask)
{
    limits self = { distances(r, &r->m->dec, n, true), mask, mask, true, 0 };
    limits cross = { HX_NONE, mask, src_mask, false, 0 };
    return transform(r, &r->m->dec, tgt, n, enc, &self, &cross);
}

// A slot sees itself and what was encoded, and takes as much of it as its gate lets through.
static hx_t update(const run *r, hx_t memory, hx_t enc, hx_t mask)
{
    const memformer *p = r->m;
    int64_t m = hx_dim(memory, 1), n = hx_dim(enc, 1), D = r->k->dim, rows[2] = { r->B * m, D };
    limits l = { HX_NONE, HX_NONE, mask, false, (int)m };
    for (int i = 0; i < r->k->num_mem_updates; i++) {
        hx_t all = t_add(t_delay(memory, m + n, 0), t_delay(enc, m + n, m));
        hx_t y = attend(r, &p->update, r->k->mem_update_attn_heads, memory, all, &l, HX_NONE);
        hx_t in = t_linear(hx_reshape(y, 2, rows), P(p->ih), P(p->b_ih), HX_ACT_NONE, HX_NONE);
        hx_t was = hx_reshape(memory, 2, rows);
        hx_t state = t_linear(was, P(p->hh), P(p->b_hh), HX_ACT_NONE, HX_NONE);
        hx_t next = hx_reshape(t_gru(in, state, was), 3, (int64_t[]){ r->B, m, D });
        memory = feed_forward(r, &p->ff, next);
    }
    return memory;
}

// The slots that a sequence begins with: [B,m,D]
static hx_t first_memory(const run *r)
{
    int64_t m = r->k->num_memory_slots, D = r->k->dim;
    // one row of all slots, B times
    hx_t first = t_repeat(hx_reshape(P(r->m->slots), 3, (int64_t[]){ 1, 1, m * D }), r->B, (int)r->B);
    return hx_reshape(first, 3, (int64_t[]){ r->B, m, D });
}

// ---- results -----------------------------------------------------------------------------

static void named(const run *r, const char *what, int64_t s, hx_t x)
{
    const char *name = hx_sprintf(r->g->tape->arena, "%s.%lld", what, (long long)s);
    hx_output(r->g, name ? name : what, x);
}

// Whatever is not 0 counts.   mask#[B,n] or NONE
static hx_t input_mask(const run *r, const char *name, int64_t n)
{
    int64_t shape[2] = { r->B, n };
    hx_t mask = hx_input(r->g, name, true, 2, shape);
    return hx_is(mask) ? hx_reshape(t_any_ids(hx_reshape(mask, 2, (int64_t[]){ r->B * n, 1 })), 2, shape)
                       : mask;
}

static const hx_given *given(const run *r, const char *name)
{
    for (int i = 0; i < r->g->n_given; i++)
        if (!strcmp(r->g->given[i].name, name))
            return &r->g->given[i];
    return NULL;
}

// Source s: ids are the first. NONE behind the last.
static hx_t source(const run *r, int64_t s, int64_t *n)
{
    char name[32];
    *n = r->g->tokens;
    if (s == 0)
        return r->g->ids;
    snprintf(name, sizeof name, "src.%lld", (long long)s);
    const hx_given *v = given(r, name);
    if (!v)
        return HX_NONE;
    *n = v->shape[v->rank - 1];
    return hx_input(r->g, name, true, 2, (int64_t[]){ r->B, *n });
}

// Decoder's mean loss over the tokens of tgt[B,t] that follow another.
static hx_t target_loss(const run *r, int64_t s, hx_t tgt, int64_t t, hx_t mask, hx_t enc, hx_t src_mask)
{
    int64_t n = t - 1;
    hx_t labels = t_window_ids(tgt, n, 1, 1, 1);
    if (hx_is(mask))
        mask = hx_reshape(t_window_ids(mask, n, 1, 1, 0), 2, (int64_t[]){ r->B, n });
    hx_t e = decode(r, tgt, n, enc, mask, src_mask);
    named(r, "decoder_logits", s, apply(r, r->m->logits, e, HX_ACT_NONE, HX_NONE));
    hx_t loss = t_cross_entropy_head_bias(t_flat(e), P(r->m->logits.w), P(r->m->logits.b),
                                          hx_reshape(labels, 1, (int64_t[]){ r->B * n }), IGNORE, 0);
    named(r, "decoder_loss", s, loss);
    return loss;
}

// As the reference is called: sources one after the other, each with the same target.
static void pairs(const run *r)
{
    hx_graph *g = r->g;
    const hx_given *v = given(r, "tgt");
    int64_t n, t = v ? v->shape[v->rank - 1] : 0;
    hx_t tgt = v ? hx_input(g, "tgt", true, 2, (int64_t[]){ r->B, t }) : HX_NONE;
    hx_t tgt_mask = v ? input_mask(r, "tgt_mask", t) : HX_NONE, memory = first_memory(r), src;
    if (v && t < 2) {
        hx_tape_fail(g->tape, HX_E_INPUT, "'tgt' has %lld tokens; 2 are needed [E-LENGTH]", (long long)t);
        return;
    }
    for (int64_t s = 0; hx_is(src = source(r, s, &n)); s++) {
        hx_t mask = input_mask(r, "src_mask", n), enc = encode(r, src, n, memory, mask);
        named(r, "encoder", s, enc);
        if (hx_is(tgt) && !r->k->encoder_only) {
            hx_t loss = target_loss(r, s, tgt, t, tgt_mask, enc, mask);
            g->loss = s ? t_add(g->loss, loss) : loss;
        }
        memory = update(r, memory, enc, mask);
        named(r, "memory", s, memory);
    }
    if (hx_is(g->loss))
        hx_output(g, "loss", g->loss);
}

// n tokens of ids#[B,N] from `from` on
static hx_t piece(const run *r, hx_t ids, int64_t from, int64_t n)
{
    return hx_reshape(t_window_ids(ids, n, 1, 1, (int)from), 2, (int64_t[]){ r->B, n });
}

// T tokens of text: every segment but the first is decoded behind the one before it. The loss is the
// mean over those; without a mask, hx_loss_part counts the first among all.
static void text(const run *r, int64_t T)
{
    hx_graph *g = r->g;
    int64_t L = r->k->enc_max_seq_len;
    hx_t memory = first_memory(r), enc = encode(r, g->ids, L, memory, HX_NONE);
    for (int64_t at = L; at < T; at += L) {
        int64_t n = hx_min(L, T - at);
        hx_t e = decode(r, piece(r, g->ids, at, n), n, enc, HX_NONE, HX_NONE);
        hx_t labels = hx_reshape(piece(r, g->labels, at + 1, n), 1, (int64_t[]){ r->B * n });
        hx_t part = hx_loss_part(g, t_flat(e), P(r->m->logits.w), P(r->m->logits.b), labels, IGNORE,
                                 false);
        g->loss = hx_is(g->loss) ? t_add(g->loss, part) : part;
        if (at + n == T)
            break;
        memory = update(r, memory, enc, HX_NONE);
        enc = encode(r, piece(r, g->ids, at, n), n, memory, HX_NONE);
    }
    if (!g->masked)
        g->loss = t_scale(g->loss, (float)((double)T / (double)(T - L)));
    hx_output(g, "loss", g->loss);
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    const memformer_conf *k = conf;
    run made = { k, self, g, g->batch };
    int64_t T = g->tokens - 1, L = k->enc_max_seq_len;
    const char *wrong = g->purpose == HX_FOR_PARITY ? NULL
        : k->encoder_only ? "model.encoder_only leaves nothing that predicts"
        : k->enc_num_tokens != k->dec_num_tokens ? "a text needs one vocabulary: model.enc_num_tokens is "
            "not dec_num_tokens"
        : g->purpose == HX_FOR_LOGITS ? "a memformer continues no text, it answers a source"
        : g->carries ? "the memory of a memformer does not go from step to step" : NULL;
    if (wrong)
        hx_tape_fail(g->tape, HX_E_INPUT, "%s [E-MODEL]", wrong);
    else if (g->purpose == HX_FOR_PARITY)
        pairs(&made);
    else if (T <= L)
        hx_tape_fail(g->tape, HX_E_INPUT, "train.seq_len: %lld tokens are one segment of "
            "model.enc_max_seq_len %lld; nothing would be predicted behind it [E-LENGTH]", (long long)T,
            (long long)L);
    else
        text(&made, T);
}

static int64_t size(const void *conf, const char *what)
{
    const memformer_conf *k = conf;
    return !strcmp(what, "num_tokens") || !strcmp(what, "src") ? k->enc_num_tokens
        : !strcmp(what, "tgt") ? k->dec_num_tokens
        : !strcmp(what, "seq_len") ? (int64_t)2 * k->enc_max_seq_len
        : !strcmp(what, "ignore_index") ? IGNORE : 0;
}

HX_MODEL(memformer,
    .no_trunk = "its text is the target of another one, and its slots are renewed by attention of their own",
    .title = "Memformer", .source = "lucidrains/memformer; Wu et al. 2020",
    .inputs = "src.N tgt src_mask tgt_mask", .fields = fields, .conf_size = sizeof(memformer_conf),
    .check = check, .declare = declare, .build = build, .size = size,
    .samples = "dim=20 num_memory_slots=3 enc_num_tokens=29 dec_num_tokens=23 enc_max_seq_len=16 enc_depth=2 "
               "enc_heads=2 dec_max_seq_len=16 dec_depth=2 dec_heads=2 mem_update_attn_heads=2 B=2 N=13 "
               "src.1:9 tgt:11; "
               "dim=16 num_memory_slots=5 num_mem_updates=2 enc_num_tokens=31 dec_num_tokens=31 "
               "enc_max_seq_len=12 enc_depth=1 enc_heads=4 dec_max_seq_len=12 dec_depth=1 dec_heads=2 "
               "mem_update_attn_heads=4 B=2 N=18 src.1:18 tgt:12 src_mask:18 tgt_mask:12");
