// infini.c - Infini-Transformer: attention within a segment, and a compressive memory of all before.
//
// After lucidrains' infini-transformer-pytorch (Munkhdalai et al. 2024, Leave No Context Behind),
// whose constructor arguments, parameter names and initial distributions these are. Letters: S tokens
// of a segment, n of the segment at hand, H heads of K, M the memory of a head [K,K], z its normaliser.
// What is the reference's and not the paper's:
//   - the gate is the share of the segment, not of the memory; without a memory it is not applied
//   - memory is read and written with queries and keys before their rotation and scale
// What differs from the reference: the loss is the mean over all labels that count, also where a
// segment has none of them, which makes it NaN there.
#include "head.h"
#include "parts.h"
#include "../ops/t.h"
#include <math.h>
#include <string.h>

enum { MAX_DEPTH = 256 };

typedef struct infini_conf {
    int32_t num_tokens, dim, depth, dim_head, heads, segment_length, detach_every, ignore_index;
    double  attn_dropout, ff_mult, ff_dropout;
    bool    use_mem_delta_rule, learned_delta_update;
    int     inner;                         // derived: width of the feed-forward layer
} infini_conf;

#define F(type, name, def, min, max, help) \
    { #name, HX_##type, offsetof(infini_conf, name), def, min, max, help },
static const hx_field fields[] = {
    F(I32,  num_tokens, NULL, 1, 1 << 24, "size of the vocabulary")
    F(I32,  dim, NULL, 1, 65536, "width")
    F(I32,  depth, NULL, 1, MAX_DEPTH, "layers")
    F(I32,  dim_head, "128", 2, 256, "width of an attention head, even")
    F(I32,  heads, "8", 1, 1024, "attention heads")
    F(F64,  attn_dropout, "0", 0, 0.99, "share of attention weights dropped in training")
    F(F64,  ff_mult, "4", 1e-3, 1024, "width of the feed-forward layer over dim, before its gate")
    F(F64,  ff_dropout, "0", 0, 0.99, "share of the feed-forward layers' inner activations dropped in training")
    F(BOOL, use_mem_delta_rule, "false", 0, 0, "write what the memory does not yet answer")
    F(BOOL, learned_delta_update, "false", 0, 0, "learn how much of each value is written")
    // of the reference's wrapper
    F(I32,  segment_length, "512", 1, 1 << 24, "tokens of a segment")
    F(I32,  detach_every, "2", 1, 1 << 24, "segments after which gradients through memories end")
    F(I32,  ignore_index, "-1", -2147483647, 2147483647, "label that is not trained on")
    {0}
};
#undef F

static hx_result check(void *conf)
{
    infini_conf *k = conf;
    k->inner = (int)(k->ff_mult * k->dim * 2 / 3);
    if (k->inner < 1)
        return hx_fail(HX_E_INPUT, "model.ff_mult: %g leaves no channel of dim %d; 3/2 of 1/dim is "
                       "the least [E-MODEL]", k->ff_mult, k->dim);
    if (k->dim_head % 2)
        return hx_fail(HX_E_INPUT, "model.dim_head: %d must be even for the rotary embedding "
                       "[E-MODEL]", k->dim_head);
    return HX_OK;
}

// ---- parameters --------------------------------------------------------------------------

typedef struct { hx_p norm, qkv, out, delta, gates, ff_norm; pair in, ff_out; } layer;
typedef struct { hx_p E, norm; layer *layer; pair logits; } infini;

static void declare_layer(const infini_conf *k, hx_params *ps, layer *p, int l)
{
    int64_t D = k->dim, hk = (int64_t)k->heads * k->dim_head, inner = k->inner;
    p->norm = hx_param_add(ps, ONES, SHAPE(D), "layers.%d.0.norm.gamma", l);
    p->qkv = hx_param_add(ps, LINEAR(D), SHAPE(3 * hk, D), "layers.%d.0.to_qkv.weight", l);
    p->out = hx_param_add(ps, LINEAR(hk), SHAPE(D, hk), "layers.%d.0.to_out.weight", l);
    if (k->learned_delta_update)
        p->delta = hx_param_add(ps, LINEAR(D), SHAPE(k->heads, D),
                                "layers.%d.0.to_learned_delta_update_weights.0.weight", l);
    p->gates = hx_param_add(ps, HX_INIT_CONST, 10, SHAPE(k->heads),
                            "layers.%d.0.fastweight_mem.head_gates", l);
    p->ff_norm = hx_param_add(ps, ONES, SHAPE(D), "layers.%d.1.norm.gamma", l);
    p->in.w = hx_param_add(ps, LINEAR(D), SHAPE(2 * inner, D), "layers.%d.1.proj_in.weight", l);
    p->in.b = hx_param_add(ps, LINEAR(D), SHAPE(2 * inner), "layers.%d.1.proj_in.bias", l);
    p->ff_out.w = hx_param_add(ps, LINEAR(inner), SHAPE(D, inner), "layers.%d.1.proj_out.weight", l);
    p->ff_out.b = hx_param_add(ps, LINEAR(inner), SHAPE(D), "layers.%d.1.proj_out.bias", l);
}

// The reference stores the frequencies of each layer.
static void declare_frequencies(const infini_conf *k, hx_params *ps)
{
    int half = k->dim_head / 2;
    float *f = hx_new(ps->arena, float, half);
    if (!f) {
        ps->err = HX_E_NOMEM;
        return;
    }
    for (int i = 0; i < half; i++)
        f[i] = (float)pow(10000, -2.0 * i / k->dim_head);
    for (int l = 0; l < k->depth; l++)
        hx_param_buffer(ps, f, half, "layers.%d.0.rotary_emb.freqs", l);
}

static void *declare(const void *conf, hx_params *ps)
{
    const infini_conf *k = conf;
    infini *m = hx_new(ps->arena, infini, 1);
    if (m)
        m->layer = hx_new(ps->arena, layer, k->depth);
    if (!m || !m->layer) {
        ps->err = HX_E_NOMEM;
        return NULL;
    }
    m->E = hx_param_add(ps, HX_INIT_NORMAL, 1, SHAPE(k->num_tokens, k->dim), "token_emb.weight");
    for (int l = 0; l < k->depth && !ps->err; l++)
        declare_layer(k, ps, &m->layer[l], l);
    m->norm = hx_param_add(ps, ONES, SHAPE(k->dim), "norm.gamma");
    m->logits.w = hx_param_add(ps, LINEAR(k->dim), SHAPE(k->num_tokens, k->dim), "to_logits.weight");
    m->logits.b = hx_param_add(ps, LINEAR(k->dim), SHAPE(k->num_tokens), "to_logits.bias");
    if (!ps->err)
        declare_frequencies(k, ps);
    return ps->err ? NULL : m;
}

// ---- the model ---------------------------------------------------------------------------

typedef struct run {
    const infini_conf *k;
    const infini      *m;
    hx_graph *g;
    int64_t   B;
    hx_t      memory[MAX_DEPTH];           // [B, H*K, K+1]: M and z side by side; HX_NONE: empty
    hx_t      qkv[MAX_DEPTH];              // weights with the halves of rotated pairs apart
    hx_t      table, ones;                 // for a whole segment
} run;

static hx_t apply(const run *r, pair p, hx_t x, hx_t y)
{
    return t_linear(x, P(p.w), P(p.b), HX_ACT_NONE, y);
}

// The reference turns channels 2i and 2i+1 of a head, t_rotary i and K/2+i. Queries and keys are
// made in the second order: no product of them depends on it.
static hx_t weights(run *r, int l)
{
    int64_t D = r->k->dim, hk = (int64_t)r->k->heads * r->k->dim_head, half = r->k->dim_head / 2;
    if (hx_is(r->qkv[l]))
        return r->qkv[l];
    hx_t part[2];
    hx_split(0, P(r->m->layer[l].qkv), 2, (int64_t[]){ 2 * hk, hk }, part);
    part[0] = t_swap(hx_reshape(part[0], 4, (int64_t[]){ 2 * r->k->heads, half, 2, D }));
    part[0] = hx_reshape(part[0], 2, (int64_t[]){ 2 * hk, D });
    return r->qkv[l] = hx_concat(0, 2, part);
}

// v with a channel of ones behind each head, whose sum is the normaliser.   v[B,n,H*K]
static hx_t with_ones(run *r, hx_t v)
{
    int64_t n = hx_dim(v, 1), H = r->k->heads, K = r->k->dim_head, rows = r->B * n * H;
    hx_t part[2] = { hx_reshape(v, 2, (int64_t[]){ rows, K }), r->ones };
    int64_t all = hx_rows(r->ones);
    if (rows < all) {
        hx_t some[2];
        hx_split(0, r->ones, 2, (int64_t[]){ rows, all - rows }, some);
        part[1] = some[0];
    }
    return hx_reshape(hx_concat(1, 2, part), 3, (int64_t[]){ r->B, n, H * (K + 1) });
}

// M += phi(k)^T v,  z += sum phi(k);  the delta rule takes away what M answers already.
// u[B,n,D] is the normed input, f = phi(k)[B,n,H*K]
static void write_memory(run *r, int l, hx_t u, hx_t f, hx_t v)
{
    const layer *p = &r->m->layer[l];
    int H = r->k->heads;
    hx_t *M = &r->memory[l];
    if (r->k->use_mem_delta_rule && hx_is(*M))
        v = t_axpy(t_quotient(t_heads(f, *M, H), H), v, -1);
    if (p->delta)
        v = t_gate(v, t_linear(u, P(p->delta), HX_NONE, HX_ACT_NONE, HX_NONE), 1, true);
    *M = t_heads_tn(f, with_ones(r, v), *M, H);
}

// x + attention of a segment to itself and to the memory before it, which then takes it in
static hx_t attend(run *r, int l, hx_t x)
{
    const layer *p = &r->m->layer[l];
    int H = r->k->heads;
    int64_t hk = (int64_t)H * r->k->dim_head;
    hx_t u = t_rmsnorm(x, P(p->norm), 0), qkv[3];
    hx_split(1, t_linear(u, weights(r, l), HX_NONE, HX_ACT_NONE, HX_NONE), 3,
             (int64_t[]){ hk, hk, hk }, qkv);
    hx_t q = t_rotary_copy(qkv[0], r->table, H, 1), k = t_rotary_copy(qkv[1], r->table, H, 1);
    hx_t y = t_attention_less(q, k, qkv[2], H, 1, -1, HX_NONE, left_out(r->g, r->k->attn_dropout));
    if (hx_is(r->memory[l]))
        y = t_recall(y, t_heads(t_feature(qkv[0]), r->memory[l], H), P(p->gates));
    write_memory(r, l, u, t_feature(qkv[1]), qkv[2]);
    return t_linear(y, P(p->out), HX_NONE, HX_ACT_NONE, x);
}

static hx_t feed_forward(const run *r, const layer *p, hx_t x)
{
    hx_t v = t_geglu(apply(r, p->in, t_rmsnorm(x, P(p->ff_norm), 0), HX_NONE));
    return apply(r, p->ff_out, dropped(r->g, v, r->k->ff_dropout), x);
}

// The final embeddings of x[B,n,D], with the memory as it is; leaves it as these rows make it.
static hx_t segment(run *r, hx_t x)
{
    for (int l = 0; l < r->k->depth; l++)
        x = feed_forward(r, &r->m->layer[l], attend(r, l, x));
    return t_rmsnorm(x, P(r->m->norm), 0);
}

// ---- results -----------------------------------------------------------------------------

static void named(run *r, const char *what, int64_t s, int l, hx_t x)
{
    hx_arena *a = r->g->tape->arena;
    const char *name = l < 0 ? hx_sprintf(a, "%s.%lld", what, (long long)s)
                             : hx_sprintf(a, "%s.%lld.%d", what, (long long)s, l);
    hx_output(r->g, name ? name : what, x);
}

// M [B,H,K,K] and z [B,H,K] of each layer after segment s, keys in the reference's order
static void show_memory(run *r, int64_t s)
{
    int64_t B = r->B, H = r->k->heads, K = r->k->dim_head;
    for (int l = 0; l < r->k->depth; l++) {
        hx_t part[2], all = hx_reshape(r->memory[l], 4, (int64_t[]){ B * H, 2, K / 2, K + 1 });
        all = hx_reshape(t_swap(all), 2, (int64_t[]){ B * H * K, K + 1 });
        hx_split(1, all, 2, (int64_t[]){ K, 1 }, part);
        named(r, "memory_kv", s, l, hx_reshape(part[0], 4, (int64_t[]){ B, H, K, K }));
        named(r, "memory_norm", s, l, hx_reshape(part[1], 4, (int64_t[]){ B, H, K, 1 }));
    }
}

// n tokens from `from` on: [B,n,D]
static hx_t tokens(const run *r, int64_t from, int64_t n)
{
    hx_t ids = t_window_ids(r->g->ids, 1, (int)n, 1, (int)from);
    return t_embedding(hx_reshape(ids, 2, (int64_t[]){ r->B, n }), P(r->m->E), n);
}

// All T tokens, segment by segment: their embeddings [B*T, D].
static hx_t segments(run *r, int64_t T)
{
    int64_t S = r->k->segment_length, count = hx_ceil_div(T, S), D = r->k->dim;
    hx_t *e = hx_new(r->g->tape->arena, hx_t, count);
    if (!e) {
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "no memory for %lld segments [E-NOMEM]", (long long)count);
        return (hx_t){ r->g->tape, 0 };
    }
    for (int64_t s = 0; s < count; s++) {
        int64_t n = hx_min(S, T - s * S);
        hx_t y = segment(r, tokens(r, s * S, n));
        e[s] = hx_reshape(y, 2, (int64_t[]){ r->B, n * D });
        if (r->g->purpose == HX_FOR_PARITY) {
            named(r, "logits", s, -1, apply(r, r->m->logits, y, HX_NONE));
            show_memory(r, s);
        }
        for (int l = 0; l < r->k->depth && (s + 1) % r->k->detach_every == 0; l++)
            r->memory[l] = hx_detach(r->memory[l]);
        for (int l = 0; l < r->k->depth && s + 1 < count; l++)
            r->memory[l] = hx_hand_on(r->g, r->memory[l]);
        if (s + 1 < count)
            hx_segment_done(r->g);
    }
    return hx_reshape(hx_concat(1, (int)count, e), 2, (int64_t[]){ r->B * T, D });
}

