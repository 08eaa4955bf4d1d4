// check_models.c - what every model must satisfy, in fp64 through the references:
//   gradient  of the total loss, for every parameter, against central differences
//   reach     changing token i changes exactly the logits that an independent enumeration names
//   device    the same reach, and the same bits in every run, on the host and each Vulkan device in fp32
//   counts    the published configurations have as many parameters as the reference class
#include "src/core/interp.h"
#include "src/core/model.h"
#include "src/train/pass.h"
#include "suite.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ok(e) ck_assert_msg((e) == HX_OK, "%s", hx_last_message())

// Small configurations; tokens is the length of ids, labels included.
// `idle` is how many of its parameters the loss does not depend on, whatever their values.
typedef struct { const char *model, *conf; int64_t batch, tokens; int idle; } small;
static const small cases[] = {
    { "hierarchical", "num_tokens=11 dim=6 depth=1 dim_head=4 heads=2 seq_len=16", 2, 8 },
    { "hierarchical", "num_tokens=11 dim=6 depth=2 dim_head=4 heads=2 seq_len=16 window_sizes=3 ignore_index=-1", 1, 12 },
    { "hierarchical", "num_tokens=9 dim=[6,8] depth=2 dim_head=4 heads=[2,1] seq_len=32 hierarchies=[1,4] "
                      "window_sizes=[3,null] ff_mult=[2,1.5]", 2, 14 },
    { "hierarchical", "num_tokens=9 dim=[6,5,4] depth=2 dim_head=4 heads=1 seq_len=32 hierarchies=[1,2,8] "
                      "hierarchical_stride=[1,2,4] window_sizes=[2,0,1] ignore_index=3", 2, 24 },
    { "hierarchical", "num_tokens=9 dim=[5,4] depth=2 dim_head=4 heads=1 seq_len=32 hierarchies=[1,4] "
                      "hierarchical_stride=[1,4] window_sizes=[4,null] hierarchy_merge_all=true "
                      "predict_use_all_hierarchy=true", 1, 20 },
    { "hierarchical", "num_tokens=9 dim=4 depth=1 dim_head=4 heads=1 seq_len=32 hierarchies=[2,4] "
                      "hierarchical_stride=[2,4] window_sizes=[2,1] hierarchy_merge_all=true "
                      "predict_use_all_hierarchy=true recon_loss_weight=0", 1, 16 },
    { "hierarchical", "num_tokens=9 dim=[4,6] depth=1 dim_head=2 heads=2 seq_len=32 hierarchies=[4,2] "
                      "hierarchical_stride=[2,1] window_sizes=[2,3] predict_hierarchy=2", 2, 13 },
    { "block_recurrent", "num_tokens=9 dim=6 depth=2 dim_head=4 heads=2 max_seq_len=8 block_width=4 "
                         "num_state_vectors=3 ff_mult=1.5", 2, 9 },
    { "block_recurrent", "num_tokens=9 dim=6 depth=3 dim_head=4 heads=1 max_seq_len=8 block_width=2 "
                         "num_state_vectors=2 recurrent_layers=[3,2] read_recurrent_layers=[1,2] "
                         "all_layers_qk_rmsnorm=true", 2, 9 },
    { "block_recurrent", "num_tokens=9 dim=5 depth=2 dim_head=2 heads=2 max_seq_len=16 block_width=4 "
                         "num_state_vectors=2 use_compressed_mem=true compressed_mem_factor=2", 1, 17 },
    { "block_recurrent", "num_tokens=9 dim=6 depth=2 dim_head=4 heads=2 max_seq_len=8 block_width=4 "
                         "num_state_vectors=3", 2, 22 },
    { "block_recurrent", "num_tokens=9 dim=6 depth=2 dim_head=4 heads=2 max_seq_len=6 block_width=3 "
                         "num_state_vectors=2 use_compressed_mem=true compressed_mem_factor=2", 1, 29 },
    { "block_recurrent", "num_tokens=9 dim=6 depth=2 dim_head=4 heads=2 max_seq_len=3 block_width=3 "
                         "num_state_vectors=2 use_compressed_mem=true compressed_mem_factor=2 "
                         "live_states=true live_memories=true", 2, 15 },
    { "block_recurrent", "num_tokens=9 dim=6 depth=2 dim_head=4 heads=2 max_seq_len=8 block_width=4 "
                         "num_state_vectors=3 ff_mult=1.5 state_gate=lstm state_cell=dual", 2, 9 },
    { "block_recurrent", "num_tokens=9 dim=6 depth=2 dim_head=4 heads=2 max_seq_len=8 block_width=4 "
                         "num_state_vectors=3 ff_mult=1.5 state_gate=lstm", 2, 9 },
    { "block_recurrent", "num_tokens=9 dim=6 depth=2 dim_head=4 heads=2 max_seq_len=8 block_width=4 "
                         "num_state_vectors=3 ff_mult=1.5 state_cell=single", 2, 9 },
    // attention to one key: its norm, queries and keys have no effect; keys share a parameter with values
    { "hourglass", "num_tokens=9 dim=6 max_seq_len=16 depth=2 dim_head=4 heads=2", 2, 9 },
    { "hourglass", "num_tokens=9 dim=6 max_seq_len=24 depth=[1,1,1] shorten_factor=3 dim_head=4 heads=2", 2, 15, 3 },
    { "hourglass", "num_tokens=9 dim=6 max_seq_len=24 depth=[0,1,0] shorten_factor=3 dim_head=4 heads=1 "
                   "updown_sample_type=linear ignore_index=-1", 1, 18, 3 },
    { "hourglass", "num_tokens=9 dim=4 max_seq_len=24 depth=[0,2,0] shorten_factor=5 dim_head=4 heads=1 "
                   "attn_resampling=false", 2, 14 },
    { "hourglass", "num_tokens=9 dim=4 max_seq_len=24 depth=[0,[0,1,0],0] shorten_factor=[2,3] dim_head=4 heads=1", 1, 21, 6 },
    { "hourglass", "num_tokens=9 dim=4 max_seq_len=24 depth=[1,[0,1,1],0] shorten_factor=2 dim_head=4 heads=1 "
                   "updown_sample_type=linear attn_resampling=false", 1, 20 },
    { "hourglass", "num_tokens=9 dim=4 max_seq_len=24 depth=[0,1,1] shorten_factor=4 dim_head=4 heads=1 causal=false", 1, 12, 3 },
    { "infini", "num_tokens=9 dim=6 depth=2 dim_head=4 heads=2 segment_length=4 detach_every=4", 2, 13 },
    { "infini", "num_tokens=9 dim=5 depth=1 dim_head=4 heads=3 segment_length=3 detach_every=4 ff_mult=1.5 "
                "use_mem_delta_rule=true learned_delta_update=true ignore_index=4", 1, 12 },
    { "infini", "num_tokens=9 dim=6 depth=3 dim_head=2 heads=1 segment_length=5 use_mem_delta_rule=true", 1, 13 },
    { "transformer_xl", "n_token=9 n_layer=2 n_head=2 d_model=6 d_head=4 d_inner=8 tgt_len=4 mem_len=6", 2, 15 },
    { "transformer_xl", "n_token=9 n_layer=2 n_head=1 d_model=6 d_head=4 d_inner=8 tgt_len=5 mem_len=3 same_length=true "
                        "pre_lnorm=true clamp_len=4 cutoffs=[3,6] div_val=2 d_embed=8 tie_projs=[0,1,0]", 1, 20 },
    { "transformer_xl", "n_token=9 n_layer=1 n_head=2 d_model=6 d_head=3 d_inner=0 tgt_len=9 d_embed=5 cutoffs=[4] "
                        "tie_weight=false", 2, 9 },
    { "rmt_transformer_xl", "n_token=9 n_layer=2 n_head=2 d_model=6 d_head=4 d_inner=0 tgt_len=4 num_mem_tokens=3", 2, 13 },
    { "rmt_transformer_xl", "n_token=9 n_layer=1 n_head=1 d_model=6 d_head=4 d_inner=8 tgt_len=10 mem_len=4 "
                            "num_mem_tokens=4 mem_at_end=false", 1, 10 },
    // the loss knows all of the gradient of the embeddings here
    { "rmt_lucidrains", "num_tokens=9 dim=6 depth=2 num_memory_tokens=2 seq_len=4 dim_head=4 heads=2 "
                        "num_residual_streams=3 emb_gradient_frac=1 use_xl_memories=false", 2, 11 },
    { "rmt_lucidrains", "num_tokens=9 dim=6 depth=2 num_memory_tokens=2 seq_len=4 dim_head=4 heads=1 abs_pos_emb=false "
                        "rotary_pos_emb=true num_residual_streams=1 always_have_read_memories=false emb_gradient_frac=1 "
                        "add_write_to_next_write_mem=true next_write_mem_stop_grad=false ignore_index=4", 1, 9 },
    { "rmt_lucidrains", "num_tokens=9 dim=4 depth=1 num_memory_tokens=1 seq_len=3 dim_head=4 heads=1 "
                        "memory_not_causal=false num_residual_streams=2 emb_gradient_frac=1", 1, 8 },
    { "rmt_wrapper", "num_tokens=9 dim=6 depth=2 heads=2 num_mem_tokens=2 segment_size=4", 2, 11 },
    { "rmt_wrapper", "num_tokens=9 dim=4 depth=1 heads=1 num_mem_tokens=1 segment_size=4 segment_alignment=right", 1, 10 },
    { "rmt_wrapper", "num_tokens=9 dim=4 depth=2 heads=1 num_mem_tokens=1 segment_size=5 segment_alignment=center", 1, 12 },
    // around others; the hourglass attends to one key, see above
    { "rmt", "num_mem_tokens=2 segment_size=4 backbone={\"arch\":\"hourglass\",\"num_tokens\":9,\"dim\":6,\"max_seq_len\":8,"
             "\"depth\":[1,1,0],\"shorten_factor\":3,\"dim_head\":4,\"heads\":1,\"ignore_index\":-1}", 2, 11, 3 },
    { "rmt", "num_mem_tokens=1 segment_size=5 backbone={\"arch\":\"hierarchical\",\"num_tokens\":9,\"dim\":6,\"depth\":2,"
             "\"dim_head\":4,\"heads\":1,\"seq_len\":8,\"window_sizes\":[2]}", 1, 13 },
    { "rmt", "num_mem_tokens=2 segment_size=4 backbone={\"arch\":\"block_recurrent\",\"num_tokens\":9,\"dim\":6,\"depth\":2,"
             "\"dim_head\":4,\"heads\":2,\"max_seq_len\":9,\"block_width\":3,\"num_state_vectors\":2,\"live_states\":true}", 1, 11 },
    { "rmt", "num_mem_tokens=2 segment_size=4 backbone={\"arch\":\"infini\",\"num_tokens\":9,\"dim\":6,\"depth\":2,"
             "\"dim_head\":4,\"heads\":1,\"segment_length\":7,\"detach_every\":2,\"use_mem_delta_rule\":true}", 2, 13 },
    { "rmt", "num_mem_tokens=2 segment_size=4 backbone={\"arch\":\"compressive\",\"num_tokens\":9,\"dim\":6,\"depth\":1,"
             "\"heads\":2,\"seq_len\":8}", 1, 11, 2 },
    // reach alone: gradients end with the caches
    { "rmt_transformer_xl", "n_token=9 n_layer=2 n_head=1 d_model=6 d_head=4 d_inner=8 tgt_len=4 mem_len=5 "
                            "num_mem_tokens=2 read_mem_from_cache=true", 1, 13 },
    { "rmt_lucidrains", "num_tokens=9 dim=4 depth=2 num_memory_tokens=1 seq_len=4 dim_head=4 heads=1 "
                        "num_residual_streams=1 xl_mem_len=3 carry_xl=true", 1, 11 },
    { "rmt_encoder", "vocab_size=9 hidden_size=6 num_hidden_layers=2 num_attention_heads=2 intermediate_size=8 "
                     "max_position_embeddings=10 num_labels=9 num_mem_tokens=2 input_size=9", 2, 11 },
    { "rmt_encoder", "vocab_size=9 hidden_size=4 num_hidden_layers=1 num_attention_heads=1 intermediate_size=6 "
                     "max_position_embeddings=8 type_vocab_size=1 num_labels=9 num_mem_tokens=1 input_size=8", 2, 9 },
    { "memformer", "dim=4 num_memory_slots=2 num_mem_updates=2 mem_update_attn_heads=2 enc_num_tokens=9 enc_max_seq_len=4 "
                   "enc_depth=1 enc_heads=2 dec_num_tokens=9 dec_depth=1 dec_heads=1", 2, 12 },
    // without a memory that reaches further, nothing compresses and the last layer's memory is not read
    { "compressive", "num_tokens=9 dim=8 seq_len=8 depth=2 heads=2 cmem_ratio=2", 2, 9, 4 },
    { "compressive", "num_tokens=9 dim=8 seq_len=12 depth=1 heads=1 emb_dim=5 mogrify_gru=true ff_glu=true", 1, 12, 2 },
    { "compressive", "num_tokens=9 dim=6 seq_len=4 depth=2 heads=1 mem_len=6 cmem_len=4 cmem_ratio=3 "
                     "gru_gated_residual=false enhanced_recurrence=false", 1, 27 },
    { "compressive", "num_tokens=9 dim=6 seq_len=4 depth=3 heads=2 cmem_len=1 cmem_ratio=4 memory_layers=[3,1]", 2, 24 },
    { "compressive", "num_tokens=9 dim=6 seq_len=5 depth=2 heads=1 cmem_ratio=4 ff_glu=true", 1, 33 },
};

