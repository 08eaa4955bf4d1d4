// compressive.c - Compressive Transformer: a memory of each layer's inputs, and a second one of what left
// the first, several tokens compressed into one.
//
// After lucidrains' compressive-transformer-pytorch 0.4.0 (Rae et al. 2019), whose constructor
// arguments, parameter names and initial distributions these are. Letters: n tokens of the segment at
// hand, M of a memory, f tokens compressed into one, H heads of K, D the width, B batch rows.
// Rows are in the order of time: row t*B + b is token t of batch row b, so that memories are put before
// a segment as rows above its rows. What is the reference's and not the paper's:
//   - positions are a learnt vector per head and distance
//   - with enhanced recurrence a layer remembers what the layer above it saw, and passes that on
//   - rows that do not fill a window when they are compressed: see compress()
// What differs from the reference: it detaches the weights of keys and values for good where it
// reconstructs, which ends their training; here only the reconstruction does not reach them.
#include "by_time.h"
#include "parts.h"
#include "../ops/t.h"
#include <string.h>

enum { MAX_DEPTH = 256, FF_MULT = 4, MOGRIFY_ROUNDS = 5 };

typedef struct compressive_conf {
    int32_t num_tokens, dim, seq_len, depth, cmem_ratio, heads, ignore_index;
    hx_ints emb_dim, memory_layers, mem_len, cmem_len;
    bool    enhanced_recurrence, gru_gated_residual, mogrify_gru, ff_glu;
    double  attn_dropout, ff_dropout, attn_layer_dropout, reconstruction_attn_dropout;
    double  reconstruction_loss_weight;
    // derived: width of embeddings, tokens of both memories, layers that have them
    int     E, M, C, L, slot[MAX_DEPTH];   // slot: which memory is the layer's; -1: none
} compressive_conf;

