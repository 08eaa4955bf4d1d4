// rmt_transformer_xl.c - the recurrent memory transformer on Transformer-XL: memory slots before a
// segment that are read, and behind it that are written and become the next segment's (Bulatov et
// al. 2022). Slots of one end see each other; the cache, if any, holds the rows of slots too.
#include "xl.h"

#include "../ops/t.h"
#include <string.h>

static const hx_field fields[] = {
    XL_FIELDS
    XL_F(I32,  num_mem_tokens, NULL, 0, 1 << 16, "slots of the recurrent memory")
    XL_F(BOOL, read_mem_from_cache, "false", 0, 0, "slots see the cache")
    XL_F(BOOL, mem_at_end, "true", 0, 0, "slots behind the tokens are written; false: those before")
    // not of the reference, where a trainer decides
    XL_F(BOOL, live_memory, "true", 0, 0, "gradients go through the memory from segment to segment")
    XL_F(STR,  eval_memory, "kept", 0, 0, "controls, in evaluations: kept | zero | swap (rows 2b and "
               "2b+1 exchange it)")
    XL_F(I32,  eval_memory_at, "0", 0, 1 << 30, "that is done before this segment alone; 0: before all")
    {0}
};

static hx_result check(void *conf)
{
    xl_conf *k = conf;
    HX_TRY(xl_check(k));
    if (strcmp(k->eval_memory, "kept") && strcmp(k->eval_memory, "zero") && strcmp(k->eval_memory, "swap"))
        return hx_fail(HX_E_INPUT, "model.eval_memory: '%.40s' is none of kept, zero, swap [E-MODEL]",
                       k->eval_memory);
    if (k->ext_len && k->num_mem_tokens)
        return hx_fail(HX_E_INPUT, "model.ext_len: %d tokens cannot be read again beside memory "
                       "slots; set it to 0 [E-MODEL]", k->ext_len);
    return HX_OK;
}

static void *declare(const void *conf, hx_params *ps) { return xl_declare(conf, ps); }

// mem_tokens for every batch row: [m*B, D]
static hx_t first_memory(xl_run *r)
{
    int64_t m = r->k->num_mem_tokens, D = r->k->d_model;
    hx_t x = hx_reshape(hx_use(r->g, r->m->mem), 3, (int64_t[]){ 1, m, D });
    return t_flat(t_repeat(x, m * r->B, (int)r->B));
}

// n tokens from `from` on; *memory becomes what the segment wrote: [n*B, D] before the softmax.
static hx_t segment(xl_run *r, int64_t from, int64_t n, hx_t *memory)
{
    int64_t B = r->B, m = r->k->num_mem_tokens, end = r->k->mem_at_end ? m : 0;
    hx_t ids = hx_reshape(t_turn_ids(r->g->ids, from, n), 1, (int64_t[]){ n * B });
    hx_t part[3] = { *memory, xl_embed(r, ids), *memory };
    if (!m)
        return xl_layers(r, part[1], 0, 0);
    hx_t x = xl_layers(r, hx_concat(0, 2 + (end > 0), part), (int)m, (int)end);
    hx_split(0, x, 2 + (end > 0), (int64_t[]){ m * B, n * B, end * B }, part);
    *memory = end ? part[2] : part[0];
    return part[1];
}

// What the step before wrote in rows whose document goes on, else the initial memory.
static hx_t begin(xl_run *r)
{
    int64_t m = r->k->num_mem_tokens, shape[3] = { m, r->B, r->k->d_model };
    hx_t memory = m ? first_memory(r) : HX_NONE;
    xl_take_over(r, (int)(r->k->mem_at_end ? 2 * m : m));
    if (!m || !r->g->carries)
        return memory;
    return t_flat(t_renew(r->g->age, hx_carry(r->g, "memory", 3, shape), xl_by_time(r, memory)));
}

