// optim.h - optimizers as lists of operators over flat arenas.
#pragma once
#include "../core/tape.h"

// Position of each value in the step block, a fp32 input [HX_STEP_VALUES] written every step.
enum { HX_STEP_LR, HX_STEP_BIAS1, HX_STEP_BIAS2, HX_STEP_CLIP, HX_STEP_SCALE, HX_STEP_VALUES = 16 };
// LR: learning rate; BIAS1, BIAS2: 1 - beta1^t, 1 - beta2^t with the fp32 betas below; CLIP: largest gradient norm (<= 0:
// none); SCALE: factor on every gradient before its norm is taken (1 / accumulated batches).

typedef struct hx_optim_conf { float beta1, beta2, eps, weight_decay; } hx_optim_conf;
typedef struct hx_optim {
    const char *name;
    // Appends the update of n elements whose arenas start at 0: p, g, m, v [n] are external
    // values; `factor` [1] multiplies every gradient. Writes p, m, v in place.
    void (*update)(hx_tape *t, const hx_optim_conf *k, hx_t step, hx_t factor,
                   hx_t p, hx_t g, hx_t m, hx_t v);
} hx_optim;
#define HX_OPTIM(o, ...) const hx_optim hx_optim_##o = { .name = #o, __VA_ARGS__ }
extern const hx_optim *const hx_optims[];  // generated from src/optim/meson.build
extern const int hx_n_optims;
const hx_optim *hx_optim_find(const char *name);

// The update by one operator "p g m v f k -> p2 m2 v2", written over p, m and v: what an
// optimizer's `update` may consist of.
void hx_optim_step(hx_tape *t, const hx_op *op, const hx_optim_conf *k, hx_t step, hx_t factor,
                   hx_t p, hx_t g, hx_t m, hx_t v);

// The whole optimizer as a tape: gradient norm, clip factor, update, in segments that no binding
// limit cuts (max_elems each, a multiple of 64 elements or at least n). Yours; NULL when memory is
// out, other failures poison it. norm[1] is an HX_OUTPUT value at byte `norm_at`.
hx_tape *hx_optim_tape(const hx_optim *o, const hx_optim_conf *k, int64_t n, int64_t max_elems,
                       int64_t step_at, int64_t norm_at);
