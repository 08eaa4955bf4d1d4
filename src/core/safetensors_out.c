// safetensors_out.c - the writer: header first, then every tensor as it lies in memory.
#include "conf.h"
#include "safetensors.h"
#include <string.h>

// The header of all items; *bytes is what follows it.
static hx_result header(hx_out *h, const hx_st_item *items, int n, const char *const *meta,
                        int64_t *bytes)
{
    hx_out_add(h, "{\"__metadata__\": {\"format\": \"pt\"");
    for (; meta && meta[0]; meta += 2) {
        hx_out_add(h, ", ");
        hx_out_json_text(h, meta[0]);
        hx_out_add(h, ": ");
        hx_out_json_text(h, meta[1]);
    }
    hx_out_add(h, "}");
    *bytes = 0;
    for (int i = 0; i < n; i++) {
        const hx_st_item *t = &items[i];
        int64_t end = 4;
        bool fits = t->rank >= 0 && t->rank <= HX_ST_MAX_RANK &&
                    (t->dtype == HX_ST_F32 || t->dtype == HX_ST_I32);
        hx_out_add(h, ", ");
        hx_out_json_text(h, t->name);
        hx_out_add(h, ": {\"dtype\": \"%s\", \"shape\": [", t->dtype == HX_ST_I32 ? "I32" : "F32");
        for (int d = 0; d < t->rank && fits; d++) {
            fits = hx_mul(end, t->shape[d], &end);
            hx_out_add(h, "%s%lld", d ? ", " : "", (long long)t->shape[d]);
        }
        int64_t begin = *bytes;
        if (!fits || !hx_sum(begin, end, bytes))
            return hx_fail(
                HX_E_SHAPE,
                "tensor '%s' cannot be written: rank %d, 4 bytes an element [E-ST-WRITE]", t->name,
                t->rank);
        hx_out_add(h, "], \"data_offsets\": [%lld, %lld]}", (long long)begin, (long long)*bytes);
    }
    hx_out_add(h, "}");
    // 8 bytes of length and the header together keep the data aligned
    hx_out_add(h, "%*s", (int)(hx_align(h->size, 8) - h->size), "");
    return h->failed ? hx_fail(HX_E_NOMEM, "no memory for the header of %d tensors [E-NOMEM]", n)
                     : HX_OK;
}

static hx_result put(hx_writer *w, const hx_out *h, const hx_st_item *items, int n)
{
    uint64_t size = (uint64_t)h->size;
    HX_TRY(hx_writer_put(w, &size, 8));
    HX_TRY(hx_writer_put(w, h->data, h->size));
    for (int i = 0; i < n; i++) {
        int64_t bytes = 4;
        for (int d = 0; d < items[i].rank; d++)
            bytes *= items[i].shape[d];    // proved to fit by the header
        HX_TRY(hx_writer_put(w, items[i].data, bytes));
    }
    return HX_OK;
}

static hx_result write_file(const char *path, unsigned flags, const hx_st_item *items, int n,
                            const char *const *meta, uint64_t hash[2], int64_t *size)
{
    hx_out h = { 0 };
    hx_writer w = { .fd = -1 };
    int64_t bytes, total = 0;
    hx_result r = header(&h, items, n, meta, &bytes);
    if (!r && !hx_sum(bytes, 8 + h.size, &total))
        r = hx_fail(HX_E_SHAPE, "%d tensors are more bytes than a file can have [E-ST-WRITE]", n);
    r = r ? r : hx_writer_open(&w, path, flags, total);
    if (!r && (r = put(&w, &h, items, n)))
        hx_writer_drop(&w);
    r = r ? r : hx_writer_close(&w, hash);
    hx_out_free(&h);
    if (size)
        *size = total;
    return r;
}

hx_result hx_st_write(const char *path, const hx_st_item *items, int n, const char *const *meta)
{
    return write_file(path, HX_WRITER_REPLACE, items, n, meta, NULL, NULL);
}

hx_result hx_st_write_new(const char *path, const hx_st_item *items, int n, const char *const *meta,
                          uint64_t hash[2], int64_t *size)
{
    return write_file(path, 0, items, n, meta, hash, size);
}
