// hierarchical.c - HierarchicalTransformer: the same tokens at several resolutions, side by side.
//
// After lucidrains' simple-hierarchical-transformer 0.2.0, whose constructor arguments, parameter
// names and initial distributions these are. Letters: c compression and s stride of a hierarchy,
// a = c/s its axial factor (tokens that are a apart belong together), d its width, w its window,
// D the widest, n tokens. What differs from the reference:
//   - rotary tables are computed in fp64 and positions are class-local, for windows too, where the
//     reference counts within a bucket: the same values but for rounding
//   - use_flash_attn is accepted and ignored, as it is there
//   - merge-all with a strided predict hierarchy is refused, since the reference fails on it
#include "../../runtime/log.h"
#include "head.h"
#include "parts.h"
#include "../ops/t.h"
#include <math.h>
#include <string.h>

enum { MAX_H = 16, FULL = -1 };            // hierarchies; window of full attention

typedef struct hierarchical_conf {
    int32_t  num_tokens, depth, seq_len, ignore_index;
    hx_ints  dim, dim_head, heads, hierarchies, window_sizes, hierarchical_stride, predict_hierarchy;
    hx_reals ff_mult;
    bool     hierarchy_merge_all, predict_use_all_hierarchy, use_flash_attn;
    double   recon_loss_weight, hierarchical_ar_loss_weight;
    // derived: one value per hierarchy
    int      K, predict, D, sum_d;
    int      c[MAX_H], s[MAX_H], a[MAX_H], d[MAX_H], w[MAX_H], H[MAX_H], dh[MAX_H], ff[MAX_H];
} hierarchical_conf;

#define F(type, name, def, min, max, help) { #name, HX_##type, offsetof(hierarchical_conf, name), def, min, max, help },
static const hx_field fields[] = {
    F(I32,   num_tokens, NULL, 1, 1 << 24, "size of the vocabulary")
    F(INTS,  dim, NULL, 1, 65536, "width, one for all hierarchies or one each")
    F(I32,   depth, NULL, 1, 4096, "layers")
    F(I32,   seq_len, "2048", 1, 1 << 24, "longest sequence, in tokens")
    F(INTS,  dim_head, "64", 1, 256, "width of an attention head, even; one or one per hierarchy")
    F(INTS,  heads, "8", 1, 1024, "attention heads; one or one per hierarchy")
    F(REALS, ff_mult, "4", 1e-3, 1024, "width of the feed-forward layer over dim; one or one per hierarchy")
    F(INTS,  hierarchies, "1", 1, 65536, "tokens that each hierarchy compresses into one: different powers of two")
    F(INTS,  window_sizes, "null", 0, 1 << 24, "attention window per hierarchy: null is full attention, 0 none")
    F(INTS,  hierarchical_stride, "1", 1, 65536, "stride per hierarchy: powers of two, at most its compression")
    F(BOOL,  hierarchy_merge_all, "false", 0, 0, "merge into every hierarchy, not only the one that predicts")
    F(INTS,  predict_hierarchy, "null", 1, 65536, "hierarchy that predicts; null: the finest")
    F(BOOL,  predict_use_all_hierarchy, "false", 0, 0, "predict from all hierarchies together")
    F(F64,   recon_loss_weight, "0.1", 0, 1e6, "weight of the reconstruction loss")
    F(F64,   hierarchical_ar_loss_weight, "0.25", 0, 1e6, "weight of the loss that predicts a hierarchy's next token")
    F(I32,   ignore_index, "0", -2147483647, 2147483647, "label that is not trained on; -1: none of the bytes")
    F(BOOL,  use_flash_attn, "false", 0, 0, "accepted for the reference's sake, without effect")
    {0}
};
#undef F

// ---- validity ----------------------------------------------------------------------------

static bool power_of_two(int32_t n) { return n > 0 && !(n & (n - 1)); }

// one value for all hierarchies, or one each
static hx_result spread(const char *name, const hx_ints *from, int K, int *to)
{
    if (!from->scalar && from->n != K)
        return hx_fail(HX_E_INPUT, "model.%s has %d values for %d hierarchies [E-MODEL]", name, from->n, K);
    for (int h = 0; h < K; h++)
        to[h] = from->v[from->scalar ? 0 : h];
    for (int h = 0; h < K; h++)
        if (to[h] == HX_NULL && strcmp(name, "window_sizes"))
            return hx_fail(HX_E_INPUT, "model.%s cannot be null [E-MODEL]", name);
    return HX_OK;
}

