// safetensors.c - fuzz target: any bytes as a safetensors file, every tensor read in both types.
#include "../../src/core/safetensors.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hx_st *st;
    if (hx_st_open_mem("fuzz", data, (int64_t)size, &st))
        return 0;
    int64_t bytes = 0;
    for (int i = 0; i < st->n; i++) {
        bytes += st->t[i].bytes;
        float *out = malloc((size_t)st->t[i].elems * 4 + 1);
        hx_st_read_f32(st, &st->t[i], out);
        hx_st_read_i32(st, &st->t[i], (int32_t *)out);
        free(out);
    }
    // what was taken is tight: no more bytes than the file has
    if (bytes >= (int64_t)size)
        abort();
    hx_st_close(&st);
    return 0;
}
