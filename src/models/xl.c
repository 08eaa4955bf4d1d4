// xl.c - arguments, parameters and layers of Transformer-XL, see xl.h.
#include "xl.h"

#include "head.h"
#include "parts.h"
#include "../ops/t.h"
#include <math.h>
#include <string.h>

// ---- validity ----------------------------------------------------------------------------

static bool is_null(const hx_ints *v) { return !v->n || v->v[0] == HX_NULL; }
static bool projects(const xl_conf *k) { return k->div_val > 1 || k->embed != k->d_model; }
// channels of the embeddings of part i
static int64_t width(const xl_conf *k, int i)
{
    int64_t d = k->embed;
    for (; i > 0 && k->div_val > 1; i--) d /= k->div_val;
    return d;
}

static hx_result check_parts(xl_conf *k)
{
    const hx_ints *c = &k->cutoffs;
    k->parts = is_null(c) ? 1 : c->n + 1;
    k->from[0] = 0;
    for (int i = 0; i + 1 < k->parts; i++) {
        if (c->v[i] <= k->from[i] || c->v[i] >= k->n_token)
            return hx_fail(HX_E_INPUT, "model.cutoffs: %d must lie between %d and n_token %d; "
                           "cutoffs ascend [E-MODEL]", c->v[i], k->from[i], k->n_token);
        k->from[i + 1] = c->v[i];
    }
    k->from[k->parts] = k->n_token;
    if (width(k, k->parts - 1) < 1)
        return hx_fail(HX_E_INPUT, "model.div_val: d_embed %d is divided by %d too often for %d "
                       "parts of the vocabulary [E-MODEL]", k->embed, k->div_val, k->parts);
    for (int i = 0; i < k->tie_projs.n && projects(k); i++)
        if (k->tie_projs.v[i] > 0 && i >= k->parts)
            return hx_fail(HX_E_INPUT, "model.tie_projs: there is no part %d of the vocabulary "
                           "among %d [E-MODEL]", i + 1, k->parts);
    return HX_OK;
}

hx_result xl_check(xl_conf *k)
{
    if (k->d_embed.n > 1)
        return hx_fail(HX_E_INPUT, "model.d_embed has %d values, one is needed [E-MODEL]",
                       k->d_embed.n);
    k->embed = is_null(&k->d_embed) ? k->d_model : k->d_embed.v[0];
    if (k->d_model % 2)
        return hx_fail(HX_E_INPUT, "model.d_model: %d must be even, half sines and half cosines "
                       "[E-MODEL]", k->d_model);
    if (k->attn_type)
        return hx_fail(HX_E_INPUT, "model.attn_type: %d is not supported, only 0, relative "
                       "attention [E-MODEL]", k->attn_type);
    if (k->sample_softmax > 0)
        return hx_fail(HX_E_INPUT, "model.sample_softmax: %d is not supported; the whole softmax "
                       "is computed, with cutoffs in parts: set it to -1 [E-MODEL]",
                       k->sample_softmax);
    if (k->same_length && !k->mem_len)
        return hx_fail(HX_E_INPUT, "model.same_length: with mem_len 0 a query would see no key "
                       "[E-MODEL]");
    return check_parts(k);
}

// ---- parameters --------------------------------------------------------------------------

#define WEIGHT HX_INIT_NORMAL, 0.02
#define PROJ HX_INIT_NORMAL, 0.01

static xl_norm declare_near_one(hx_params *ps, int64_t d, int l, const char *name)
{
    xl_norm p;
    const char *at = hx_sprintf(ps->arena, "layers.%d.%s.layer_norm", l, name);
    p.g = hx_param_add(ps, HX_INIT_NEAR_ONE, 0.02, SHAPE(d), "%s.weight", at ? at : "");
    p.b = hx_param_add(ps, ZEROS, SHAPE(d), "%s.bias", at ? at : "");
    return p;
}