static hx_result check_hierarchy(const hierarchical_conf *k, int h)
{
    for (int g = 0; g < h; g++)
        if (k->c[g] == k->c[h])
            return hx_fail(HX_E_INPUT, "model.hierarchies names %d twice [E-MODEL]", k->c[h]);
    if (!power_of_two(k->c[h]))
        return hx_fail(HX_E_INPUT, "model.hierarchies: %d is no power of two [E-MODEL]", k->c[h]);
    if (!power_of_two(k->s[h]) || k->s[h] > k->c[h])
        return hx_fail(HX_E_INPUT, "model.hierarchical_stride: %d must be a power of two, at most the "
            "hierarchy's %d [E-MODEL]", k->s[h], k->c[h]);
    if (k->dh[h] % 2)
        return hx_fail(HX_E_INPUT, "model.dim_head: %d must be even for the rotary embedding [E-MODEL]", k->dh[h]);
    if (k->ff[h] < 1)
        return hx_fail(HX_E_INPUT, "model.ff_mult leaves no channel of dim %d [E-MODEL]", k->d[h]);
    return HX_OK;
}

static hx_result find_predict(hierarchical_conf *k)
{
    if (k->predict_hierarchy.n > 1)
        return hx_fail(HX_E_INPUT, "model.predict_hierarchy has %d values, one hierarchy predicts [E-MODEL]",
            k->predict_hierarchy.n);
    int32_t want = k->predict_hierarchy.n ? k->predict_hierarchy.v[0] : HX_NULL;
    k->predict = -1;
    for (int h = 0; h < k->K; h++)
        if (want == HX_NULL ? k->predict < 0 || k->c[h] < k->c[k->predict] : k->c[h] == want)
            k->predict = h;
    if (k->predict < 0)
        return hx_fail(HX_E_INPUT, "model.predict_hierarchy: %d is none of the hierarchies [E-MODEL]", want);
    if (k->s[k->predict] != 1 && !(k->hierarchy_merge_all && k->predict_use_all_hierarchy))
        return hx_fail(HX_E_INPUT, "model.predict_hierarchy: hierarchy %d has stride %d and cannot predict every "
            "token; give it stride 1 or predict from all hierarchies [E-MODEL]", k->c[k->predict], k->s[k->predict]);
    return HX_OK;
}

static hx_result check(void *conf)
{
    hierarchical_conf *k = conf;
    k->K = k->hierarchies.n;
    if (k->K < 1 || k->K > MAX_H)
        return hx_fail(HX_E_INPUT, "model.hierarchies has %d values, 1 to %d are possible [E-MODEL]", k->K, MAX_H);
    for (int h = 0; h < k->K; h++)
        k->c[h] = k->hierarchies.v[h];
    HX_TRY(spread("dim", &k->dim, k->K, k->d));
    HX_TRY(spread("dim_head", &k->dim_head, k->K, k->dh));
    HX_TRY(spread("heads", &k->heads, k->K, k->H));
    HX_TRY(spread("hierarchical_stride", &k->hierarchical_stride, k->K, k->s));
    HX_TRY(spread("window_sizes", &k->window_sizes, k->K, k->w));
    if (!k->ff_mult.scalar && k->ff_mult.n != k->K)
        return hx_fail(HX_E_INPUT, "model.ff_mult has %d values for %d hierarchies [E-MODEL]", k->ff_mult.n, k->K);
    k->D = k->sum_d = 0;
    for (int h = 0; h < k->K; h++) {
        k->ff[h] = (int)(k->d[h] * k->ff_mult.v[k->ff_mult.scalar ? 0 : h]);
        HX_TRY(check_hierarchy(k, h));
        k->a[h] = k->c[h] / k->s[h];
        k->D = k->d[h] > k->D ? k->d[h] : k->D;
        k->sum_d += k->d[h];
        // a window longer than the compressed sequence is full attention
        if (k->w[h] != HX_NULL && k->w[h] > k->seq_len / k->c[h])
            hx_log(HX_LOG_INFO, "window %d of hierarchy %d is longer than its %d tokens: full attention is used",
                k->w[h], k->c[h], k->seq_len / k->c[h]);
        if (k->w[h] == HX_NULL || k->w[h] > k->seq_len / k->c[h])
            k->w[h] = FULL;
    }
    return find_predict(k);
}