// Row b of a batch gets what row b^1 wrote; the last of an odd number keeps its own.
static hx_t swapped(xl_run *r, hx_t memory)
{
    int64_t n = hx_rows(memory), B = r->B;
    int32_t *from = hx_new(r->g->tape->arena, int32_t, n);
    if (!from) {
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "%s", hx_last_message());
        return memory;
    }
    for (int64_t i = 0; i < n; i++) {
        int64_t b = i % B, other = (b ^ 1) < B ? b ^ 1 : b;
        from[i] = (int32_t)(i - b + other);
    }
    hx_t ids = hx_constant(r->g->tape, true, 2, (int64_t[]){ 1, n }, from);
    return t_flat(t_embedding(ids, memory, n));
}

// What segment s reads: the memory, or in an evaluation what a control makes of it.
static hx_t controlled(xl_run *r, int64_t s, hx_t memory)
{
    const xl_conf *k = r->k;
    bool here = !k->eval_memory_at || k->eval_memory_at == s;
    if (!s || !here || r->g->purpose != HX_FOR_LOSS || r->g->learns || !strcmp(k->eval_memory, "kept"))
        return memory;
    return !strcmp(k->eval_memory, "zero") ? t_scale(memory, 0) : swapped(r, memory);
}

static void segments(xl_run *r)
{
    hx_graph *g = r->g;
    int64_t L = r->k->tgt_len, T = r->tokens, m = r->k->num_mem_tokens;
    hx_t memory = begin(r);
    for (int64_t s = 0; s * L < T && !g->tape->err; s++) {
        int64_t n = hx_min(L, T - s * L);
        memory = m ? controlled(r, s, memory) : memory;
        hx_t e = segment(r, s * L, n, &memory);
        hx_t labels = t_turn_ids(g->labels, s * L + 1, n);
        hx_t part = xl_loss(r, e, hx_reshape(labels, 1, (int64_t[]){ n * r->B }));
        g->loss = s ? t_add(g->loss, part) : part;
        if (g->purpose == HX_FOR_PARITY) {
            xl_name(r, "logprob", s, -1, xl_by_batch(r, xl_log_probs(r, e)));
            if (m) xl_name(r, "memory", s, -1, xl_by_time(r, memory));
            xl_show_caches(r, s);
        }
        if (m && !r->k->live_memory)
            memory = hx_detach(memory);
        if ((s + 1) * L < T) {
            memory = hx_hand_on(g, memory);
            xl_segment_done(r);
        }
    }
    if (m && g->carries)
        hx_carry_out(g, "memory", xl_by_time(r, memory));
    xl_hand_over(r);
    hx_output(g, "loss", g->loss);
}

static void one_position(xl_run *r)
{
    int64_t L = r->k->tgt_len, T = r->tokens, count = hx_ceil_div(T, L);
    hx_t *part = hx_new(r->g->tape->arena, hx_t, count);
    hx_t memory = r->k->num_mem_tokens ? first_memory(r) : HX_NONE;
    if (!part) {
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "no memory for %lld segments [E-NOMEM]",
                     (long long)count);
        return;
    }
    for (int64_t s = 0; s < count; s++)
        part[s] = segment(r, s * L, hx_min(L, T - s * L), &memory);
    xl_one_position(r, (int)count, part);
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    xl_run *r = xl_start(conf, self, g);
    if (r)
        (g->purpose == HX_FOR_LOGITS ? one_position : segments)(r);
}

HX_MODEL(rmt_transformer_xl,
    .no_trunk = "it has a recurrent memory",
    .title = "Recurrent memory transformer", .source = "booydar/LM-RMT; Bulatov et al. 2022",
    .fields = fields, .conf_size = sizeof(xl_conf),
    .check = check, .declare = declare, .build = build, .size = xl_size,
    .samples = "n_token=29 n_layer=2 n_head=2 d_model=16 d_head=8 d_inner=24 tgt_len=6 "
               "num_mem_tokens=3 B=2 N=17; "
               "n_token=31 n_layer=2 n_head=3 d_model=12 d_head=5 d_inner=20 tgt_len=5 mem_len=7 "
               "num_mem_tokens=4 read_mem_from_cache=true pre_lnorm=true B=1 N=16; "
               "n_token=31 n_layer=1 n_head=1 d_model=16 d_head=10 d_inner=20 tgt_len=6 mem_len=5 "
               "num_mem_tokens=5 mem_at_end=false clamp_len=6 B=2 N=19");