static void declare_layer(const xl_conf *k, hx_params *ps, xl_layer *p, int l)
{
    int64_t D = k->d_model, HK = (int64_t)k->n_head * k->d_head, F = k->d_inner;
    p->qkv = hx_param_add(ps, WEIGHT, SHAPE(3 * HK, D), "layers.%d.dec_attn.qkv_net.weight", l);
    p->o = hx_param_add(ps, WEIGHT, SHAPE(D, HK), "layers.%d.dec_attn.o_net.weight", l);
    p->norm = declare_near_one(ps, D, l, "dec_attn");
    p->r = hx_param_add(ps, WEIGHT, SHAPE(HK, D), "layers.%d.dec_attn.r_net.weight", l);
    if (!F)
        return;
    p->w1 = hx_param_add(ps, WEIGHT, SHAPE(F, D), "layers.%d.pos_ff.CoreNet.0.weight", l);
    p->b1 = hx_param_add(ps, ZEROS, SHAPE(F), "layers.%d.pos_ff.CoreNet.0.bias", l);
    p->w2 = hx_param_add(ps, WEIGHT, SHAPE(D, F), "layers.%d.pos_ff.CoreNet.3.weight", l);
    p->b2 = hx_param_add(ps, ZEROS, SHAPE(D), "layers.%d.pos_ff.CoreNet.3.bias", l);
    p->ff_norm = declare_near_one(ps, D, l, "pos_ff");
}

static void declare_embedding(const xl_conf *k, hx_params *ps, xl_params *m)
{
    int tables = k->div_val > 1 ? k->parts : 1;
    for (int i = 0; i < tables; i++) {
        int64_t n = tables > 1 ? k->from[i + 1] - k->from[i] : k->n_token;
        m->E[i] = hx_param_add(ps, WEIGHT, SHAPE(n, width(k, i)),
                               "word_emb.emb_layers.%d.weight", i);
    }
    for (int i = 0; i < tables && projects(k); i++)
        m->P[i] = hx_param_add(ps, PROJ, SHAPE(k->d_model, width(k, i)), "word_emb.emb_projs.%d",
                               i);
}

static bool is_tied(const xl_conf *k, int i) { return i < k->tie_projs.n && k->tie_projs.v[i] > 0; }

// The softmax's own parameters; weights that are the embeddings' have their handles.
static void declare_softmax(const xl_conf *k, hx_params *ps, xl_params *m)
{
    int tables = k->div_val > 1 ? k->parts : 1, C = k->parts - 1;
    if (C) {
        m->cluster = hx_param_add(ps, WEIGHT, SHAPE(C, k->embed), "crit.cluster_weight");
        m->cluster_b = hx_param_add(ps, ZEROS, SHAPE(C), "crit.cluster_bias");
    }
    for (int i = 0; i < tables; i++) {
        int64_t n = tables > 1 ? k->from[i + 1] - k->from[i] : k->n_token;
        m->W[i] = k->tie_weight ? m->E[i] : hx_param_add(ps, WEIGHT, SHAPE(n, width(k, i)),
                                                         "crit.out_layers.%d.weight", i);
        m->b[i] = hx_param_add(ps, ZEROS, SHAPE(n), "crit.out_layers.%d.bias", i);
    }
    for (int i = 0; i < k->parts && projects(k); i++)
        m->Q[i] = is_tied(k, i) ? m->P[k->div_val > 1 ? i : 0]
                : hx_param_add(ps, PROJ, SHAPE(k->d_model, width(k, i)), "crit.out_projs.%d", i);
}

// What files of the reference hold beside: second names, and the frequencies of positions.
static void declare_rest(const xl_conf *k, hx_params *ps, const xl_params *m)
{
    int tables = k->div_val > 1 ? k->parts : 1, half = k->d_model / 2;
    for (int i = 0; i < tables && k->tie_weight; i++)
        hx_param_tied(ps, m->W[i], "crit.out_layers.%d.weight", i);
    for (int i = 0; i < k->parts && projects(k); i++)
        if (is_tied(k, i)) hx_param_tied(ps, m->Q[i], "crit.out_projs.%d", i);
    float *f = hx_new(ps->arena, float, half);
    for (int i = 0; f && i < half; i++)
        f[i] = (float)pow(10000, -2.0 * i / k->d_model);
    if (f) hx_param_buffer(ps, f, half, "pos_emb.inv_freq");
    else ps->err = HX_E_NOMEM;
}

