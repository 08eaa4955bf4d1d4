// model.h - what a model is, and the graph that it builds.
#pragma once
#include "param.h"

enum { HX_MAX_OUTPUTS = 1024, HX_MAX_GIVEN = 64, HX_MAX_CARRIED = 512, HX_MAX_CHANCES = 512 };
// An input beside ids, in the words of the golden files: "mask". Only `htxvk forward` has them.
typedef struct hx_given {
    const char *name;
    bool        is_int;                    // int32, else fp32
    int         rank;
    int64_t     shape[HX_MAX_RANK];
} hx_given;

// A state that goes from step to step, fp32.
typedef struct hx_carried {
    const char *name;
    int         rank;
    int64_t     shape[HX_MAX_RANK], at, bytes;   // bytes into HX_STATE and HX_NEXT, 256-byte aligned
    hx_t        old;
    bool        passed_on;                 // hx_carry_out was called
} hx_carried;

// What a graph is built for.
typedef enum {
    HX_FOR_LOSS,                           // training and evaluation: only the losses
    HX_FOR_LOGITS,                         // generation: logits of one position
    HX_FOR_PARITY,                         // `htxvk forward`: everything the reference returns
    HX_FOR_TOKEN,                          // generation, carrying: logits of one token, ids [batch, 1]
    HX_FOR_TURN,                           // between two of them, where the model says so; at age 0 it
                                           // makes what the first token needs
} hx_purpose;

// A graph under construction: inputs, named outputs, parameters by handle.
typedef struct hx_graph {
    hx_tape         *tape;
    const hx_params *params;
    hx_t            *param;                // by handle - 1; made on first use
    hx_purpose       purpose;
    int64_t          batch, tokens;        // of ids: [batch, tokens]
    hx_t             ids;                  // int32; with HX_FOR_LOSS and PARITY the last is only a label
    hx_t             labels;               // of the same shape: label t+1 is that of token t; ids itself
                                           // unless masked
    bool             masked, scored;       // labels are an input of their own; a score is wanted
    hx_t             count;                // masked: see hx_loss_part
    hx_t             score;                // scored: int32 [batch, 2], labels met and missed
    hx_t             position;             // HX_FOR_LOGITS: int32 [1], which token's logits
    const hx_given  *given;                // further inputs: n_given, made as given_t
    int              n_given;
    hx_t             given_t[HX_MAX_GIVEN];
    bool             carries;              // states come from the step before and go to the next
    hx_t             age;                  // carries: int32 [batch], how many tokens of its document
                                           // the row has been through before this step; 0: none
    hx_carried       carried[HX_MAX_CARRIED];
    int              n_carried;
    bool             learns;               // a pass with gradients: chances are drawn
    bool             replays;              // segments are made again in the backward pass
    int              segment_from;         // see hx_segment_done
    struct { const char *name; double p; hx_t t; } chance[HX_MAX_CHANCES];
    int              n_chance;
    hx_t             dice;                 // int32 [4], see hx_dice; HX_NONE: not asked for yet
    int              n_dice;               // how often it was asked for
    int64_t          state_bytes;          // of the HX_STATE and HX_NEXT arenas
    hx_t             loss;                 // [1], the optimised total in nats
    struct { const char *name; hx_t t; } output[HX_MAX_OUTPUTS];
    int              n_output;
    int64_t          input_bytes;          // of the HX_INPUT arena
} hx_graph;

