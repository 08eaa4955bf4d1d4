// rmt_encoder.c - a recurrent memory in an encoder that reads a sequence segment by segment, and says
// at its end which class it is of.
//
// After Bulatov et al. 2023, Scaling Transformer to 1M tokens and beyond with RMT, around BERT
// (Devlin et al. 2019), whose parameter names these are. A segment is [CLS; memory; SEP; text; SEP]:
// what the last layer makes of the memory's rows is put in their place in the next one, and gets
// positions, types and the norm of embeddings again. The first segment is the short one. Labels are the
// last token of each sequence, counted from first_label on, so that the loss is that of one label
// where data has a mask. Norms have the eps of t_layernorm, 1e-5; BERT's is 1e-12.
//
// Letters: B batch rows, m slots, n tokens of a segment, D width, H heads. Rows are in the order of
// time, see by_time.h, and batch rows are the residue classes of attention.
#include "by_time.h"
#include "parts.h"
#include <string.h>

enum { MAX_DEPTH = 1024, IGNORE = -1 };

typedef struct encoder_conf {
    int32_t vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size;
    int32_t max_position_embeddings, type_vocab_size, num_labels;
    int32_t num_mem_tokens, input_size, bptt_depth, first_label;
    hx_ints cls_token_id, sep_token_id;
    double  hidden_dropout_prob, attention_probs_dropout_prob;
    // derived
    int     cls, sep, text;                // text: tokens of a segment
} encoder_conf;