xl_params *xl_declare(const xl_conf *k, hx_params *ps)
{
    xl_params *m = hx_new(ps->arena, xl_params, 1);
    if (!m) {
        ps->err = HX_E_NOMEM;
        return NULL;
    }
    if (k->num_mem_tokens)
        m->mem = hx_param_add(ps, HX_INIT_NORMAL_ROW, 1, SHAPE(k->num_mem_tokens, 1, k->d_model),
                              "mem_tokens");
    m->u = hx_param_add(ps, WEIGHT, SHAPE(k->n_head, k->d_head), "r_w_bias");
    m->w = hx_param_add(ps, WEIGHT, SHAPE(k->n_head, k->d_head), "r_r_bias");
    declare_embedding(k, ps, m);
    for (int l = 0; l < k->n_layer && !ps->err; l++)
        declare_layer(k, ps, &m->layer[l], l);
    declare_softmax(k, ps, m);
    if (!ps->err)
        declare_rest(k, ps, m);
    return ps->err ? NULL : m;
}

int64_t xl_size(const void *conf, const char *what)
{
    const xl_conf *k = conf;
    return !strcmp(what, "num_tokens") ? k->n_token : !strcmp(what, "seq_len") ? k->tgt_len
        : !strcmp(what, "segment") ? k->tgt_len
        : !strcmp(what, "turn") ? k->num_mem_tokens || k->mem_len + k->tgt_len < 2 ? 0 : -1
        : !strcmp(what, "ignore_index") ? -100 : 0;
}

// ---- tokens ------------------------------------------------------------------------------

static hx_t linear(hx_t x, hx_t w) { return t_linear(x, w, HX_NONE, HX_ACT_NONE, HX_NONE); }
static hx_t vector(hx_t x) { return hx_reshape(x, 1, (int64_t[]){ hx_elems(x) }); }

xl_run *xl_start(const xl_conf *k, const xl_params *m, hx_graph *g)
{
    xl_run *r = hx_new(g->tape->arena, xl_run, 1);
    if (!r) {
        hx_tape_fail(g->tape, HX_E_NOMEM, "%s", hx_last_message());
        return NULL;
    }
    int64_t T = g->tokens - (g->purpose == HX_FOR_LOSS || g->purpose == HX_FOR_PARITY);
    xl_conf *own = hx_new(g->tape->arena, xl_conf, 1);
    if (!own || T < 1) {
        hx_tape_fail(g->tape, own ? HX_E_INPUT : HX_E_NOMEM, "a sequence of %lld tokens cannot be "
                     "computed [E-LENGTH]", (long long)T);
        return NULL;
    }
    *own = *k;
    if (g->purpose == HX_FOR_LOSS && !g->learns) {
        own->tgt_len = k->eval_tgt_len ? k->eval_tgt_len : k->tgt_len;
        own->mem_len = k->eval_mem_len ? k->eval_mem_len : k->mem_len;
    }
    *r = (xl_run){ .k = own, .m = m, .g = g, .B = g->batch, .tokens = T,
                   .band = k->same_length ? own->mem_len : 0, .kv = g->carries && !g->learns };
    // a token at a time looks as far back as the last one of a segment
    if (g->purpose == HX_FOR_TOKEN) {
        own->mem_len += own->tgt_len - 1;
        own->tgt_len = 1;
    }
    return r;
}

// ---- caches from step to step ----------------------------------------------------------------

static const char *cache_name(xl_run *r, int l)
{
    const char *name = hx_sprintf(r->g->tape->arena, "mems.%d", l);
    return name ? name : "mems";
}