// The parameter as a tensor of this graph's tape; HX_NONE for handle 0.
hx_t hx_use(hx_graph *g, hx_p p);
// The input of this name; HX_NONE where the case does not have it. The tape is poisoned when it has
// another shape.
hx_t hx_input(hx_graph *g, const char *name, bool is_int, int rank, const int64_t *shape);
// What the step before left under this name for these batch rows: zeros before the first step, and
// what another document left where age is 0 (see t_renew and t_gone). HX_NONE when the graph does not
// carry: then the model begins anew as for a single sequence. Each name once. `name` is copied.
hx_t hx_carry(hx_graph *g, const char *name, int rank, const int64_t *shape);
// What the next step gets under this name; does nothing when the graph does not carry. Every name of
// hx_carry must be passed on.
void hx_carry_out(hx_graph *g, const char *name, hx_t next);
// What a segment hands on to the next: x itself, or where the graph replays a copy that is kept.
hx_t hx_hand_on(hx_graph *g, hx_t x);
// Behind every segment but the last: where the graph replays, all that was made since the last call or
// the beginning, but for what was handed on, does not stay in memory until the gradient comes to it.
void hx_segment_done(hx_graph *g);
// int32 [batch]: 1 in the steps, for all rows together, in which something of probability p happens,
// else 0: a pure function of the run's seed, the step, the micro-batch and the name, which is
// copied. HX_NONE where nothing is learnt or p is 0.
hx_t hx_chance(hx_graph *g, double p, const char *name);
// What elements are drawn by, for t_dropout: int32 [4], the run's seed, the step and the micro-batch.
// Every call has a *place of its own. HX_NONE where nothing is learnt or p is 0.
hx_t hx_dice(hx_graph *g, double p, int *place);
// Names a result, in the words of the golden files: "logits", "loss", "ce_loss".
void hx_output(hx_graph *g, const char *name, hx_t t);

// What stands between the embeddings of tokens and the logits, for a model that puts something around
// another (rmt.c).
typedef struct hx_trunk {
    // HX_E_INPUT where this configuration does not take sequences of n rows, or rows could see later
    // ones, or are made into narrower ones; *width: of its rows.
    hx_result (*fits)(const void *conf, int64_t n, int64_t *width);
    // x[B,n,width], a sequence of its own, to what logits are made from, of the same shape.
    hx_t      (*rows)(const void *conf, const void *self, hx_graph *g, hx_t x);
    // Embeddings [num_tokens,width]; weights and bias (0: none) of logits.
    void      (*words)(const void *self, hx_p *embedding, hx_p *weight, hx_p *bias);
} hx_trunk;

typedef struct hx_model {
    const char     *name;                  // of model.arch and golden's "model"
    const char     *title, *source;
    const char     *inputs;                // names beside ids that it may take, "mask"; "src.N": any
                                           // number; NULL: none
    const hx_field *fields;                // constructor arguments of the reference
    size_t          conf_size;
    // Where it has parts of its own to be read from its arguments, before check(); NULL: it has none.
    hx_result     (*open)(hx_arena *arena, void *conf);
    hx_result     (*check)(void *conf);    // validity rules; fills derived members
    // Declares all parameters and keeps their handles in an object of its own, allocated in
    // ps->arena and returned (NULL and ps->err on failure).
    void         *(*declare)(const void *conf, hx_params *ps);
    void          (*build)(const void *conf, const void *self, hx_graph *g);
    // Sizes that drivers need, by name: "num_tokens", "seq_len", "ignore_index"; "segment": what is
    // carried on comes from a multiple of so many tokens; "turn": it has graphs for HX_FOR_TOKEN, and
    // HX_FOR_TURN comes before the first and after every n tokens; an age is then taken for n + age
    // mod n from n on. -1: without turns. Graphs for both carry the same states in the same order.
    // And, of inputs that are tokens, by their name without a number, "src": the size of their
    // vocabulary. 0: there is none.
    int64_t       (*size)(const void *conf, const char *what);
    // Small configurations for checks: "KEY=VALUE ... B=2 N=24; ...", ids being [B, N]; "tgt:12" is a
    // further input [B, 12].
    const char     *samples;
    const hx_trunk *trunk;                 // NULL: nothing can be put around it,
    const char     *no_trunk;              // because ...
    // Which inputs output `o` may depend on: for the receptive-field test. NULL: unknown.
} hx_model;
#define HX_MODEL(m, ...) const hx_model hx_model_##m = { .name = #m, __VA_ARGS__ }
extern const hx_model *const hx_models[];  // generated from src/models/meson.build
extern const int hx_n_models;
const hx_model *hx_model_find(const char *name);