// ---- parameters --------------------------------------------------------------------------

typedef struct { hx_p g, b; } norm;                    // b: none for an RMS norm
typedef struct { norm norm; hx_p w_qkv, w_o; norm ff_norm; hx_p w1, w2; } block;
typedef struct { norm norm; hx_p w1, b1, w2, b2; } merge;
typedef struct { hx_p w, conv, conv_b, out, out_b, recon; } compressor;

typedef struct hierarchical {
    hx_p       E, logits;
    compressor compress[MAX_H];
    hx_p       next_w[MAX_H], next_b[MAX_H];           // predict the next token of a hierarchy
    norm       first[MAX_H], last[MAX_H];
    block     *block;                                  // [depth][K]
    merge     *merge;                                  // [depth]
} hierarchical;

static void declare_compressor(const hierarchical_conf *k, hx_params *ps, int h, compressor *p)
{
    int c = k->c[h], d = k->d[h], D = k->D;
    const char *at = "compressors";
    if (c == 1) {
        if (d != D)
            p->w = hx_param_add(ps, LINEAR(D), SHAPE(d, D), "%s.%d.compress_fn.weight", at, h);
        return;
    }
    p->conv = hx_param_add(ps, LINEAR(D * c), SHAPE(4 * D, D, c), "%s.%d.compress_fn.1.conv.weight", at, h);
    p->conv_b = hx_param_add(ps, LINEAR(D * c), SHAPE(4 * D), "%s.%d.compress_fn.1.conv.bias", at, h);
    p->out = hx_param_add(ps, LINEAR(4 * D), SHAPE(d, 4 * D, 1), "%s.%d.compress_fn.3.weight", at, h);
    p->out_b = hx_param_add(ps, LINEAR(4 * D), SHAPE(d), "%s.%d.compress_fn.3.bias", at, h);
    if (k->recon_loss_weight > 0)
        p->recon = hx_param_add(ps, LINEAR(d), SHAPE((int64_t)c * k->num_tokens, d), "%s.%d.to_recon.weight", at, h);
}

// the tables that the reference keeps in its state dict
static void declare_tables(const hierarchical_conf *k, hx_params *ps, int l, int h)
{
    float inv_freq[128], scale[128];
    int n = k->dh[h] / 2;
    for (int j = 0; j < n; j++) {
        inv_freq[j] = (float)(1 / pow(10000, 2.0 * j / k->dh[h]));
        scale[j] = (float)((2.0 * j + 0.4 * k->dh[h]) / (1.4 * k->dh[h]));
    }
    if (k->w[h] == FULL) {
        hx_param_buffer(ps, inv_freq, n, "layers.%d.%d.attn.rotary_emb.inv_freq", l, h);
        hx_param_buffer(ps, scale, n, "layers.%d.%d.attn.rotary_emb.scale", l, h);
    } else {
        hx_param_buffer(ps, inv_freq, n, "layers.%d.%d.attn.attn_fn.rel_pos.inv_freq", l, h);
    }
}

