// walk.h - a model that takes one token after the other and keeps what it needs of the past: time and
// memory of a token do not depend on how many came before.
#pragma once
#include "pass.h"

typedef struct hx_walk hx_walk;
// Can this net do so? See hx_model.size, "turn".
bool      hx_can_walk(const hx_net *net);
// `batch` texts beside each other, at their beginning. shared as in hx_pass_bind; net, dev and shared
// memory are borrowed.
hx_result hx_walk_new(hx_dev *dev, const hx_net *net, int64_t batch, hx_memory *const shared[HX_N_PLACES],
                      hx_walk **out);      // yours
void      hx_walk_free(hx_walk **w);       // accepts NULL, writes NULL
void      hx_walk_restart(hx_walk *w);     // forgets all texts
// Takes ids[batch]. Where logits is not NULL it gets those behind them, [batch, num_tokens].
hx_result hx_walk_step(hx_walk *w, const int32_t *ids, float *logits);
int64_t   hx_walk_tokens(const hx_walk *w);                  // taken so far
int64_t   hx_walk_state_bytes(const hx_walk *w);             // what is kept of the past, both copies