static const char *memory_name(const run *r, int l)
{
    const char *name = hx_sprintf(r->g->tape->arena, "memory.%d", l);
    return name ? name : "memory";
}

// What the step before left; nothing in rows whose document begins, which leaves gates open there.
static void take_over(run *r)
{
    int64_t K = r->k->dim_head, hk = r->k->heads * K, shape[3] = { 1, r->B, hk * (K + 1) };
    for (int l = 0; l < r->k->depth && r->g->carries; l++) {
        hx_t old = hx_carry(r->g, memory_name(r, l), 3, shape);
        r->memory[l] = hx_reshape(t_renew(r->g->age, old, HX_NONE), 3,
                                  (int64_t[]){ r->B, hk, K + 1 });
    }
}

static void hand_over(run *r)
{
    for (int l = 0; l < r->k->depth && r->g->carries; l++)
        hx_carry_out(r->g, memory_name(r, l), hx_reshape(r->memory[l], 3,
            (int64_t[]){ 1, r->B, hx_elems(r->memory[l]) / r->B }));
}

static bool open_run(run *r, int64_t T)
{
    hx_tape *t = r->g->tape;
    int64_t n = hx_min(T, r->k->segment_length), rows = r->B * n * r->k->heads;
    float *one = hx_new(t->arena, float, rows);
    if (!one) {
        hx_tape_fail(t, HX_E_NOMEM, "%s", hx_last_message());
        return false;
    }
    for (int64_t i = 0; i < rows; i++)
        one[i] = 1;
    r->ones = hx_constant(t, false, 2, (int64_t[]){ rows, 1 }, one);
    r->table = t_rotary_table(t, n, r->k->dim_head, 0);
    return true;
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    const infini_conf *k = conf;
    int64_t T = g->tokens - (g->purpose != HX_FOR_LOGITS);
    run *r = hx_new(g->tape->arena, run, 1);
    if (!r || T < 1) {
        hx_tape_fail(g->tape, T < 1 ? HX_E_INPUT : HX_E_NOMEM, "a sequence of %lld tokens cannot be "
                     "computed [E-LENGTH]", (long long)T);
        return;
    }
    if (g->carries && T % k->segment_length) {
        hx_tape_fail(g->tape, HX_E_INPUT, "train.seq_len: %lld is no multiple of model.segment_length %d, "
                     "as segments that carry memories on must be [E-SEGMENT]", (long long)T,
                     k->segment_length);
        return;
    }
    *r = (run){ .k = k, .m = self, .g = g, .B = g->batch };
    if (!open_run(r, T))
        return;
    take_over(r);
    hx_t e = segments(r, T);
    hand_over(r);
    if (g->purpose == HX_FOR_LOGITS) {
        hx_t at = hx_reshape(g->position, 2, (int64_t[]){ 1, 1 });
        hx_output(g, "logits", apply(r, r->m->logits, t_embedding(at, e, 1), HX_NONE));
        return;
    }
    hx_t labels = t_window_ids(g->labels, T, 1, 1, 1);
    g->loss = hx_loss_part(g, e, P(r->m->logits.w), P(r->m->logits.b),
                           hx_reshape(labels, 1, (int64_t[]){ g->batch * T }), k->ignore_index, false);
    hx_output(g, "loss", g->loss);
}