#define F(type, name, def, min, max, help) \
    { #name, HX_##type, offsetof(encoder_conf, name), def, min, max, help },
static const hx_field fields[] = {
    F(I32,  vocab_size, NULL, 1, 1 << 24, "size of the vocabulary, without memory slots")
    F(I32,  hidden_size, "768", 1, 65536, "width")
    F(I32,  num_hidden_layers, "12", 1, MAX_DEPTH, "layers")
    F(I32,  num_attention_heads, "12", 1, 1024, "attention heads")
    F(I32,  intermediate_size, "3072", 1, 1 << 20, "width of the feed-forward layer")
    F(I32,  max_position_embeddings, "512", 1, 1 << 24, "learnt positions")
    F(I32,  type_vocab_size, "2", 1, 65536, "learnt types, of which the first is used")
    // BERT's configuration has 0.1 for both
    F(F64,  hidden_dropout_prob, "0", 0, 0.99, "share dropped in training: embeddings, what layers add, what "
            "the classes are told from")
    F(F64,  attention_probs_dropout_prob, "0", 0, 0.99, "share of attention weights dropped in training")
    F(I32,  num_labels, "6", 2, 1 << 20, "classes")
    F(I32,  num_mem_tokens, "10", 1, 1 << 16, "memory slots")
    F(I32,  input_size, "512", 1, 1 << 24, "rows of a segment: its text, the slots and three marks")
    F(I32,  bptt_depth, "-1", -1, 1 << 24, "segments before the last that gradients go back; -1: all")
    F(INTS, cls_token_id, "null", 0, 1 << 24, "the mark before the memory; null: vocab_size - 2")
    F(INTS, sep_token_id, "null", 0, 1 << 24, "that before and behind the text; null: vocab_size - 1")
    // of our data: tasks write classes as digits
    F(I32,  first_label, "0", 0, 1 << 24, "the token that names class 0")
    {0}
};
#undef F

static hx_result token_of(const encoder_conf *k, const hx_ints *v, const char *name, int null, int *out)
{
    *out = !v->n || v->v[0] == HX_NULL ? null : v->v[0];
    return v->n <= 1 && *out >= 0 && *out < k->vocab_size ? HX_OK
        : hx_fail(HX_E_INPUT, "model.%s: one token of %d is needed [E-MODEL]", name, k->vocab_size);
}

static hx_result check(void *conf)
{
    encoder_conf *k = conf;
    HX_TRY(token_of(k, &k->cls_token_id, "cls_token_id", k->vocab_size - 2, &k->cls));
    HX_TRY(token_of(k, &k->sep_token_id, "sep_token_id", k->vocab_size - 1, &k->sep));
    k->text = k->input_size - k->num_mem_tokens - 3;
    if (k->text < 1)
        return hx_fail(HX_E_INPUT, "model.input_size: %d rows are not enough for %d slots, three marks and "
            "text [E-MODEL]", k->input_size, k->num_mem_tokens);
    if (k->input_size > k->max_position_embeddings)
        return hx_fail(HX_E_INPUT, "model.input_size: %d is more than max_position_embeddings %d [E-MODEL]",
            k->input_size, k->max_position_embeddings);
    if (k->hidden_size % k->num_attention_heads || k->hidden_size / k->num_attention_heads > 256)
        return hx_fail(HX_E_INPUT, "model.num_attention_heads: %d must divide hidden_size %d into heads of "
            "at most 256 channels [E-MODEL]", k->num_attention_heads, k->hidden_size);
    return HX_OK;
}

// ---- parameters --------------------------------------------------------------------------

typedef struct { pair q, k, v, out, norm1, up, down, norm2; } layer;
typedef struct { hx_p E, pos, type; pair norm, pool, classes; layer *layer; } encoder;

#define BERT "model.bert."
#define AT "encoder.layer.%d."

static pair bert_linear(hx_params *ps, const char *name, int64_t out, int64_t in)
{
    pair p;
    p.w = hx_param_add(ps, NORMAL(0.02), SHAPE(out, in), "%s.weight", name);
    p.b = hx_param_add(ps, ZEROS, SHAPE(out), "%s.bias", name);
    return p;
}

static void declare_layer(const encoder_conf *k, hx_params *ps, layer *p, int l)
{
    static const char *const names[] = { "attention.self.query", "attention.self.key",
        "attention.self.value", "attention.output.dense", "intermediate.dense", "output.dense" };
    int64_t D = k->hidden_size, I = k->intermediate_size;
    pair *all[] = { &p->q, &p->k, &p->v, &p->out, &p->up, &p->down };
    for (int i = 0; i < HX_COUNT(all); i++) {
        const char *name = hx_sprintf(ps->arena, BERT AT "%s", l, names[i]);
        *all[i] = bert_linear(ps, name ? name : "", all[i] == &p->up ? I : D, all[i] == &p->down ? I : D);
        if (all[i] == &p->out || all[i] == &p->down) {
            const char *at = hx_sprintf(ps->arena, BERT AT "%s.", l, i == 3 ? "attention.output" : "output");
            *(i == 3 ? &p->norm1 : &p->norm2) = declare_norm(ps, at ? at : "", "LayerNorm", D);
        }
    }
}

static void *declare(const void *conf, hx_params *ps)
{
    const encoder_conf *k = conf;
    int64_t D = k->hidden_size;
    encoder *p = hx_new(ps->arena, encoder, 1);
    if (!p || !(p->layer = hx_new(ps->arena, layer, k->num_hidden_layers))) {
        ps->err = HX_E_NOMEM;
        return NULL;
    }
    const char *at = BERT "embeddings.";
    p->E = hx_param_add(ps, NORMAL(0.02), SHAPE(k->vocab_size + k->num_mem_tokens, D),
                        "%sword_embeddings.weight", at);
    p->pos = hx_param_add(ps, NORMAL(0.02), SHAPE(k->max_position_embeddings, D),
                          "%sposition_embeddings.weight", at);
    p->type = hx_param_add(ps, NORMAL(0.02), SHAPE(k->type_vocab_size, D),
                           "%stoken_type_embeddings.weight", at);
    p->norm = declare_norm(ps, at, "LayerNorm", D);
    for (int l = 0; l < k->num_hidden_layers && !ps->err; l++)
        declare_layer(k, ps, &p->layer[l], l);
    p->pool = bert_linear(ps, BERT "pooler.dense", D, D);
    p->classes = bert_linear(ps, "model.classifier", k->num_labels, D);
    return ps->err ? NULL : p;
}

// ---- the model ---------------------------------------------------------------------------

// cls, sep [B,D]: embeddings of the marks for all batch rows.
typedef struct { const encoder_conf *k; const encoder *m; hx_graph *g; int64_t B; hx_t cls, sep; } run;

static hx_t apply(const run *r, pair p, hx_t x, hx_act act, hx_t y)
{
    return t_linear(x, P(p.w), P(p.b), act, y);
}

static hx_t normed(const run *r, pair p, hx_t x) { return t_layernorm(x, P(p.w), P(p.b), 0); }

static hx_t block(const run *r, const layer *p, hx_t x)
{
    hx_t q = apply(r, p->q, x, HX_ACT_NONE, HX_NONE), k = apply(r, p->k, x, HX_ACT_NONE, HX_NONE);
    hx_t v = apply(r, p->v, x, HX_ACT_NONE, HX_NONE);
    double drop = r->k->hidden_dropout_prob;
    hx_t y = t_attention_full_less(q, k, v, r->k->num_attention_heads, (int)r->B,
                                   left_out(r->g, r->k->attention_probs_dropout_prob));
    x = normed(r, p->norm1, plus_dropped(r->g, x, y, P(p->out.w), P(p->out.b), drop));
    y = apply(r, p->up, x, HX_ACT_GELU, HX_NONE);
    return normed(r, p->norm2, plus_dropped(r->g, x, y, P(p->down.w), P(p->down.b), drop));
}

// Row `i` of the embeddings, for all batch rows.
static hx_t mark(const run *r, int64_t i)
{
    hx_t part[3];
    bt_cut(P(r->m->E), i, 1, r->k->vocab_size + r->k->num_mem_tokens - i - 1, part);
    return t_flat(bt_for_batch(part[1], r->B));
}

// n tokens from `from` on behind the memory [m*B, D], which becomes what the last layer makes of it: the
// rows [B, D] of CLS.
static hx_t segment(const run *r, hx_t *memory, int64_t from, int64_t n)
{
    int64_t B = r->B, m = r->k->num_mem_tokens, D = r->k->hidden_size, all = n + m + 3;
    hx_t ids = hx_reshape(t_turn_ids(r->g->ids, from, n), 2, (int64_t[]){ 1, n * B }), part[3];
    hx_t text = t_flat(t_embedding(ids, P(r->m->E), n * B));
    hx_t x = bt_rows3(hx_concat(0, 5, (hx_t[]){ r->cls, t_flat(*memory), r->sep, text, r->sep }));
    bt_cut(P(r->m->type), 1, r->k->type_vocab_size - 1, 0, part);
    hx_t type = bt_for_batch(part[0], all);
    bt_cut(P(r->m->pos), all, r->k->max_position_embeddings - all, 0, part);
    hx_t place = hx_reshape(t_add(hx_reshape(part[0], 3, (int64_t[]){ 1, all, D }), type), 2,
                            (int64_t[]){ all, D });
    x = dropped(r->g, normed(r, r->m->norm, t_add(x, bt_for_batch(place, B))), r->k->hidden_dropout_prob);
    for (int l = 0; l < r->k->num_hidden_layers; l++)
        x = block(r, &r->m->layer[l], x);
    bt_cut(x, B, m * B, (n + 2) * B, part);
    *memory = bt_rows3(part[1]);
    return part[0];
}

// The rows of the embeddings that are slots, or what the step before has left.
static hx_t first_memory(const run *r)
{
    int64_t m = r->k->num_mem_tokens, shape[3] = { m, r->B, r->k->hidden_size };
    hx_t part[3], old = hx_carry(r->g, "slots", 3, shape);
    bt_cut(P(r->m->E), r->k->vocab_size, m, 0, part);
    hx_t first = bt_for_batch(part[1], r->B);
    return hx_is(old) ? bt_rows3(t_renew(r->g->age, old, hx_reshape(first, 3, shape))) : first;
}

// What the pooler makes of CLS: [B, D]
static hx_t pooled(const run *r, hx_t x)
{
    int64_t D = r->k->hidden_size;
    float *one = hx_new(r->g->tape->arena, float, 2 * D);
    if (!one) {
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "%s", hx_last_message());
        return (hx_t){ r->g->tape, 0 };
    }
    for (int64_t i = 0; i < D; i++) one[i] = 1;
    hx_t s = hx_constant(r->g->tape, false, 1, &D, one), a = hx_constant(r->g->tape, false, 1, &D, one + D);
    return t_tanh_affine(t_flat(apply(r, r->m->pool, x, HX_ACT_NONE, HX_NONE)), s, a);
}

