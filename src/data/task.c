// task.c - options, random numbers and sets of the generated tasks.
#include "task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <Random123/philox.h>

#define X(name) &hx_task_##name,
const hx_task *const hx_tasks[] = { HX_TASKS(X) };
#undef X
const int hx_n_tasks = HX_COUNT(hx_tasks);

const hx_task *hx_task_find(const char *name)
{
    for (int i = 0; i < hx_n_tasks; i++)
        if (!strcmp(hx_tasks[i]->name, name))
            return hx_tasks[i];
    return NULL;
}

// ---- options ------------------------------------------------------------------------------
static hx_result resolve(const hx_task *t, const char *name, int64_t def, int64_t hi, bool known,
                         int64_t *v)
{
    if (*v && !known)
        return hx_fail(HX_E_USAGE, "task %s has no --%s [E-USAGE]", t->name, name);
    *v = *v ? *v : def;
    if (*v >= 0 && *v <= hi)
        return HX_OK;
    return hx_fail(HX_E_USAGE, "task %s: --%s %lld: it is from 1 to %lld [E-USAGE]", t->name, name,
                   (long long)*v, (long long)hi);
}

hx_result hx_task_resolve(const hx_task *t, hx_task_conf *k)
{
    const hx_task_conf *d = &t->def;
    int64_t most = (int64_t)1 << 40;
    HX_TRY(resolve(t, "length", d->length, most, true, &k->length));
    HX_TRY(resolve(t, "distance", 0, most, d->distance != 0, &k->distance));
    HX_TRY(resolve(t, "pairs", d->pairs, t->max_pairs, d->pairs != 0, &k->pairs));
    HX_TRY(resolve(t, "keys", d->keys, 26, d->keys != 0, &k->keys));
    if (k->keys && k->keys < k->pairs)
        return hx_fail(HX_E_USAGE, "task %s: --keys %lld are fewer than --pairs %lld [E-USAGE]", t->name,
                       (long long)k->keys, (long long)k->pairs);
    HX_TRY(resolve(t, "symbols", d->symbols, t->max_symbols, d->symbols != 0, &k->symbols));
    HX_TRY(
        resolve(t, "answer", d->answer > 0 ? d->answer : 0, most / 8, d->answer != 0, &k->answer));
    HX_TRY(resolve(t, "classes", 0, 1, d->classes != 0, &k->classes));
    int64_t need = t->least(k) - 1;
    if (k->length >= need)
        return HX_OK;
    return hx_fail(HX_E_USAGE,
                   "task %s: --length %lld is too short, these options need %lld [E-USAGE]",
                   t->name, (long long)k->length, (long long)need);
}

// ---- documents ----------------------------------------------------------------------------
int64_t hx_draw(hx_doc *d, int64_t n)
{
    philox4x32_ctr_t c = { { (uint32_t)d->drawn, (uint32_t)(d->drawn >> 32), (uint32_t)d->key,
                             (uint32_t)(d->key >> 32) } };
    philox4x32_key_t k = { { (uint32_t)d->seed, (uint32_t)(d->seed >> 32) } };
    philox4x32_ctr_t r = philox4x32(c, k);
    d->drawn++;
    return (int64_t)(((uint64_t)r.v[1] << 32 | r.v[0]) % (uint64_t)n);
}

void hx_doc_put(hx_doc *d, const char *s, int64_t n, bool answer)
{
    memcpy(d->text + d->at, s, (size_t)n);
    memset(d->mask + d->at, answer, (size_t)n);
    d->at += n;
}

void hx_task_document(const hx_task *t, const hx_task_conf *k, uint64_t seed, uint32_t part,
                      int64_t index, uint8_t *text, uint8_t *mask)
{
    hx_doc d = { .k = k, .text = text, .mask = mask, .n = k->length + 1, .seed = seed,
                 .key = (uint64_t)part << 48 | (uint64_t)index };
    t->make(&d);
}

// Tokens 0 .. cross-1 of a document, then those of its neighbour; spare has room for a document.
static void crossed(const hx_task *t, const hx_task_conf *k, uint64_t seed, uint32_t part,
                    int64_t index, uint8_t *text, uint8_t *mask, uint8_t *spare)
{
    hx_task_document(t, k, seed, part, index, spare, mask);
    hx_task_document(t, k, seed, part, index ^ 1, text, mask);
    memcpy(text, spare, (size_t)hx_min(k->cross, k->length));
}

static char *made_by(const hx_task *t, const hx_task_conf *k, uint64_t seed, uint32_t part)
{
    char *s = malloc(512);
    if (s)
        snprintf(s, 512,
                 "{\"task\": \"%s\", \"length\": %lld, \"distance\": %lld, \"pairs\": %lld, "
                 "\"keys\": %lld, \"symbols\": %lld, \"answer\": %lld, \"cross\": %lld, \"classes\": %lld, "
                 "\"seed\": %llu, \"part\": %u}",
                 t->name, (long long)k->length, (long long)k->distance, (long long)k->pairs,
                 (long long)k->keys, (long long)k->symbols, (long long)k->answer, (long long)k->cross,
                 (long long)k->classes, (unsigned long long)seed, part);
    return s;
}

typedef struct room { uint8_t *text, *mask, *spare; int32_t *ids; char *made; } room;

static hx_result write_documents(const hx_task *t, const hx_task_conf *k, uint64_t seed,
                                 uint32_t part, int64_t count, const room *m, hx_set *s)
{
    int64_t n = k->length + 1;
    for (int64_t i = 0; i < count; i++) {
        if (k->cross)
            crossed(t, k, seed, part, i, m->text, m->mask, m->spare);
        else
            hx_task_document(t, k, seed, part, i, m->text, m->mask);
        for (int64_t j = 0; j < n; j++)
            m->ids[j] = m->text[j];
        HX_TRY(hx_set_put(s, m->ids, m->mask, n, n));
    }
    return HX_OK;
}

hx_result hx_task_write(const hx_task *t, const hx_task_conf *k, uint64_t seed, uint32_t part,
                        int64_t count, const char *dir)
{
    size_t n = (size_t)k->length + 1;
    room m = { malloc(n), malloc(n), malloc(n), malloc(4 * n), made_by(t, k, seed, part) };
    hx_set *s = NULL;
    hx_set_facts f = {
        .num_tokens = 128, .document_tokens = (int64_t)n, .masked = true, .made = m.made};
    hx_result r =
        m.text && m.mask && m.spare && m.ids && m.made
            ? hx_set_begin(dir, &f, 0, &s)
            : hx_fail(HX_E_NOMEM, "no memory for documents of %lld tokens [E-NOMEM]", (long long)n);
    if (!r)
        r = write_documents(t, k, seed, part, count, &m, s);
    if (!r)
        r = hx_set_end(&s);
    hx_set_drop(&s);
    free(m.text);
    free(m.mask);
    free(m.spare);
    free(m.ids);
    free(m.made);
    return r;
}
