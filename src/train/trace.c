#include "trace.h"

#include <math.h>
#include <stdlib.h>

#include "../../runtime/file.h"
#include "../core/conf.h"

// One thing that was done, on the host's or the device's clock, in ms.
typedef struct span { const char *name, *shape; double begin, ms; bool device; } span;

struct hx_trace {
    hx_arena   *arena;
    const char *path, *device;
    span       *span;
    int64_t     n, cap, steps;
    double      ahead;                     // at least, of the device's clock before the host's
    double      step_end;                  // of the step being added, on the device's clock
    bool        failed;
};

hx_result hx_trace_new(const char *path, const char *device, hx_trace **out)
{
    hx_arena *a = hx_arena_new();
    hx_trace *t = a ? hx_new(a, hx_trace, 1) : NULL;
    *out = t;
    if (!t) {
        hx_arena_free(&a);
        return HX_E_NOMEM;
    }
    *t = (hx_trace){ .arena = a, .path = hx_strdup(a, path), .device = hx_strdup(a, device),
                     .ahead = -INFINITY };
    return t->path && t->device ? HX_OK : HX_E_NOMEM;
}

static void add(hx_trace *t, span s)
{
    if (t->n == t->cap) {
        int64_t cap = t->cap ? 2 * t->cap : 1024;
        span *more = realloc(t->span, (size_t)cap * sizeof *more);
        t->failed |= !more;
        if (!more)
            return;
        t->span = more;
        t->cap = cap;
    }
    t->span[t->n++] = s;
}

void hx_trace_span(hx_trace *t, const char *name, double begin, double end)
{
    if (t)
        add(t, (span){ .name = name, .begin = 1000 * begin, .ms = 1000 * (end - begin) });
}

static void add_dispatch(void *user, const hx_plan *p, const hx_step *s, double begin, double ms)
{
    hx_trace *t = user;
    const hx_node *n = &p->tape->node[s->node];
    hx_out shape = {0};
    for (int i = 0; n->sig && i < n->sig->n_dim; i++)
        hx_out_add(&shape, "%s%s=%lld", i ? " " : "", n->sig->dim[i], (long long)n->dim[i]);
    add(t, (span){ .name = s->row ? s->row->name : n->op->name, .begin = begin, .ms = ms,
                   .shape = shape.data ? hx_strdup(t->arena, shape.data) : "", .device = true });
    hx_out_free(&shape);
    t->step_end = fmax(t->step_end, begin + ms);
}

hx_result hx_trace_device(hx_trace *t, hx_engine *e, double end)
{
    t->step_end = -INFINITY;
    HX_TRY(hx_engine_profile(e, add_dispatch, t));
    t->ahead = fmax(t->ahead, t->step_end - 1000 * end);
    return HX_OK;
}

int64_t hx_trace_step(hx_trace *t) { return ++t->steps; }

static void put_name(hx_out *b, int process, const char *name)
{
    hx_out_add(b, "{\"ph\": \"M\", \"name\": \"process_name\", \"pid\": %d, \"args\": {\"name\": ",
               process);
    hx_out_json_text(b, name);
    hx_out_add(b, "}},\n");
}

static void put_spans(const hx_trace *t, hx_out *b)
{
    double first = INFINITY;
    for (int64_t i = 0; i < t->n; i++)
        first = fmin(first, t->span[i].begin - (t->span[i].device ? t->ahead : 0));
    for (int64_t i = 0; i < t->n; i++) {
        const span *s = &t->span[i];
        double at = s->begin - (s->device ? t->ahead : 0) - first;
        hx_out_add(b, "%s{\"ph\": \"X\", \"pid\": %d, \"tid\": 1, \"ts\": %.3f, \"dur\": %.3f, "
                   "\"name\": ", i ? ",\n" : "", s->device ? 2 : 1, 1000 * at, 1000 * s->ms);
        hx_out_json_text(b, s->name);
        if (s->shape)
            hx_out_add(b, ", \"args\": {\"shape\": \"%s\"}", s->shape);
        hx_out_add(b, "}");
    }
}

hx_result hx_trace_close(hx_trace **tp)
{
    hx_trace *t = *tp;
    if (!t)
        return HX_OK;
    hx_out b = {0};
    hx_out_add(&b, "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n");
    put_name(&b, 1, "host");
    put_name(&b, 2, t->device);
    put_spans(t, &b);
    hx_out_add(&b, "\n]}\n");
    hx_result r = b.failed || t->failed ? hx_fail(HX_E_NOMEM, "no memory for a trace [E-NOMEM]")
                                        : hx_file_write(t->path, b.data, b.size);
    hx_out_free(&b);
    free(t->span);
    hx_arena *a = t->arena;
    hx_arena_free(&a);
    *tp = NULL;
    return r;
}
