// block_recurrent.h - arguments and parameters of the block-recurrent model.
#pragma once
#include "../core/model.h"

enum { MAX_DEPTH = 256, MAX_TABLES = 16 };

typedef struct block_recurrent_conf {
    int32_t num_tokens, dim, depth, dim_head, heads, max_seq_len, block_width, ignore_index;
    hx_ints num_state_vectors, recurrent_layers, read_recurrent_layers;
    const char *state_gate, *state_cell;
    bool    all_layers_qk_rmsnorm, use_flash_attn, use_compressed_mem, live_states, live_memories;
    int32_t compressed_mem_factor;
    double  ff_mult, state_dropout, xl_memories_dropout;
    // derived; layers count from 0
    bool    lstm, ff, dual;                // gates are LSTM's; states have a feed-forward layer, and a
                                           // gate before it, too
    int     inner, S, C;                   // C: containers of states
    int     write[MAX_DEPTH], read[MAX_DEPTH];         // layer of container c, ascending by write
} block_recurrent_conf;

typedef struct { hx_p g, b; } norm;                    // b is a buffer, usually zero
typedef struct { hx_p w, b, beta; } gate;              // beta: of a fixed one
typedef struct { hx_p q, k; } scales;                  // of queries and keys; 0: not normalised
typedef struct {
    hx_p   init, pos;
    norm   norm;
    hx_p   q_to_state, q_from_state, to_q, to_kv, out;
    gate   gate, first;                    // first: of a dual cell, behind attention
    norm   ff_norm;                        // of a dual cell
    hx_p   w1, w2;                         // of single and dual ones
    scales to_state, self, from_state;
} container;
typedef struct {
    norm   norm;
    hx_p   q, kv, out;
    scales s;
    norm   ff_norm;
    hx_p   w1, w2, conv, conv_b;
} layer;
typedef struct { hx_p E; layer *layer; container *state; norm last; hx_p logits; } block_recurrent;

extern const hx_field hx_block_recurrent_fields[];
hx_result hx_block_recurrent_check(void *conf);
void     *hx_block_recurrent_declare(const void *conf, hx_params *ps);
int64_t   hx_block_recurrent_size(const void *conf, const char *what);
// Which container layer l writes; -1: none.
int       hx_block_recurrent_writes(const block_recurrent_conf *k, int l);
