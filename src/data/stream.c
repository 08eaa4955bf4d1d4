// stream.c - cutting a span into documents and pieces; where a row is at a step.
#include "stream.h"

#include <Random123/philox.h>
#include <string.h>
#include <xxhash.h>

enum { FIRST_ROOM = 64 };

typedef struct cutter { hx_stream *s; int64_t cap; } cutter;

// Appends the document of tokens [from, to): what has no prediction is left out.
static hx_result add(cutter *c, int64_t from, int64_t to)
{
    hx_stream *s = c->s;
    if (to - from < 2)
        return HX_OK;
    if (s->n == c->cap) {
        int64_t cap = c->cap ? 2 * c->cap : FIRST_ROOM;
        int64_t **list[] = { &s->at, &s->size, &s->first };
        for (int i = 0; i < HX_COUNT(list); i++) {
            int64_t *v = hx_new(s->arena, int64_t, cap + 1);
            if (!v)
                return hx_fail(HX_E_NOMEM, "no memory for %lld documents [E-NOMEM]", (long long)cap);
            if (s->n)
                memcpy(v, *list[i], sizeof *v * (size_t)(s->n + 1));
            *list[i] = v;
        }
        c->cap = cap;
    }
    s->at[s->n] = from;
    s->size[s->n] = to - from;
    s->first[s->n + 1] = s->first[s->n] + hx_ceil_div(to - from - 1, s->seq_len);
    s->n++;
    return HX_OK;
}

// Documents between the given first tokens, as far as they lie in the span.
static hx_result cut_at(cutter *c, hx_span span, const int64_t *doc, int64_t n)
{
    int64_t end = span.at + span.n;
    for (int64_t i = 0; i < n; i++) {
        int64_t from = hx_max(doc[i], span.at), to = i + 1 < n ? hx_min(doc[i + 1], end) : end;
        HX_TRY(add(c, from, to));
    }
    return HX_OK;
}

static hx_result cut_evenly(cutter *c, hx_span span)
{
    for (int64_t at = 0; at + span.doc <= span.n; at += span.doc)
        HX_TRY(add(c, span.at + at, span.at + at + span.doc));
    return HX_OK;
}

static hx_result cut_by_files(cutter *c, const hx_text *t, hx_span span)
{
    int64_t end = span.at + span.n;
    for (int i = 0; i < t->n_part; i++) {
        int64_t to = i + 1 < t->n_part ? hx_min(t->part[i + 1].at, end) : end;
        HX_TRY(add(c, hx_max(t->part[i].at, span.at), to));
    }
    return HX_OK;
}

// A file's end is a document's end, too.
static hx_result cut_by_text(cutter *c, const hx_text *t, hx_span span, const char *separator)
{
    int64_t n = (int64_t)strlen(separator), from = span.at, end = span.at + span.n;
    for (int i = 0; i < t->n_part; i++) {
        int64_t stop = i + 1 < t->n_part ? hx_min(t->part[i + 1].at, end) : end;
        from = hx_max(t->part[i].at, span.at);
        while (from < stop) {
            const uint8_t *hit = memmem(t->data + from, (size_t)(stop - from), separator, (size_t)n);
            int64_t to = hit ? hit - t->data + n : stop;
            HX_TRY(add(c, from, to));
            from = to;
        }
    }
    return HX_OK;
}

static hx_result cut(cutter *c, const hx_text *t, hx_span span, const char *separator)
{
    bool words = *separator;
    if (words && (t->tokenizer || t->width != 1 || t->doc || span.doc))
        return hx_fail(HX_E_INPUT, "data.separator: a prepared set has documents of its own; leave it "
                       "empty [E-STREAM]");
    if (span.doc)
        return cut_evenly(c, span);
    if (t->doc)
        return cut_at(c, span, t->doc, t->n_doc);
    return words ? cut_by_text(c, t, span, separator) : cut_by_files(c, t, span);
}

hx_result hx_stream_new(const hx_text *t, hx_span span, const char *separator, int64_t seq_len,
                        int64_t rows, uint64_t seed, hx_stream **out)
{
    *out = NULL;
    hx_arena *arena = hx_arena_new();
    hx_stream *s = arena ? hx_new(arena, hx_stream, 1) : NULL;
    if (!s) {
        hx_arena_free(&arena);
        return HX_E_NOMEM;
    }
    *s = (hx_stream){ .arena = arena, .text = t, .seq_len = seq_len, .rows = rows };
    cutter c = { .s = s };
    hx_result r = cut(&c, t, span, separator);
    if (!r && !s->n)
        r = hx_fail(HX_E_INPUT, "no document has two tokens, the least that can be trained on "
                    "[E-STREAM]");
    if (r) {
        hx_stream_free(&s);
        return r;
    }
    philox4x32_ctr_t at = {{ 0, 0, 0x73747265, 0 }};
    philox4x32_key_t k = {{ (uint32_t)seed, (uint32_t)(seed >> 32) }};
    s->start = seed ? (int64_t)(philox4x32(at, k).v[0] % (uint64_t)hx_stream_pieces(s)) : 0;
    *out = s;
    return HX_OK;
}

void hx_stream_free(hx_stream **s)
{
    hx_arena *a = *s ? (*s)->arena : NULL;
    hx_arena_free(&a);
    *s = NULL;
}

int64_t hx_stream_pieces(const hx_stream *s) { return s->first[s->n]; }

int64_t hx_stream_mark(const hx_stream *s)
{
    int64_t head[] = { s->seq_len, s->rows, s->start, s->n };
    uint64_t h = XXH3_64bits(head, sizeof head);
    h = XXH3_64bits_withSeed(s->size, sizeof *s->size * (size_t)s->n, h);
    return (int64_t)hx_max(h >> 11, 1);
}

// row * all / rows without overflow
static int64_t first_of(const hx_stream *s, int64_t row)
{
    int64_t all = hx_stream_pieces(s);
    return row * (all / s->rows) + row * (all % s->rows) / s->rows;
}

int64_t hx_stream_share(const hx_stream *s, int64_t row) { return first_of(s, row + 1) - first_of(s, row); }

hx_piece hx_stream_piece(const hx_stream *s, int64_t row, int64_t step, int64_t from)
{
    int64_t all = hx_stream_pieces(s);
    int64_t i = (s->start + first_of(s, row) + step) % all, lo = 0, hi = s->n;
    while (hi - lo > 1) {
        int64_t mid = (lo + hi) / 2;
        *(s->first[mid] <= i ? &lo : &hi) = mid;
    }
    int64_t before = i - s->first[lo], skip = before * s->seq_len;
    return (hx_piece){ s->at[lo] + skip, hx_min(s->seq_len, s->size[lo] - 1 - skip),
                       hx_min(before, step - from) * s->seq_len };
}

void hx_stream_fill(const hx_stream *s, hx_piece p, int32_t ignore, int32_t *ids, int32_t *labels)
{
    hx_window_ids(s->text, p.at, p.n, ids);
    hx_window_labels(s->text, p.at, p.n, ignore, labels);
    for (int64_t i = p.n + 1; i <= s->seq_len; i++) {
        ids[i] = 0;
        labels[i] = ignore;
    }
}
