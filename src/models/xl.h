// xl.h - what Transformer-XL and the recurrent memory transformer on top of it share: layers with
// relative attention over a cache of older rows, adaptive embeddings and an adaptive softmax.
//
// After kimiyoung/transformer-xl (Dai et al. 2019) and booydar/LM-RMT (Bulatov et al. 2022), whose
// constructor arguments, parameter names and initial distributions these are. Letters: q rows of a
// segment, B batch, D = d_model, H heads of K = d_head, M keys, V = n_token. Rows are in the order
// of time: row t*B + b is token t of batch row b.
#pragma once
#include "../core/model.h"

enum { XL_MAX_LAYERS = 256, XL_MAX_PARTS = HX_MAX_LIST + 1 };

typedef struct xl_conf {
    int32_t n_token, n_layer, n_head, d_model, d_head, d_inner, div_val, tgt_len, ext_len, mem_len;
    int32_t attn_type, clamp_len, sample_softmax, eval_tgt_len, eval_mem_len;
    double  dropout, dropatt;
    bool    tie_weight, pre_lnorm, adapt_inp, same_length;
    hx_ints d_embed, cutoffs, tie_projs;
    // of the recurrent memory transformer
    int32_t num_mem_tokens;
    bool    mem_at_end, read_mem_from_cache, live_memory;
    const char *eval_memory;
    int32_t eval_memory_at;
    // derived: width of embeddings, parts of the vocabulary with their first ids
    int     embed, parts, from[XL_MAX_PARTS + 1];
} xl_conf;