// How many tokens of a case have logits: all but the last, which is only a label, unless it is not.
static int64_t n_logits(const small *c) { return c->tokens - !!strcmp(c->model, "rmt_wrapper"); }

// Memformer has logits of targets, which a text does not have, an encoder of classes: it sees everything.
static bool has_text_logits(const small *c)
{
    return strcmp(c->model, "memformer") && strcmp(c->model, "rmt_encoder");
}

typedef struct {
    const hx_model *model; void *conf, *self; hx_arena *arena;
    hx_params *params; hx_graph g; hx_interp *in; real *value;       // value: all parameters, by byte / 4
} subject;

static void set_conf(subject *s, const char *text)
{
    char copy[1024], *save;
    snprintf(copy, sizeof copy, "%s", text);
    ok(hx_fields_default(s->model->fields, s->conf));
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(w, '=');
        *eq = 0;
        ok(hx_field_set(s->model->fields, s->conf, w, eq + 1, s->arena));
    }
    if (s->model->open)
        ok(s->model->open(s->arena, s->conf));
    ok(s->model->check(s->conf));
}

static void open_model(subject *s, const char *model, const char *conf)
{
    *s = (subject){ .model = hx_model_find(model), .arena = hx_arena_new(), .params = hx_params_new() };
    ck_assert_msg(s->model, "no model is called %s", model);
    s->conf = hx_alloc(s->arena, s->model->conf_size);
    set_conf(s, conf);
    s->self = s->model->declare(s->conf, s->params);
    ok(s->params->err);
}

