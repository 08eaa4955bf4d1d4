// evaluate.h - the loss of a model over a whole text, under one stated protocol.
#pragma once
#include "../data/stream.h"
#include "pass.h"

// Protocol: the text is cut into windows of seq_len predictions; each starts at the last byte of
// the one before with an empty context, so that every byte but the first is predicted exactly once.
// Documents of one length are windows of their own. With a mask only what it leaves counts.
typedef struct hx_evaluation {
    int64_t seq_len, windows, tokens;      // tokens: how many were predicted
    int64_t rows;                          // that walked beside each other, each from an empty context;
                                           // 0: every window did not know of the others
    double  ce;                            // mean cross entropy, nats per token
    double  loss;                          // mean optimised total, nats; NaN: it does not exist
    int64_t in_loss;                       // tokens of the windows where it exists
    hx_score score;                        // where the net is masked
} hx_evaluation;
// `params` has the parameters. batch windows run at once. tick (may be NULL) hears of progress.
// HX_E_INPUT: the span has fewer than two bytes. HX_E_NUMERIC: a loss is not finite.
hx_result hx_evaluate(hx_dev *dev, const hx_net *net, hx_memory *params, const hx_text *text,
                      hx_span span, int64_t seq_len, int64_t batch,
                      void (*tick)(void *user, int64_t done, int64_t all), void *user,
                      hx_evaluation *out);
// The same along documents: rows of the stream (seed 0) walk beside each other and carry their states on;
// each has its share of the pieces, so that every prediction of every document is made once. The net must
// be masked and carry.
hx_result hx_evaluate_stream(hx_dev *dev, const hx_net *net, hx_memory *params, const hx_stream *s,
                             void (*tick)(void *user, int64_t done, int64_t all), void *user,
                             hx_evaluation *out);