static int64_t size(const void *conf, const char *what)
{
    const infini_conf *k = conf;
    return !strcmp(what, "num_tokens") ? k->num_tokens : !strcmp(what, "ignore_index")
        ? k->ignore_index : !strcmp(what, "seq_len") ? (int64_t)k->segment_length * k->detach_every
        : !strcmp(what, "segment") ? k->segment_length : 0;
}

// ---- inside another model ----------------------------------------------------------------

static hx_result trunk_fits(const void *conf, int64_t n, int64_t *width)
{
    const infini_conf *k = conf;
    *width = k->dim;
    return n <= (int64_t)k->segment_length * k->detach_every ? HX_OK
        : hx_fail(HX_E_INPUT, "detach_every: gradients of its own memory end after %lld rows, and %lld are a segment "
                  "with its slots [E-MODEL]", (long long)k->segment_length * k->detach_every, (long long)n);
}

// Its own memory begins empty and ends with x.
static hx_t trunk_rows(const void *conf, const void *self, hx_graph *g, hx_t x)
{
    const infini_conf *k = conf;
    int64_t B = hx_dim(x, 0), n = hx_dim(x, 1), D = k->dim, S = k->segment_length, count = hx_ceil_div(n, S);
    run *r = hx_new(g->tape->arena, run, 1);
    hx_t *e = hx_new(g->tape->arena, hx_t, 2 * count);
    int64_t *size = hx_new(g->tape->arena, int64_t, count);
    if (!r || !e || !size) {
        hx_tape_fail(g->tape, HX_E_NOMEM, "no memory for %lld segments [E-NOMEM]", (long long)count);
        return x;
    }
    *r = (run){ .k = k, .m = self, .g = g, .B = B };
    if (!open_run(r, n) || count == 1)
        return segment(r, x);
    for (int64_t s = 0; s < count; s++)
        size[s] = hx_min(S, n - s * S) * D;
    hx_split(1, hx_reshape(x, 2, (int64_t[]){ B, n * D }), (int)count, size, e);
    for (int64_t s = 0; s < count; s++) {
        hx_t y = segment(r, hx_reshape(e[s], 3, (int64_t[]){ B, size[s] / D, D }));
        e[count + s] = hx_reshape(y, 2, (int64_t[]){ B, size[s] });
    }
    return hx_reshape(hx_concat(1, (int)count, e + count), 3, (int64_t[]){ B, n, D });
}

static void trunk_words(const void *self, hx_p *embedding, hx_p *weight, hx_p *bias)
{
    const infini *m = self;
    *embedding = m->E, *weight = m->logits.w, *bias = m->logits.b;
}

static const hx_trunk trunk = { trunk_fits, trunk_rows, trunk_words };

HX_MODEL(infini,
    .title = "Infini-Transformer", .source = "infini-transformer-pytorch; Munkhdalai et al. 2024",
    .trunk = &trunk, .fields = fields, .conf_size = sizeof(infini_conf),
    .check = check, .declare = declare, .build = build, .size = size,
    .samples = "num_tokens=29 dim=20 depth=2 heads=2 dim_head=8 segment_length=8 B=2 N=25; "
               "num_tokens=29 dim=24 depth=2 heads=3 dim_head=10 segment_length=7 detach_every=5 "
               "use_mem_delta_rule=true B=2 N=31; "
               "num_tokens=29 dim=16 depth=1 heads=2 dim_head=8 segment_length=12 "
               "use_mem_delta_rule=true learned_delta_update=true B=1 N=40");