static void open_graph(subject *s, const small *c, hx_purpose purpose, bool frugal)
{
    s->g = (hx_graph){ .tape = hx_tape_new(), .params = s->params, .purpose = purpose,
                       .param = hx_new(s->arena, hx_t, s->params->n), .batch = c->batch, .tokens = c->tokens };
    s->g.tape->frugal = frugal;
    s->g.ids = hx_external(s->g.tape, HX_INPUT, 0, true, 2, (int64_t[]){ c->batch, c->tokens });
    s->g.labels = s->g.ids;
    s->model->build(s->conf, s->self, &s->g);
    ok(hx_tape_error(s->g.tape));
}

static void set_params(subject *s)
{
    for (int i = 0; i < s->params->n; i++)
        if (!s->params->list[i].buffer && hx_is(s->g.param[i]))
            hx_interp_set(s->in, s->g.param[i], s->value + s->params->list[i].at / 4);
}

static void start(subject *s, const real *ids)
{
    ck_assert(s->in = hx_interp_new(s->g.tape));
    s->value = calloc((size_t)s->params->bytes / 4 + 1, sizeof(real));
    float *init = malloc((size_t)s->params->bytes + 4);
    for (int i = 0; i < s->params->n; i++) {
        const hx_param *p = &s->params->list[i];
        hx_param_init(p, 7, init);
        // ones and zeros would hide mistakes: move every parameter off its special value
        for (int64_t k = 0; k < p->elems && !p->buffer; k++)
            s->value[p->at / 4 + k] = init[k] + 0.1 * sin((double)(17 * k + 3 * i));
    }
    free(init);
    set_params(s);
    hx_interp_set(s->in, s->g.ids, ids);
}

static void close_model(subject *s)
{
    hx_interp_free(&s->in);
    hx_tape_free(&s->g.tape);
    hx_params_free(&s->params);
    hx_arena_free(&s->arena);
    free(s->value);
}

static void draw_ids(const small *c, int64_t vocabulary, real *ids)
{
    uint32_t x = 12345;
    for (int64_t i = 0; i < c->batch * c->tokens; i++) {
        x = x * 1664525 + 1013904223;
        ids[i] = (real)((x >> 16) % (uint32_t)vocabulary);
    }
}

static real loss_of(subject *s)
{
    real l;
    ok(hx_interp_run(s->in));
    hx_interp_get(s->in, s->g.loss, &l);
    return l;
}

