// case.h - a model and its constructor arguments by a file of their own: config.json of a checkpoint
// or of a golden case.
#pragma once
#include "conf.h"
#include "model.h"

typedef struct hx_case {
    const hx_model *model;
    void           *conf;                  // model->conf_size bytes, defaults filled, checked
    hx_strs         inputs;                // tensor names; {"ids"} if the file does not say
} hx_case;

// Reads {"model": NAME, constructor arguments, metadata}. Everything lives in `arena`.
hx_result hx_case_read(hx_arena *arena, const char *path, hx_case *out);
hx_result hx_case_parse(hx_arena *arena, const char *file, const char *text, int64_t n, hx_case *out);
// {"model": NAME, "model_type": "htxvk", "htxvk_version": ..., all constructor arguments}.
void      hx_case_put(hx_out *b, const hx_model *m, const void *conf);
// Finds the model that `name` says and fills its configuration from `map`, leaving `skip` alone.
hx_result hx_case_fill(hx_arena *arena, const hx_conf *name, const hx_conf *map, const char *path,
                       const char *const *skip, const hx_model **m, void **conf);