static void declare_block(const hierarchical_conf *k, hx_params *ps, int l, int h, block *p)
{
    int d = k->d[h], hd = k->H[h] * k->dh[h];
    if (k->w[h] == FULL) {
        p->norm.g = hx_param_add(ps, ONES, SHAPE(d), "layers.%d.%d.attn.norm.gamma", l, h);
    } else if (k->w[h] > 0) {
        p->norm.g = hx_param_add(ps, ONES, SHAPE(d), "layers.%d.%d.attn.norm.weight", l, h);
        p->norm.b = hx_param_add(ps, ZEROS, SHAPE(d), "layers.%d.%d.attn.norm.bias", l, h);
    }
    if (k->w[h]) {
        declare_tables(k, ps, l, h);
        p->w_qkv = hx_param_add(ps, LINEAR(d), SHAPE(3 * hd, d), "layers.%d.%d.attn.to_qkv.weight", l, h);
        p->w_o = hx_param_add(ps, LINEAR(hd), SHAPE(d, hd), "layers.%d.%d.attn.to_out.weight", l, h);
    }
    p->ff_norm.g = hx_param_add(ps, ONES, SHAPE(d), "layers.%d.%d.ff.net.0.gamma", l, h);
    p->w1 = hx_param_add(ps, LINEAR(d), SHAPE(k->ff[h], d), "layers.%d.%d.ff.net.1.weight", l, h);
    p->w2 = hx_param_add(ps, LINEAR(k->ff[h]), SHAPE(d, k->ff[h]), "layers.%d.%d.ff.net.3.weight", l, h);
}

static void declare_merge(const hierarchical_conf *k, hx_params *ps, int l, merge *p)
{
    int y = k->sum_d, o = k->hierarchy_merge_all ? y : k->d[k->predict];
    const char *at = "hierarchical_merges";
    p->norm.g = hx_param_add(ps, ONES, SHAPE(y), "%s.%d.net.0.gamma", at, l);
    p->w1 = hx_param_add(ps, LINEAR(y), SHAPE(2 * o, y), "%s.%d.net.1.weight", at, l);
    p->b1 = hx_param_add(ps, LINEAR(y), SHAPE(2 * o), "%s.%d.net.1.bias", at, l);
    p->w2 = hx_param_add(ps, LINEAR(2 * o), SHAPE(o, 2 * o), "%s.%d.net.3.weight", at, l);
    p->b2 = hx_param_add(ps, LINEAR(2 * o), SHAPE(o), "%s.%d.net.3.bias", at, l);
}

static norm declare_numbered(hx_params *ps, int d, const char *name, int h)
{
    norm p;
    p.g = hx_param_add(ps, ONES, SHAPE(d), "%s.%d.weight", name, h);
    p.b = hx_param_add(ps, ZEROS, SHAPE(d), "%s.%d.bias", name, h);
    return p;
}

static void *declare(const void *conf, hx_params *ps)
{
    const hierarchical_conf *k = conf;
    hierarchical *m = hx_new(ps->arena, hierarchical, 1);
    if (m) {
        m->block = hx_new(ps->arena, block, (size_t)k->depth * (size_t)k->K);
        m->merge = hx_new(ps->arena, merge, k->depth);
    }
    if (!m || !m->block || !m->merge) {
        ps->err = HX_E_NOMEM;
        return NULL;
    }
    m->E = hx_param_add(ps, HX_INIT_NORMAL, 1, SHAPE(k->num_tokens, k->D), "token_emb.weight");
    for (int h = 0; h < k->K; h++)
        if (k->c[h] > 1) {
            m->next_w[h] = hx_param_add(ps, LINEAR(k->d[h]), SHAPE(k->d[h], k->d[h]), "to_hierarchical_preds.%d.weight", h);
            m->next_b[h] = hx_param_add(ps, LINEAR(k->d[h]), SHAPE(k->d[h]), "to_hierarchical_preds.%d.bias", h);
        }
    for (int h = 0; h < k->K; h++)
        declare_compressor(k, ps, h, &m->compress[h]);
    for (int h = 0; h < k->K; h++)
        m->first[h] = declare_numbered(ps, k->d[h], "post_token_emb_norms", h);
    for (int l = 0; l < k->depth && !ps->err; l++)
        for (int h = 0; h < k->K; h++)
            declare_block(k, ps, l, h, &m->block[l * k->K + h]);
    for (int l = 0; l < k->depth && k->K > 1 && !ps->err; l++)
        declare_merge(k, ps, l, &m->merge[l]);
    for (int h = 0; h < k->K; h++)
        m->last[h] = declare_numbered(ps, k->d[h], "norms", h);
    int e = k->predict_use_all_hierarchy ? k->sum_d : k->d[k->predict];
    m->logits = hx_param_add(ps, LINEAR(e), SHAPE(k->num_tokens, e), "to_logits.weight");
    return ps->err ? NULL : m;
}

// ---- the model ---------------------------------------------------------------------------

