// engine.h - one optimizer step as one submit: accumulated gradients, clipping and the update are
// recorded once and replayed. Two slots of inputs and results let step n+1 be written while n runs.
#pragma once
#include "../optim/optim.h"
#include "pass.h"

typedef struct hx_engine_conf {
    int64_t         batch, tokens;         // of ids in one micro-batch: [batch, tokens]
    int64_t         accumulate;            // micro-batches per optimizer step, >= 1
    const hx_optim *optim;
    hx_optim_conf   optim_conf;
    double          clip_norm;             // largest norm of the whole gradient; <= 0: none
    bool            decay_matrices;        // no weight decay for vectors and embeddings
    double          ema;                   // decay of the moving mean of the weights; 0: none
    uint64_t        seed;                  // of chances, see hx_chance
    bool            profile;               // record with timestamps (hx_engine_profile)
} hx_engine_conf;

// Means over the micro-batches of a step, or over the batches of an evaluation.
typedef struct hx_losses {
    int64_t     step;                      // 1 for the first
    double      loss;                      // optimised total, nats
    double      ce;                        // cross entropy of the predicted tokens, nats
    double      part[HX_MAX_OUTPUTS];      // every output of the graph, see hx_engine_part
    double      grad_norm;                 // before clipping
    hx_score    score;                     // of an evaluation, where the net is masked
    bool        skipped;                   // the norm was not finite or above the limit: no update
} hx_losses;

typedef struct hx_engine hx_engine;
// Plans, allocates and records everything; parameters are zero until hx_engine_init or _write.
// net and dev are borrowed. HX_E_NOMEM, HX_E_SHAPE, HX_E_NODEVICE as the parts say.
hx_result hx_engine_new(hx_dev *dev, const hx_net *net, const hx_engine_conf *k, hx_engine **out);
void      hx_engine_free(hx_engine **e);   // accepts NULL, writes NULL
// From the next step on ids are [batch, tokens], no more than at first: plans and programs are made
// anew in the same memory. Gradients begin as zeros; evaluations stay as they are. No step may be pending.
hx_result hx_engine_resize(hx_engine *e, int64_t tokens);
// Initial values of all parameters, a pure function of the seed; moments become zero.
hx_result hx_engine_init(hx_engine *e, uint64_t seed);

// Starts step `step` (1, 2, ...) on ids [accumulate, batch, tokens], for a masked net [accumulate,
// 2, batch, tokens]: ids and labels as hx_pass_write takes them, with learning rate lr and
// returns at once, at most one step ahead: with two steps under way their older result must be
// taken first.
// A net that carries states takes them over from the step before; see hx_engine_ages.
hx_result hx_engine_step(hx_engine *e, int64_t step, double lr, const int32_t *ids);
// Gradients with a larger norm are not used by steps that start from now on; 0: no limit.
void      hx_engine_limit(hx_engine *e, double norm);
// Ages [accumulate, batch] for the steps started from now on (see hx_pass_write_ages), 0 until then.
void      hx_engine_ages(hx_engine *e, const int32_t *ages);
int       hx_engine_pending(const hx_engine *e);           // steps whose result was not taken: 0..2
hx_result hx_engine_result(hx_engine *e, hx_losses *out);  // of the oldest; waits for it
// Losses of one batch [batch, tokens] without learning; no step may be pending. What is carried from
// one evaluated batch to the next is apart from training's; ages [batch], NULL: as before.
hx_result hx_engine_eval(hx_engine *e, const int32_t *ids, const int32_t *ages, hx_losses *out);
// Looks for the first value that is not finite: in the parameters, else in the gradients of one
// step's micro-batches, whose ids are given. Writes "layers.0.norm.g" or "layers.0.norm.g.grad,
// micro-batch 2" to `out`, "" where there is none. No step may be pending.
hx_result hx_engine_find_bad(hx_engine *e, const int32_t *ids, char *out, size_t size);
const char *hx_engine_part(const hx_engine *e, int i);     // name of part[i]; NULL behind the last

// Whole arenas (HX_PARAM, HX_GRAD, HX_MOM1, HX_MOM2, with hx_engine_conf.ema HX_EMA), params->bytes
// each; no step may be pending.
hx_result hx_engine_read(hx_engine *e, hx_place place, void *arena);
hx_result hx_engine_write(hx_engine *e, hx_place place, const void *arena);
// What the next step gets: for each micro-batch the states of hx_engine_graph(e)->carried, each at
// its place; hx_engine_state_bytes in all, 0: nothing is carried. No step may be pending.
int64_t   hx_engine_state_bytes(const hx_engine *e);
hx_result hx_engine_read_states(hx_engine *e, void *states);
hx_result hx_engine_write_states(hx_engine *e, const void *states);
const hx_graph *hx_engine_graph(const hx_engine *e);       // of a micro-batch
hx_memory *hx_engine_memory(hx_engine *e, hx_place place); // for passes that share the parameters

// Calls put() with every dispatch of the last finished step, when it began on the device's clock and
// how long it took. Only with hx_engine_conf.profile and a device that has timestamps; no step may be
// pending.
hx_result hx_engine_profile(hx_engine *e,
                            void (*put)(void *user, const hx_plan *p, const hx_step *s,
                                        double begin, double ms),
                            void *user);

// What one step is made of, for `htxvk plan`.
typedef struct hx_engine_facts {
    double  flops;                         // of one optimizer step
    int64_t traffic;                       // bytes read and written by it
    int64_t dispatches, levels, submits;
    int64_t bytes[HX_N_PLACES];            // device memory by place, both slots together
    int64_t bound_bytes;                   // least that liveness allows for HX_TEMP
    int64_t copy_bytes;                    // of host memory: what a checkpoint is written from
} hx_engine_facts;
hx_engine_facts hx_engine_get_facts(const hx_engine *e);
// Plan 0: micro-batch, 1: micro-batch adding, 2: optimizer, 3: evaluation; NULL: there is none.
const hx_plan *hx_engine_plan(const hx_engine *e, int which);
