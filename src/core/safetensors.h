// safetensors.h - named tensors in one file: a strict reader and a writer.
//
// A file is refused (HX_E_INPUT, [E-ST-...]) unless the header is sound and the tensors fill the
// rest exactly: no overlap, no hole, nothing behind. Nothing is mapped; values are read when asked.
#pragma once
#include "../../runtime/file.h"

enum { HX_ST_MAX_RANK = 8, HX_ST_MAX_HEADER = 100000000 };
// name, bytes per element
#define HX_ST_DTYPES(X) X(F32, 4) X(F64, 8) X(F16, 2) X(BF16, 2) X(I64, 8) X(I32, 4) \
    X(I16, 2) X(I8, 1) X(U8, 1) X(BOOL, 1)
typedef enum {
#define X(name, bytes) HX_ST_##name,
    HX_ST_DTYPES(X)
#undef X
} hx_st_dtype;

typedef struct hx_st_tensor {
    const char *name;
    hx_st_dtype dtype;
    int         rank;
    int64_t     shape[HX_ST_MAX_RANK];
    int64_t     elems, at, bytes;          // at: offset in the file
} hx_st_tensor;

typedef struct hx_st {
    hx_arena     *arena;
    const char   *path;
    int           fd;                      // -1: `mem` has the bytes
    const uint8_t *mem;
    int64_t       size;
    int           n;
    hx_st_tensor *t;                       // sorted by name
    int           n_meta;
    const char  **meta;                    // key, value, key, value
} hx_st;

hx_result hx_st_open(const char *path, hx_st **out);          // yours
// The same over bytes in memory, which must outlive it. `name` is for messages.
hx_result hx_st_open_mem(const char *name, const void *data, int64_t size, hx_st **out);
void      hx_st_close(hx_st **st);         // accepts NULL, writes NULL
const hx_st_tensor *hx_st_find(const hx_st *st, const char *name);
const char *hx_st_meta(const hx_st *st, const char *key);     // NULL if there is none
// All elements, converted. Integers that do not fit int32 and fractions are HX_E_INPUT.
hx_result hx_st_read_f32(const hx_st *st, const hx_st_tensor *t, float *out);
hx_result hx_st_read_i32(const hx_st *st, const hx_st_tensor *t, int32_t *out);

// A tensor to write: F32 or I32, contiguous; borrowed during the call.
typedef struct hx_st_item {
    const char    *name;
    hx_st_dtype    dtype;
    int            rank;
    const int64_t *shape;
    const void    *data;
} hx_st_item;
// Replaces `path` in one step. `meta`: key, value, ..., NULL or NULL; {"format": "pt"} is added.
hx_result hx_st_write(const char *path, const hx_st_item *items, int n, const char *const *meta);
// Into a new file, as a checkpoint does: hash of the bytes and their number come back.
hx_result hx_st_write_new(const char *path, const hx_st_item *items, int n, const char *const *meta,
                          uint64_t hash[2], int64_t *size);