// every case twice: activations kept, and cheap ones made again
START_TEST(gradient)
{
    const small *c = &cases[_i / 2];
    subject s;
    real ids[256], worst = 0;
    if (strstr(c->conf, "read_mem_from_cache=true") || strstr(c->conf, "carry_xl=true"))
        return;
    open_model(&s, c->model, c->conf);
    if (c->tokens - 1 > s.model->size(s.conf, "seq_len") && !strstr(c->conf, "live_states=true")
        && strncmp(c->model, "rmt", 3) && strcmp(c->model, "memformer")) {
        // differences reach further than a gradient that ends with its segment
        close_model(&s);
        return;
    }
    open_graph(&s, c, HX_FOR_LOSS, _i % 2);
    hx_backward(s.g.loss);
    ok(hx_tape_error(s.g.tape));
    draw_ids(c, s.model->size(s.conf, "num_tokens"), ids);
    start(&s, ids);
    ck_assert(isfinite(loss_of(&s)));
    int left = c->idle;
    real **grad = hx_new(s.arena, real *, s.params->n);
    for (int i = 0; i < s.params->n; i++) {
        hx_t d = hx_is(s.g.param[i]) ? hx_grad(s.g.param[i]) : HX_NONE;
        ck_assert_msg(s.params->list[i].buffer || hx_is(d) || left-- > 0, "no gradient reaches %s",
                      s.params->list[i].name);
        grad[i] = hx_new(s.arena, real, s.params->list[i].elems);
        if (hx_is(d))
            hx_interp_get(s.in, d, grad[i]);
    }
    ck_assert_int_eq(left, 0);
    // gradients in the order of the tape would be computed again for every difference: a second,
    // forward-only tape gives the losses
    subject f;
    open_model(&f, c->model, c->conf);
    open_graph(&f, c, HX_FOR_LOSS, false);
    start(&f, ids);
    for (int i = 0; i < f.params->n; i++) {
        const hx_param *p = &f.params->list[i];
        if (p->buffer || !hx_is(f.g.param[i]))
            continue;
        for (int64_t k = 0; k < p->elems; k += p->elems / 4 + 1) {
            real *x = &f.value[p->at / 4 + k], keep = *x, l[4], h = 2e-4;
            for (int e = 0; e < 4; e++) {
                *x = keep + h * (real[]){ -2, -1, 1, 2 }[e];
                hx_interp_set(f.in, f.g.param[i], f.value + p->at / 4);
                l[e] = loss_of(&f);
            }
            *x = keep;
            hx_interp_set(f.in, f.g.param[i], f.value + p->at / 4);
            real fd = (l[0] - 8 * l[1] + 8 * l[2] - l[3]) / (12 * h), e = fabs(fd - grad[i][k]) / fmax(1, fabs(fd));
            worst = fmax(worst, e);
            ck_assert_msg(e < 1e-7, "%s [%s]: gradient of %s[%lld] is %.12g, differences say %.12g", c->model,
                c->conf, p->name, (long long)k, grad[i][k], fd);
        }
    }
    printf("  gradient %s case %d: worst %.1e over %d parameters\n", c->model, _i, worst, f.params->n);
    close_model(&f);
    close_model(&s);
}
END_TEST

// ---- reach: which tokens can change which logits, by sets alone ---------------------------

enum { MAX_N = 32, MAX_K = 4 };
typedef uint32_t set;                      // of input tokens
typedef struct { int K, depth, c[MAX_K], s[MAX_K], w[MAX_K], predict; bool all, use_all; } shape;
static const shape shapes[] = {            // the cases above, in numbers; w: -1 full
    { 1, 1, { 1 }, { 1 }, { -1 }, 0, false, false },
    { 1, 2, { 1 }, { 1 }, { 3 }, 0, false, false },
    { 2, 2, { 1, 4 }, { 1, 1 }, { 3, -1 }, 0, false, false },
    { 3, 2, { 1, 2, 8 }, { 1, 2, 4 }, { 2, 0, 1 }, 0, false, false },
    { 2, 2, { 1, 4 }, { 1, 4 }, { 4, -1 }, 0, true, true },
    { 2, 1, { 2, 4 }, { 2, 4 }, { 2, 1 }, 0, true, true },
    { 2, 1, { 4, 2 }, { 2, 1 }, { 2, 3 }, 1, false, false },
};

static void delay(const set *t, int m, int a, set *u)
{
    for (int j = 0; j < m; j++)
        u[j] = t[j] | (j >= a ? t[j - a] : 0);
}

static void block_reach(const shape *q, int h, set *t, int m)
{
    int a = q->c[h] / q->s[h];
    set u[MAX_N], y[MAX_N];
    delay(t, m, a, u);
    for (int j = 0; j < m && q->w[h]; j++) {
        y[j] = t[j];
        for (int k = 0; j - k * a >= 0 && (q->w[h] < 0 || k <= q->w[h]); k++)
            y[j] |= u[j - k * a];
    }
    if (q->w[h])
        memcpy(t, y, sizeof(set) * (size_t)m);
    delay(t, m, a, u);
    memcpy(t, u, sizeof(set) * (size_t)m);
}

static void logits_reach(const shape *q, int n, set *out)
{
    set t[MAX_K][MAX_N] = {0}, y[MAX_N];
    int m[MAX_K];
    for (int h = 0; h < q->K; h++) {
        m[h] = (n + q->s[h] - 1) / q->s[h];
        for (int j = 0; j < m[h]; j++)
            for (int i = j * q->s[h] - q->c[h] + 1; i <= j * q->s[h]; i++)
                t[h][j] |= i >= 0 ? 1u << i : 0;
    }
    for (int l = 0; l < q->depth; l++) {
        for (int h = 0; h < q->K; h++)
            block_reach(q, h, t[h], m[h]);
        for (int p = 0; p < n; p++) {
            y[p] = 0;
            for (int h = 0; h < q->K; h++)
                y[p] |= t[h][p / q->s[h]];
        }
        for (int h = 0; h < q->K && q->K > 1; h++)
            for (int j = 0; j < m[h] && (q->all || h == q->predict); j++)
                t[h][j] |= y[j * q->s[h]];
    }
    for (int p = 0; p < n; p++) {
        out[p] = q->use_all ? 0 : t[q->predict][p];
        for (int h = 0; h < q->K && q->use_all; h++)
            out[p] |= t[h][p / q->s[h]];
    }
}