#define XL_F(type, name, def, min, max, help) \
    { #name, HX_##type, offsetof(xl_conf, name), def, min, max, help },
// constructor arguments that both have
#define XL_FIELDS                                                                                \
    XL_F(I32,  n_token, NULL, 1, 1 << 24, "size of the vocabulary")                              \
    XL_F(I32,  n_layer, NULL, 1, XL_MAX_LAYERS, "layers")                                        \
    XL_F(I32,  n_head, NULL, 1, 1024, "attention heads")                                         \
    XL_F(I32,  d_model, NULL, 2, 65536, "width, even")                                           \
    XL_F(I32,  d_head, NULL, 1, 256, "width of an attention head")                               \
    XL_F(I32,  d_inner, NULL, 0, 1 << 20, "width of the feed-forward layer; 0: none")            \
    XL_F(F64,  dropout, "0", 0, 0.99, "share of embeddings, positions and activations dropped in training") \
    XL_F(F64,  dropatt, "0", 0, 0.99, "share of attention weights dropped in training")                  \
    XL_F(BOOL, tie_weight, "true", 0, 0, "the softmax uses the embeddings")                      \
    XL_F(INTS, d_embed, "null", 1, 65536, "width of embeddings; null: d_model")                  \
    XL_F(I32,  div_val, "1", 1, 65536, "each part of the vocabulary has embeddings so many times " \
               "narrower")                                                                       \
    XL_F(INTS, tie_projs, "[0]", 0, 1, "parts whose softmax uses the embeddings' projection")    \
    XL_F(BOOL, pre_lnorm, "false", 0, 0, "norms before attention and feed-forward, not after")   \
    XL_F(I32,  tgt_len, NULL, 1, 1 << 22, "tokens of a segment")                                 \
    XL_F(I32,  ext_len, "0", 0, 1 << 22, "tokens before a segment that are read again")          \
    XL_F(I32,  mem_len, "0", 0, 1 << 22, "rows of the cache")                                    \
    XL_F(INTS, cutoffs, "[]", 1, 1 << 24, "where parts of the vocabulary end; []: one part")     \
    XL_F(BOOL, adapt_inp, "false", 0, 0, "accepted for the reference's sake, without effect")    \
    XL_F(BOOL, same_length, "false", 0, 0, "every query sees mem_len keys")                      \
    XL_F(I32,  attn_type, "0", 0, 3, "0: relative; others are not supported")                    \
    XL_F(I32,  clamp_len, "-1", -(1 << 24), 1 << 24, "largest distance told apart; <= 0: none")  \
    XL_F(I32,  sample_softmax, "-1", -(1 << 24), 1 << 24, "not supported: 0 or less")           \
    /* of its training script */                                                                 \
    XL_F(I32,  eval_tgt_len, "0", 0, 1 << 22, "tgt_len in evaluations; 0: the same")             \
    XL_F(I32,  eval_mem_len, "0", 0, 1 << 22, "mem_len in evaluations; 0: the same")

typedef struct { hx_p g, b; } xl_norm;
typedef struct {
    hx_p    qkv, o, r, w1, b1, w2, b2;
    xl_norm norm, ff_norm;
} xl_layer;
// E, P of the embeddings, W, b, Q of the softmax, per part (E, W, b: one for all with div_val 1)
typedef struct xl_params {
    hx_p     mem, u, w;
    hx_p     E[XL_MAX_PARTS], P[XL_MAX_PARTS], W[XL_MAX_PARTS], b[XL_MAX_PARTS], Q[XL_MAX_PARTS];
    hx_p     cluster, cluster_b;
    xl_layer layer[XL_MAX_LAYERS];
} xl_params;

hx_result xl_check(xl_conf *k);
xl_params *xl_declare(const xl_conf *k, hx_params *ps);

// A graph under construction, segment after segment.
typedef struct xl_run {
    const xl_conf   *k;
    const xl_params *m;
    hx_graph *g;
    int64_t   B, tokens;                   // tokens of each row that the graph computes
    int64_t   mlen;                        // rows of each cache, over B
    // caches [mlen*B, D] of each layer's input and of the output; with kv, where weights stay as they
    // are from step to step, [mlen*B, 2*H*K]: the keys and values of each layer
    hx_t      mem[XL_MAX_LAYERS + 1];
    bool      kv;
    int       band;                        // keys of a query; 0: any number
    hx_t      gone;                        // how many of their rows are not there yet, or NONE
    int64_t   past, slots;                 // tokens of this graph so far; a segment's other rows
    int64_t   r_rows;                      // of r; 0: not made yet
    hx_t      r[XL_MAX_LAYERS];            // position keys of each layer [r_rows, H*K]
    hx_t      qkv[XL_MAX_LAYERS][2];       // weights of queries; of keys and values
    hx_t      all[XL_MAX_LAYERS];          // keys and values of the last segment and its cache
    hx_t      W[XL_MAX_PARTS], b[XL_MAX_PARTS], Q[XL_MAX_PARTS];   // of the softmax; NONE: not yet
} xl_run;

xl_run *xl_start(const xl_conf *k, const xl_params *m, hx_graph *g);   // NULL: the tape says why
hx_t xl_embed(xl_run *r, hx_t ids);        // ids#[n] -> [n, D]
// x[q*B, D] through all layers -> [q*B, D]; the caches follow. The first `read` and last `write`
// tokens are slots.
hx_t xl_layers(xl_run *r, hx_t x, int read, int write);
// Part of the loss of the rows of e, in the order of time, and labels#[n] of g->labels.
hx_t xl_loss(xl_run *r, hx_t e, hx_t labels);
hx_t xl_log_probs(xl_run *r, hx_t e);      // e[n,D] -> [n,V]
// What the step before left becomes the caches, and they what the next one gets; where nothing is
// carried they begin empty. slots: rows of a segment beside its tokens.
void xl_take_over(xl_run *r, int slots);
void xl_hand_over(xl_run *r);
// Log probabilities behind the token at g->position, from the rows of `count` segments.
// Between segments: caches stay when the segment is made again.
void xl_segment_done(xl_run *r);
void xl_one_position(xl_run *r, int count, const hx_t *part);
void xl_name(xl_run *r, const char *what, int64_t s, int i, hx_t x);   // "what.s" or "what.s.i"
hx_t xl_by_time(const xl_run *r, hx_t x);  // [n*B,C] -> [n,B,C]
hx_t xl_by_batch(const xl_run *r, hx_t x); // [n*B,C] in the order of time -> [B,n,C]
void xl_show_caches(xl_run *r, int64_t s);
int64_t xl_size(const void *conf, const char *what);
