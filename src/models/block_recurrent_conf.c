// block_recurrent_conf.c - arguments of the block-recurrent model, their rules, and its parameters.
#include "../../runtime/log.h"
#include "block_recurrent.h"
#include "parts.h"
#include <math.h>
#include <string.h>

#define F(type, name, def, min, max, help) \
    { #name, HX_##type, offsetof(block_recurrent_conf, name), def, min, max, help },
const hx_field hx_block_recurrent_fields[] = {
    F(I32,  num_tokens, NULL, 1, 1 << 24, "size of the vocabulary")
    F(I32,  dim, NULL, 1, 65536, "width")
    F(I32,  depth, NULL, 1, MAX_DEPTH, "layers")
    F(I32,  dim_head, "64", 1, 256, "width of an attention head, even")
    F(I32,  heads, "8", 1, 1024, "heads of queries; keys and values have one")
    F(BOOL, all_layers_qk_rmsnorm, "false", 0, 0, "normalise queries and keys in every layer")
    F(F64,  ff_mult, "4", 1e-3, 1024, "width of the feed-forward layer over dim, before its gate")
    F(I32,  max_seq_len, "1024", 1, 1 << 24, "tokens of a segment, a multiple of block_width")
    F(I32,  block_width, "512", 1, 1 << 22, "tokens of a block")
    F(INTS, recurrent_layers, "null", 1, MAX_DEPTH, "layers that write states; null: depth / 2; []: none, memories only")
    F(INTS, read_recurrent_layers, "null", 1, MAX_DEPTH, "layers that read them, one for each that "
            "writes, not above it; null: the same layers")
    F(INTS, num_state_vectors, "null", 1, 1 << 22, "states of a container; null: block_width")
    F(I32,  ignore_index, "-100", -2147483647, 2147483647, "label that is not trained on")
    F(BOOL, use_flash_attn, "false", 0, 0, "accepted for the reference's sake, without effect")
    F(BOOL, use_compressed_mem, "false", 0, 0, "keep what leaves the memory, compressed")
    F(I32,  compressed_mem_factor, "4", 1, 1 << 22, "tokens that are compressed into one")
    // not of the reference, where both end with their segment
    F(BOOL, live_states, "false", 0, 0, "gradients go through states from segment to segment")
    F(BOOL, live_memories, "false", 0, 0, "gradients go through memories from segment to segment")
    // of the paper's own model
    F(STR,  state_gate, "fixed", 0, 0, "fixed: a learnt share of the new state | lstm: input and forget gates")
    F(STR,  state_cell, "skip", 0, 0, "skip: attention, gate | single: attention, feed-forward layer, gate | "
            "dual: attention, gate, feed-forward layer, gate")
    // of its training wrapper
    F(F64,  state_dropout, "0", 0, 1, "chance that a segment of training begins without states")
    F(F64,  xl_memories_dropout, "0", 0, 1, "chance that it begins without memories")
    {0}
};
#undef F

// ---- validity ----------------------------------------------------------------------------

static bool is_null(const hx_ints *v) { return v->n && v->v[0] == HX_NULL; }

static hx_result check_container(const block_recurrent_conf *k, int write, int read)
{
    if (write < 1 || write > k->depth)
        return hx_fail(HX_E_INPUT, "model.recurrent_layers: there is no layer %d among %d [E-MODEL]",
            write, k->depth);
    if (read < 1 || read > write)
        return hx_fail(HX_E_INPUT, "model.read_recurrent_layers: layer %d cannot read what layer %d "
            "writes; read at layers 1 to %d [E-MODEL]", read, write, write);
    for (int c = 0; c < k->C; c++)
        if (k->write[c] == write - 1)
            return hx_fail(HX_E_INPUT, "model.recurrent_layers names %d twice [E-MODEL]", write);
    return HX_OK;
}

// Containers in the order of the layers that write them.
static hx_result find_containers(block_recurrent_conf *k)
{
    const hx_ints *w = &k->recurrent_layers, *r = &k->read_recurrent_layers;
    bool none = is_null(w), same = is_null(r);
    int n = none ? 1 : w->n;
    if (none && k->depth < 2)
        return hx_fail(HX_E_INPUT, "model.depth is 1, and recurrent_layers is depth / 2 unless given: "
            "a layer 0; give recurrent_layers: [1] [E-MODEL]");
    if (!same && r->n != n)
        return hx_fail(HX_E_INPUT, "model.read_recurrent_layers has %d layers for %d of "
            "recurrent_layers [E-MODEL]", r->n, n);
    k->C = 0;
    for (int i = 0; i < n; i++) {
        int write = none ? k->depth / 2 : w->v[i], read = same ? write : r->v[i];
        HX_TRY(check_container(k, write, read));
        int c = k->C++;
        for (; c > 0 && k->write[c - 1] > write - 1; c--) {
            k->write[c] = k->write[c - 1];
            k->read[c] = k->read[c - 1];
        }
        k->write[c] = write - 1;
        k->read[c] = read - 1;
    }
    return HX_OK;
}

static hx_result check_cell(block_recurrent_conf *k)
{
    bool skip = !strcmp(k->state_cell, "skip"), single = !strcmp(k->state_cell, "single");
    k->lstm = !strcmp(k->state_gate, "lstm");
    k->dual = !strcmp(k->state_cell, "dual");
    k->ff = single || k->dual;
    if (!k->lstm && strcmp(k->state_gate, "fixed"))
        return hx_fail(HX_E_INPUT, "model.state_gate: there is no '%.60s'; fixed and lstm exist [E-MODEL]",
                       k->state_gate);
    return skip || k->ff ? HX_OK
        : hx_fail(HX_E_INPUT, "model.state_cell: there is no '%.60s'; skip, single and dual exist [E-MODEL]",
                  k->state_cell);
}

hx_result hx_block_recurrent_check(void *conf)
{
    block_recurrent_conf *k = conf;
    k->inner = (int)(k->dim * k->ff_mult * 2 / 3);
    k->S = is_null(&k->num_state_vectors) || !k->num_state_vectors.n ? k->block_width : k->num_state_vectors.v[0];
    if (k->num_state_vectors.n > 1)
        return hx_fail(HX_E_INPUT, "model.num_state_vectors has %d values, one is needed [E-MODEL]",
            k->num_state_vectors.n);
    if (k->inner < 1)
        return hx_fail(HX_E_INPUT, "model.ff_mult leaves no channel of dim %d [E-MODEL]", k->dim);
    if (k->dim_head % 2)
        return hx_fail(HX_E_INPUT, "model.dim_head: %d must be even for the rotary embedding "
            "[E-MODEL]", k->dim_head);
    if (k->max_seq_len % k->block_width)
        return hx_fail(HX_E_INPUT, "model.max_seq_len: %d is no multiple of block_width %d [E-MODEL]",
            k->max_seq_len, k->block_width);
    if (k->use_compressed_mem && (k->compressed_mem_factor > k->block_width || k->block_width < 2))
        return hx_fail(HX_E_INPUT, "model.compressed_mem_factor: a block of %d tokens cannot be "
            "compressed by %d [E-MODEL]", k->block_width, k->compressed_mem_factor);
    HX_TRY(check_cell(k));
    HX_TRY(find_containers(k));
    if (k->C && k->max_seq_len == k->block_width && !k->live_states)
        hx_log(HX_LOG_WARN, "max_seq_len is block_width %d: what writes the states gets no gradient "
            "within a segment; a max_seq_len of two blocks or more trains it", k->block_width);
    if (k->use_compressed_mem && k->max_seq_len == k->block_width && !k->live_memories)
        hx_log(HX_LOG_WARN, "max_seq_len is block_width %d: what packs the memories (mem_manager) gets no "
            "gradient; a max_seq_len of two blocks or more trains it", k->block_width);
    return HX_OK;
}

// ---- parameters --------------------------------------------------------------------------

static scales declare_scales(hx_params *ps, int dh, const char *at)
{
    scales s;
    s.q = hx_param_add(ps, ONES, SHAPE(dh), "%s.q_scale", at);
    s.k = hx_param_add(ps, ONES, SHAPE(dh), "%s.k_scale", at);
    return s;
}

static void declare_container(const block_recurrent_conf *k, hx_params *ps, const char *at,
                              container *p)
{
    int64_t D = k->dim, dh = k->dim_head, hd = k->heads * dh;
    p->init = hx_param_add(ps, NORMAL(0.1), SHAPE(k->S, D), "%s.init_state", at);
    p->pos = hx_param_add(ps, NORMAL(1), SHAPE(k->S, D), "%s.state_pos_ids", at);
    if (!k->lstm)
        p->gate.beta = hx_param_add(ps, NORMAL(0.1), SHAPE(D), "%s.learned_ema_beta", at);
    p->norm.g = hx_param_add(ps, ONES, SHAPE(D), "%s.state_norm.gamma", at);
    p->q_to_state = hx_param_add(ps, LINEAR(D), SHAPE(hd, D), "%s.q_to_state.weight", at);
    p->q_from_state = hx_param_add(ps, LINEAR(D), SHAPE(hd, D), "%s.q_from_state.weight", at);
    p->to_q = hx_param_add(ps, LINEAR(D), SHAPE(hd, D), "%s.state_to_q.weight", at);
    p->to_kv = hx_param_add(ps, LINEAR(D), SHAPE(2 * dh, D), "%s.state_to_kv.weight", at);
    if (!k->ff || k->dual)
        p->out = hx_param_add(ps, LINEAR(2 * hd), SHAPE(D, 2 * hd), "%s.to_state_out.weight", at);
    const char *const name[3] = { "to_state_cross_attn", "state_self_attn", "from_state_cross_attn" };
    scales *const s[3] = { &p->to_state, &p->self, &p->from_state };
    for (int i = 0; i < 3; i++) {
        const char *path = hx_sprintf(ps->arena, "%s.%s", at, name[i]);
        *s[i] = path ? declare_scales(ps, k->dim_head, path) : (scales){ 0 };
    }
    int64_t made = k->lstm ? 3 * D : D;    // z, or z, i and f
    p->gate.w = hx_param_add(ps, LINEAR(D), SHAPE(made, D), "%s.state_out_to_gate.weight", at);
    p->gate.b = hx_param_add(ps, LINEAR(D), SHAPE(made), "%s.state_out_to_gate.bias", at);
    if (k->dual) {
        if (!k->lstm)
            p->first.beta = hx_param_add(ps, NORMAL(0.1), SHAPE(D), "%s.attn_gate.learned_ema_beta", at);
        p->first.w = hx_param_add(ps, LINEAR(D), SHAPE(made, D), "%s.attn_gate.weight", at);
        p->first.b = hx_param_add(ps, LINEAR(D), SHAPE(made), "%s.attn_gate.bias", at);
        p->ff_norm.g = hx_param_add(ps, ONES, SHAPE(D), "%s.state_ff.0.gamma", at);
    }
    if (!k->ff)
        return;
    int64_t in = k->dual ? D : 2 * hd, n = k->inner;
    p->w1 = hx_param_add(ps, LINEAR(in), SHAPE(2 * n, in), "%s.state_ff.1.weight", at);
    p->w2 = hx_param_add(ps, LINEAR(n), SHAPE(D, n), "%s.state_ff.3.weight", at);
}

int hx_block_recurrent_writes(const block_recurrent_conf *k, int l)
{
    int c = 0;
    while (c < k->C && k->write[c] != l) c++;
    return c < k->C ? c : -1;
}

static void declare_layer(const block_recurrent_conf *k, hx_params *ps, block_recurrent *m, int l)
{
    layer *p = &m->layer[l];
    int64_t D = k->dim, dh = k->dim_head, hd = k->heads * dh, reads = 0;
    int c = hx_block_recurrent_writes(k, l);
    for (int i = 0; i < k->C; i++) reads += k->read[i] == l;
    const char *at = hx_sprintf(ps->arena, "layers.%d.0", l);
    const char *attn = hx_sprintf(ps->arena, "layers.%d.0.attn", l);
    const char *state = hx_sprintf(ps->arena, "layers.%d.0.state_container", l);
    if (!at || !attn || !state) {
        ps->err = HX_E_NOMEM;
        return;
    }
    p->norm.g = hx_param_add(ps, ONES, SHAPE(D), "%s.norm.gamma", at);
    p->q = hx_param_add(ps, LINEAR(D), SHAPE(hd, D), "%s.to_q.weight", at);
    p->kv = hx_param_add(ps, LINEAR(D), SHAPE(2 * dh, D), "%s.to_kv.weight", at);
    if (c >= 0 || k->all_layers_qk_rmsnorm)
        p->s = declare_scales(ps, k->dim_head, attn);
    int64_t wide = hd * (1 + reads);
    p->out = hx_param_add(ps, LINEAR(wide), SHAPE(D, wide), "%s.to_out.weight", at);
    if (c >= 0)
        declare_container(k, ps, state, &m->state[c]);
    int64_t n = k->inner, r = k->compressed_mem_factor;
    p->ff_norm.g = hx_param_add(ps, ONES, SHAPE(D), "layers.%d.1.0.gamma", l);
    p->w1 = hx_param_add(ps, LINEAR(D), SHAPE(2 * n, D), "layers.%d.1.1.weight", l);
    p->w2 = hx_param_add(ps, LINEAR(n), SHAPE(D, n), "layers.%d.1.3.weight", l);
    if (!k->use_compressed_mem)
        return;
    at = "mem_manager.layers";
    p->conv = hx_param_add(ps, LINEAR(dh * r), SHAPE(2 * dh, dh, r), "%s.%d.1.1.weight", at, l);
    p->conv_b = hx_param_add(ps, LINEAR(dh * r), SHAPE(2 * dh), "%s.%d.1.1.bias", at, l);
}

static void declare_buffers(const block_recurrent_conf *k, hx_params *ps, block_recurrent *m)
{
    int64_t D = k->dim;
    for (int l = 0; l < k->depth; l++) {
        m->layer[l].norm.b = hx_param_fixed(ps, 0, SHAPE(D), "layers.%d.0.norm.beta", l);
        m->layer[l].ff_norm.b = hx_param_fixed(ps, 0, SHAPE(D), "layers.%d.1.0.beta", l);
    }
    for (int c = 0; c < k->C; c++)
        m->state[c].norm.b = hx_param_fixed(ps, 0, SHAPE(D),
            "layers.%d.0.state_container.state_norm.beta", k->write[c]);
    m->last.b = hx_param_fixed(ps, 0, SHAPE(D), "to_logits.0.beta");
}

void *hx_block_recurrent_declare(const void *conf, hx_params *ps)
{
    const block_recurrent_conf *k = conf;
    block_recurrent *m = hx_new(ps->arena, block_recurrent, 1);
    if (m) {
        m->layer = hx_new(ps->arena, layer, k->depth);
        m->state = hx_new(ps->arena, container, k->C + 1);
    }
    if (!m || !m->layer || !m->state) {
        ps->err = HX_E_NOMEM;
        return NULL;
    }
    m->E = hx_param_add(ps, NORMAL(1), SHAPE(k->num_tokens, k->dim), "token_emb.weight");
    for (int l = 0; l < k->depth && !ps->err; l++)
        declare_layer(k, ps, m, l);
    m->last.g = hx_param_add(ps, ONES, SHAPE(k->dim), "to_logits.0.gamma");
    m->logits = hx_param_add(ps, LINEAR(k->dim), SHAPE(k->num_tokens, k->dim), "to_logits.1.weight");
    if (!ps->err)
        declare_buffers(k, ps, m);
    return ps->err ? NULL : m;
}

int64_t hx_block_recurrent_size(const void *conf, const char *what)
{
    const block_recurrent_conf *k = conf;
    return !strcmp(what, "num_tokens") ? k->num_tokens : !strcmp(what, "seq_len") ? k->max_seq_len
        : !strcmp(what, "segment") ? k->max_seq_len
        : !strcmp(what, "turn") && !k->use_compressed_mem ? k->block_width
        : !strcmp(what, "ignore_index") ? k->ignore_index : 0;
}
