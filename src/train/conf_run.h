// conf_run.h - the configuration of a run: sections of fields, one model.
#pragma once
#include "../core/case.h"

typedef struct hx_conf_run_sec { int64_t seed; const char *out; int32_t threads; } hx_conf_run_sec;
typedef struct hx_conf_device { const char *select, *precision; } hx_conf_device;
typedef struct hx_conf_data {
    hx_strs  train, valid, test;
    hx_reals split;
    const char *tokenizer, *order, *separator;
    bool     masked;                       // derived: `train` is a set with a mask
    const char *tokenizer_file;            // derived: of that set; NULL: tokens are bytes
    bool     streams;                      // derived: order is stream
    bool     staged;                       // derived: `train` has one set for each stage of a curriculum
} hx_conf_data;
typedef struct hx_conf_train {
    int64_t steps;
    const char *recompute;                 // false | true | products
    bool    replay;
    int32_t batch, seq_len, accumulate;    // seq_len is resolved: the model's if it was not given
    float   clip_norm;                     // <= 0: none
    bool        init_new;                  // what those lack is drawn
    const char *init;                      // run or checkpoint whose weights a new run begins with
    const char *non_finite;                // stop | skip
    float   skip_zscore;                   // <= 0: none
    int32_t max_skips;
    float   ema, label_smoothing;
    hx_ints curriculum, curriculum_steps;  // resolved: tokens of each stage, steps of all but the last
    const char *curriculum_unit;
} hx_conf_train;
typedef struct hx_conf_optim {
    const char *name;
    float    lr;
    hx_reals betas;
    float    eps, weight_decay;
    const char *decay;                     // all | matrices
} hx_conf_optim;
typedef struct hx_conf_schedule {
    const char *name;
    int64_t warmup;
    float   min_lr, decay;
} hx_conf_schedule;
typedef struct hx_conf_eval { int64_t every; int32_t batches, patience; } hx_conf_eval;
typedef struct hx_conf_sample {
    int64_t every;
    const char *prompt;
    int32_t length;
    float   temp;
    int32_t top_k;
    float   top_p, min_p;
} hx_conf_sample;
typedef struct hx_conf_save {
    const char *every;                     // as given: "500" or "10m"
    int32_t     keep;
    bool        best;
    int64_t     every_steps;               // one of the two is 0; both 0: only the last step
    double      every_seconds;
} hx_conf_save;
typedef struct hx_conf_log { int64_t every; bool tensorboard; } hx_conf_log;

typedef struct hx_run_conf {
    hx_conf_run_sec  run;
    hx_conf_device   device;
    hx_conf_data     data;                 // paths are resolved against the configuration file
    hx_conf_train    train;
    hx_conf_optim    optim;
    hx_conf_schedule schedule;
    hx_conf_eval     eval;
    hx_conf_sample   sample;
    hx_conf_save     save;
    hx_conf_log      log;
    const hx_model  *model;
    void            *model_conf;           // model->conf_size bytes, checked
    const char      *trace;                // not of the file: where to write a trace of the first
    int64_t          trace_steps;          // so many steps; NULL: nowhere
} hx_run_conf;

// One row per section, for documentation and for `htxvk config`.
typedef struct hx_section {
    const char *name;
    const hx_field *fields;
    size_t offset;
    const char *help;
} hx_section;
extern const hx_section hx_sections[];     // ends with a zero row; `model` is not among them

// Reads a run's configuration, applies n assignments of --set in order, fills defaults, checks.
// Everything lives in `arena`.
hx_result hx_run_conf_read(hx_arena *arena, const char *path, const char *const *set, int n,
                           hx_run_conf **out);
// The same from text; relative paths in it are resolved against `base`.
hx_result hx_run_conf_parse(hx_arena *arena, const char *file, const char *text, const char *base,
                            const char *const *set, int n, hx_run_conf **out);
// Every value, resolved, as YAML that reads back to the same.
void      hx_run_conf_put(hx_out *b, const hx_run_conf *c);