// how many rows of the caches are not there yet
static void count_gone(xl_run *r)
{
    int64_t L = r->k->tgt_len, rows = L + r->slots;
    bool full = r->past / L * rows >= r->k->mem_len;
    r->gone = !r->g->carries || !r->k->mem_len || full ? HX_NONE
            : t_gone(r->g->age, HX_NONE, r->k->mem_len, r->past, L, rows);
}

void xl_take_over(xl_run *r, int slots)
{
    const xl_conf *k = r->k;
    int64_t T = r->tokens;
    r->slots = slots;
    if (!r->g->carries)
        return;
    if (k->ext_len)
        hx_tape_fail(r->g->tape, HX_E_INPUT, "model.ext_len: %d must be 0 where caches go from "
                     "step to step [E-SEGMENT]", k->ext_len);
    if (T % k->tgt_len)
        hx_tape_fail(r->g->tape, HX_E_INPUT, "train.seq_len: %lld is no multiple of the %d tokens "
                     "of a segment, as it must be where caches go from step to step [E-SEGMENT]",
                     (long long)T, k->tgt_len);
    int64_t HK = (int64_t)k->n_head * k->d_head;
    int64_t shape[3] = { k->mem_len, r->B, r->kv ? 2 * HK : k->d_model };
    for (int l = 0; l < k->n_layer && k->mem_len; l++)
        r->mem[l] = t_flat(hx_carry(r->g, cache_name(r, l), 3, shape));
    r->mlen = k->mem_len;
    count_gone(r);
}

void xl_segment_done(xl_run *r)
{
    for (int l = 0; l <= r->k->n_layer && r->mlen; l++)
        r->mem[l] = hx_hand_on(r->g, r->mem[l]);
    hx_segment_done(r->g);
}

void xl_hand_over(xl_run *r)
{
    for (int l = 0; l < r->k->n_layer && r->k->mem_len && r->g->carries; l++)
        hx_carry_out(r->g, cache_name(r, l), xl_by_time(r, r->mem[l]));
}

// rows of the table; ids < 0 give zeros.  ids#[n] -> [n, width]
static hx_t look_up(xl_run *r, hx_t ids, hx_p table, bool holes)
{
    int64_t n = hx_elems(ids);
    hx_t x = t_flat(t_embedding(hx_reshape(ids, 2, (int64_t[]){ 1, n }), P(table), n));
    return holes ? t_keep_rows(x, ids) : x;
}

hx_t xl_embed(xl_run *r, hx_t ids)
{
    const xl_conf *k = r->k;
    hx_t x = HX_NONE;
    if (k->div_val == 1) {
        x = look_up(r, ids, r->m->E[0], false);
        x = r->m->P[0] ? linear(x, P(r->m->P[0])) : x;
    }
    for (int i = 0; i < k->parts && k->div_val > 1; i++) {
        hx_t own = k->parts == 1 ? ids
                 : t_span_ids(ids, HX_NONE, k->from[i], k->from[i + 1] - k->from[i], -1);
        hx_t e = look_up(r, own, r->m->E[i], k->parts > 1);
        x = t_linear(e, P(r->m->P[i]), HX_NONE, HX_ACT_NONE, x);
    }
    return t_scale(x, (float)sqrt((double)k->d_model));
}

// ---- layers ------------------------------------------------------------------------------

hx_t xl_by_time(const xl_run *r, hx_t x)
{
    return hx_reshape(x, 3, (int64_t[]){ hx_rows(x) / r->B, r->B, hx_dim(x, -1) });
}

static hx_t normed(xl_run *r, xl_norm p, hx_t x)
{
    int64_t rows = hx_rows(x), D = hx_dim(x, -1);
    return t_flat(t_layernorm(hx_reshape(x, 3, (int64_t[]){ 1, rows, D }), P(p.g), P(p.b), 0));
}

static hx_t drop(xl_run *r, hx_t x) { return dropped(r->g, x, r->k->dropout); }
static bool drops(const xl_run *r) { return r->g->learns && r->k->dropout > 0; }

