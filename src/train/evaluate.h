// evaluate.h - the loss of a model over a whole text, under one stated protocol.
#pragma once
#include "../data/stream.h"
#include "pass.h"

// The protocol. Windows of seq_len predictions begin every `stride` tokens, each with an empty context.
// Of a window that begins before the end of another only what that one did not predict counts, so that
// every token but the first is predicted exactly once. With stride = seq_len the last window is
// shorter, with less it reaches back further. Documents of one length are windows of their own. With a
// mask only what it leaves counts.
typedef struct hx_protocol {
    int64_t seq_len, stride;               // stride 0: seq_len
    int64_t from, to;                      // count only predictions [from, to) of each window, for
                                           // losses by position; to 0: all
} hx_protocol;
typedef struct hx_evaluation {
    int64_t seq_len, windows, tokens;      // tokens: how many were predicted
    int64_t rows;                          // that walked beside each other, each from an empty context;
                                           // 0: every window did not know of the others
    double  ce;                            // mean cross entropy, nats per token
    double  loss;                          // mean optimised total, nats; NaN: it does not exist
    int64_t in_loss;                       // tokens of the windows where it exists
    hx_score score;                        // where the text is masked
} hx_evaluation;
// `params` has the parameters. batch windows run at once. tick (may be NULL) hears of progress.
// HX_E_INPUT: the span has fewer than two bytes. HX_E_NUMERIC: a loss is not finite. HX_E_USAGE: the
// protocol contradicts itself.
hx_result hx_evaluate(hx_dev *dev, const hx_net *net, hx_memory *params, const hx_text *text,
                      hx_span span, const hx_protocol *how, int64_t batch,
                      void (*tick)(void *user, int64_t done, int64_t all), void *user,
                      hx_evaluation *out);
// The same along documents: rows of the stream (seed 0) walk beside each other and carry their states on;
// each has its share of the pieces, so that every prediction of every document is made once. The net must
// be masked and carry.
hx_result hx_evaluate_stream(hx_dev *dev, const hx_net *net, hx_memory *params, const hx_stream *s,
                             void (*tick)(void *user, int64_t done, int64_t all), void *user,
                             hx_evaluation *out);
