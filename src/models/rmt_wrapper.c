// rmt_wrapper.c - a recurrent memory around a model that was made without one: memory slots are put
// before and behind the embeddings of each segment, and what it makes of the last ones goes on.
//
// After booydar's recurrent-memory-transformer (Bulatov et al. 2023, Scaling Transformer to 1M tokens
// and beyond with RMT): MemoryCell and RecurrentWrapper, around a small GPT-2. The constructor
// arguments are those of the configuration that it takes. Letters: B batch rows, m slots, n tokens of a
// segment, D width, H heads. Rows are in the order of time, see by_time.h. Training has no use for the
// last token but as a label, so that segments are cut from the tokens before it.
#include "by_time.h"
#include "parts.h"
#include <math.h>
#include <string.h>

enum { MAX_DEPTH = 1024, FF_MULT = 4 };
typedef enum { LEFT, RIGHT, CENTER } alignment;

typedef struct wrapper_conf {
    int32_t     num_tokens, dim, depth, heads, num_mem_tokens, segment_size;
    double      embd_pdrop, resid_pdrop, attn_pdrop;
    const char *segment_alignment;
    hx_ints     k2, max_n_segments;
    bool        vary_n_segments;
    // derived
    alignment   align;
} wrapper_conf;

#define F(type, name, def, min, max, help) \
    { #name, HX_##type, offsetof(wrapper_conf, name), def, min, max, help },
static const hx_field fields[] = {
    F(I32,  num_tokens, NULL, 1, 1 << 24, "size of the vocabulary")
    F(I32,  dim, NULL, 1, 65536, "width")
    F(I32,  depth, NULL, 1, MAX_DEPTH, "layers")
    F(I32,  heads, NULL, 1, 1024, "attention heads")
    F(I32,  num_mem_tokens, NULL, 1, 1 << 16, "memory slots before and behind each segment")
    F(I32,  segment_size, NULL, 1, 1 << 24, "tokens of a segment")
    // GPT-2's configuration has 0.1 for each
    F(F64,  embd_pdrop, "0", 0, 0.99, "share of embeddings dropped in training, memory included")
    F(F64,  resid_pdrop, "0", 0, 0.99, "share of what layers add dropped in training")
    F(F64,  attn_pdrop, "0", 0, 0.99, "share of attention weights dropped in training")
    F(STR,  segment_alignment, "left", 0, 0, "left | right | center: the short segment is the last, "
            "the first, or all are about as long")
    F(INTS, k2, "null", -1, 1 << 24, "accepted for the reference's sake, without effect there, too")
    F(INTS, max_n_segments, "null", 1, 1 << 24, "accepted, without effect on what is computed")
    F(BOOL, vary_n_segments, "false", 0, 0, "accepted, without effect on what is computed")
    {0}
};
#undef F

static hx_result check(void *conf)
{
    static const char *const names[] = { "left", "right", "center" };
    wrapper_conf *k = conf;
    int at = 0;
    while (at < HX_COUNT(names) && strcmp(names[at], k->segment_alignment)) at++;
    if (at == HX_COUNT(names))
        return hx_fail(HX_E_INPUT, "model.segment_alignment: '%.40s' is none of left, right, center "
            "[E-MODEL]", k->segment_alignment);
    k->align = (alignment)at;
    if (k->dim % k->heads)
        return hx_fail(HX_E_INPUT, "model.heads: %d does not divide dim %d [E-MODEL]", k->heads, k->dim);
    if (k->dim / k->heads > 256)
        return hx_fail(HX_E_INPUT, "model.heads: a head of %d channels is wider than 256; more heads "
            "make them narrower [E-MODEL]", k->dim / k->heads);
    return HX_OK;
}

// ---- parameters --------------------------------------------------------------------------

typedef struct { pair ln1, attn, proj, ln2, fc, out; } layer;
typedef struct { hx_p memory, E, pos, logits; pair last; layer *layer; } wrapper;

#define GPT2 HX_INIT_NORMAL, 0.02
#define IN "memory_cell.model."

static pair declare_map(hx_params *ps, int l, const char *name, int64_t out, int64_t in)
{
    pair p;
    p.w = hx_param_add(ps, GPT2, SHAPE(out, in), IN "h.%d.%s.weight", l, name);
    p.b = hx_param_add(ps, HX_INIT_CONST, 0, SHAPE(out), IN "h.%d.%s.bias", l, name);
    return p;
}

static void declare_layer(hx_params *ps, layer *p, int l, int64_t D)
{
    const char *ln1 = hx_sprintf(ps->arena, "h.%d.ln_1", l);
    const char *ln2 = hx_sprintf(ps->arena, "h.%d.ln_2", l);
    if (!ln1 || !ln2) {
        ps->err = HX_E_NOMEM;
        return;
    }
    p->ln1 = declare_norm(ps, IN, ln1, D);
    p->attn = declare_map(ps, l, "c_attn", 3 * D, D);
    p->proj = declare_map(ps, l, "c_proj", D, D);
    p->ln2 = declare_norm(ps, IN, ln2, D);
    p->fc = declare_map(ps, l, "c_fc", FF_MULT * D, D);
    p->out = declare_map(ps, l, "c_out", D, FF_MULT * D);
}

static void *declare(const void *conf, hx_params *ps)
{
    const wrapper_conf *k = conf;
    int64_t D = k->dim, m = k->num_mem_tokens;
    wrapper *p = hx_new(ps->arena, wrapper, 1);
    if (!p || !(p->layer = hx_new(ps->arena, layer, k->depth))) {
        ps->err = HX_E_NOMEM;
        return NULL;
    }
    p->memory = hx_param_add(ps, GPT2, SHAPE(m, D), "memory_cell.memory");
    p->E = hx_param_add(ps, GPT2, SHAPE(k->num_tokens, D), IN "wte.weight");
    p->pos = hx_param_add(ps, GPT2, SHAPE(k->segment_size + 2 * m, D), IN "wpe.weight");
    for (int l = 0; l < k->depth && !ps->err; l++)
        declare_layer(ps, &p->layer[l], l, D);
    p->last = declare_norm(ps, IN, "ln_f", D);
    p->logits = hx_param_add(ps, GPT2, SHAPE(k->num_tokens, D), IN "lm_head.weight");
    return ps->err ? NULL : p;
}

// ---- the model ---------------------------------------------------------------------------

typedef struct { const wrapper_conf *k; const wrapper *m; hx_graph *g; int64_t B; } run;

static hx_t apply(const run *r, pair p, hx_t x, hx_act act, hx_t y)
{
    return t_linear(x, P(p.w), P(p.b), act, y);
}

static hx_t normed(const run *r, pair p, hx_t x) { return t_layernorm(x, P(p.w), P(p.b), 0); }

static hx_t block(const run *r, const layer *p, hx_t x)
{
    int64_t D = r->k->dim;
    hx_t qkv[3];
    hx_split(1, apply(r, p->attn, normed(r, p->ln1, x), HX_ACT_NONE, HX_NONE), 3,
             (int64_t[]){ D, D, D }, qkv);
    hx_t y = t_attention_less(qkv[0], qkv[1], qkv[2], r->k->heads, (int)r->B, -1, HX_NONE,
                              left_out(r->g, r->k->attn_pdrop));
    x = plus_dropped(r->g, x, y, P(p->proj.w), P(p->proj.b), r->k->resid_pdrop);
    y = apply(r, p->fc, normed(r, p->ln2, x), HX_ACT_GELU, HX_NONE);
    return plus_dropped(r->g, x, y, P(p->out.w), P(p->out.b), r->k->resid_pdrop);
}

// n tokens from `from` on between two copies of the memory [1, m*B, D], which becomes what the model
// makes of the second: the rows [n*B, D] that logits are made from.
static hx_t forward(const run *r, hx_t *memory, int64_t from, int64_t n)
{
    int64_t B = r->B, m = r->k->num_mem_tokens, all = n + 2 * m;
    hx_t ids = hx_reshape(t_turn_ids(r->g->ids, from, n), 2, (int64_t[]){ 1, n * B }), part[3];
    hx_t x = bt_rows3(bt_stack(*memory, t_embedding(ids, P(r->m->E), n * B), *memory));
    bt_cut(P(r->m->pos), all, r->k->segment_size + 2 * m - all, 0, part);
    x = dropped(r->g, t_add(x, bt_for_batch(part[0], B)), r->k->embd_pdrop);
    for (int l = 0; l < r->k->depth; l++)
        x = block(r, &r->m->layer[l], x);
    bt_cut(normed(r, r->m->last, x), m * B, n * B, m * B, part);
    *memory = bt_rows3(part[2]);
    return part[1];
}

// The memory that a sequence begins with, or what the step before has left.
static hx_t first_memory(const run *r)
{
    int64_t m = r->k->num_mem_tokens, shape[3] = { m, r->B, r->k->dim };
    hx_t first = bt_for_batch(P(r->m->memory), r->B), old = hx_carry(r->g, "slots", 3, shape);
    return hx_is(old) ? bt_rows3(t_renew(r->g->age, old, hx_reshape(first, 3, shape))) : first;
}

// Where segments of T tokens begin: at[0] = 0 .. at[count] = T. Returns the count.
static int64_t segment_starts(const wrapper_conf *k, int64_t T, int64_t *at)
{
    int64_t S = k->segment_size, count = hx_ceil_div(T, S);
    // the center's are those of torch.chunk
    int64_t size = k->align == CENTER ? hx_ceil_div(T, count) : S;
    count = hx_ceil_div(T, size);
    for (int64_t i = 0; i <= count; i++)
        at[i] = k->align == RIGHT ? hx_max(T - (count - i) * size, 0) : hx_min(i * size, T);
    return count;
}

// ---- results -----------------------------------------------------------------------------

static hx_t logits_of(const run *r, hx_t e) { return bt_linear(e, P(r->m->logits)); }

// The share of the loss of n rows of e whose tokens stand from `from` on; the last token of a
// sequence has no label.
static hx_t loss_part(const run *r, hx_t e, int64_t from, int64_t n)
{
    int64_t with = hx_min(n, r->g->tokens - 1 - from), B = r->B;
    hx_t part[3];
    if (with < 1)
        return HX_NONE;
    bt_cut(e, with * B, (n - with) * B, 0, part);
    hx_t labels = hx_reshape(t_turn_ids(r->g->labels, from + 1, with), 1, (int64_t[]){ with * B });
    return hx_loss_part(r->g, part[0], P(r->m->logits), HX_NONE, labels, -100, true);
}

static void segments(const run *r, int64_t T, int64_t *at, hx_t *part)
{
    hx_graph *g = r->g;
    bool parity = g->purpose == HX_FOR_PARITY;
    int64_t count = segment_starts(r->k, T, at);
    hx_t memory = first_memory(r);
    for (int64_t s = 0; s < count; s++) {
        int64_t n = at[s + 1] - at[s];
        part[s] = forward(r, &memory, at[s], n);
        if (g->purpose == HX_FOR_LOGITS)
            continue;
        hx_t ce = loss_part(r, part[s], at[s], n);
        if (hx_is(ce))
            g->loss = hx_is(g->loss) ? t_add(g->loss, ce) : ce;
        if (parity)
            bt_named(g, "memory", s, -1, bt_by_batch(memory, r->B));
        if (s + 1 < count) {
            memory = hx_hand_on(g, memory);
            hx_segment_done(g);
        }
    }
    hx_carry_out(g, "slots", memory);
    hx_t all = count > 1 ? hx_concat(0, (int)count, part) : part[0];
    if (g->purpose == HX_FOR_LOGITS) {
        hx_t here = hx_reshape(g->position, 2, (int64_t[]){ 1, 1 });
        hx_output(g, "logits", logits_of(r, t_embedding(here, all, 1)));
        return;
    }
    if (parity)
        hx_output(g, "logits", bt_by_batch(logits_of(r, all), r->B));
    hx_output(g, "loss", g->loss);
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    wrapper_conf k = *(const wrapper_conf *)conf;
    int64_t T = g->tokens - (g->purpose == HX_FOR_LOSS), least = g->purpose == HX_FOR_PARITY ? 2 : 1;
    if (T < least) {
        hx_tape_fail(g->tape, HX_E_INPUT, "a sequence of %lld tokens cannot be computed [E-LENGTH]",
            (long long)T);
        return;
    }
    if (g->carries && T % k.segment_size) {
        hx_tape_fail(g->tape, HX_E_INPUT, "train.seq_len: %lld is no multiple of model.segment_size %d, "
            "as segments that carry memories on must be [E-SEGMENT]", (long long)T, k.segment_size);
        return;
    }
    // what is behind a text to be continued must not move its segments
    if (g->purpose == HX_FOR_LOGITS)
        k.align = LEFT;
    int64_t most = hx_ceil_div(T, k.segment_size) + 1;
    int64_t *at = hx_new(g->tape->arena, int64_t, most);
    hx_t *part = hx_new(g->tape->arena, hx_t, most);
    if (!at || !part) {
        hx_tape_fail(g->tape, HX_E_NOMEM, "%s", hx_last_message());
        return;
    }
    run r = { &k, self, g, g->batch };
    segments(&r, T, at, part);
}

static int64_t size(const void *conf, const char *what)
{
    const wrapper_conf *k = conf;
    return !strcmp(what, "num_tokens") ? k->num_tokens
        : !strcmp(what, "seq_len") || !strcmp(what, "segment") ? k->segment_size
        : !strcmp(what, "ignore_index") ? -100 : 0;
}

HX_MODEL(rmt_wrapper,
    .no_trunk = "it has a recurrent memory",
    .title = "Recurrent memory around GPT-2",
    .source = "booydar/recurrent-memory-transformer; Bulatov et al. 2023",
    .fields = fields, .conf_size = sizeof(wrapper_conf),
    .check = check, .declare = declare, .build = build, .size = size,
    .samples = "num_tokens=29 dim=24 depth=2 heads=3 num_mem_tokens=3 segment_size=9 B=2 N=24; "
               "num_tokens=29 dim=16 depth=1 heads=2 num_mem_tokens=2 segment_size=8 "
               "segment_alignment=right B=1 N=21; "
               "num_tokens=29 dim=16 depth=2 heads=1 num_mem_tokens=1 segment_size=8 "
               "segment_alignment=center B=2 N=18");