// Keys of distances 0 .. M-1 for every layer: [sin(d f), cos(d f)] through the layer's projection.
// Every segment drops others of them.
static void make_positions(xl_run *r, int64_t M)
{
    const xl_conf *k = r->k;
    int64_t half = k->d_model / 2;
    bool there = r->r_rows == M && !drops(r);
    float *v = there ? NULL : hx_new(r->g->tape->arena, float, M * k->d_model);
    if (there)
        return;
    if (!v) {
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "no memory for %lld positions [E-NOMEM]",
                     (long long)M);
        return;
    }
    for (int64_t d = 0; d < M; d++)
        for (int64_t i = 0; i < half; i++) {
            double at = (double)(k->clamp_len > 0 ? hx_min(d, k->clamp_len) : d);
            at *= pow(10000, -2.0 * (double)i / k->d_model);
            v[d * 2 * half + i] = (float)sin(at);
            v[d * 2 * half + half + i] = (float)cos(at);
        }
    hx_t R = drop(r, hx_constant(r->g->tape, false, 2, (int64_t[]){ M, k->d_model }, v));
    for (int l = 0; l < k->n_layer; l++)
        r->r[l] = linear(R, P(r->m->layer[l].r));
    r->r_rows = M;
}

// x + w y + b
static hx_t plus(xl_run *r, hx_t x, hx_t y, hx_t w, hx_t b)
{
    return plus_dropped(r->g, x, y, w, b, r->k->dropout);
}

// h + attention of h to the cache and to itself
static hx_t attend(xl_run *r, int l, hx_t h, int read, int write)
{
    const xl_conf *k = r->k;
    const xl_layer *p = &r->m->layer[l];
    int64_t HK = (int64_t)k->n_head * k->d_head;
    hx_t past = r->mlen ? r->mem[l] : HX_NONE, own = h, kv[2], part[2];
    if (k->pre_lnorm) {
        own = normed(r, p->norm, h);
        past = r->mlen && !r->kv ? normed(r, p->norm, past) : past;
    }
    if (!hx_is(r->qkv[l][0]))
        hx_split(0, P(p->qkv), 2, (int64_t[]){ HK, 2 * HK }, r->qkv[l]);
    part[1] = linear(own, r->qkv[l][1]);
    part[0] = r->mlen && !r->kv ? linear(past, r->qkv[l][1]) : past;
    hx_t all = r->mlen ? hx_concat(0, 2, part) : part[1];
    r->all[l] = all;
    hx_split(1, xl_by_time(r, all), 2, (int64_t[]){ HK, HK }, kv);
    hx_rel how = { k->n_head, r->band, read, write, k->read_mem_from_cache,
                   .less = left_out(r->g, k->dropatt) };
    hx_t y = t_rel_attention(xl_by_time(r, linear(own, r->qkv[l][0])), kv[0], kv[1], r->r[l],
                             vector(P(r->m->u)), vector(P(r->m->w)), r->gone, &how);
    y = plus(r, h, t_flat(y), P(p->o), HX_NONE);
    return k->pre_lnorm ? y : normed(r, p->norm, y);
}

static hx_t feed_forward(xl_run *r, const xl_layer *p, hx_t x)
{
    if (!p->w1)
        return x;
    hx_t u = r->k->pre_lnorm ? normed(r, p->ff_norm, x) : x;
    hx_t v = drop(r, t_linear(u, P(p->w1), P(p->b1), HX_ACT_RELU, HX_NONE));
    x = plus(r, x, v, P(p->w2), P(p->b2));
    return r->k->pre_lnorm ? x : normed(r, p->ff_norm, x);
}

