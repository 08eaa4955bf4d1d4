// optim.h - optimizers as lists of operators over flat arenas.
#pragma once
#include "../ops/t.h"

typedef struct hx_optim {
    const char *name;
    // Appends the update of some elements: p, g, m, v [n] are external values, `factor` [1]
    // multiplies every gradient. Writes p, m, v in place.
    void (*update)(const hx_optim_conf *k, hx_t step, hx_t factor, hx_t p, hx_t g, hx_t m, hx_t v);
} hx_optim;
#define HX_OPTIM(o, ...) const hx_optim hx_optim_##o = { .name = #o, __VA_ARGS__ }
extern const hx_optim *const hx_optims[];  // generated from src/optim/meson.build
extern const int hx_n_optims;
const hx_optim *hx_optim_find(const char *name);

// The whole optimizer as a tape: gradient norm, clip factor, update, in segments that no binding
// limit cuts (max_elems each, a multiple of 64 elements or at least n). Yours; NULL when memory is
// out, other failures poison it. norm[1] is an HX_OUTPUT value at byte `norm_at`.
hx_tape *hx_optim_tape(const hx_optim *o, const hx_optim_conf *k, int64_t n, int64_t max_elems,
                       int64_t step_at, int64_t norm_at);

// Some neighbouring weights [previous end, end) and whether weight decay is for them.
typedef struct hx_optim_part { int64_t end; bool decays; } hx_optim_part;
// The same for weights in parts, the last of which ends at n; with ema also their means in HX_EMA.
hx_tape *hx_optim_tape_parts(const hx_optim *o, const hx_optim_conf *k, int64_t max_elems,
                             int64_t step_at, int64_t norm_at, const hx_optim_part *part, int n_part,
                             bool ema);
