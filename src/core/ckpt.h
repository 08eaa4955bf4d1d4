// ckpt.h - checkpoints: directories that are whole or not there.
//
// step-NNNNNNNN/ holds config.json model.safetensors optimizer.safetensors [ema.safetensors]
// [memory.safetensors] state.json MANIFEST.json. It is staged as .tmp-..., every file synced, the manifest (sizes and
// XXH3-128) last, then renamed. Readers verify the manifest and fall back to the newest whole one.
#pragma once
#include "model.h"
#include "safetensors.h"

// type, name
#define HX_CKPT_STATE(X)                                                                       \
    X(int64_t, step)        /* finished optimizer steps */                                     \
    X(int64_t, tokens)      /* tokens trained on */                                            \
    X(int64_t, sample)      /* index of the next sample */                                     \
    X(int64_t, updates)     /* updates made: step minus skipped ones */                        \
    X(int64_t, seed)                                                                           \
    X(double,  seconds)     /* wall time of training so far */                                 \
    X(double,  best)        /* best validation loss in nats; 0: none yet */                    \
    X(int64_t, best_step)   /* its step */                                                     \
    X(int64_t, stale)       /* evaluations since then */                                       \
    X(int64_t, skips)       /* steps skipped in a row */                                       \
    X(int64_t, norms)       /* gradients' norms in the next two, of their logarithms */        \
    X(double,  norm_mean)                                                                      \
    X(double,  norm_var)                                                                       \
    X(double,  norm_before) /* of the step before the last, of the last: not in them yet; */   \
    X(double,  norm_last)   /* 0: there is none */                                      \
    X(int64_t, walk)        /* step from which on rows have walked through their stream */     \
    X(int64_t, stream)      /* hx_stream_mark of that stream; 0: not known */
typedef struct hx_ckpt_state {
#define X(type, name) type name;
    HX_CKPT_STATE(X)
#undef X
} hx_ckpt_state;

// What is saved. Arenas are host copies in the layout of hx_params (params->bytes each); m and v
// may be NULL (no optimizer.safetensors then).
typedef struct hx_ckpt {
    const hx_model   *model;
    const void       *conf;
    const hx_params  *params;
    const void       *p, *m, *v, *ema;     // ema: mean weights, ema.safetensors; may be NULL
    const hx_st_item *memory;              // carried recurrent state, if any
    int               n_memory;
    hx_ckpt_state     state;
} hx_ckpt;

// Writes `dir`/step-NNNNNNNN (dir: RUN/ckpt, made if missing), points `dir`/latest to it, removes
// what earlier crashes left, then keeps the newest `keep` (>= 1) and the one that `dir`/best names. A checkpoint of this step that
// is already there and whole is kept as it is. HX_E_IO: older checkpoints are untouched.
hx_result hx_ckpt_write(const char *dir, const hx_ckpt *c, int keep);
// Points `dir`/best to the checkpoint of `step`, if there is one.
hx_result hx_ckpt_mark_best(const char *dir, int64_t step);
// Checks sizes and hashes of one checkpoint against its manifest: HX_E_INPUT.
hx_result hx_ckpt_verify(const char *dir);
// Newest whole checkpoint of a run directory, of its ckpt/, or the checkpoint itself if `path` is
// one. Logs a warning for each one skipped. *dir is NULL and the result HX_OK when there is none
// at all; HX_E_INPUT when all are broken.
hx_result hx_ckpt_find(hx_arena *arena, const char *path, const char **dir);
hx_result hx_ckpt_state_read(const char *dir, hx_ckpt_state *out);
// Fills host arenas; m and v may be NULL. HX_E_INPUT lists what does not fit. Unverified.
hx_result hx_ckpt_read(const char *dir, const hx_params *ps, void *p, void *m, void *v);
// The mean weights of a checkpoint that has them, else *there is false.
hx_result hx_ckpt_read_ema(const char *dir, const hx_params *ps, void *ema, bool *there);

// Tensors of one file into an arena, names and shapes compared with the parameters: names are
// `prefix` + parameter. Buffers must fit if present (their values are ours);
// nothing else may be missing or left over: HX_E_INPUT.
hx_result hx_params_read(const hx_st *st, const hx_params *ps, const char *prefix, void *arena);
// The arena as a file of its own; buffers too.
hx_result hx_params_write(const char *path, const hx_params *ps, const void *arena);
