// host.c - the machine's own processors as a device: a program is a list of host functions that
// run one after another at submit, each over the device's pool of threads.
#include "../dev.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { ALIGN = 64, HUGE = 1 << 21 };       // bytes

typedef struct host_dev { hx_dev base; hx_pool *pool; uint64_t ticket; } host_dev;
typedef struct host_buf { hx_buf base; char *data; void *block; } host_buf;

typedef enum { DISPATCH, FILL, COPY } step_kind;
typedef struct step {
    step_kind  kind;
    hx_kernel  kernel;
    hx_binding bind[HX_MAX_BINDINGS];      // fill: to; copy: from, to
    uint32_t   push[HX_MAX_PUSH / 4], word;
    double     begin, ms;                  // of the last run, if profiled
} step;
typedef struct host_prog {
    hx_prog base;
    step   *steps;
    int     n, size;
    int64_t barriers, pieces;
    bool    ran;
} host_prog;

// ---- buffers ------------------------------------------------------------------------------
// First number in a small text file; -1 if there is none.
static int64_t number_in(const char *path)
{
    long long n = -1;
    FILE *f = fopen(path, "r");
    if (f && fscanf(f, "%lld", &n) != 1)
        n = -1;
    if (f)
        fclose(f);
    return n;
}

// Memory of the machine, or of the container that this process is confined to.
static int64_t physical_bytes(void)
{
    int64_t all = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
    int64_t limit = number_in("/sys/fs/cgroup/memory.max");
    return limit > 0 ? hx_min(all, limit) : all;
}

// What the system can still give without swapping; what is physically there if it does not say.
static int64_t available_bytes(void)
{
    int64_t kib = -1, physical = physical_bytes();
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && kib < 0 && fgets(line, sizeof line, f))
        if (!strncmp(line, "MemAvailable:", 13))
            kib = atoll(line + 13);
    if (f)
        fclose(f);
    int64_t used = number_in("/sys/fs/cgroup/memory.current");
    int64_t left = used > 0 ? hx_max(physical - used, 0) : physical;
    return kib < 0 ? left : hx_min(left, kib * 1024);
}

static hx_result out_of_memory(const char *name, int64_t bytes)
{
    long long available = (long long)available_bytes();
    return hx_fail(HX_E_NOMEM,
                   "buffer %s: %lld bytes needed, %lld are free of %lld; at most %lld would fit: "
                   "a smaller batch, sequence or model is needed [E-NOMEM]",
                   name, (long long)bytes, available, (long long)physical_bytes(), available);
}

// Asks for pages of 2 MiB where a buffer has several: rows of a long sequence lie on more small
// pages than a processor can keep track of. A kernel that has none does nothing.
static void use_huge_pages(char *data, int64_t bytes)
{
#ifdef MADV_HUGEPAGE
    uintptr_t lo = ((uintptr_t)data + HUGE - 1) & ~(uintptr_t)(HUGE - 1);
    uintptr_t hi = ((uintptr_t)data + (uintptr_t)bytes) & ~(uintptr_t)(HUGE - 1);
    if (hi > lo)
        (void)madvise((void *)lo, hi - lo, MADV_HUGEPAGE);
#else
    (void)data, (void)bytes;
#endif
}

static hx_result host_buf_new(hx_dev *d, int64_t bytes, hx_buf_kind kind, const char *name,
                              hx_buf **out)
{
    int64_t padded, total;
    if (!hx_sum(bytes, ALIGN, &padded) || !hx_sum(padded, d->stats.bytes_now, &total) ||
        total > physical_bytes())
        return out_of_memory(name, bytes);
    host_buf *b = calloc(1, sizeof *b);
    void *block = b ? calloc(1, (size_t)padded) : NULL;
    if (!block) {
        free(b);
        return out_of_memory(name, bytes);
    }
    char *data = (char *)(((uintptr_t)block + ALIGN - 1) & ~(uintptr_t)(ALIGN - 1));
    use_huge_pages(data, bytes);
    *b = (host_buf){ { d, bytes, kind }, data, block };
    d->stats.bytes_now += bytes;
    d->stats.bytes_peak = hx_max(d->stats.bytes_peak, d->stats.bytes_now);
    *out = &b->base;
    return HX_OK;
}