typedef struct { const hierarchical_conf *k; const hierarchical *m; hx_graph *g; int64_t n; } run;

// t_h = compress_h(x): nothing, a linear map, or a causal convolution of width c and stride s
static hx_t compress(const run *r, int h, hx_t x)
{
    const compressor *p = &r->m->compress[h];
    int64_t c = r->k->c[h], D = r->k->D;
    if (c == 1)
        return p->w ? t_linear(x, P(p->w), HX_NONE, HX_ACT_NONE, HX_NONE) : x;
    hx_t conv = hx_reshape(P(p->conv), 2, (int64_t[]){ 4 * D, D * c });
    hx_t out = hx_reshape(P(p->out), 2, (int64_t[]){ r->k->d[h], 4 * D });
    hx_t u = t_linear(t_unfold(x, (int)c, r->k->s[h]), conv, P(p->conv_b), HX_ACT_SILU, HX_NONE);
    return t_linear(u, out, P(p->out_b), HX_ACT_NONE, HX_NONE);
}

// u = x + attention(shift(x)); queries see a window of w tokens of their residue class, or all
static hx_t attend(const run *r, int h, const block *p, hx_t x, hx_t table_q, hx_t table_k)
{
    int a = r->k->a[h], H = r->k->H[h], w = r->k->w[h];
    int64_t hd = (int64_t)H * r->k->dh[h];
    hx_t u = w == FULL ? t_rmsnorm(x, P(p->norm.g), a) : t_layernorm(x, P(p->norm.g), P(p->norm.b), a);
    hx_t qkv[3];
    hx_split(1, t_linear(u, P(p->w_qkv), HX_NONE, HX_ACT_NONE, HX_NONE), 3, (int64_t[]){ hd, hd, hd }, qkv);
    hx_t q = t_rotary(qkv[0], table_q, H, a);
    hx_t k = t_rotary(qkv[1], table_k, H, a);
    hx_t y = t_attention(q, k, qkv[2], H, a, w);
    return t_linear(y, P(p->w_o), HX_NONE, HX_ACT_NONE, x);
}

// u + W2 gelu(W1 rms(shift(u)))
static hx_t feed_forward(const run *r, int h, const block *p, hx_t u)
{
    hx_t v = t_linear(t_rmsnorm(u, P(p->ff_norm.g), r->k->a[h]), P(p->w1), HX_NONE, HX_ACT_GELU, HX_NONE);
    return t_linear(v, P(p->w2), HX_NONE, HX_ACT_NONE, u);
}

// all hierarchies at the resolution of the tokens, side by side: [B, n, sum of d]
static hx_t concat(const run *r, const hx_t *t)
{
    hx_t part[MAX_H];
    for (int h = 0; h < r->k->K; h++)
        part[h] = r->k->s[h] > 1 ? t_repeat(t[h], r->n, r->k->s[h]) : t[h];
    return hx_concat(1, r->k->K, part);
}

// p = W2 silu(W1 rms(y) + b1) + b2, added to the hierarchy that predicts or, split, to all
static void merge_all(const run *r, const merge *p, hx_t *t)
{
    const hierarchical_conf *k = r->k;
    hx_t y = t_rmsnorm(concat(r, t), P(p->norm.g), 0);
    hx_t v = t_linear(y, P(p->w1), P(p->b1), HX_ACT_SILU, HX_NONE);
    if (!k->hierarchy_merge_all) {
        t[k->predict] = t_linear(v, P(p->w2), P(p->b2), HX_ACT_NONE, t[k->predict]);
        return;
    }
    hx_t part[MAX_H];
    int64_t d[MAX_H];
    for (int h = 0; h < k->K; h++)
        d[h] = k->d[h];
    hx_split(1, t_linear(v, P(p->w2), P(p->b2), HX_ACT_NONE, HX_NONE), k->K, d, part);
    for (int h = 0; h < k->K; h++) {
        hx_t p_h = k->s[h] > 1 ? t_take(part[h], hx_ceil_div(r->n, k->s[h]), k->s[h]) : part[h];
        t[h] = t_add(t[h], p_h);
    }
}

