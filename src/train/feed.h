// feed.h - a run that reads streams: pieces and ages for its steps, states in its checkpoints.
#pragma once
#include "../data/stream.h"
#include "../core/safetensors.h"
#include "rig.h"

typedef struct hx_feed {
    hx_stream *train, *valid;              // valid: NULL where nothing is evaluated; row 0 begins at its start
    int32_t    ignore;                     // label of what is not predicted
    int32_t   *ages;                       // of the piece filled last: [accumulate, batch]
} hx_feed;
// Cuts the texts into documents; with data.order other than stream all members stay NULL.
hx_result hx_feed_new(hx_arena *arena, const hx_run_conf *c, const hx_corpus *corpus, hx_feed *out);
void      hx_feed_done(hx_feed *f);
// Training goes on through another text, in pieces of another length.
hx_result hx_feed_turn(hx_feed *f, const hx_run_conf *c, const hx_text *text, hx_span span, int64_t seq_len);
// ids as hx_engine_step takes them for a masked net, and ages: of step `step` (from 0) of a walk
// that began at step `from`.
void      hx_feed_fill(const hx_feed *f, const hx_stream *s, const hx_run_conf *c, int64_t step,
                       int64_t from, int32_t *ids);

// What the engine carries, as tensors of memory.safetensors: [accumulate, shape of the state].
// Everything lives in `arena`.
hx_result hx_states_items(hx_arena *arena, hx_engine *e, hx_st_item **items, int *n);
// From the file of a checkpoint; *there: it has one. HX_E_INPUT: other names or shapes.
hx_result hx_states_load(hx_arena *arena, hx_engine *e, const char *dir, bool *there);