static void host_buf_free(hx_buf *buf)
{
    host_buf *b = (host_buf *)buf;
    buf->dev->stats.bytes_now -= buf->bytes;
    free(b->block);
    free(b);
}

static hx_result host_buf_write(hx_buf *b, int64_t offset, const void *src, int64_t bytes)
{
    memcpy(((host_buf *)b)->data + offset, src, (size_t)bytes);
    return HX_OK;
}

static hx_result host_buf_read(hx_buf *b, int64_t offset, void *dst, int64_t bytes)
{
    memcpy(dst, ((host_buf *)b)->data + offset, (size_t)bytes);
    return HX_OK;
}

static void *bound(const hx_binding *b) { return ((host_buf *)b->buf)->data + b->offset; }

// ---- programs -----------------------------------------------------------------------------
static hx_result host_prog_new(hx_dev *d, bool profile, const char *name, hx_prog **out)
{
    host_prog *p = calloc(1, sizeof *p);
    if (!p)
        return hx_fail(HX_E_NOMEM, "program %s: no memory for its record [E-NOMEM]", name);
    *p = (host_prog){ .base = { .dev = d, .profile = profile }, .pieces = 1 };
    *out = &p->base;
    return HX_OK;
}

static hx_result new_step(hx_prog *prog, step_kind kind, step **out)
{
    host_prog *p = (host_prog *)prog;
    if (p->n == p->size) {
        int size = p->size ? p->size * 2 : 32;
        step *more = realloc(p->steps, sizeof *more * (size_t)size);
        if (!more)
            return hx_fail(HX_E_NOMEM, "no memory for %d steps of a program [E-NOMEM]", size);
        p->steps = more;
        p->size = size;
    }
    *out = &p->steps[p->n++];
    **out = (step){ .kind = kind };
    return HX_OK;
}

static hx_result host_prog_dispatch(hx_prog *p, const hx_kernel *k, const hx_binding *bind,
                                    const void *push, const uint32_t groups[3])
{
    (void)groups;
    if (!k->host)
        return hx_fail(HX_E_NODEVICE,
                       "%s: this kernel has no host function; it needs a Vulkan device [E-NOHOST]",
                       k->name);
    step *s = NULL;                       // set by new_step
    HX_TRY(new_step(p, DISPATCH, &s));
    s->kernel = *k;
    for (int i = 0; i < k->n_bindings; i++)
        s->bind[i] = bind[i];
    if (k->push_bytes)
        memcpy(s->push, push, (size_t)k->push_bytes);
    return HX_OK;
}

// steps run in order, one at a time: a barrier has nothing to wait for
static hx_result host_prog_barrier(hx_prog *p)
{
    ((host_prog *)p)->barriers++;
    return HX_OK;
}

static hx_result host_prog_fill(hx_prog *p, hx_binding b, uint32_t word)
{
    step *s = NULL;                       // set by new_step
    HX_TRY(new_step(p, FILL, &s));
    s->bind[0] = b;
    s->word = word;
    return HX_OK;
}

static hx_result host_prog_copy(hx_prog *p, hx_binding from, hx_binding to)
{
    step *s = NULL;                       // set by new_step
    HX_TRY(new_step(p, COPY, &s));
    s->bind[0] = from;
    s->bind[1] = to;
    return HX_OK;
}

static hx_result host_prog_cut(hx_prog *p)
{
    ((host_prog *)p)->pieces++;
    return HX_OK;
}

static hx_result host_prog_end(hx_prog *p)
{
    (void)p;
    return HX_OK;
}

static void host_prog_free(hx_prog *p)
{
    free(((host_prog *)p)->steps);
    free(p);
}

static hx_result host_prog_times(hx_prog *prog, double *begin, double *ms, int cap, int *n)
{
    const host_prog *p = (const host_prog *)prog;
    if (!p->ran)
        return hx_fail(HX_E_USAGE, "times: the program has not run yet [E-PROFILE]");
    for (int i = 0; i < p->n && *n < cap; i++)
        if (p->steps[i].kind == DISPATCH) {
            if (begin)
                begin[*n] = p->steps[i].begin;
            ms[(*n)++] = p->steps[i].ms;
        }
    return HX_OK;
}