// x[B,n,D] to the final embeddings e_h[B,ceil(n/s),d]
static void embed(const run *r, hx_t x, hx_t *e)
{
    const hierarchical_conf *k = r->k;
    const hierarchical *m = r->m;
    hx_t t[MAX_H], table_q[MAX_H], table_k[MAX_H];
    for (int h = 0; h < k->K; h++) {
        t[h] = t_layernorm(compress(r, h, x), P(m->first[h].g), P(m->first[h].b), 0);
        int64_t len = hx_ceil_div(hx_ceil_div(r->n, k->s[h]), k->a[h]);    // of a residue class
        if (!k->w[h])
            continue;
        table_q[h] = t_rotary_table(r->g->tape, len, k->dh[h], k->w[h] == FULL ? 1 : 0);
        table_k[h] = k->w[h] == FULL ? t_rotary_table(r->g->tape, len, k->dh[h], -1) : table_q[h];
    }
    for (int l = 0; l < k->depth; l++) {
        for (int h = 0; h < k->K; h++) {
            const block *p = &m->block[l * k->K + h];
            hx_t u = k->w[h] ? attend(r, h, p, t[h], table_q[h], table_k[h]) : t[h];
            t[h] = feed_forward(r, h, p, u);
        }
        if (k->K > 1)
            merge_all(r, &m->merge[l], t);
    }
    for (int h = 0; h < k->K; h++)
        e[h] = t_layernorm(t[h], P(m->last[h].g), P(m->last[h].b), 0);
}

// token j of hierarchy h tells ids[j s - (c-1) .. j s] again
static hx_t reconstruction(const run *r, int h, hx_t e)
{
    const compressor *p = &r->m->compress[h];
    int c = r->k->c[h], s = r->k->s[h];
    hx_t ids = t_window_ids(r->g->ids, hx_dim(e, 1), c, s, 1 - c);
    return t_cross_entropy_head(t_flat(e), P(p->recon), hx_reshape(ids, 1, (int64_t[]){ hx_elems(ids) }), 0, 0);
}

// the next token's embedding from this one's, by direction
static hx_t prediction(const run *r, int h, hx_t e)
{
    return t_cosine_loss(t_linear(e, P(r->m->next_w[h]), P(r->m->next_b[h]), HX_ACT_NONE, HX_NONE), e);
}

static hx_t zero(hx_tape *t) { return hx_constant(t, false, 1, (int64_t[]){ 1 }, &(float){ 0 }); }

static void losses(const run *r, const hx_t *e, hx_t head)
{
    const hierarchical_conf *k = r->k;
    hx_graph *g = r->g;
    hx_t labels = t_window_ids(g->labels, r->n, 1, 1, 1);
    hx_t ce = hx_loss_part(g, t_flat(head), P(r->m->logits), HX_NONE,
                           hx_reshape(labels, 1, (int64_t[]){ hx_elems(labels) }), k->ignore_index, false);
    hx_t recon = HX_NONE, ar = HX_NONE, total = ce;
    for (int h = 0; h < k->K; h++) {
        if (k->c[h] == 1)
            continue;
        if (g->learns && g->purpose == HX_FOR_LOSS && hx_dim(e[h], 1) < 2)
            hx_tape_fail(g->tape, HX_E_INPUT, "train.seq_len: of %lld tokens hierarchy %d makes one, which has no next "
                "one to predict; it needs %d at least [E-LENGTH]", (long long)r->n, k->c[h], k->s[h] + 1);
        if (k->recon_loss_weight > 0)
            recon = hx_is(recon) ? t_add(recon, reconstruction(r, h, e[h])) : reconstruction(r, h, e[h]);
        ar = hx_is(ar) ? t_add(ar, prediction(r, h, e[h])) : prediction(r, h, e[h]);
    }
    if (hx_is(recon))
        total = t_axpy(recon, total, (float)k->recon_loss_weight);
    if (hx_is(ar))
        total = t_axpy(ar, total, (float)k->hierarchical_ar_loss_weight);
    g->loss = total;
    hx_output(g, "loss", total);
    hx_output(g, "ce_loss", ce);
    hx_output(g, "recon_loss", hx_is(recon) ? recon : zero(g->tape));
    hx_output(g, "ar_loss", hx_is(ar) ? ar : zero(g->tape));
}