// Rows from .. to-1 (over B) of what x and y are one below the other.
static hx_t stretch(const xl_run *r, hx_t x, hx_t y, int64_t from, int64_t to)
{
    int64_t n = hx_is(x) ? hx_rows(x) / r->B : 0, m = hx_rows(y) / r->B, cut[2] = { from, to };
    hx_t part[2] = { y, y }, piece[2];
    int count = 0;
    if (r->g->tape->err)
        return (hx_t){ r->g->tape, 0 };
    for (int i = 0; i < 2; i++) {
        int64_t len = i ? m : n, lo = hx_min(hx_max(cut[0] - i * n, 0), len);
        int64_t hi = hx_min(hx_max(cut[1] - i * n, 0), len), size[3] = { lo, hi - lo, len - hi };
        if (hi <= lo)
            continue;
        int64_t rows[3];
        int first = lo == 0, pieces = 3 - first - (len == hi);
        for (int j = 0; j < 3; j++) rows[j] = size[j] * r->B;
        part[count] = i ? y : x;
        if (pieces > 1) {
            hx_t out[3];
            hx_split(0, part[count], pieces, rows + first, out);
            part[count] = out[!first];
        }
        count++;
    }
    piece[0] = part[0];
    piece[1] = part[1];
    return count == 2 ? hx_concat(0, 2, piece) : part[0];
}

// The newest mem_len rows of cache and hid, without the last ext_len of them: as the reference
// counts them, which takes off at most as many rows as the cache has.
static void renew_caches(xl_run *r, const hx_t *hid)
{
    const xl_conf *k = r->k;
    int64_t q = hx_rows(hid[0]) / r->B, end = q + hx_max(0, r->mlen - k->ext_len);
    int64_t from = hx_max(0, end - k->mem_len);
    // nothing reads what the last layer gave, but the reference returns it
    int count = k->n_layer + !r->g->carries;
    for (int l = 0; l < count && k->mem_len && r->kv; l++)
        r->mem[l] = stretch(r, HX_NONE, r->all[l], from, end);
    for (int l = 0; l < count && k->mem_len && !r->kv; l++)
        r->mem[l] = hx_detach(stretch(r, r->mlen ? r->mem[l] : HX_NONE, hid[l], from, end));
    r->mlen = k->mem_len ? end - from : 0;
    r->past += q - r->slots;
    count_gone(r);
}

hx_t xl_layers(xl_run *r, hx_t x, int read, int write)
{
    hx_t hid[XL_MAX_LAYERS + 1];
    if (r->k->same_length)
        read = write = 0;
    make_positions(r, r->mlen + hx_rows(x) / r->B);
    hid[0] = drop(r, x);
    for (int l = 0; l < r->k->n_layer; l++)
        hid[l + 1] = feed_forward(r, &r->m->layer[l], attend(r, l, hid[l], read, write));
    renew_caches(r, hid);
    return drop(r, hid[r->k->n_layer]);
}

// ---- the softmax ---------------------------------------------------------------------------

// Weights, biases and projections of every part; the first one's classes are followed by the parts.
static void make_softmax(xl_run *r)
{
    const xl_conf *k = r->k;
    const xl_params *m = r->m;
    int64_t size[XL_MAX_PARTS];
    if (hx_is(r->W[0]))
        return;
    for (int i = 0; i < k->parts; i++) size[i] = k->from[i + 1] - k->from[i];
    if (k->div_val == 1 && k->parts > 1) {
        hx_split(0, P(m->W[0]), k->parts, size, r->W);
        hx_split(1, P(m->b[0]), k->parts, size, r->b);
    } else {
        for (int i = 0; i < k->parts; i++) {
            r->W[i] = P(m->W[i]);
            r->b[i] = P(m->b[i]);
        }
    }
    for (int i = 0; i < k->parts; i++) r->Q[i] = P(m->Q[i]);
    if (k->parts == 1)
        return;
    r->W[0] = hx_concat(0, 2, (hx_t[]){ r->W[0], P(m->cluster) });
    r->b[0] = hx_concat(0, 2, (hx_t[]){ r->b[0], P(m->cluster_b) });
}

static hx_t projected(xl_run *r, hx_t e, int i)
{
    return hx_is(r->Q[i]) ? t_matmul_nn(e, r->Q[i]) : e;
}

// column of part i among the classes of the first: from the last one on, backwards
static int64_t column(const xl_conf *k, int i) { return k->from[1] + k->parts - 1 - i; }