// ---- running ------------------------------------------------------------------------------
static void run_dispatch(const host_dev *h, const step *s)
{
    hx_host_args a = { .push = s->push, .user = s->kernel.user, .pool = h->pool };
    for (int i = 0; i < s->kernel.n_bindings; i++)
        a.buf[i] = bound(&s->bind[i]);
    s->kernel.host(&a);
}

static void run_step(const host_dev *h, const step *s)
{
    if (s->kind == DISPATCH) {
        run_dispatch(h, s);
    } else if (s->kind == COPY) {
        memcpy(bound(&s->bind[1]), bound(&s->bind[0]), (size_t)s->bind[0].bytes);
    } else {
        uint32_t *w = bound(&s->bind[0]);
        for (int64_t i = 0; i < s->bind[0].bytes / 4; i++)
            w[i] = s->word;
    }
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void run_prog(const host_dev *h, host_prog *p)
{
    for (int i = 0; i < p->n; i++) {
        double start = p->base.profile ? now_ms() : 0;
        run_step(h, &p->steps[i]);
        if (p->base.profile)
            p->steps[i].begin = start, p->steps[i].ms = now_ms() - start;
    }
    p->ran = true;
}

static hx_result host_submit(hx_dev *d, hx_prog *const *progs, int n, bool by_piece,
                             uint64_t *ticket)
{
    host_dev *h = (host_dev *)d;
    d->stats.submits += !by_piece;
    for (int i = 0; i < n; i++) {
        host_prog *p = (host_prog *)progs[i];
        run_prog(h, p);
        d->stats.submits += by_piece ? p->pieces : 0;
        d->stats.dispatches += p->base.n_dispatch;
        d->stats.barriers += p->barriers;
    }
    *ticket = ++h->ticket;
    return HX_OK;
}

static hx_result host_wait(hx_dev *d, uint64_t ticket, int64_t timeout_ms)
{
    (void)d, (void)ticket, (void)timeout_ms;
    return HX_OK;
}

// ---- opening ------------------------------------------------------------------------------
static void host_close(hx_dev *d)
{
    hx_pool_free(&((host_dev *)d)->pool);
    free(d);
}

static const hx_dev_fns host_fns = {
    host_close,     host_buf_new,    host_buf_free,      host_buf_write,
    host_buf_read,  host_prog_new,   host_prog_dispatch, host_prog_barrier,
    host_prog_fill, host_prog_copy,  host_prog_cut,      host_prog_end,
    host_prog_free, host_prog_times, host_submit,        host_wait,
};

// The processor's name as Linux knows it on x86; "host" elsewhere.
static void processor_name(char *name, size_t size)
{
    char line[256];
    snprintf(name, size, "host");
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon || strlen(colon) < 4)
            continue;
        snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f)
        fclose(f);
}

hx_result hx_host_open(const hx_dev_params *p, hx_dev **out)
{
    host_dev *h = calloc(1, sizeof *h);
    if (!h || !(h->pool = hx_pool_new(p->threads))) {
        free(h);
        return hx_fail(HX_E_NOMEM, "no memory for the host device [E-NOMEM]");
    }
    // limits of the floor, so that what runs here runs on every device
    h->base = (hx_dev){ .fn = &host_fns,
                        .caps = { .kind = "host",
                                  .type = HX_DEV_CPU,
                                  .tier = -1,
                                  .max_range = INT64_MAX / 4,
                                  .max_buffer = INT64_MAX,
                                  .offset_align = ALIGN,
                                  .memory_bytes = physical_bytes(),
                                  .max_groups = { 65535, 65535, 65535 },
                                  .max_invocations = 256,
                                  .shared_bytes = 32768,
                                  .push_bytes = HX_MAX_PUSH,
                                  .subgroup_min = 1,
                                  .subgroup_max = 1,
                                  .timestamp_ns = 1 } };
    processor_name(h->base.caps.name, sizeof h->base.caps.name);
    snprintf(h->base.caps.driver, sizeof h->base.caps.driver, "C, %d threads",
             hx_pool_threads(h->pool));
    *out = &h->base;
    return HX_OK;
}