// Block-recurrent models: w tokens of a block, L of a segment, factor of a packed memory (0: none);
// containers of states with the layers that write and read them.
typedef struct { int depth, L, w, factor, C, write[2], read[2]; } blocks;
static const blocks block_shapes[] = {
    { 2, 8, 4, 0, 1, { 0 }, { 0 } }, { 3, 8, 2, 0, 2, { 1, 2 }, { 1, 0 } },
    { 2, 16, 4, 2, 1, { 0 }, { 0 } }, { 2, 8, 4, 0, 1, { 0 }, { 0 } }, { 2, 6, 3, 2, 1, { 0 }, { 0 } },
    { 2, 3, 3, 2, 1, { 0 }, { 0 } },
    // gates and cells change no reach
    { 2, 8, 4, 0, 1, { 0 }, { 0 } }, { 2, 8, 4, 0, 1, { 0 }, { 0 } }, { 2, 8, 4, 0, 1, { 0 }, { 0 } },
};
typedef struct { set raw[MAX_K][MAX_N], packed[MAX_K][MAX_N], state[2]; int n[MAX_K], m[MAX_K]; } past;

static void push_past(const blocks *q, past *p, int l, const set *x)
{
    int f = q->factor, use = f ? p->n[l] / f * f : 0, keep = q->w / 2;
    for (int j = p->n[l] - use; j < p->n[l]; j += f) {
        set all = 0;
        for (int i = 0; i < f; i++)
            all |= p->raw[l][j + i];
        p->packed[l][p->m[l]++] = all;
    }
    for (; p->m[l] > keep; p->m[l]--)
        memmove(p->packed[l], p->packed[l] + 1, sizeof(set) * (size_t)(p->m[l] - 1));
    memcpy(p->raw[l], x, sizeof(set) * (size_t)q->w);
    p->n[l] = q->w;
}

static void blocks_reach(const blocks *q, int n, set *out)
{
    past p = {0};
    for (int at = 0, size; at < n; at += size) {
        size = (int)hx_min(q->w, n - at);
        // a segment may end before its block is full
        size = (int)hx_min(size, q->L - at % q->L);
        set x[MAX_N], y[MAX_N], next[2] = { p.state[0], p.state[1] };
        for (int j = 0; j < size; j++)
            x[j] = 1u << (at + j);
        for (int l = 0; l < q->depth; l++) {
            set before = 0, block = 0;
            for (int j = 0; j < p.n[l]; j++) before |= p.raw[l][j];
            for (int j = 0; j < p.m[l]; j++) before |= p.packed[l][j];
            for (int c = 0; c < q->C; c++) before |= q->read[c] == l ? p.state[c] : 0;
            for (int j = 0; j < size; j++) {
                block |= x[j];
                y[j] = before | block;
            }
            for (int c = 0; c < q->C; c++) next[c] |= q->write[c] == l ? block : 0;
            if (size == q->w)
                push_past(q, &p, l, x);
            memcpy(x, y, sizeof(set) * (size_t)size);
        }
        memcpy(out + at, x, sizeof(set) * (size_t)size);
        memcpy(p.state, next, sizeof next);
    }
}

// The hourglasses above: how many tokens become one, level by level, where nothing but the shortened
// part looks back; 0: something does.
static const struct { bool all; int s[3]; } glasses[] = {
    { false, { 0 } }, { false, { 0 } }, { false, { 3 } }, { false, { 5 } }, { false, { 2, 3 } }, { false, { 0 } },
    { true, { 0 } },
};

// Token p sees itself, what the tokens that it stands beside were made from, and all before the
// innermost of those.
static void glass_reach(int which, int n, set *out)
{
    for (int p = 0; p < n; p++) {
        int q = p, lo = p, hi = p;
        out[p] = 1u << p;
        for (const int *s = glasses[which].s; *s; s++) {
            lo = hi = q /= *s;             // token q of one level is made from q s - (s-1) .. q s
            for (const int *t = s; t >= glasses[which].s; t--) {
                lo = lo * *t - (*t - 1);
                hi *= *t;
            }
            for (int i = lo > 0 ? lo : 0; i <= hi; i++)
                out[p] |= 1u << i;
        }
        for (int i = 0; i <= (glasses[which].all ? n - 1 : hi); i++)
            out[p] |= 1u << i;
    }
}

// Compressive Transformers: S tokens of a segment, memories of M and of C, f tokens compressed into
// one; which memory is a layer's (-1: none); whether memories wander to the layer below.
typedef struct { int depth, S, M, C, f, L, slot[3]; bool roll; } packer;
static packer packer_of(const char *conf)
{
    static const struct { const char *conf; packer p; } all[] = {
        { "seq_len=8 depth=2", { 2, 8, 8, 4, 2, 2, { 0, 1 }, true } },
        { "seq_len=12 depth=1", { 1, 12, 12, 3, 4, 1, { 0 }, true } },
        { "seq_len=4 depth=2", { 2, 4, 6, 4, 3, 2, { 0, 1 }, false } },
        { "seq_len=4 depth=3", { 3, 4, 4, 1, 4, 2, { 0, -1, 1 }, true } },
        { "seq_len=5 depth=2", { 2, 5, 5, 1, 4, 2, { 0, 1 }, true } },
    };
    int i = 0;
    while (!strstr(conf, all[i].conf)) ck_assert_int_lt(++i, HX_COUNT(all));
    return all[i].p;
}

static void take_in(const packer *q, past *p, int l, const set *x)
{
    for (int j = 0; j < q->S; j++) p->raw[l][p->n[l]++] = x[j];
    int old = p->n[l] - q->M, pad = old > 0 ? old % q->f : 0;
    for (int w = 0; w < (old + pad) / q->f && old > 0; w++) {
        set all = 0;
        for (int i = w * q->f - pad; i < (w + 1) * q->f - pad; i++)
            all |= i < 0 ? 0 : p->raw[l][i];
        p->packed[l][p->m[l]++] = all;
    }
    for (; p->m[l] > q->C; p->m[l]--)
        memmove(p->packed[l], p->packed[l] + 1, sizeof(set) * (size_t)(p->m[l] - 1));
    for (; p->n[l] > q->M; p->n[l]--)
        memmove(p->raw[l], p->raw[l] + 1, sizeof(set) * (size_t)(p->n[l] - 1));
}

