// param.h - named parameters of a model. Names are those of the reference's state dict.
#pragma once
#include "tape.h"

// No parameter that fits into so many bytes lies across a multiple of them.
#define HX_PARAM_BLOCK ((int64_t)1 << 30)

// A handle that models keep: index into the list plus one; 0: this model has no such parameter.
typedef int hx_p;

// NEAR_ONE: 1 + normal; NORMAL_ROW: one normal row, the same everywhere.
typedef enum {
    HX_INIT_NORMAL, HX_INIT_UNIFORM, HX_INIT_CONST, HX_INIT_TABLE, HX_INIT_NEAR_ONE,
    HX_INIT_NORMAL_ROW, HX_INIT_VALUES
} hx_init_kind;
typedef struct hx_param {
    const char  *name;
    int          rank;
    int64_t      shape[HX_MAX_RANK];
    int64_t      elems;
    int64_t      at;                       // bytes into each parallel arena, 256-byte aligned
    hx_init_kind init;
    double       scale;                    // standard deviation, half width, or value
    const float *table;                    // HX_INIT_TABLE: the values of a buffer
    const float *values;                   // HX_INIT_VALUES: what training starts from
    bool         buffer;                   // saved and loaded, never trained
    hx_p         same;                     // a second name of this parameter; 0: its own
} hx_param;

// What is trained comes first in every arena: `trained` of `bytes`.
typedef struct hx_params {
    hx_arena *arena;
    hx_param *list;
    int       n, cap;
    int64_t   bytes, trained;
    bool      lenient;                     // what a file of weights lacks is drawn by `seed` instead
    uint64_t  seed;
    hx_result err;
} hx_params;

hx_params *hx_params_new(void);            // yours
void       hx_params_free(hx_params **p);
// Adds a trained parameter; the name is made from the format.
hx_p hx_param_add(hx_params *ps, hx_init_kind init, double scale, int rank, const int64_t *shape,
                  const char *fmt, ...) __attribute__((format(printf, 6, 7)));
// Makes a trained parameter start from these values, which must live as long as ps. p may be 0.
void hx_param_start(hx_params *ps, hx_p p, const float *values);
// Adds a buffer: a fixed table that only files see.
void hx_param_buffer(hx_params *ps, const float *table, int64_t n, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
// Adds a buffer that the model reads, `value` everywhere unless a file says otherwise. After all
// that is trained.
hx_p hx_param_fixed(hx_params *ps, double value, int rank, const int64_t *shape, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
// A further name under which files hold a parameter of this model too (tied weights): written with
// its values, and only looked at for its shape when read. After all that is trained.
void hx_param_tied(hx_params *ps, hx_p p, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const hx_param *hx_param_find(const hx_params *ps, const char *name);
int64_t hx_params_count(const hx_params *ps);            // trained scalars
// Initial value of every element, a pure function of (seed, parameter name, index).
void hx_param_init(const hx_param *p, uint64_t seed, float *out);
// The same for all that are no tables nor tied, each at its place in `out`; on all processors.
hx_result hx_params_init(const hx_params *ps, uint64_t seed, char *out);
