// events.c - the few messages of TensorBoard's protocol that curves and texts need, by hand.
//
// A record is its length (u64), a masked CRC of the length, the bytes, a masked CRC of the bytes.
// The bytes are an Event: wall_time 1, step 2, file_version 3, summary 5, session_log 7.
#include "events.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../runtime/file.h"

uint32_t hx_crc32c(const void *data, int64_t n)
{
    const uint8_t *p = data;
    uint32_t c = ~0u;
    for (int64_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0);
    }
    return ~c;
}

// ---- messages -----------------------------------------------------------------------------

enum { TEXT_MAX = 1 << 16 };
typedef struct message { uint8_t v[TEXT_MAX + 512]; int64_t n; } message;

// Room for messages is part of it, so that a long run needs no more.
struct hx_events {
    hx_arena   *arena;
    const char *path;
    message     event, summary, value, tensor, record;
};

static void put_bytes(message *m, const void *data, int64_t n)
{
    memcpy(m->v + m->n, data, (size_t)n);
    m->n += n;
}

static void put_varint(message *m, uint64_t v)
{
    for (; v > 127; v >>= 7)
        m->v[m->n++] = (uint8_t)(v | 128);
    m->v[m->n++] = (uint8_t)v;
}

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };     // wire types
static void put_key(message *m, int field, int wire)
{
    put_varint(m, (uint64_t)(field << 3 | wire));
}

static void put_field(message *m, int field, const void *data, int64_t n)
{
    put_key(m, field, BYTES);
    put_varint(m, (uint64_t)n);
    put_bytes(m, data, n);
}

static void put_number(message *m, int field, uint64_t v)
{
    put_key(m, field, VARINT);
    put_varint(m, v);
}

static void put_event(message *m, int64_t step)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    double wall = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    m->n = 0;
    put_key(m, 1, FIXED64);
    put_bytes(m, &wall, 8);
    if (step > 0)
        put_number(m, 2, (uint64_t)step);
}

static uint32_t masked(uint32_t c) { return (c >> 15 | c << 17) + 0xa282ead8u; }

// ints, floats and doubles above and here are little-endian, as on every machine that this runs on
static hx_result append(hx_events *e)
{
    message *m = &e->event, *all = &e->record;
    uint64_t n = (uint64_t)m->n;
    uint32_t of_length = masked(hx_crc32c(&n, 8)), of_data = masked(hx_crc32c(m->v, m->n));
    all->n = 0;
    put_bytes(all, &n, 8);
    put_bytes(all, &of_length, 4);
    put_bytes(all, m->v, m->n);
    put_bytes(all, &of_data, 4);
    return hx_file_append(e->path, all->v, all->n);
}

// Event 5 is a Summary; its value 1 has a tag and what e->value holds already.
static hx_result put_summary(hx_events *e, int64_t step, const char *tag)
{
    message *one = &e->tensor, *sum = &e->summary;
    one->n = sum->n = 0;
    put_field(one, 1, tag, (int64_t)strlen(tag));
    put_bytes(one, e->value.v, e->value.n);
    put_field(sum, 1, one->v, one->n);
    put_event(&e->event, step);
    put_field(&e->event, 5, sum->v, sum->n);
    return append(e);
}

hx_result hx_events_number(hx_events *e, int64_t step, const char *tag, double value)
{
    float v = (float)value;
    e->value.n = 0;
    put_key(&e->value, 2, FIXED32);        // simple_value
    put_bytes(&e->value, &v, 4);
    return put_summary(e, step, tag);
}

hx_result hx_events_text(hx_events *e, int64_t step, const char *tag, const void *text, int64_t n)
{
    enum { DT_STRING = 7 };
    message *tensor = &e->tensor, *value = &e->value;
    tensor->n = value->n = 0;
    put_number(tensor, 1, DT_STRING);
    put_field(tensor, 8, text, hx_min(n, TEXT_MAX));
    // metadata { plugin_data { plugin_name: "text" } }
    put_field(value, 9, "\x0a\x06\x0a\x04text", 8);
    put_field(value, 8, tensor->v, tensor->n);
    return put_summary(e, step, tag);
}

// ---- files --------------------------------------------------------------------------------

static hx_result begin(hx_events *e, int64_t step)
{
    put_event(&e->event, 0);
    put_field(&e->event, 3, "brain.Event:2", 13);
    HX_TRY(append(e));
    if (step <= 0)
        return HX_OK;
    put_event(&e->event, step);
    put_field(&e->event, 7, "\x08\x01", 2);    // session_log { status: START }
    return append(e);
}

hx_result hx_events_open(const char *dir, int64_t step, hx_events **out)
{
    *out = NULL;
    HX_TRY(hx_dir_make_all(dir, 0777));
    hx_arena *a = hx_arena_new();
    hx_events *e = a ? hx_new(a, hx_events, 1) : NULL;
    if (!e) {
        hx_arena_free(&a);
        return HX_E_NOMEM;
    }
    char host[80] = "";
    gethostname(host, sizeof host - 1);
    e->arena = a;
    // two within a second differ by their number
    for (int i = 0; !e->path || hx_file_exists(e->path); i++)
        if (!(e->path = hx_sprintf(a, "%s/events.out.tfevents.%lld.%s.%d.%d", dir,
                                   (long long)time(NULL), host, (int)getpid(), i)))
            break;
    hx_result r = e->path ? begin(e, step) : HX_E_NOMEM;
    if (r)
        hx_events_close(&e);
    *out = e;
    return r;
}

void hx_events_close(hx_events **e)
{
    if (!*e)
        return;
    hx_arena *a = (*e)->arena;
    hx_arena_free(&a);
    *e = NULL;
}