static void packer_reach(const packer *q, int n, set *out)
{
    past p = {0};
    for (int at = 0, size; at < n; at += size) {
        size = (int)hx_min(q->S, n - at);
        set x[MAX_N];
        past was = p;
        for (int l = 0; l < q->L && q->roll; l++) {
            int from = (l + 1) % q->L;
            memcpy(p.raw[l], was.raw[from], sizeof *p.raw);
            memcpy(p.packed[l], was.packed[from], sizeof *p.packed);
            p.n[l] = was.n[from];
            p.m[l] = was.m[from];
        }
        for (int j = 0; j < size; j++)
            x[j] = 1u << (at + j);
        for (int l = 0; l < q->depth; l++) {
            int k = q->slot[l];
            set before = 0, y[MAX_N];
            for (int j = 0; k >= 0 && j < p.n[k]; j++) before |= p.raw[k][j];
            for (int j = 0; k >= 0 && j < p.m[k]; j++) before |= p.packed[k][j];
            for (int j = 0; j < size; j++)
                y[j] = before |= x[j];
            if (k >= 0 && size == q->S)
                take_in(q, &p, k, x);
            memcpy(x, y, sizeof(set) * (size_t)size);
        }
        memcpy(out + at, x, sizeof(set) * (size_t)size);
    }
}

// Transformer-XL: segments of `tgt` tokens, caches of `mem` rows, keys of a query (0: all).
static void cached_reach(int depth, int tgt, int mem, int band, int n, set *out)
{
    set old[MAX_K][MAX_N];                 // what each layer's cache holds, oldest first
    int have = 0;
    for (int at = 0, size; at < n; at += size) {
        set x[MAX_K + 1][MAX_N];
        size = (int)hx_min(tgt, n - at);
        for (int j = 0; j < size; j++) x[0][j] = 1u << (at + j);
        for (int l = 0; l < depth; l++)
            for (int i = 0; i < size; i++) {
                x[l + 1][i] = 0;
                for (int j = -have; j <= i; j++)
                    if (!band || i - j < band)
                        x[l + 1][i] |= j < 0 ? old[l][have + j] : x[l][j];
            }
        memcpy(out + at, x[depth], sizeof(set) * (size_t)size);
        int keep = (int)hx_max(0, hx_min(have, mem - size)), more = (int)hx_min(size, mem);
        for (int l = 0; l < depth; l++) {
            memmove(old[l], old[l] + have - keep, sizeof(set) * (size_t)keep);
            memcpy(old[l] + keep, x[l] + size - more, sizeof(set) * (size_t)more);
        }
        have = keep + more;
    }
}

static void want_reach(int which, int n, set *out)
{
    if (!strcmp(cases[which].model, "compressive")) {
        packer q = packer_of(cases[which].conf);
        packer_reach(&q, n, out);
        return;
    }
    if (!strcmp(cases[which].model, "transformer_xl")) {
        bool wide = strstr(cases[which].conf, "mem_len=6"), narrow = strstr(cases[which].conf, "same_length");
        if (wide) cached_reach(2, 4, 6, 0, n, out);
        else if (narrow) cached_reach(2, 5, 3, 3, n, out);
        else cached_reach(1, 9, 0, 0, n, out);
        return;
    }
    // a memory that keeps something of all that was
    if (!strcmp(cases[which].model, "infini") || !strncmp(cases[which].model, "rmt", 3)) {
        for (int p = 0; p < n; p++)
            out[p] = (2u << p) - 1;
        return;
    }
    int more = which - HX_COUNT(shapes);
    if (more < 0)
        logits_reach(&shapes[which], n, out);
    else if (more < HX_COUNT(block_shapes))
        blocks_reach(&block_shapes[more], n, out);
    else
        glass_reach(more - HX_COUNT(block_shapes), n, out);
}

// Part s of the logits, [batch, n_s, V], is put at its tokens of all, [batch, n, V]; returns their end.
static int64_t put_logits(hx_t part, int64_t n, int64_t from, const void *v, size_t size, void *all)
{
    int64_t B = hx_dim(part, 0), m = hx_dim(part, 1), V = hx_dim(part, 2);
    for (int64_t b = 0; b < B; b++)
        memcpy((char *)all + (b * n + from) * V * (int64_t)size,
               (const char *)v + b * m * V * (int64_t)size, (size_t)(m * V) * size);
    return from + m;
}

static bool is_logits(const char *name)
{
    return !strncmp(name, "logits", 6) || !strncmp(name, "logprob", 7);
}

static void interp_logits(subject *s, int64_t n, real *all)
{
    real *part = malloc(sizeof(real) * 4096 * 4);
    int64_t at = 0;
    for (int i = 0; i < s->g.n_output; i++)
        if (is_logits(s->g.output[i].name)) {
            hx_interp_get(s->in, s->g.output[i].t, part);
            at = put_logits(s->g.output[i].t, n, at, part, sizeof(real), all);
        }
    ck_assert_int_eq(at, n);
    free(part);
}