#define F(type, name, def, min, max, help) \
    { #name, HX_##type, offsetof(compressive_conf, name), def, min, max, help },
static const hx_field fields[] = {
    F(I32,  num_tokens, NULL, 1, 1 << 24, "size of the vocabulary")
    F(I32,  dim, NULL, 1, 65536, "width")
    F(I32,  seq_len, NULL, 1, 1 << 24, "tokens of a segment")
    F(I32,  depth, NULL, 1, MAX_DEPTH, "layers")
    F(INTS, emb_dim, "null", 1, 65536, "width of embeddings; null: dim")
    F(INTS, memory_layers, "null", 1, MAX_DEPTH, "layers that have memories; null: all")
    F(BOOL, enhanced_recurrence, "true", 0, 0, "a layer remembers what the next one saw")
    F(INTS, mem_len, "null", 1, 1 << 24, "tokens of a memory; null: seq_len")
    F(INTS, cmem_len, "null", 0, 1 << 24, "tokens of a compressed memory; null: mem_len / cmem_ratio")
    F(I32,  cmem_ratio, "4", 1, 1 << 16, "tokens that are compressed into one")
    F(I32,  heads, "8", 1, 1024, "attention heads")
    F(BOOL, gru_gated_residual, "true", 0, 0, "a GRU instead of a sum around each sublayer")
    F(BOOL, mogrify_gru, "false", 0, 0, "let both inputs of the GRU gate each other before")
    F(F64,  attn_dropout, "0", 0, 0.99, "share of attention weights dropped in training")
    F(BOOL, ff_glu, "false", 0, 0, "a gate in the feed-forward layer")
    F(F64,  ff_dropout, "0", 0, 0.99, "share of the feed-forward layers' inner activations dropped in training")
    F(F64,  attn_layer_dropout, "0", 0, 0.99, "share of what attention layers give dropped in training")
    F(F64,  reconstruction_attn_dropout, "0", 0, 0.99, "share of those of the reconstruction loss")
    F(F64,  reconstruction_loss_weight, "1", 0, 1e6, "weight of the compressions' loss")
    F(I32,  ignore_index, "-100", -2147483647, 2147483647, "label that is not trained on")
    {0}
};
#undef F

// ---- validity ----------------------------------------------------------------------------

static bool is_null(const hx_ints *v) { return !v->n || v->v[0] == HX_NULL; }

// One number, or what null stands for.
static hx_result one_of(const hx_ints *v, const char *name, int other, int *out)
{
    *out = is_null(v) ? other : v->v[0];
    return v->n > 1 ? hx_fail(HX_E_INPUT, "model.%s has %d values, one is needed [E-MODEL]", name, v->n)
                    : HX_OK;
}

static hx_result find_memories(compressive_conf *k)
{
    const hx_ints *v = &k->memory_layers;
    bool all = v->n && v->v[0] == HX_NULL;
    for (int l = 0; l < k->depth; l++)
        k->slot[l] = all ? 0 : -1;
    for (int i = 0; i < v->n && !all; i++) {
        if (v->v[i] < 1 || v->v[i] > k->depth)
            return hx_fail(HX_E_INPUT, "model.memory_layers: there is no layer %d among %d [E-MODEL]",
                           v->v[i], k->depth);
        if (k->slot[v->v[i] - 1] == 0)
            return hx_fail(HX_E_INPUT, "model.memory_layers names %d twice [E-MODEL]", v->v[i]);
        k->slot[v->v[i] - 1] = 0;
    }
    k->L = 0;
    for (int l = 0; l < k->depth; l++)
        if (k->slot[l] == 0)
            k->slot[l] = k->L++;
    return k->L ? HX_OK : hx_fail(HX_E_INPUT, "model.memory_layers is empty: a Compressive "
                                  "Transformer has a memory; name a layer [E-MODEL]");
}

static hx_result check(void *conf)
{
    compressive_conf *k = conf;
    HX_TRY(one_of(&k->emb_dim, "emb_dim", k->dim, &k->E));
    HX_TRY(one_of(&k->mem_len, "mem_len", k->seq_len, &k->M));
    HX_TRY(one_of(&k->cmem_len, "cmem_len", k->M / k->cmem_ratio, &k->C));
    if (k->dim % k->heads)
        return hx_fail(HX_E_INPUT, "model.heads: %d do not divide dim %d [E-MODEL]", k->heads, k->dim);
    if (k->dim / k->heads > 256)
        return hx_fail(HX_E_INPUT, "model.heads: %d of dim %d make heads of %d channels, 256 is the "
                       "most [E-MODEL]", k->heads, k->dim, k->dim / k->heads);
    if (k->M < k->seq_len)
        return hx_fail(HX_E_INPUT, "model.mem_len: %d must be at least seq_len %d [E-MODEL]", k->M,
                       k->seq_len);
    if (k->C < k->M / k->cmem_ratio)
        return hx_fail(HX_E_INPUT, "model.cmem_len: %d must be at least mem_len %d / cmem_ratio %d "
                       "[E-MODEL]", k->C, k->M, k->cmem_ratio);
    if (k->mogrify_gru && k->dim < 4)
        return hx_fail(HX_E_INPUT, "model.mogrify_gru needs a dim of 4 at least, not %d [E-MODEL]",
                       k->dim);
    return find_memories(k);
}

// ---- parameters --------------------------------------------------------------------------

// around a sublayer: its norm, and the GRU where there is one
typedef struct { pair norm, in, past, q[2], r[2]; } around;
typedef struct { around at, ff; pair conv, out, w1, w2; hx_p q, kv; } layer;
typedef struct { hx_p pos, E; pair widen, narrow, logits; layer *layer; } compressive;

// What comes behind a sublayer's own parameters in the reference's order.
static void declare_gru(const compressive_conf *k, hx_params *ps, const char *at, around *p)
{
    int64_t D = k->dim, low = D / 4;
    if (!k->gru_gated_residual)
        return;
    p->in.w = hx_param_add(ps, LINEAR(D), SHAPE(3 * D, D), "%sgru.weight_ih", at);
    p->past.w = hx_param_add(ps, LINEAR(D), SHAPE(3 * D, D), "%sgru.weight_hh", at);
    p->in.b = hx_param_add(ps, LINEAR(D), SHAPE(3 * D), "%sgru.bias_ih", at);
    p->past.b = hx_param_add(ps, LINEAR(D), SHAPE(3 * D), "%sgru.bias_hh", at);
    if (!k->mogrify_gru)
        return;
    p->q[0] = declare_linear(ps, at, "mogrify.Q.0.0", low, D);
    p->q[1] = declare_linear(ps, at, "mogrify.Q.0.1", D, low);
    p->r[0] = declare_linear(ps, at, "mogrify.R.0.0", low, D);
    p->r[1] = declare_linear(ps, at, "mogrify.R.0.1", D, low);
}

static void declare_attention(const compressive_conf *k, hx_params *ps, layer *p, int l)
{
    int64_t D = k->dim, f = k->cmem_ratio;
    const char *at = hx_sprintf(ps->arena, "attn_layers.%d.", l);
    if (!at) {
        ps->err = HX_E_NOMEM;
        return;
    }
    p->at.norm = declare_norm(ps, at, "fn.norm", D);
    p->conv.w = hx_param_add(ps, LINEAR(D * f), SHAPE(D, D, f), "%sfn.fn.compress_mem_fn.conv.weight", at);
    p->conv.b = hx_param_add(ps, LINEAR(D * f), SHAPE(D), "%sfn.fn.compress_mem_fn.conv.bias", at);
    p->q = hx_param_add(ps, LINEAR(D), SHAPE(D, D), "%sfn.fn.to_q.weight", at);
    p->kv = hx_param_add(ps, LINEAR(D), SHAPE(2 * D, D), "%sfn.fn.to_kv.weight", at);
    p->out = declare_linear(ps, at, "fn.fn.to_out", D, D);
    declare_gru(k, ps, at, &p->at);
}

static void declare_feed_forward(const compressive_conf *k, hx_params *ps, layer *p, int l)
{
    int64_t D = k->dim;
    const char *at = hx_sprintf(ps->arena, "ff_layers.%d.", l);
    if (!at) {
        ps->err = HX_E_NOMEM;
        return;
    }
    p->ff.norm = declare_norm(ps, at, "fn.norm", D);
    p->w1 = declare_linear(ps, at, "fn.fn.w1", (k->ff_glu ? 2 : 1) * FF_MULT * D, D);
    p->w2 = declare_linear(ps, at, "fn.fn.w2", D, FF_MULT * D);
    declare_gru(k, ps, at, &p->ff);
}

static void *declare(const void *conf, hx_params *ps)
{
    const compressive_conf *k = conf;
    int64_t D = k->dim, all = (int64_t)k->seq_len + k->M + k->C;
    compressive *m = hx_new(ps->arena, compressive, 1);
    if (m)
        m->layer = hx_new(ps->arena, layer, k->depth);
    if (!m || !m->layer) {
        ps->err = HX_E_NOMEM;
        return NULL;
    }
    m->pos = hx_param_add(ps, HX_INIT_CONST, 0, SHAPE(k->heads, all, D / k->heads), "pos_emb");
    m->E = hx_param_add(ps, HX_INIT_NORMAL, 1, SHAPE(k->num_tokens, k->E), "token_emb.weight");
    if (k->E != D) {
        m->widen = declare_linear(ps, "", "to_model_dim", D, k->E);
        m->narrow = declare_linear(ps, "", "to_logits.0", k->E, D);
    }
    m->logits = declare_linear(ps, "", "to_logits.1", k->num_tokens, k->E);
    for (int l = 0; l < k->depth && !ps->err; l++)
        declare_attention(k, ps, &m->layer[l], l);
    for (int l = 0; l < k->depth && !ps->err; l++)
        declare_feed_forward(k, ps, &m->layer[l], l);
    return ps->err ? NULL : m;
}

// ---- the model ---------------------------------------------------------------------------

// [M*B, D] of a layer: what it remembers, and what of that was compressed. HX_NONE: nothing yet.
typedef struct { hx_t raw, packed; } memory;
typedef struct run {
    const compressive_conf *k;
    const compressive      *m;
    hx_graph *g;
    int64_t   B;
    memory    mem[MAX_DEPTH];
    hx_t      table;                       // [seq_len + M + C, D]: pos_emb, heads side by side
    hx_t      zeros;                       // [D]
    hx_t      aux;                         // sum of the reconstruction losses; HX_NONE: none yet
    hx_t      age, gone;                   // carried: [B], tokens before the segment, and how many of
                                           // both memories' places nothing has come to
} run;

static hx_t apply(const run *r, pair p, hx_t x)
{
    return t_linear(x, P(p.w), P(p.b), HX_ACT_NONE, HX_NONE);
}

static hx_t map(const run *r, hx_p w, hx_t x)
{
    return t_linear(x, P(w), HX_NONE, HX_ACT_NONE, HX_NONE);
}

static int64_t tokens_of(const run *r, hx_t x) { return hx_is(x) ? hx_rows(x) / r->B : 0; }

// rows as [n,B,D], which relative attention takes, and as [1,n*B,D], which attention of all takes
static hx_t by_time(const run *r, hx_t x)
{
    return hx_reshape(x, 3, (int64_t[]){ hx_rows(x) / r->B, r->B, hx_dim(x, -1) });
}

static hx_t one_row(hx_t x) { return hx_reshape(x, 3, (int64_t[]){ 1, hx_rows(x), hx_dim(x, -1) }); }

// x and y gate each other before the GRU: five rounds, y first.
static void mogrify(const run *r, const around *p, hx_t *y, hx_t *x)
{
    for (int i = 0; i < MOGRIFY_ROUNDS; i++)
        if (i % 2 == 0)
            *y = t_gate(*y, apply(r, p->q[1], apply(r, p->q[0], *x)), 2, false);
        else
            *x = t_gate(*x, apply(r, p->r[1], apply(r, p->r[0], *y)), 2, false);
}

// x joined with w z + b, what its sublayer makes of it, without a share `drop` of it
static hx_t join(const run *r, const around *p, pair w, hx_t z, hx_t x, double drop)
{
    bool drops = r->g->learns && drop > 0;
    if (!r->k->gru_gated_residual && !drops)
        return t_linear(z, P(w.w), P(w.b), HX_ACT_NONE, x);
    hx_t y = dropped(r->g, apply(r, w, z), drop);
    if (!r->k->gru_gated_residual)
        return t_add(x, y);
    if (r->k->mogrify_gru)
        mogrify(r, p, &y, &x);
    return t_gru(apply(r, p->in, y), apply(r, p->past, x), x);
}

static hx_t normed(const run *r, pair p, hx_t x)
{
    return t_flat(t_layernorm(one_row(x), P(p.w), P(p.b), 0));
}

// Row d is for a key d tokens before its query, 0 <= d < n, where `all` positions are in use: the
// table's last of these is for the query itself.
static hx_t distances(run *r, int64_t n, int64_t all)
{
    int64_t H = r->k->heads, D = r->k->dim, rows = (int64_t)r->k->seq_len + r->k->M + r->k->C;
    hx_tape *t = r->g->tape;
    if (!hx_is(r->table))
        r->table = hx_reshape(t_swap(hx_reshape(P(r->m->pos), 4, (int64_t[]){ 1, H, rows, D / H })), 2,
                              (int64_t[]){ rows, D });
    int32_t *at = hx_new(t->arena, int32_t, n);
    if (!at) {
        hx_tape_fail(t, HX_E_NOMEM, "%s", hx_last_message());
        return (hx_t){ t, 0 };
    }
    for (int64_t d = 0; d < n; d++)
        at[d] = (int32_t)(all - 1 - d);
    hx_t ids = hx_constant(t, true, 2, (int64_t[]){ 1, n }, at);
    return t_flat(t_embedding(ids, r->table, n));
}

// f tokens of the rows x, [n*B, D], become one by a convolution. Where n leaves a rest of f, as many
// zero tokens come before them, and what does not fill a window at the end is dropped.
static hx_t compress(const run *r, const layer *p, hx_t x)
{
    int64_t D = r->k->dim, f = r->k->cmem_ratio, n = tokens_of(r, x), pad = n % f, m = (n + pad) / f;
    hx_tape *t = r->g->tape;
    if (m < 1) {
        hx_tape_fail(t, HX_E_INPUT, "%lld tokens leave a memory at once, which with %lld zeros before "
                     "them are fewer than the %lld that become one; choose a seq_len and mem_len that "
                     "cmem_ratio divides [E-LENGTH]", (long long)n, (long long)pad, (long long)f);
        return (hx_t){ t, 0 };
    }
    hx_t w = t_swap(hx_reshape(P(p->conv.w), 4, (int64_t[]){ D, D, f, 1 })), part[2] = { x, HX_NONE };
    if (pad) {
        x = t_flat(t_delay(hx_reshape(x, 3, (int64_t[]){ 1, n, r->B * D }), m * f, pad));
    } else if (m * f < n) {
        hx_split(0, x, 2, (int64_t[]){ m * f * r->B, (n - m * f) * r->B }, part);
        x = part[0];
    }
    // [out, in, tap] to [out, tap, in], and the tokens of a window side by side
    x = t_swap(hx_reshape(x, 4, (int64_t[]){ m, f, r->B, D }));
    return t_linear(hx_reshape(x, 2, (int64_t[]){ m * r->B, f * D }),
        hx_reshape(w, 2, (int64_t[]){ D, f * D }), P(p->conv.b), HX_ACT_NONE, HX_NONE);
}

// The newest `keep` tokens of a then b, and what is older in *older (NONE: nothing is).
static hx_t newest(const run *r, hx_t a, hx_t b, int64_t keep, hx_t *older)
{
    hx_t both[2] = { a, b }, all = hx_is(a) ? hx_concat(0, 2, both) : b, part[2] = { HX_NONE, all };
    int64_t have = tokens_of(r, all);
    if (have > keep && keep > 0)
        hx_split(0, all, 2, (int64_t[]){ (have - keep) * r->B, keep * r->B }, part);
    if (older)
        *older = part[0];
    return keep > 0 ? part[1] : HX_NONE;
}

// x, zeros in rows of batch rows whose first memory was not full before this segment, so that nothing
// was compressed.   x[1,n*B,D]
static hx_t if_full(const run *r, hx_t x)
{
    if (!hx_is(r->age))
        return x;
    hx_t short_of = t_gone(r->age, HX_NONE, 1, 1 - r->k->M, 1, 1);
    return t_renew(t_older(r->age, short_of, 1), by_time(r, x), HX_NONE);
}

// Attention of q to what a memory was against attention to its compression. Only the convolution
// hears of it.
static hx_t reconstruction(const run *r, const layer *p, hx_t q, hx_t k, hx_t v, hx_t packed)
{
    int64_t D = r->k->dim;
    int H = r->k->heads, B = (int)r->B;
    hx_t kv[2];
    q = one_row(hx_detach(q));
    hx_split(1, t_linear(packed, hx_detach(P(p->kv)), HX_NONE, HX_ACT_NONE, HX_NONE), 2,
             (int64_t[]){ D, D }, kv);
    double drop = r->k->reconstruction_attn_dropout;
    hx_t was = t_attention_full_less(q, one_row(hx_detach(k)), one_row(hx_detach(v)), H, B, left_out(r->g, drop));
    hx_t is = t_attention_full_less(q, one_row(kv[0]), one_row(kv[1]), H, B, left_out(r->g, drop));
    return t_mse(if_full(r, was), if_full(r, is));
}

// Rows `from` .. `from + n` of x.
static hx_t rows_of(hx_t x, int64_t from, int64_t n)
{
    int64_t size[3] = { from, n, hx_rows(x) - from - n };
    hx_t part[3];
    int first = from == 0;
    hx_split(0, x, 3 - first - (size[2] == 0), size + first, part);
    return part[!first];
}

// The memory of a layer takes in u. q, k, v are those of the segment, k and v with its memories.
static void remember(run *r, const layer *p, memory *mem, hx_t u, hx_t q, hx_t k, hx_t v)
{
    int64_t had = tokens_of(r, mem->raw), packed = tokens_of(r, mem->packed);
    hx_t old;
    mem->raw = newest(r, mem->raw, hx_detach(u), r->k->M, &old);
    if (!hx_is(old) || r->k->C == 0)
        return;
    hx_t made = compress(r, p, old);
    mem->packed = newest(r, mem->packed, hx_detach(made), r->k->C, NULL);
    if (r->g->purpose == HX_FOR_LOGITS || !made.id)
        return;
    int64_t from = packed * r->B, n = had * r->B;
    hx_t loss = reconstruction(r, p, q, rows_of(k, from, n), rows_of(v, from, n), made);
    r->aux = hx_is(r->aux) ? t_add(r->aux, loss) : loss;
}

// Attention of layer l to itself and to its memories. dist: see distances(), for all keys
static hx_t attend(run *r, int l, hx_t x, hx_t dist)
{
    const layer *p = &r->m->layer[l];
    memory *mem = r->k->slot[l] < 0 ? NULL : &r->mem[r->k->slot[l]];
    int64_t D = r->k->dim, n = tokens_of(r, x);
    hx_t u = normed(r, p->at.norm, x), part[3], kv[2], q = map(r, p->q, u);
    int parts = 0;
    if (mem && hx_is(mem->packed)) part[parts++] = mem->packed;
    if (mem && hx_is(mem->raw)) part[parts++] = mem->raw;
    part[parts++] = u;
    hx_t all = parts > 1 ? hx_concat(0, parts, part) : u;
    hx_split(1, map(r, p->kv, all), 2, (int64_t[]){ D, D }, kv);
    int64_t keys = tokens_of(r, all);
    hx_t y = t_rel_attention(by_time(r, q), by_time(r, kv[0]), by_time(r, kv[1]),
        keys < hx_rows(dist) ? rows_of(dist, 0, keys) : dist, r->zeros, r->zeros, r->gone,
        &(hx_rel){ .heads = r->k->heads, .slide = hx_is(r->gone), .less = left_out(r->g, r->k->attn_dropout) });
    // as in the reference, a segment that is not whole leaves memories as they are
    if (mem && n == r->k->seq_len)
        remember(r, p, mem, u, q, kv[0], kv[1]);
    return join(r, &p->at, p->out, t_flat(y), x, r->k->attn_layer_dropout);
}

static hx_t widened(const run *r, const layer *p, hx_t v, hx_t x)
{
    return join(r, &p->ff, p->w2, dropped(r->g, v, r->k->ff_dropout), x, 0);
}

static hx_t feed_forward(const run *r, const layer *p, hx_t x)
{
    int64_t inner = FF_MULT * (int64_t)r->k->dim;
    hx_t u = normed(r, p->ff.norm, x), half[2];
    if (!r->k->ff_glu)
        return widened(r, p, t_linear(u, P(p->w1.w), P(p->w1.b), HX_ACT_GELU, HX_NONE), x);
    hx_split(1, apply(r, p->w1, u), 2, (int64_t[]){ inner, inner }, half);
    return widened(r, p, t_gelu_gate(half[1], half[0]), x);
}

// Each memory becomes that of the next layer that has one, the last the first's.
static void roll(run *r)
{
    memory first = r->mem[0];
    memmove(r->mem, r->mem + 1, sizeof *r->mem * (size_t)(r->k->L - 1));
    r->mem[r->k->L - 1] = first;
}

// How many places of both memories are empty in each batch row. The compressed one fills only when the
// first is full, so that these are the oldest of all.
static hx_t count_gone(const run *r)
{
    int64_t S = r->k->seq_len, f = r->k->cmem_ratio, made = (S + S % f) / f;
    hx_t n = t_gone(r->age, HX_NONE, r->k->M, 0, 1, 1);
    return r->k->C ? t_gone(r->age, n, r->k->C, -r->k->M, S, made) : n;
}

// n tokens from `from` on: [n*B, E]
static hx_t tokens(const run *r, int64_t from, int64_t n)
{
    hx_t ids = hx_reshape(t_turn_ids(r->g->ids, from, n), 2, (int64_t[]){ 1, n * r->B });
    return t_flat(t_embedding(ids, P(r->m->E), n * r->B));
}

// [n*B, E] before the last linear layer, of the rows x[n*B, E]; memories move on.
static hx_t segment(run *r, hx_t x)
{
    const compressive *m = r->m;
    int64_t n = tokens_of(r, x);
    if (m->widen.w)
        x = apply(r, m->widen, x);
    if (r->k->enhanced_recurrence)
        roll(r);
    if (hx_is(r->age))
        r->gone = count_gone(r);
    int64_t past = tokens_of(r, r->mem[0].raw) + tokens_of(r, r->mem[0].packed);
    hx_t dist = distances(r, past + n, past + r->k->seq_len);
    for (int l = 0; l < r->k->depth; l++)
        x = feed_forward(r, &m->layer[l], attend(r, l, x, dist));
    if (hx_is(r->age))
        r->age = t_older(r->age, HX_NONE, n);
    return m->narrow.w ? apply(r, m->narrow, x) : x;
}

// ---- results -----------------------------------------------------------------------------

static void named(run *r, const char *what, int64_t s, hx_t x)
{
    const char *name = hx_sprintf(r->g->tape->arena, "%s.%lld", what, (long long)s);
    hx_output(r->g, name ? name : what, x);
}

// rows in the order of time to [B, n, W]
static hx_t by_batch(const run *r, hx_t x)
{
    int64_t n = tokens_of(r, x), W = hx_dim(x, -1);
    hx_t y = t_swap(hx_reshape(x, 4, (int64_t[]){ 1, n, r->B, W }));
    return hx_reshape(y, 3, (int64_t[]){ r->B, n, W });
}

// Both memories of all layers, [L,B,M,D]; one that has nothing in it is not shown.
static void show_memories(run *r, int64_t s)
{
    hx_t part[MAX_DEPTH];
    for (int which = 0; which < 2; which++) {
        hx_t first = which ? r->mem[0].packed : r->mem[0].raw;
        if (!hx_is(first))
            continue;
        for (int i = 0; i < r->k->L; i++)
            part[i] = t_flat(by_batch(r, which ? r->mem[i].packed : r->mem[i].raw));
        named(r, which ? "compressed" : "memory", s, hx_reshape(hx_concat(0, r->k->L, part), 4,
              (int64_t[]){ r->k->L, r->B, tokens_of(r, first), r->k->dim }));
    }
}

// All T tokens, segment by segment: [T*B, E] in the order of time.
static hx_t segments(run *r, int64_t T)
{
    int64_t S = r->k->seq_len, count = hx_ceil_div(T, S);
    hx_t *e = hx_new(r->g->tape->arena, hx_t, count);
    if (!e) {
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "no memory for %lld segments [E-NOMEM]", (long long)count);
        return (hx_t){ r->g->tape, 0 };
    }
    for (int64_t s = 0; s < count; s++) {
        e[s] = segment(r, tokens(r, s * S, hx_min(S, T - s * S)));
        if (r->g->purpose == HX_FOR_PARITY) {
            named(r, "logits", s, by_batch(r, apply(r, r->m->logits, e[s])));
            show_memories(r, s);
        }
    }
    return hx_concat(0, (int)count, e);
}

