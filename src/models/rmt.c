// rmt.c - a recurrent memory around another model of this room: slots stand before and behind each
// segment of a text, and what the model makes of the last ones is what the next segment reads.
//
// Bulatov et al. 2022, Recurrent Memory Transformer, equations 1 to 3, with any model that has a trunk
// (model.h) in the transformer's place:
//     [ . ; y_s ; memory_s ] = backbone([memory_(s-1) ; x_s ; memory_(s-1)])
// The backbone sees one sequence of m + n + m rows, in which no row sees a later one. It keeps its names
// of parameters; memory_0 is learnt. Letters: B batch rows, m slots, n tokens of a segment, D width.
#include "../core/case.h"
#include "head.h"
#include "parts.h"
#include <string.h>

typedef struct rmt_conf {
    int32_t     num_mem_tokens, segment_size;
    const char *backbone;
    // derived
    hx_case     inner;
    int64_t     width;
} rmt_conf;

#define F(type, name, def, min, max, help) \
    { #name, HX_##type, offsetof(rmt_conf, name), def, min, max, help },
static const hx_field fields[] = {
    F(I32, num_mem_tokens, NULL, 0, 1 << 16, "memory slots before and behind each segment; 0: none")
    F(I32, segment_size, NULL, 1, 1 << 24, "tokens of a segment")
    F(STR, backbone, "{}", 0, 0, "the model between them: {arch: NAME, and its own keys}")
    {0}
};
#undef F

// ---- validity ----------------------------------------------------------------------------

static hx_result no_backbone(hx_arena *arena, const hx_model *m)
{
    const char *all = "";
    for (int i = 0; i < hx_n_models && all; i++)
        if (hx_models[i]->trunk)
            all = hx_sprintf(arena, "%s%s%s", all, *all ? ", " : "", hx_models[i]->name);
    if (!m)
        return hx_fail(HX_E_INPUT, "model.backbone: {arch: NAME, ...} is needed; NAME is one of %s [E-MODEL]",
            all ? all : "");
    return hx_fail(HX_E_INPUT, "model.backbone: a memory cannot be put around %s: %s; it can around %s [E-MODEL]",
        m->name, m->no_trunk ? m->no_trunk : "it has no trunk", all ? all : "");
}

static hx_result open(hx_arena *arena, void *conf)
{
    static const char *const skip[] = { "arch", NULL };
    rmt_conf *k = conf;
    hx_conf *map;
    HX_TRY(hx_conf_parse(arena, "model.backbone", k->backbone, (int64_t)strlen(k->backbone), &map));
    const hx_conf *arch = hx_conf_get(map, "arch");
    const hx_model *m = arch && arch->kind == HX_NODE_SCALAR ? hx_model_find(arch->text) : NULL;
    // what is refused is not read: a memory around a memory around ...
    if (!arch || (m && !m->trunk))
        return no_backbone(arena, m);
    return hx_case_fill(arena, arch, map, "", skip, &k->inner.model, &k->inner.conf);
}

static int64_t rows_of(const rmt_conf *k) { return k->segment_size + 2 * (int64_t)k->num_mem_tokens; }

static hx_result check(void *conf)
{
    rmt_conf *k = conf;
    hx_result r = k->inner.model->trunk->fits(k->inner.conf, rows_of(k), &k->width);
    if (r == HX_E_INPUT)
        return hx_fail(r, "model.backbone.%s", hx_last_message());
    return r;
}

// ---- parameters --------------------------------------------------------------------------

typedef struct { hx_p memory, E; pair logits; void *backbone; } rmt;

static void *declare(const void *conf, hx_params *ps)
{
    const rmt_conf *k = conf;
    const hx_model *inner = k->inner.model;
    rmt *m = hx_new(ps->arena, rmt, 1);
    if (!m) {
        ps->err = HX_E_NOMEM;
        return NULL;
    }
    if (k->num_mem_tokens)
        m->memory = hx_param_add(ps, NORMAL(1), SHAPE(k->num_mem_tokens, k->width), "mem_tokens");
    m->backbone = ps->err ? NULL : inner->declare(k->inner.conf, ps);
    if (m->backbone)
        inner->trunk->words(m->backbone, &m->E, &m->logits.w, &m->logits.b);
    return ps->err ? NULL : m;
}

// ---- the model ---------------------------------------------------------------------------

typedef struct { const rmt_conf *k; const rmt *m; hx_graph *g; int64_t B, D; } run;

// x[B,n,D] as [B,n*D], whose parts of columns are parts of every sequence, and back
static hx_t wide(const run *r, hx_t x)
{
    return hx_reshape(x, 2, (int64_t[]){ r->B, hx_elems(x) / r->B });
}

static hx_t narrow(const run *r, hx_t x)
{
    return hx_reshape(x, 3, (int64_t[]){ r->B, hx_dim(x, 1) / r->D, r->D });
}

static hx_t embedded(const run *r, int64_t from, int64_t n)
{
    hx_t ids = t_window_ids(r->g->ids, 1, (int)n, 1, (int)from);
    return t_embedding(hx_reshape(ids, 2, (int64_t[]){ r->B, n }), P(r->m->E), n);
}

// n tokens from `from` on between two copies of the memory [B,m*D], which becomes what the backbone
// makes of the second: the rows [B,n,D] that logits are made from.
static hx_t segment(const run *r, hx_t *memory, int64_t from, int64_t n)
{
    const hx_case *inner = &r->k->inner;
    int64_t m = r->k->num_mem_tokens, D = r->D;
    hx_t x = embedded(r, from, n), part[3] = { *memory, wide(r, x), *memory };
    if (m)
        x = narrow(r, hx_concat(1, 3, part));
    hx_t y = inner->model->trunk->rows(inner->conf, r->m->backbone, r->g, x);
    if (!m)
        return y;
    hx_split(1, wide(r, y), 3, (int64_t[]){ m * D, n * D, m * D }, part);
    *memory = part[2];
    return narrow(r, part[1]);
}

// The memory that a sequence begins with, or what the step before has left.
static hx_t first_memory(const run *r)
{
    int64_t m = r->k->num_mem_tokens, shape[3] = { 1, r->B, m * r->D };
    if (!m)
        return HX_NONE;
    hx_t first = hx_reshape(P(r->m->memory), 3, (int64_t[]){ 1, 1, m * r->D });
    first = t_repeat(first, r->B, (int)r->B);
    hx_t old = hx_carry(r->g, "slots", 3, shape);
    return wide(r, hx_is(old) ? t_renew(r->g->age, old, first) : first);
}

static void pass_on(const run *r, hx_t memory)
{
    if (hx_is(memory))
        hx_carry_out(r->g, "slots", hx_reshape(memory, 3, (int64_t[]){ 1, r->B, hx_dim(memory, 1) }));
}

// ---- results -----------------------------------------------------------------------------

static hx_t logits_of(const run *r, hx_t e)
{
    return t_linear(e, P(r->m->logits.w), P(r->m->logits.b), HX_ACT_NONE, HX_NONE);
}

static void named(const run *r, const char *what, int64_t s, hx_t x)
{
    const char *name = hx_sprintf(r->g->tape->arena, "%s.%lld", what, (long long)s);
    hx_output(r->g, name ? name : what, x);
}

// The share of the loss of the rows e[B,n,D] of the tokens from `from` on.
static hx_t loss_part(const run *r, hx_t e, int64_t from)
{
    const hx_case *inner = &r->k->inner;
    int64_t n = hx_dim(e, 1), rows = r->B * n;
    hx_t labels = hx_reshape(t_window_ids(r->g->labels, 1, (int)n, 1, (int)from + 1), 1, &rows);
    return hx_loss_part(r->g, t_flat(e), P(r->m->logits.w), P(r->m->logits.b), labels,
                        (int)inner->model->size(inner->conf, "ignore_index"), false);
}

static void segments(const run *r, int64_t T, hx_t *part)
{
    hx_graph *g = r->g;
    int64_t S = r->k->segment_size, count = hx_ceil_div(T, S);
    hx_t memory = first_memory(r);
    for (int64_t s = 0; s < count && !g->tape->err; s++) {
        hx_t e = segment(r, &memory, s * S, hx_min(S, T - s * S));
        part[s] = wide(r, e);
        if (g->purpose == HX_FOR_LOGITS)
            continue;
        hx_t ce = loss_part(r, e, s * S);
        g->loss = s ? t_add(g->loss, ce) : ce;
        if (g->purpose == HX_FOR_PARITY) {
            named(r, "logits", s, logits_of(r, e));
            if (hx_is(memory))
                named(r, "memory", s, narrow(r, memory));
        }
        if (s + 1 < count) {
            memory = hx_is(memory) ? hx_hand_on(g, memory) : memory;
            hx_segment_done(g);
        }
    }
    pass_on(r, memory);
    if (g->purpose != HX_FOR_LOGITS) {
        hx_output(g, "loss", g->loss);
        return;
    }
    hx_t all = count > 1 ? hx_concat(1, (int)count, part) : part[0];
    hx_t here = hx_reshape(g->position, 2, (int64_t[]){ 1, 1 });
    hx_output(g, "logits", logits_of(r, t_embedding(here, t_flat(narrow(r, all)), 1)));
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    const rmt_conf *k = conf;
    int64_t T = g->tokens - (g->purpose != HX_FOR_LOGITS), S = k->segment_size;
    if (T < 1) {
        hx_tape_fail(g->tape, HX_E_INPUT, "a sequence of %lld tokens cannot be computed [E-LENGTH]",
            (long long)T);
        return;
    }
    if (g->carries && T % S) {
        hx_tape_fail(g->tape, HX_E_INPUT, "train.seq_len: %lld is no multiple of model.segment_size %lld, "
            "as segments that carry memories on must be [E-SEGMENT]", (long long)T, (long long)S);
        return;
    }
    run r = { k, self, g, g->batch, k->width };
    hx_t *part = hx_new(g->tape->arena, hx_t, hx_ceil_div(T, S));
    if (part)
        segments(&r, T, part);
    else
        hx_tape_fail(g->tape, HX_E_NOMEM, "%s", hx_last_message());
}

static int64_t size(const void *conf, const char *what)
{
    const rmt_conf *k = conf;
    if (!strcmp(what, "seq_len") || !strcmp(what, "segment"))
        return k->segment_size;
    return strcmp(what, "turn") ? k->inner.model->size(k->inner.conf, what) : 0;
}

HX_MODEL(rmt,
    .title = "Recurrent memory around another model", .source = "Bulatov et al. 2022",
    .no_trunk = "it has a recurrent memory", .fields = fields, .conf_size = sizeof(rmt_conf),
    .open = open, .check = check, .declare = declare, .build = build, .size = size,
    .samples = "num_mem_tokens=3 segment_size=8 backbone={\"arch\":\"hourglass\",\"num_tokens\":29,\"dim\":24,"
               "\"max_seq_len\":14,\"depth\":[1,1,1],\"shorten_factor\":3,\"heads\":2,\"dim_head\":12} B=2 N=22; "
               "num_mem_tokens=2 segment_size=9 backbone={\"arch\":\"hierarchical\",\"num_tokens\":29,\"dim\":[16,12],"
               "\"depth\":2,\"dim_head\":8,\"heads\":2,\"seq_len\":13,\"hierarchies\":[1,4],\"window_sizes\":[3,null],"
               "\"recon_loss_weight\":0,\"hierarchical_ar_loss_weight\":0} B=2 N=24; "
               "num_mem_tokens=3 segment_size=8 backbone={\"arch\":\"block_recurrent\",\"num_tokens\":29,\"dim\":20,"
               "\"depth\":2,\"dim_head\":8,\"heads\":2,\"max_seq_len\":15,\"block_width\":5} B=2 N=21; "
               "num_mem_tokens=2 segment_size=9 backbone={\"arch\":\"infini\",\"num_tokens\":29,\"dim\":16,\"depth\":2,"
               "\"heads\":2,\"dim_head\":8,\"segment_length\":5,\"detach_every\":3} B=2 N=20; "
               "num_mem_tokens=2 segment_size=8 backbone={\"arch\":\"compressive\",\"num_tokens\":29,\"dim\":20,"
               "\"seq_len\":12,\"depth\":2,\"heads\":2} B=2 N=22");
