#include "memory.h"
#include "param.h"
#include <stdlib.h>

int64_t hx_block_limit(const hx_dev *d)
{
    int64_t most = hx_dev_get_caps(d)->max_buffer, unit = most >= HX_PARAM_BLOCK ? HX_PARAM_BLOCK : HX_UNIT;
    return (most > 0 ? most : INT64_MAX / 4) / unit * unit;
}

hx_result hx_memory_new(hx_dev *d, int64_t bytes, hx_buf_kind kind, const char *name, hx_memory *out)
{
    int64_t block = hx_block_limit(d);
    *out = (hx_memory){ .bytes = bytes, .block_bytes = block, .n_block = (int)hx_ceil_div(bytes, block) };
    if (!(out->block = calloc((size_t)out->n_block + 1, sizeof *out->block)))
        return hx_fail(HX_E_NOMEM, "no memory for %s [E-NOMEM]", name);
    for (int i = 0; i < out->n_block; i++) {
        hx_result r = hx_buf_new(d, hx_min(block, hx_align(bytes, HX_UNIT) - i * block), kind, name, &out->block[i]);
        if (r) {
            hx_memory_free(out);
            return r;
        }
    }
    return HX_OK;
}

void hx_memory_free(hx_memory *m)
{
    for (int i = 0; m->block && i < m->n_block; i++)
        hx_buf_free(&m->block[i]);
    free(m->block);
    *m = (hx_memory){0};
}

static hx_result move(hx_memory *m, int64_t at, char *host, int64_t bytes, bool write)
{
    while (bytes > 0) {
        int64_t b = at / m->block_bytes, off = at % m->block_bytes, n = hx_min(bytes, m->block_bytes - off);
        if (b >= m->n_block)
            return hx_fail(HX_E_INTERNAL, "byte %lld lies past an arena of %lld [E-RANGE]", (long long)at, (long long)m->bytes);
        HX_TRY(write ? hx_buf_write(m->block[b], off, host, n) : hx_buf_read(m->block[b], off, host, n));
        at += n;
        host += n;
        bytes -= n;
    }
    return HX_OK;
}

hx_result hx_memory_write(hx_memory *m, int64_t at, const void *src, int64_t bytes)
{
    return move(m, at, (char *)src, bytes, true);
}

hx_result hx_memory_read(hx_memory *m, int64_t at, void *dst, int64_t bytes)
{
    return move(m, at, dst, bytes, false);
}

hx_result hx_memory_zero(hx_memory *m)
{
    static const char zeros[1 << 16];
    for (int64_t at = 0; at < m->bytes; at += (int64_t)sizeof zeros)
        HX_TRY(hx_memory_write(m, at, zeros, hx_min((int64_t)sizeof zeros, m->bytes - at)));
    return HX_OK;
}
