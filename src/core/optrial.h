// optrial.h - an operator on generated numbers: what the checks of opcheck.h are made of.
#pragma once
#include "interp.h"
#include "opcheck.h"

// SplitMix64.
static inline uint64_t hx_mix(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

// A sample with its shapes and inputs.
typedef struct hx_problem {
    const hx_op *op; const hx_sig *sig; const hx_sample *s;
    uint64_t seed;
    int      n_arg;
    int64_t  shape[HX_MAX_ARGS][HX_MAX_RANK], count[HX_MAX_ARGS];
    real    *a[HX_MAX_ARGS];               // inputs; NULL where left out
    bool     chance[HX_MAX_ARGS];          // hx_op.fill leaves all of this input to the profile
} hx_problem;
hx_result hx_problem_init(hx_problem *p, const hx_op *op, const hx_sample *s, uint64_t seed);
void      hx_problem_done(hx_problem *p);  // also after a failed init
static inline bool hx_given(const hx_problem *p, int k) { return !(p->s->left_out >> k & 1); }

// The operator on a tape of its own; y[] are its outputs.
typedef struct hx_trial { hx_tape *t; hx_interp *in; hx_t x[HX_MAX_ARGS],
    y[HX_MAX_ARGS]; } hx_trial;
hx_result hx_trial_init(hx_trial *r, const hx_problem *p);
void      hx_trial_done(hx_trial *r);
// The reference on the inputs as they are, or on others like them: absolute values; random signs
// where these are left to chance; each off by up to HX_NUDGE of itself.
typedef enum { HX_AS_IS, HX_ABSOLUTE, HX_FLIPPED, HX_NUDGED } hx_variant;
#define HX_NUDGE 0x1p-20
// out[k] is yours, NULL where output k is left out; also after a failure.
hx_result hx_trial_reference(const hx_problem *p, hx_variant v, uint64_t seed, real **out);