// ---- from step to step -------------------------------------------------------------------

// What is carried has one size and one rule for what is in it: memories that segments fill evenly, the
// same in all layers.
static bool can_carry(const run *r, int64_t T)
{
    const compressive_conf *k = r->k;
    hx_tape *t = r->g->tape;
    if (T % k->seq_len)
        hx_tape_fail(t, HX_E_INPUT, "train.seq_len: %lld is no multiple of model.seq_len %d, as segments "
                     "that carry memories on must be [E-SEGMENT]", (long long)T, k->seq_len);
    else if (k->M % k->seq_len)
        hx_tape_fail(t, HX_E_INPUT, "model.mem_len: %d is no multiple of seq_len %d, as memories that "
                     "are carried from step to step must be [E-SEGMENT]", k->M, k->seq_len);
    else if (k->L < k->depth)
        hx_tape_fail(t, HX_E_INPUT, "model.memory_layers: %d layers of %d have memories; all must have "
                     "where memories are carried from step to step [E-SEGMENT]", k->L, k->depth);
    return !t->err;
}

static const char *memory_name(const run *r, const char *what, int i)
{
    const char *name = hx_sprintf(r->g->tape->arena, "%s.%d", what, i);
    return name ? name : what;
}

static hx_t carried(run *r, const char *what, int i, int64_t n)
{
    hx_t old = hx_carry(r->g, memory_name(r, what, i), 3, (int64_t[]){ n, r->B, r->k->dim });
    return t_flat(t_renew(r->g->age, old, HX_NONE));
}

