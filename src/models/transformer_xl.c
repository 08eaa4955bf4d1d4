// transformer_xl.c - Transformer-XL: segments one after the other, each of which attends to what
// the layers had for the tokens before it, by contents and by distance (Dai et al. 2019).
#include "xl.h"

#include "../ops/t.h"

static const hx_field fields[] = { XL_FIELDS {0} };

static hx_result check(void *conf) { return xl_check(conf); }
static void *declare(const void *conf, hx_params *ps) { return xl_declare(conf, ps); }

// n tokens from `from` on, after up to ext_len that are read again: [n*B, D] before the softmax.
static hx_t segment(xl_run *r, int64_t from, int64_t n)
{
    int64_t more = hx_min(from, r->k->ext_len), q = more + n;
    hx_t ids = t_turn_ids(r->g->ids, from - more, q), part[2];
    hx_t x = xl_embed(r, hx_reshape(ids, 1, (int64_t[]){ q * r->B }));
    x = xl_layers(r, x, 0, 0);
    if (!more)
        return x;
    hx_split(0, x, 2, (int64_t[]){ more * r->B, n * r->B }, part);
    return part[1];
}

static void segments(xl_run *r)
{
    hx_graph *g = r->g;
    int64_t L = r->k->tgt_len, T = r->tokens;
    xl_take_over(r, 0);
    for (int64_t s = 0; s * L < T && !g->tape->err; s++) {
        int64_t n = hx_min(L, T - s * L);
        hx_t e = segment(r, s * L, n);
        hx_t labels = t_turn_ids(g->labels, s * L + 1, n);
        hx_t part = xl_loss(r, e, hx_reshape(labels, 1, (int64_t[]){ n * r->B }));
        g->loss = s ? t_add(g->loss, part) : part;
        if (g->purpose != HX_FOR_PARITY)
            continue;
        xl_name(r, "logprob", s, -1, xl_by_batch(r, xl_log_probs(r, e)));
        xl_show_caches(r, s);
    }
    xl_hand_over(r);
    hx_output(g, "loss", g->loss);
}

static void one_position(xl_run *r)
{
    int64_t L = r->k->tgt_len, T = r->tokens, count = hx_ceil_div(T, L);
    hx_t *part = hx_new(r->g->tape->arena, hx_t, count);
    if (!part) {
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "no memory for %lld segments [E-NOMEM]",
                     (long long)count);
        return;
    }
    for (int64_t s = 0; s < count; s++)
        part[s] = segment(r, s * L, hx_min(L, T - s * L));
    xl_one_position(r, (int)count, part);
}

// Log probabilities behind one token of each row, which follows those that the caches hold.
static void one_token(xl_run *r)
{
    xl_take_over(r, 0);
    hx_t e = segment(r, 0, 1);
    xl_hand_over(r);
    hx_output(r->g, "logits", xl_log_probs(r, e));
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    xl_run *r = xl_start(conf, self, g);
    if (r)
        (g->purpose == HX_FOR_LOGITS ? one_position : g->purpose == HX_FOR_TOKEN ? one_token
         : segments)(r);
}

HX_MODEL(transformer_xl,
    .no_trunk = "this is rmt_transformer_xl, where slots of one end see each other",
    .title = "Transformer-XL", .source = "kimiyoung/transformer-xl; Dai et al. 2019",
    .fields = fields, .conf_size = sizeof(xl_conf),
    .check = check, .declare = declare, .build = build, .size = xl_size,
    .samples = "n_token=29 n_layer=2 n_head=2 d_model=16 d_head=8 d_inner=24 tgt_len=6 mem_len=9 "
               "B=2 N=21; "
               "n_token=31 n_layer=2 n_head=3 d_model=12 d_head=5 d_inner=20 tgt_len=5 mem_len=7 "
               "pre_lnorm=true same_length=true clamp_len=4 tie_weight=false B=1 N=18; "
               "n_token=41 n_layer=1 n_head=2 d_model=16 d_head=8 d_inner=0 tgt_len=7 mem_len=0 "
               "cutoffs=[9,23] div_val=2 d_embed=24 tie_projs=[0,1,1] B=2 N=20; "
               "n_token=33 n_layer=2 n_head=1 d_model=16 d_head=6 d_inner=8 tgt_len=4 mem_len=6 "
               "ext_len=2 cutoffs=[20] d_embed=10 tie_projs=[1,0] B=2 N=15");