static hx_t logits_of(const run *r, hx_t head)
{
    return t_linear(head, P(r->m->logits), HX_NONE, HX_ACT_NONE, HX_NONE);
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    const hierarchical_conf *k = conf;
    run made = { k, self, g, g->tokens - (g->purpose != HX_FOR_LOGITS) }, *r = &made;
    if (r->n < 1 || r->n > k->seq_len) {
        hx_tape_fail(g->tape, HX_E_INPUT, "a sequence of %lld tokens: the model takes 1 to %d (seq_len) [E-LENGTH]",
            (long long)r->n, k->seq_len);
        return;
    }
    hx_t e[MAX_H];
    embed(r, t_embedding(g->ids, P(r->m->E), r->n), e);
    hx_t head = k->predict_use_all_hierarchy ? concat(r, e) : e[k->predict];
    if (g->purpose == HX_FOR_LOGITS) {
        hx_t at = hx_reshape(g->position, 2, (int64_t[]){ 1, 1 });
        hx_output(g, "logits", logits_of(r, t_embedding(at, t_flat(head), 1)));
        return;
    }
    if (g->purpose == HX_FOR_PARITY)
        hx_output(g, "logits", logits_of(r, head));
    losses(r, e, head);
}

static int64_t size(const void *conf, const char *what)
{
    const hierarchical_conf *k = conf;
    return !strcmp(what, "num_tokens") ? k->num_tokens : !strcmp(what, "seq_len") ? k->seq_len
        : !strcmp(what, "ignore_index") ? k->ignore_index : 0;
}

// ---- inside another model ----------------------------------------------------------------

static hx_result trunk_fits(const void *conf, int64_t n, int64_t *width)
{
    const hierarchical_conf *k = conf;
    *width = k->D;
    if (n > k->seq_len)
        return hx_fail(HX_E_INPUT, "seq_len: %d, and %lld rows are a segment with its slots [E-MODEL]", k->seq_len,
            (long long)n);
    if (k->predict_use_all_hierarchy || k->d[k->predict] != k->D)
        return hx_fail(HX_E_INPUT, "the hierarchy that predicts must be as wide as the widest, %d, and predict alone: "
            "what it makes of slots is read as an embedding again [E-MODEL]", k->D);
    if (k->K > 1 && (k->recon_loss_weight > 0 || k->hierarchical_ar_loss_weight > 0))
        return hx_fail(HX_E_INPUT, "recon_loss_weight and hierarchical_ar_loss_weight must be 0: slots are no tokens "
            "that could be told again or predicted [E-MODEL]");
    return HX_OK;
}

static hx_t trunk_rows(const void *conf, const void *self, hx_graph *g, hx_t x)
{
    run r = { conf, self, g, hx_dim(x, 1) };
    hx_t e[MAX_H];
    embed(&r, x, e);
    return e[r.k->predict];
}

static void trunk_words(const void *self, hx_p *embedding, hx_p *weight, hx_p *bias)
{
    const hierarchical *m = self;
    *embedding = m->E, *weight = m->logits, *bias = 0;
}

static const hx_trunk trunk = { trunk_fits, trunk_rows, trunk_words };

HX_MODEL(hierarchical,
    .title = "HierarchicalTransformer", .source = "simple-hierarchical-transformer 0.2.0",
    .trunk = &trunk,
    .fields = fields, .conf_size = sizeof(hierarchical_conf),
    .check = check, .declare = declare, .build = build, .size = size,
    .samples = "num_tokens=29 dim=20 depth=1 dim_head=8 heads=2 seq_len=32 B=2 N=25; "
               "num_tokens=29 dim=[16,12] depth=2 dim_head=8 heads=[2,1] seq_len=32 hierarchies=[1,4] "
               "window_sizes=[3,null] B=2 N=31; "
               "num_tokens=29 dim=[12,10,16] depth=2 dim_head=8 heads=1 seq_len=48 hierarchies=[1,2,8] "
               "hierarchical_stride=[1,2,4] window_sizes=[2,0,1] hierarchy_merge_all=true "
               "predict_use_all_hierarchy=true ignore_index=3 B=1 N=40");