hx_t xl_log_probs(xl_run *r, hx_t e)
{
    const xl_conf *k = r->k;
    hx_t part[XL_MAX_PARTS], cut[XL_MAX_PARTS];
    int64_t size[XL_MAX_PARTS] = { k->from[1] };
    make_softmax(r);
    for (int i = 1; i < k->parts; i++) size[i] = 1;
    hx_t head = t_linear(projected(r, e, 0), r->W[0], r->b[0], HX_ACT_NONE, HX_NONE);
    head = t_log_softmax(head, HX_NONE);
    if (k->parts == 1)
        return head;
    hx_split(1, head, k->parts, size, cut);
    part[0] = cut[0];
    for (int i = 1; i < k->parts; i++) {
        hx_t z = t_linear(projected(r, e, i), r->W[i], r->b[i], HX_ACT_NONE, HX_NONE);
        part[i] = t_log_softmax(z, cut[column(k, i) - k->from[1] + 1]);
    }
    return hx_concat(1, k->parts, part);
}

// -log p of every label, in parts: that of the first softmax, and of the label's within its part
static hx_t losses(xl_run *r, hx_t e, hx_t labels)
{
    const xl_conf *k = r->k;
    hx_t own = t_span_ids(labels, HX_NONE, 0, k->from[1], -1);
    for (int i = 1; i < k->parts; i++)
        own = t_span_ids(labels, own, k->from[i], k->from[i + 1] - k->from[i], column(k, i));
    hx_t n = t_cross_entropy_rows(projected(r, e, 0), r->W[0], r->b[0], own, -1, 0, NULL);
    for (int i = 1; i < k->parts; i++) {
        own = t_span_ids(labels, HX_NONE, k->from[i], k->from[i + 1] - k->from[i], -1);
        n = t_add(n, t_cross_entropy_rows(projected(r, e, i), r->W[i], r->b[i], own, -1, 0, NULL));
    }
    return n;
}

hx_t xl_loss(xl_run *r, hx_t e, hx_t labels)
{
    int ignore = (int)xl_size(r->k, "ignore_index");
    make_softmax(r);
    if (r->k->parts == 1)
        return hx_loss_part(r->g, projected(r, e, 0), r->W[0], r->b[0], labels, ignore, true);
    if (r->g->tape->smooth > 0)
        hx_tape_fail(r->g->tape, HX_E_INPUT, "labels cannot be smoothed over a softmax in parts: "
                     "leave label smoothing or model.cutoffs out [E-MODEL]");
    hx_t hits = r->g->scored ? t_hits(xl_log_probs(r, e), labels, ignore) : HX_NONE;
    return hx_loss_of_rows(r->g, losses(r, e, labels), hits, labels, ignore, true);
}

// ---- results -----------------------------------------------------------------------------

void xl_name(xl_run *r, const char *what, int64_t s, int i, hx_t x)
{
    hx_arena *a = r->g->tape->arena;
    const char *name = i < 0 ? hx_sprintf(a, "%s.%lld", what, (long long)s)
                             : hx_sprintf(a, "%s.%lld.%d", what, (long long)s, i);
    hx_output(r->g, name ? name : what, x);
}

hx_t xl_by_batch(const xl_run *r, hx_t x)
{
    int64_t n = hx_rows(x) / r->B, W = hx_dim(x, -1);
    hx_t y = t_swap(hx_reshape(x, 4, (int64_t[]){ 1, n, r->B, W }));
    return hx_reshape(y, 3, (int64_t[]){ r->B, n, W });
}

void xl_one_position(xl_run *r, int count, const hx_t *part)
{
    hx_t at = hx_reshape(r->g->position, 2, (int64_t[]){ 1, 1 });
    hx_t x = t_embedding(at, count > 1 ? hx_concat(0, count, part) : part[0], 1);
    hx_output(r->g, "logits", xl_log_probs(r, t_flat(x)));
}

void xl_show_caches(xl_run *r, int64_t s)
{
    for (int l = 0; l <= r->k->n_layer && r->mlen; l++)
        xl_name(r, "mems", s, l, xl_by_time(r, r->mem[l]));
}