// Classes of the sequences, or IGNORE: an input of their own, or their last tokens.
static hx_t labels(const run *r, int64_t T)
{
    hx_graph *g = r->g;
    hx_t own = hx_input(g, "labels", true, 1, &r->B);
    if (hx_is(own))
        return own;
    hx_t last = hx_reshape(t_turn_ids(g->labels, T, 1), 1, &r->B);
    return t_span_ids(last, HX_NONE, r->k->first_label, r->k->num_labels, -1);
}

static void sequence(run *r, int64_t T)
{
    hx_graph *g = r->g;
    const encoder_conf *k = r->k;
    int64_t S = k->text, count = hx_ceil_div(T, S), from = 0;
    hx_t memory = first_memory(r), top = HX_NONE;
    for (int64_t s = 0; s < count && !g->tape->err; s++) {
        int64_t end = T - (count - 1 - s) * S;
        if (k->bptt_depth >= 0 && count - 1 - s == k->bptt_depth)
            memory = hx_detach(memory);
        top = segment(r, &memory, from, end - from);
        from = end;
        if (g->purpose == HX_FOR_PARITY)
            bt_named(g, "memory", s, -1, bt_by_batch(memory, r->B));
        if (s + 1 < count) {
            memory = hx_hand_on(g, memory);
            hx_segment_done(g);
        }
    }
    hx_carry_out(g, "slots", memory);
    hx_t e = dropped(g, pooled(r, top), k->hidden_dropout_prob);
    hx_t w = P(r->m->classes.w), b = P(r->m->classes.b), y = labels(r, T);
    // one label a sequence, whatever its length
    g->loss = g->masked ? hx_loss_part(g, e, w, b, y, IGNORE, true)
                        : t_cross_entropy_head_bias(e, w, b, y, IGNORE, 0);
    if (g->purpose == HX_FOR_PARITY)
        hx_output(g, "logits", apply(r, r->m->classes, e, HX_ACT_NONE, HX_NONE));
    hx_output(g, "loss", g->loss);
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    const encoder_conf *k = conf;
    run r = { .k = k, .m = self, .g = g, .B = g->batch };
    bool own = g->n_given > 0;
    int64_t T = g->tokens - !own;
    if (g->purpose != HX_FOR_LOSS && g->purpose != HX_FOR_PARITY)
        hx_tape_fail(g->tape, HX_E_INPUT, "model rmt_encoder names a class and writes no text; set "
                     "sample.every: 0 [E-MODEL]");
    else if (T < 1)
        hx_tape_fail(g->tape, HX_E_INPUT, "a sequence of %lld tokens cannot be computed [E-LENGTH]",
                     (long long)T);
    else if (g->carries && T % k->text)
        hx_tape_fail(g->tape, HX_E_INPUT, "train.seq_len: %lld is no multiple of the %d tokens of a segment, "
                     "as segments that carry memories on must be [E-SEGMENT]", (long long)T, k->text);
    if (g->tape->err)
        return;
    r.cls = mark(&r, k->cls);
    r.sep = mark(&r, k->sep);
    sequence(&r, T);
}

static int64_t size(const void *conf, const char *what)
{
    const encoder_conf *k = conf;
    return !strcmp(what, "num_tokens") ? k->vocab_size
        : !strcmp(what, "seq_len") || !strcmp(what, "segment") ? k->text
        : !strcmp(what, "ignore_index") ? IGNORE : 0;
}

HX_MODEL(rmt_encoder,
    .no_trunk = "it has a recurrent memory",
    .title = "Recurrent memory in an encoder that classifies",
    .source = "Bulatov et al. 2023; BERT, Devlin et al. 2019",
    .inputs = "labels", .fields = fields, .conf_size = sizeof(encoder_conf),
    .check = check, .declare = declare, .build = build, .size = size,
    .samples = "vocab_size=29 hidden_size=24 num_hidden_layers=2 num_attention_heads=3 intermediate_size=40 "
               "max_position_embeddings=20 num_labels=29 num_mem_tokens=3 input_size=15 B=2 N=24; "
               "vocab_size=23 hidden_size=16 num_hidden_layers=1 num_attention_heads=1 intermediate_size=24 "
               "max_position_embeddings=12 type_vocab_size=1 num_labels=23 num_mem_tokens=2 input_size=10 "
               "bptt_depth=1 B=3 N=15");
