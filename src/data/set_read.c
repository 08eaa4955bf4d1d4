// set_read.c - prepared data into memory, with everything checked that a file could get wrong.
#include "set.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tokens lie in files lowest byte first");
enum { MAX_JSON = 64 << 20 };

// ---- manifest -----------------------------------------------------------------------------
static hx_result bad(const char *dir, const char *what)
{
    return hx_fail(HX_E_INPUT, "'%s/MANIFEST.json': %s [E-SET-MANIFEST]", dir, what);
}

// *out is NULL where there is none that can be read.
static hx_result load(hx_arena *a, const char *dir, json_t **out)
{
    const char *path = hx_path_join(a, dir, "MANIFEST.json");
    hx_blob b;
    *out = NULL;
    if (!path)
        return HX_E_NOMEM;
    if (!hx_file_exists(path))
        return HX_OK;
    HX_TRY(hx_file_read(path, MAX_JSON, HX_FILE_NOFOLLOW, &b));
    json_error_t e;
    *out = json_loadb((const char *)b.data, (size_t)b.size, JSON_REJECT_DUPLICATES, &e);
    hx_blob_free(&b);
    return HX_OK;
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

hx_result hx_set_is(const char *dir, bool *is)
{
    hx_arena *a = hx_arena_new();
    json_t *o = NULL;
    hx_result r = a ? load(a, dir, &o) : HX_E_NOMEM;
    *is = !strcmp(text_of(o, "format"), "htxvk-set");
    json_decref(o);
    hx_arena_free(&a);
    return r == HX_E_NOMEM ? r : HX_OK;
}

static hx_result number(const char *dir, const json_t *o, const char *key, int64_t lo, int64_t hi,
                        int64_t *out)
{
    const json_t *v = json_object_get(o, key);
    *out = json_integer_value(v);
    if (json_is_integer(v) && *out >= lo && *out <= hi)
        return HX_OK;
    return hx_fail(HX_E_INPUT,
                   "'%s/MANIFEST.json': %s must be an integer from %lld to %lld [E-SET-MANIFEST]",
                   dir, key, (long long)lo, (long long)hi);
}

static hx_result read_facts(hx_arena *a, const char *dir, const json_t *o, hx_set_facts *f)
{
    int64_t most = INT64_MAX / 8;
    if (strcmp(text_of(o, "format"), "htxvk-set"))
        return bad(dir, "it is not that of a prepared set");
    if (json_integer_value(json_object_get(o, "version")) != 1)
        return bad(dir, "it is not of version 1");
    HX_TRY(number(dir, o, "num_tokens", 1, INT32_MAX, &f->num_tokens));
    HX_TRY(number(dir, o, "tokens", 1, most, &f->tokens));
    HX_TRY(number(dir, o, "documents", 1, f->tokens, &f->documents));
    HX_TRY(number(dir, o, "document_tokens", 0, f->tokens, &f->document_tokens));
    HX_TRY(number(dir, o, "shards", 1, 100000, &f->shards));
    HX_TRY(number(dir, o, "source_bytes", 0, most, &f->source_bytes));
    const char *type = text_of(o, "dtype"), *tok = text_of(o, "tokenizer");
    f->width = !strcmp(type, "u8") ? 1 : !strcmp(type, "u16") ? 2 : !strcmp(type, "u32") ? 4 : 0;
    if (!f->width)
        return bad(dir, "dtype must be u8, u16 or u32");
    if (f->document_tokens &&
        (f->tokens % f->document_tokens || f->tokens / f->document_tokens != f->documents))
        return bad(dir, "tokens are not documents times document_tokens");
    const json_t *masked = json_object_get(o, "masked");
    if (!json_is_boolean(masked))
        return bad(dir, "masked must be true or false");
    f->masked = masked == json_true();
    if (strcmp(tok, "bytes") && strcmp(tok, "tokenizer.json"))
        return bad(dir, "tokenizer must be bytes or tokenizer.json");
    f->tokenizer = strcmp(tok, "bytes") ? hx_path_join(a, dir, "tokenizer.json") : NULL;
    char *made = json_dumps(json_object_get(o, "made"), JSON_COMPACT);
    f->made = hx_strdup(a, made ? made : "{}");
    free(made);
    bool none = !strcmp(tok, "bytes");
    return f->made && (f->tokenizer || none) ? HX_OK : HX_E_NOMEM;
}

static hx_result load_facts(hx_arena *a, const char *dir, hx_set_facts *f, json_t **o)
{
    *f = (hx_set_facts){ 0 };
    HX_TRY(load(a, dir, o));
    hx_result r = json_is_object(*o) ? read_facts(a, dir, *o, f)
                                     : bad(dir, "it is not there or not a JSON map");
    if (r) {
        json_decref(*o);
        *o = NULL;
    }
    return r;
}

hx_result hx_set_facts_read(hx_arena *arena, const char *dir, hx_set_facts *out)
{
    json_t *o;
    HX_TRY(load_facts(arena, dir, out, &o));
    json_decref(o);
    return HX_OK;
}

// ---- files --------------------------------------------------------------------------------
typedef struct source { hx_arena *a; const char *dir; json_t *o; hx_set_facts f; } source;

static hx_result row_of(const source *s, const char *name, int64_t *size, const char **hash)
{
    const json_t *row = json_object_get(json_object_get(s->o, "files"), name);
    *size = json_integer_value(json_object_get(row, "size"));
    *hash = json_string_value(json_object_get(row, "xxh3_128"));
    if (*hash && json_is_integer(json_object_get(row, "size")) && *size >= 0)
        return HX_OK;
    return hx_fail(HX_E_INPUT, "'%s/MANIFEST.json' has no row of %s [E-SET-MANIFEST]", s->dir,
                   name);
}

// A whole file to `out`, which has room for `room` bytes; *size tells how many it was.
static hx_result read_file(const source *s, const char *name, uint8_t *out, int64_t room,
                           int64_t *size)
{
    const char *want, *path = hx_path_join(s->a, s->dir, name);
    int fd;
    int64_t have;
    HX_TRY(row_of(s, name, size, &want));
    if (!path)
        return HX_E_NOMEM;
    if (*size > room)
        return hx_fail(HX_E_INPUT,
                       "'%s' has %lld bytes, the manifest's numbers leave %lld for it [E-SET-SIZE]",
                       path, (long long)*size, (long long)room);
    HX_TRY(hx_file_open(path, HX_FILE_NOFOLLOW, &fd, &have));
    hx_result r =
        have == *size
            ? hx_file_pread(fd, path, out, *size, 0)
            : hx_fail(HX_E_INPUT, "'%s' has %lld bytes, its manifest says %lld [E-SET-SIZE]", path,
                      (long long)have, (long long)*size);
    close(fd);
    if (r)
        return r;
    XXH128_hash_t h = XXH3_128bits(out, (size_t)*size);
    char hex[40];
    snprintf(hex, sizeof hex, "%016" PRIx64 "%016" PRIx64, h.high64, h.low64);
    return strcmp(hex, want)
               ? hx_fail(HX_E_INPUT, "'%s' is damaged: its hash is not the manifest's [E-SET-HASH]",
                         path)
               : HX_OK;
}

// Shards kind-00000.bin and so on, one after the other, `bytes` in all.
static hx_result read_shards(const source *s, const char *kind, uint8_t *out, int64_t bytes)
{
    int64_t at = 0, size;
    for (int64_t i = 0; i < s->f.shards; i++) {
        char name[40];
        snprintf(name, sizeof name, "%s-%05lld.bin", kind, (long long)i);
        HX_TRY(read_file(s, name, out + at, bytes - at, &size));
        at += size;
    }
    return at == bytes
               ? HX_OK
               : hx_fail(HX_E_INPUT,
                         "'%s': %s files have %lld bytes in all, %lld are needed [E-SET-SIZE]",
                         s->dir, kind, (long long)at, (long long)bytes);
}

// ---- into a text --------------------------------------------------------------------------
static hx_result check_ids(const source *s, const hx_text *t, int64_t from)
{
    for (int64_t i = from; i < t->size; i++) {
        int32_t id = hx_text_token(t, i);
        if (id < 0 || id >= s->f.num_tokens)
            return hx_fail(
                HX_E_INPUT,
                "'%s': token %lld is %u, its manifest says that ids end at %lld [E-SET-TOKEN]",
                s->dir, (long long)(i - from), (unsigned)id, (long long)s->f.num_tokens - 1);
        if (t->mask && t->mask[i] > 1)
            return hx_fail(HX_E_INPUT,
                           "'%s': the mask of token %lld is %d, not 0 or 1 [E-SET-TOKEN]", s->dir,
                           (long long)(i - from), t->mask[i]);
    }
    return HX_OK;
}

static hx_result read_documents(const source *s, hx_text *t, int64_t from)
{
    int64_t *d = t->doc + t->n_doc, n = s->f.documents, size;
    HX_TRY(read_file(s, "documents.bin", (uint8_t *)d, n * 8, &size));
    bool fits = size == n * 8 && d[0] == 0;
    for (int64_t i = 1; i < n && fits; i++)
        fits = d[i] > d[i - 1] && d[i] < s->f.tokens;
    if (!fits)
        return hx_fail(
            HX_E_INPUT,
            "'%s/documents.bin': first tokens must ascend from 0 to below %lld [E-SET-DOCUMENTS]",
            s->dir, (long long)s->f.tokens);
    for (int64_t i = 0; i < n; i++)
        d[i] += from;
    t->n_doc += n;
    return HX_OK;
}

static hx_result add_set(const source *s, hx_text *t)
{
    int64_t from = t->size, n = s->f.tokens;
    t->part[t->n_part++] = (hx_text_part){ s->dir, from };
    HX_TRY(read_shards(s, "tokens", t->data + from * t->width, n * t->width));
    if (t->mask)
        HX_TRY(read_shards(s, "mask", t->mask + from, n));
    if (!t->doc_tokens)
        HX_TRY(read_documents(s, t, from));
    t->size += n;
    t->source_bytes += s->f.source_bytes;
    return check_ids(s, t, from);
}

static const char *tokenizer_hash(const source *s)
{
    return text_of(json_object_get(json_object_get(s->o, "files"), "tokenizer.json"), "xxh3_128");
}

static hx_result check_alike(const source *a, const source *b)
{
    const char *what =
        a->f.masked != b->f.masked                     ? "one is masked"
        : a->f.width != b->f.width                     ? "their tokens have different widths"
        : a->f.document_tokens != b->f.document_tokens ? "their documents have different lengths"
        : strcmp(tokenizer_hash(a), tokenizer_hash(b)) ? "they have different tokenizers"
                                                       : NULL;
    return what ? hx_fail(HX_E_INPUT, "'%s' and '%s' cannot be one text: %s [E-SET-MIXED]", a->dir,
                          b->dir, what)
                : HX_OK;
}

// Room for all of them.
static hx_result make_room(const source *s, int n, int64_t limit, hx_text *t)
{
    int64_t tokens = 0, documents = 0, bytes = 0;
    for (int i = 0; i < n; i++) {
        // no set has more documents than tokens
        if (!hx_sum(tokens, s[i].f.tokens, &tokens))
            tokens = INT64_MAX;
        else
            documents += s[i].f.documents;
    }
    if (!hx_mul(tokens, t->width, &bytes) || bytes > limit)
        return hx_fail(HX_E_INPUT, "the text grows beyond %lld bytes in '%s' [E-TEXT-SIZE]",
                       (long long)limit, s[n - 1].dir);
    t->part = hx_new(t->arena, hx_text_part, n);
    t->data = malloc((size_t)bytes);
    t->mask = s->f.masked ? malloc((size_t)tokens) : NULL;
    t->doc = t->doc_tokens ? NULL : malloc((size_t)documents * 8);
    if (!t->part || !t->data || (s->f.masked && !t->mask) || (!t->doc_tokens && !t->doc))
        return hx_fail(HX_E_NOMEM, "no memory for %lld tokens of '%s' [E-NOMEM]", (long long)tokens,
                       s->dir);
    return HX_OK;
}

static hx_result read_all(source *s, const hx_strs *dirs, int64_t limit, hx_text *t)
{
    for (int i = 0; i < dirs->n; i++) {
        s[i] = (source){ .a = t->arena, .dir = hx_strdup(t->arena, dirs->v[i]) };
        if (!s[i].dir)
            return HX_E_NOMEM;
        HX_TRY(load_facts(t->arena, s[i].dir, &s[i].f, &s[i].o));
        HX_TRY(check_alike(&s[0], &s[i]));
        t->num_tokens = hx_max(t->num_tokens, s[i].f.num_tokens);
    }
    t->width = s->f.width;
    t->doc_tokens = s->f.document_tokens;
    t->tokenizer = s->f.tokenizer;
    HX_TRY(make_room(s, dirs->n, limit, t));
    for (int i = 0; i < dirs->n; i++)
        HX_TRY(add_set(&s[i], t));
    return HX_OK;
}

hx_result hx_set_read(const hx_strs *dirs, int64_t limit, hx_text **out)
{
    *out = NULL;
    hx_arena *a = hx_arena_new();
    hx_text *t = a ? hx_new(a, hx_text, 1) : NULL;
    source *s = t ? hx_new(a, source, HX_MAX_LIST) : NULL;
    if (!s) {
        hx_arena_free(&a);
        return hx_fail(HX_E_NOMEM, "no memory to read text [E-NOMEM]");
    }
    t->arena = a;
    t->limit = limit;
    hx_result r = read_all(s, dirs, limit, t);
    for (int i = 0; i < dirs->n; i++)
        json_decref(s[i].o);
    if (r)
        hx_text_free(&t);
    *out = t;
    return r;
}
