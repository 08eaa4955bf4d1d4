// head.h - the loss over next tokens as every language model of this room takes it.
#pragma once
#include "../core/model.h"

// The part of the graph's loss that some rows make up: parts over all predicted tokens add up to
// the mean of -log softmax(e w^T + b)[label] over the labels != ignore. e[R,D] are rows of n tokens
// of every sequence, [B,n], or with by_time [n,B]; labels#[R] are cut from g->labels; b may be
// NONE. Counts what is right, too, where the graph keeps a score.
hx_t hx_loss_part(hx_graph *g, hx_t e, hx_t w, hx_t b, hx_t labels, int ignore, bool by_time);
// The same for n[R], -log p of the labels as a model has it, and hits[R] (see t_hits) where the
// graph keeps a score.
hx_t hx_loss_of_rows(hx_graph *g, hx_t n, hx_t hits, hx_t labels, int ignore, bool by_time);
