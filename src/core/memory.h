// memory.h - an arena on a device, cut into buffers where one cannot hold it all.
#pragma once
#include "../../runtime/dev.h"

enum { HX_UNIT = 256 };                    // bytes: granularity of offsets, fits any binding offset

// Bytes of one block: a multiple of HX_PARAM_BLOCK where buffers can be that long, so that no
// parameter lies across two blocks.
int64_t   hx_block_limit(const hx_dev *d);

// Blocks of block_bytes, the last one smaller. hx_memory_new fails with HX_E_NOMEM, reads and writes
// past the end with HX_E_INTERNAL.
typedef struct hx_memory { hx_buf **block; int n_block; int64_t bytes, block_bytes; } hx_memory;
hx_result hx_memory_new(hx_dev *d, int64_t bytes, hx_buf_kind kind, const char *name, hx_memory *out);
void      hx_memory_free(hx_memory *m);
hx_result hx_memory_write(hx_memory *m, int64_t at, const void *src, int64_t bytes);
hx_result hx_memory_read(hx_memory *m, int64_t at, void *dst, int64_t bytes);
hx_result hx_memory_zero(hx_memory *m);      // all of it, through the host