static void take_over(run *r)
{
    r->age = r->g->age;
    for (int i = 0; i < r->k->L; i++) {
        r->mem[i].raw = carried(r, "memory", i, r->k->M);
        if (r->k->C)
            r->mem[i].packed = carried(r, "compressed", i, r->k->C);
    }
}

static void hand_over(run *r)
{
    for (int i = 0; i < r->k->L; i++) {
        hx_carry_out(r->g, memory_name(r, "memory", i), by_time(r, r->mem[i].raw));
        if (r->k->C)
            hx_carry_out(r->g, memory_name(r, "compressed", i), by_time(r, r->mem[i].packed));
    }
}

// The losses of T tokens. The reference adds the losses of segments, each the mean over its tokens;
// so the compressions' weigh against a mean over all tokens as their mean over segments.
static void losses(run *r, hx_t e, int64_t T)
{
    hx_graph *g = r->g;
    hx_t labels = hx_reshape(t_turn_ids(g->labels, 1, T), 1, (int64_t[]){ T * r->B });
    g->loss = hx_loss_part(g, e, P(r->m->logits.w), P(r->m->logits.b), labels, r->k->ignore_index, true);
    hx_output(g, g->purpose == HX_FOR_PARITY ? "loss" : "ce_loss", g->loss);
    hx_t aux = hx_is(r->aux)
        ? t_scale(r->aux, (float)(r->k->reconstruction_loss_weight / r->k->L))
        : hx_constant(g->tape, false, 1, (int64_t[]){ 1 }, &(float){ 0 });
    hx_output(g, "aux_loss", aux);
    if (g->purpose != HX_FOR_PARITY && hx_is(r->aux))
        g->loss = t_axpy(aux, g->loss, (float)(1 / (double)hx_ceil_div(T, r->k->seq_len)));
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    const compressive_conf *k = conf;
    int64_t T = g->tokens - (g->purpose != HX_FOR_LOGITS);
    run *r = hx_new(g->tape->arena, run, 1);
    float *zero = hx_new(g->tape->arena, float, k->dim);
    if (!r || !zero || T < 1) {
        hx_tape_fail(g->tape, T < 1 ? HX_E_INPUT : HX_E_NOMEM, "a sequence of %lld tokens cannot be "
                     "computed [E-LENGTH]", (long long)T);
        return;
    }
    *r = (run){ .k = k, .m = self, .g = g, .B = g->batch };
    r->zeros = hx_constant(g->tape, false, 1, (int64_t[]){ k->dim }, zero);
    if (g->carries && !can_carry(r, T))
        return;
    if (g->carries)
        take_over(r);
    hx_t e = segments(r, T);
    if (g->carries)
        hand_over(r);
    if (g->purpose != HX_FOR_LOGITS) {
        losses(r, e, T);
        return;
    }
    hx_t at = hx_reshape(g->position, 2, (int64_t[]){ 1, 1 });
    hx_output(g, "logits", apply(r, r->m->logits, t_embedding(at, e, 1)));
}