START_TEST(reach)
{
    const small *c = &cases[_i];
    subject s;
    real ids[256];
    if (!has_text_logits(c))
        return;
    open_model(&s, c->model, c->conf);
    open_graph(&s, c, HX_FOR_PARITY, false);
    int64_t V = s.model->size(s.conf, "num_tokens"), n = n_logits(c), size = c->batch * n * V;
    draw_ids(c, V, ids);
    start(&s, ids);
    set want[MAX_N];
    want_reach(_i, (int)n, want);
    real *before = hx_new(s.arena, real, size), *after = hx_new(s.arena, real, size);
    ok(hx_interp_run(s.in));
    interp_logits(&s, n, before);
    for (int i = 0; i < n; i++) {
        real keep = ids[i];
        ids[i] = (real)(((int)keep + 1) % (int)V);
        hx_interp_set(s.in, s.g.ids, ids);
        ok(hx_interp_run(s.in));
        interp_logits(&s, n, after);
        ids[i] = keep;
        for (int p = 0; p < c->batch * n; p++) {
            bool changed = memcmp(before + p * V, after + p * V, sizeof(real) * (size_t)V) != 0;
            bool may = p < n && (want[p] >> i & 1);
            ck_assert_msg(changed == may, "%s [%s]: token %d %s the logits of position %d of row %d", c->model, c->conf,
                i, changed ? "changes" : "does not change", (int)(p % n), (int)(p / n));
        }
    }
    close_model(&s);
}
END_TEST

// One call over 16 tokens is the same as four over 4 that carry memories and states.
START_TEST(chunks)
{
    static const char *const how[] = {
        "num_tokens=9 dim=6 depth=3 dim_head=4 heads=2 block_width=4 num_state_vectors=3",
        "num_tokens=9 dim=6 depth=3 dim_head=4 heads=2 block_width=4 num_state_vectors=3 "
        "use_compressed_mem=true compressed_mem_factor=2",
    };
    real logits[2][2 * 16 * 9], ids[2 * 17];
    for (int e = 0; e < 2; e++) {
        subject s;
        char conf[256];
        snprintf(conf, sizeof conf, "%s max_seq_len=%d", how[_i], e ? 4 : 16);
        small c = { "block_recurrent", conf, 2, 17 };
        open_model(&s, c.model, c.conf);
        open_graph(&s, &c, HX_FOR_PARITY, false);
        draw_ids(&c, 9, ids);
        start(&s, ids);
        ok(hx_interp_run(s.in));
        interp_logits(&s, 16, logits[e]);
        close_model(&s);
    }
    for (int i = 0; i < HX_COUNT(logits[0]); i++)
        ck_assert_msg(fabs(logits[0][i] - logits[1][i]) < 1e-12, "[%s] logit %d is %g in one call, %g in four",
            how[_i], i, logits[0][i], logits[1][i]);
}
END_TEST

// Segments whose caches hold everything before them are one segment; two whose cache is too short
// by one are not.
START_TEST(cached)
{
    static const char *const how[] = { "tgt_len=16", "tgt_len=4 mem_len=12", "tgt_len=3 mem_len=15", "tgt_len=8 mem_len=7" };
    real logits[HX_COUNT(how)][2 * 16 * 9], ids[2 * 17], most = 0;
    for (int e = 0; e < HX_COUNT(how); e++) {
        subject s;
        char conf[256];
        snprintf(conf, sizeof conf, "n_token=9 n_layer=3 n_head=2 d_model=6 d_head=4 d_inner=8 clamp_len=%d %s", _i ? 5 : -1,
                 how[e]);
        small c = { "transformer_xl", conf, 2, 17 };
        open_model(&s, c.model, c.conf);
        open_graph(&s, &c, HX_FOR_PARITY, false);
        draw_ids(&c, 9, ids);
        start(&s, ids);
        ok(hx_interp_run(s.in));
        interp_logits(&s, 16, logits[e]);
        close_model(&s);
        most = 0;
        for (int i = 0; i < HX_COUNT(logits[0]); i++) most = fmax(most, fabs(logits[0][i] - logits[e][i]));
        ck_assert_msg((most < 1e-12) == (e < 3), "[%s]: log probabilities differ by %g", conf, most);
    }
}
END_TEST

// ---- devices -----------------------------------------------------------------------------

// The parameters of start(), in fp32.
static void write_params(subject *s, hx_memory *m)
{
    float *all = calloc((size_t)s->params->bytes / 4 + 1, sizeof *all), *init = malloc((size_t)s->params->bytes + 4);
    for (int i = 0; i < s->params->n; i++) {
        const hx_param *p = &s->params->list[i];
        hx_param_init(p, 7, init);
        for (int64_t k = 0; k < p->elems && !p->buffer; k++)
            all[p->at / 4 + k] = (float)(init[k] + 0.1 * sin((double)(17 * k + 3 * i)));
    }
    ok(hx_memory_write(m, 0, all, s->params->bytes));
    free(all);
    free(init);
}

static void logits_of(hx_pass *p, const small *c, const real *ids, float *out)
{
    int32_t id[256];
    for (int64_t i = 0; i < c->batch * c->tokens; i++)
        id[i] = (int32_t)ids[i];
    ok(hx_pass_write(p, id, 0));
    ok(hx_pass_run(p));
    float *part = malloc(sizeof(float) * 4096 * 4);
    int64_t at = 0;
    for (int i = 0; i < p->graph->n_output; i++)
        if (is_logits(p->graph->output[i].name)) {
            ok(hx_pass_read(p, i, part));
            at = put_logits(p->graph->output[i].t, n_logits(c), at, part, sizeof(float), out);
        }
    free(part);
}

static void reach_on(const char *select, int which)
{
    const small *c = &cases[which];
    subject s;
    hx_dev *d;
    hx_pass *p;
    real ids[256];
    if (!has_text_logits(c))
        return;
    open_model(&s, c->model, c->conf);
    hx_net net = { s.model, s.conf, s.params, s.self };
    ok(hx_dev_open(&(hx_dev_params){ .select = select, .threads = 2 }, &d));
    ok(hx_pass_new(d, &net, HX_FOR_PARITY, c->batch, c->tokens, HX_PASS_FORWARD, &p));
    ok(hx_pass_bind(p, (hx_memory *[HX_N_PLACES]){0}));
    write_params(&s, p->mem[HX_PARAM]);
    int64_t V = s.model->size(s.conf, "num_tokens"), n = n_logits(c), size = c->batch * n * V;
    draw_ids(c, V, ids);
    set want[MAX_N];
    want_reach(which, (int)n, want);
    float *before = hx_new(s.arena, float, size), *after = hx_new(s.arena, float, size);
    logits_of(p, c, ids, before);
    logits_of(p, c, ids, after);
    ck_assert_msg(!memcmp(before, after, sizeof(float) * (size_t)size), "[%s] on %s: two runs differ", c->conf, select);
    for (int i = 0; i < n; i++) {
        real keep = ids[i];
        ids[i] = (real)(((int)keep + 1) % (int)V);
        logits_of(p, c, ids, after);
        ids[i] = keep;
        for (int q = 0; q < c->batch * n; q++) {
            bool changed = memcmp(before + q * V, after + q * V, sizeof(float) * (size_t)V) != 0;
            bool may = q < n && (want[q] >> i & 1);
            ck_assert_msg(changed == may, "[%s] on %s: token %d %s the logits of position %d of row %d", c->conf,
                select, i, changed ? "changes" : "does not change", (int)(q % n), (int)(q / n));
        }
    }
    hx_pass_free(&p);
    hx_dev_close(&d);
    close_model(&s);
}

