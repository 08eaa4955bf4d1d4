// generate.h - text from a model, one token at a time.
#pragma once
#include "../data/bpe.h"
#include "pass.h"

// temp 0 takes the most likely token. top_k 0, top_p >= 1 and min_p 0 leave nothing out; min_p leaves
// out what is less likely than that share of the most likely, temperature included.
typedef struct hx_sampling {
    double temp; int64_t top_k; double top_p; uint64_t seed; double min_p;
} hx_sampling;
// Draws one of V tokens; the random number is a pure function of (seed, index).
int64_t hx_sample_token(const float *logits, int64_t V, const hx_sampling *s, int64_t index);

typedef struct hx_generator hx_generator;
// shared[HX_PARAM] has the parameters, shared[HX_TEMP] may be used between other programs.
// net, dev and shared memory are borrowed.
hx_result hx_generator_new(hx_dev *dev, const hx_net *net, hx_memory *const shared[HX_N_PLACES],
                           hx_generator **out);
void      hx_generator_free(hx_generator **g);    // accepts NULL, writes NULL
// Prompts are encoded and tokens written as text by `bpe` (borrowed) from now on; NULL: tokens are bytes.
void      hx_generator_use(hx_generator *g, const hx_bpe *bpe);
// Makes now what contexts of up to `tokens` tokens will need, so that a lack of memory shows early.
hx_result hx_generator_prepare(hx_generator *g, int64_t tokens);
// Continues `prompt` by `length` tokens, the bytes of each handed to `emit` at once; emit returns false
// to end early. Without a prompt the text begins as after a line break. The context is the newest seq_len
// tokens, or, of a model that goes on token by token, all of them. HX_E_INPUT: the prompt has a byte that is no token.
hx_result hx_generate(hx_generator *g, const void *prompt, int64_t n, int64_t length,
                      const hx_sampling *s, bool (*emit)(void *user, uint8_t byte), void *user);