static int64_t size(const void *conf, const char *what)
{
    const compressive_conf *k = conf;
    return !strcmp(what, "num_tokens") ? k->num_tokens : !strcmp(what, "seq_len") ? k->seq_len
        : !strcmp(what, "ignore_index") ? k->ignore_index : !strcmp(what, "segment") ? k->seq_len : 0;
}

// ---- inside another model ----------------------------------------------------------------

static hx_result trunk_fits(const void *conf, int64_t n, int64_t *width)
{
    const compressive_conf *k = conf;
    *width = k->E;
    return n <= k->seq_len ? HX_OK
        : hx_fail(HX_E_INPUT, "seq_len: %d, and %lld rows are a segment with its slots: gradients do not go through "
                  "memories of its own [E-MODEL]", k->seq_len, (long long)n);
}

// Its own memories stay empty.
static hx_t trunk_rows(const void *conf, const void *self, hx_graph *g, hx_t x)
{
    const compressive_conf *k = conf;
    int64_t B = hx_dim(x, 0);
    run *r = hx_new(g->tape->arena, run, 1);
    float *zero = hx_new(g->tape->arena, float, k->dim);
    if (!r || !zero) {
        hx_tape_fail(g->tape, HX_E_NOMEM, "%s", hx_last_message());
        return x;
    }
    *r = (run){ .k = k, .m = self, .g = g, .B = B };
    r->zeros = hx_constant(g->tape, false, 1, (int64_t[]){ k->dim }, zero);
    return by_batch(r, segment(r, t_flat(bt_by_time(x))));
}

static void trunk_words(const void *self, hx_p *embedding, hx_p *weight, hx_p *bias)
{
    const compressive *m = self;
    *embedding = m->E, *weight = m->logits.w, *bias = m->logits.b;
}

static const hx_trunk trunk = { trunk_fits, trunk_rows, trunk_words };

HX_MODEL(compressive,
    .title = "Compressive Transformer",
    .source = "compressive-transformer-pytorch 0.4.0; Rae et al. 2019",
    .trunk = &trunk, .fields = fields, .conf_size = sizeof(compressive_conf),
    .check = check, .declare = declare, .build = build, .size = size,
    .samples = "num_tokens=29 dim=20 seq_len=8 depth=2 heads=2 B=2 N=25; "
               "num_tokens=29 dim=24 emb_dim=10 seq_len=6 depth=3 memory_layers=[1,3] mem_len=9 "
               "cmem_len=5 cmem_ratio=3 heads=3 ff_glu=true gru_gated_residual=false B=2 N=34; "
               "num_tokens=29 dim=16 seq_len=8 depth=2 heads=1 mogrify_gru=true "
               "enhanced_recurrence=false B=1 N=42");