// The planned gradient is that of the tape: memory that is taken over, sums folded into makers.
START_TEST(planned)
{
    const small *c = &cases[_i];
    subject s;
    hx_dev *d;
    hx_pass *p;
    real ids[256];
    int32_t id[256];
    open_model(&s, c->model, c->conf);
    open_graph(&s, c, HX_FOR_LOSS, false);
    hx_backward(s.g.loss);
    draw_ids(c, s.model->size(s.conf, "num_tokens"), ids);
    for (int64_t i = 0; i < c->batch * c->tokens; i++)
        id[i] = (int32_t)ids[i];
    start(&s, ids);
    ok(hx_interp_run(s.in));
    hx_net net = { s.model, s.conf, s.params, s.self };
    ok(hx_dev_open(&(hx_dev_params){ .select = "host", .threads = 2 }, &d));
    ok(hx_pass_new(d, &net, HX_FOR_LOSS, c->batch, c->tokens, HX_PASS_WRITE_GRADS, &p));
    ok(hx_pass_bind(p, (hx_memory *[HX_N_PLACES]){0}));
    write_params(&s, p->mem[HX_PARAM]);
    ok(hx_pass_write(p, id, 0));
    ok(hx_pass_run(p));
    float *got = malloc((size_t)s.params->bytes);
    ok(hx_memory_read(p->mem[HX_GRAD], 0, got, s.params->bytes));
    for (int i = 0; i < s.params->n; i++) {
        const hx_param *q = &s.params->list[i];
        hx_t g = hx_is(s.g.param[i]) ? hx_grad(s.g.param[i]) : HX_NONE;
        real *want = hx_new(s.arena, real, q->elems), e = 0, all = 0;
        if (!hx_is(g))
            continue;
        hx_interp_get(s.in, g, want);
        for (int64_t k = 0; k < q->elems; k++) {
            e += pow(want[k] - got[q->at / 4 + k], 2);
            all += want[k] * want[k];
        }
        // what is zero by the equations leaves a rest in fp64
        bool zero = all < 1e-24;
        e = zero ? sqrt(e) : sqrt(e / all);
        ck_assert_msg(e < (zero ? 1e-6 : 1e-4), "%s [%s]: the gradient of %s is wrong by %.1e", c->model,
            c->conf, q->name, e);
    }
    free(got);
    hx_pass_free(&p);
    hx_dev_close(&d);
    close_model(&s);
}
END_TEST

START_TEST(device)
{
    hx_dev_info list[8];
    int n;
    const char *note;
    ok(hx_dev_list(list, HX_COUNT(list), &n, &note));
    for (int i = 0; i < n; i++)
        if (!*list[i].why_not)
            reach_on(list[i].selector, _i);
}
END_TEST

START_TEST(counts)
{
    static const struct { const char *conf; int64_t count; int entries; } known[] = {
        { "num_tokens=256 dim=512 depth=6 max_seq_len=1024 block_width=512 recurrent_layers=[4]", 18814464, 78 },
        { "num_tokens=20000 dim=512 depth=6", 39032320, 78 },
        { "num_tokens=256 dim=1024 depth=8 seq_len=2048 hierarchies=[1,2] window_sizes=[32,64]", 232888320, 0 },
        { "num_tokens=20000 dim=512 depth=6 hierarchies=[1,2,8] window_sizes=[32,64,null]", 205248512, 202 },
        { "num_tokens=256 dim=[128,256,512,1024] depth=8 hierarchies=[1,2,4,16] hierarchical_stride=[1,1,1,8] "
          "window_sizes=[16,32,64,null] seq_len=1024 ff_mult=[2,2,4,4] dim_head=[16,32,64,64] heads=[2,4,8,8]",
          223393792, 336 },
    };
    for (int i = 0; i < HX_COUNT(known); i++) {
        subject s;
        open_model(&s, i < 2 ? "block_recurrent" : "hierarchical", known[i].conf);
        int64_t n = hx_params_count(s.params);
        printf("  counts   %lld parameters in %d entries\n", (long long)n, s.params->n);
        ck_assert_msg(!known[i].count || n == known[i].count, "[%s] has %lld parameters, not %lld", known[i].conf,
            (long long)n, (long long)known[i].count);
        ck_assert_msg(!known[i].entries || s.params->n == known[i].entries, "[%s] has %d entries, not %d",
            known[i].conf, s.params->n, known[i].entries);
        close_model(&s);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("models");
    TCase *c = tcase_create("fp64");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, gradient, 0, 2 * HX_COUNT(cases));
    tcase_add_loop_test(c, reach, 0, HX_COUNT(cases));
    suite_add_tcase(s, c);
    c = tcase_create("device");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, device, 0, HX_COUNT(cases));
    tcase_add_test(c, counts);
    suite_add_tcase(s, c);
    c = tcase_create("chunks");
    tcase_add_loop_test(c, chunks, 0, 2);
    tcase_add_loop_test(c, cached, 0, 2);
    suite_add_tcase(s, c);
    c = tcase_create("planned");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, planned, 0, HX_COUNT(cases));
    suite_add_tcase(s, c);
    return run_made(s, CK_NORMAL);
}
