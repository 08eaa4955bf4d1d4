// null.c - a device that counts and runs nothing: for plans without hardware. Buffers have no
// contents and read as zeros. To add a device, begin with a copy of this file.
#include "../dev.h"
#include <stdlib.h>
#include <string.h>

// Limits of the floor, but for sizes: any plan fits.
static const hx_dev_caps null_caps = {
    .kind = "null",
    .name = "null (counts, runs nothing)",
    .driver = "htxvk " HX_VERSION,
    .type = HX_DEV_OTHER,
    .tier = -1,
    .max_range = INT64_MAX / 4,
    .max_buffer = INT64_MAX / 4,
    .offset_align = 256,
    .memory_bytes = INT64_MAX / 4,
    .max_groups = { 65535, 65535, 65535 },
    .max_invocations = 256,
    .shared_bytes = 32768,
    .push_bytes = HX_MAX_PUSH,
    .subgroup_min = 4,
    .subgroup_max = 64,
};

typedef struct null_dev { hx_dev base; uint64_t ticket; } null_dev;
typedef struct null_prog { hx_prog base; int64_t barriers, pieces; } null_prog;

static void null_close(hx_dev *d) { free(d); }

static hx_result null_buf_new(hx_dev *d, int64_t bytes, hx_buf_kind kind, const char *name,
                              hx_buf **out)
{
    hx_buf *b = malloc(sizeof *b);
    if (!b)
        return hx_fail(HX_E_NOMEM, "buffer %s: no memory for its record [E-NOMEM]", name);
    *b = (hx_buf){ d, bytes, kind };
    d->stats.bytes_now += bytes;
    d->stats.bytes_peak = hx_max(d->stats.bytes_peak, d->stats.bytes_now);
    *out = b;
    return HX_OK;
}

static void null_buf_free(hx_buf *b)
{
    b->dev->stats.bytes_now -= b->bytes;
    free(b);
}

static hx_result null_buf_write(hx_buf *b, int64_t offset, const void *src, int64_t bytes)
{
    (void)b, (void)offset, (void)src, (void)bytes;
    return HX_OK;
}

static hx_result null_buf_read(hx_buf *b, int64_t offset, void *dst, int64_t bytes)
{
    (void)b, (void)offset;
    memset(dst, 0, (size_t)bytes);
    return HX_OK;
}

static hx_result null_prog_new(hx_dev *d, bool profile, const char *name, hx_prog **out)
{
    null_prog *p = calloc(1, sizeof *p);
    if (!p)
        return hx_fail(HX_E_NOMEM, "program %s: no memory for its record [E-NOMEM]", name);
    *p = (null_prog){ .base = { .dev = d, .profile = profile }, .pieces = 1 };
    *out = &p->base;
    return HX_OK;
}

static hx_result null_prog_dispatch(hx_prog *p, const hx_kernel *k, const hx_binding *bind,
                                    const void *push, const uint32_t groups[3])
{
    (void)p, (void)k, (void)bind, (void)push, (void)groups;
    return HX_OK;
}

static hx_result null_prog_barrier(hx_prog *p)
{
    ((null_prog *)p)->barriers++;
    return HX_OK;
}

static hx_result null_prog_fill(hx_prog *p, hx_binding b, uint32_t word)
{
    (void)p, (void)b, (void)word;
    return HX_OK;
}

static hx_result null_prog_copy(hx_prog *p, hx_binding from, hx_binding to)
{
    (void)p, (void)from, (void)to;
    return HX_OK;
}

static hx_result null_prog_cut(hx_prog *p)
{
    ((null_prog *)p)->pieces++;
    return HX_OK;
}

static hx_result null_prog_end(hx_prog *p)
{
    (void)p;
    return HX_OK;
}

static void null_prog_free(hx_prog *p) { free(p); }

static hx_result null_prog_times(hx_prog *p, double *begin, double *ms, int cap, int *n)
{
    *n = p->n_dispatch < cap ? p->n_dispatch : cap;
    for (int i = 0; i < *n; i++) {
        ms[i] = 0;
        if (begin)
            begin[i] = 0;
    }
    return HX_OK;
}

static hx_result null_submit(hx_dev *d, hx_prog *const *progs, int n, bool by_piece,
                             uint64_t *ticket)
{
    d->stats.submits += !by_piece;
    for (int i = 0; i < n; i++) {
        const null_prog *p = (const null_prog *)progs[i];
        d->stats.submits += by_piece ? p->pieces : 0;
        d->stats.dispatches += p->base.n_dispatch;
        d->stats.barriers += p->barriers;
    }
    *ticket = ++((null_dev *)d)->ticket;
    return HX_OK;
}

static hx_result null_wait(hx_dev *d, uint64_t ticket, int64_t timeout_ms)
{
    (void)d, (void)ticket, (void)timeout_ms;
    return HX_OK;
}

static const hx_dev_fns null_fns = {
    null_close,     null_buf_new,    null_buf_free,      null_buf_write,
    null_buf_read,  null_prog_new,   null_prog_dispatch, null_prog_barrier,
    null_prog_fill, null_prog_copy,  null_prog_cut,      null_prog_end,
    null_prog_free, null_prog_times, null_submit,        null_wait,
};

// What a GPU with matrix units has: opened for 16 bits, plans are those of such a device.
static void add_units(hx_dev_caps *c)
{
    c->has = HX_CAP_SUBGROUP | HX_CAP_SHARED48 | HX_CAP_STORE16 | HX_CAP_FP16 | HX_CAP_COOPMAT |
        HX_CAP_COOPMAT_BF | HX_CAP_FACTORS | HX_CAP_GPU;
    c->shared_bytes = 49152;
    c->subgroup_min = c->subgroup_max = 32;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 3; k++)
            c->matrix[i][k] = 16;
        c->asked_places[i] = true;
        c->places[i][3] = 1;
    }
}

hx_result hx_null_open(const hx_dev_params *p, hx_dev **out)
{
    null_dev *d = calloc(1, sizeof *d);
    if (!d)
        return hx_fail(HX_E_NOMEM, "no memory for the null device [E-NOMEM]");
    d->base.fn = &null_fns;
    d->base.caps = null_caps;
    if (p->precision == HX_BF16 || p->precision == HX_FP16)
        add_units(&d->base.caps);
    *out = &d->base;
    return HX_OK;
}
