// set.c - writes prepared data: shards as they fill, then boundaries, then the manifest, then one
// rename.
#include "set.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/conf.h"

enum { SHARD_TOKENS = 1 << 28, PIECE = 4096, MAX_SHARDS = 100000 };

struct hx_set {
    hx_arena    *arena;
    const char  *dir, *stage;
    hx_set_facts f;
    int64_t      shard_tokens, in_shard;
    hx_writer    tokens, mask;             // of the shard under way
    bool         open;
    int64_t     *doc;                      // first token of each
    int64_t      cap_doc;
    hx_out       files;                    // rows of the manifest
};

// ---- files --------------------------------------------------------------------------------
static const char *in_stage(hx_set *s, const char *name)
{
    return hx_path_join(s->arena, s->stage, name);
}

static void list_file(hx_set *s, const char *name, int64_t size, const uint64_t hash[2])
{
    hx_out_add(&s->files,
               "%s\n    \"%s\": {\"size\": %lld, \"xxh3_128\": \"%016" PRIx64 "%016" PRIx64 "\"}",
               s->files.size ? "," : "", name, (long long)size, hash[0], hash[1]);
}

static hx_result close_file(hx_set *s, hx_writer *w, const char *kind)
{
    char name[40];
    uint64_t hash[2];
    int64_t size = w->bytes;
    snprintf(name, sizeof name, "%s-%05lld.bin", kind, (long long)s->f.shards);
    HX_TRY(hx_writer_close(w, hash));
    list_file(s, name, size, hash);
    return HX_OK;
}

static hx_result open_file(hx_set *s, hx_writer *w, const char *kind)
{
    char name[40];
    snprintf(name, sizeof name, "%s-%05lld.bin", kind, (long long)s->f.shards);
    const char *path = in_stage(s, name);
    return path ? hx_writer_open(w, path, 0, 0) : HX_E_NOMEM;
}

static hx_result close_shard(hx_set *s)
{
    if (!s->open)
        return HX_OK;
    HX_TRY(close_file(s, &s->tokens, "tokens"));
    if (s->f.masked)
        HX_TRY(close_file(s, &s->mask, "mask"));
    s->open = false;
    s->in_shard = 0;
    s->f.shards++;
    return HX_OK;
}

static hx_result open_shard(hx_set *s)
{
    if (s->f.shards == MAX_SHARDS)
        return hx_fail(HX_E_INPUT,
                       "'%s': more than %d shards of %lld tokens; use larger ones [E-SET-SHARDS]",
                       s->dir, MAX_SHARDS, (long long)s->shard_tokens);
    HX_TRY(open_file(s, &s->tokens, "tokens"));
    s->open = true;
    return s->f.masked ? open_file(s, &s->mask, "mask") : HX_OK;
}

static hx_result write_whole(hx_set *s, const char *name, const void *data, int64_t n, bool listed)
{
    hx_writer w;
    uint64_t hash[2];
    const char *path = in_stage(s, name);
    if (!path)
        return HX_E_NOMEM;
    HX_TRY(hx_writer_open(&w, path, 0, n));
    hx_result r = hx_writer_put(&w, data, n);
    if (!r)
        r = hx_writer_close(&w, hash);
    if (r)
        hx_writer_drop(&w);
    else if (listed)
        list_file(s, name, n, hash);
    return r;
}

// ---- begin --------------------------------------------------------------------------------
static hx_result copy_tokenizer(hx_set *s)
{
    hx_blob b = { 0 };
    if (!s->f.tokenizer)
        return HX_OK;
    HX_TRY(hx_file_read(s->f.tokenizer, (int64_t)1 << 30, 0, &b));
    hx_result r = write_whole(s, "tokenizer.json", b.data, b.size, true);
    hx_blob_free(&b);
    return r;
}

static hx_result begin(hx_set *s, const char *dir)
{
    char *name = hx_strdup(s->arena, dir);
    for (size_t n = name ? strlen(name) : 0; n > 1 && name[n - 1] == '/'; n--)
        name[n - 1] = 0;
    s->dir = name;
    s->stage = hx_sprintf(s->arena, "%s.tmp", name ? name : "");
    if (!s->dir || !s->stage)
        return HX_E_NOMEM;
    if (hx_file_exists(dir))
        return hx_fail(HX_E_USAGE,
                       "%s exists already; name another directory or remove it [E-EXISTS]", dir);
    // what a run that was killed has left
    if (hx_file_exists(s->stage))
        HX_TRY(hx_dir_remove(s->stage));
    HX_TRY(hx_dir_make_all(s->stage, 0777));
    return copy_tokenizer(s);
}

hx_result hx_set_begin(const char *dir, const hx_set_facts *facts, int64_t shard_tokens,
                       hx_set **out)
{
    *out = NULL;
    hx_arena *a = hx_arena_new();
    hx_set *s = a ? hx_new(a, hx_set, 1) : NULL;
    if (!s) {
        hx_arena_free(&a);
        return HX_E_NOMEM;
    }
    *s = (hx_set){.arena = a,
                  .f = *facts,
                  .shard_tokens = shard_tokens ? shard_tokens : SHARD_TOKENS,
                  .tokens.fd = -1,
                  .mask.fd = -1};
    s->f.width = s->f.num_tokens <= 1 << 8 ? 1 : s->f.num_tokens <= 1 << 16 ? 2 : 4;
    s->f.tokens = s->f.documents = s->f.shards = s->f.source_bytes = 0;
    hx_result r = begin(s, dir);
    if (r)
        hx_set_drop(&s);
    *out = s;
    return r;
}

// ---- tokens -------------------------------------------------------------------------------
// n <= PIECE tokens in the width of the file, lowest byte first.
static hx_result put_tokens(hx_set *s, const int32_t *ids, int64_t n)
{
    uint8_t b[PIECE * 4];
    int w = s->f.width;
    for (int64_t i = 0; i < n; i++)
        for (int k = 0; k < w; k++)
            b[i * w + k] = (uint8_t)((uint32_t)ids[i] >> (8 * k));
    return hx_writer_put(&s->tokens, b, n * w);
}

static hx_result add_document(hx_set *s)
{
    if (s->f.documents == s->cap_doc) {
        int64_t cap = s->cap_doc ? 2 * s->cap_doc : 1024;
        int64_t *p = realloc(s->doc, (size_t)cap * sizeof *p);
        if (!p)
            return hx_fail(HX_E_NOMEM, "no memory for %lld documents [E-NOMEM]", (long long)cap);
        s->doc = p;
        s->cap_doc = cap;
    }
    s->doc[s->f.documents++] = s->f.tokens;
    return HX_OK;
}

static hx_result check_ids(const hx_set *s, const int32_t *ids, int64_t n)
{
    if (s->f.document_tokens && n != s->f.document_tokens)
        return hx_fail(HX_E_INTERNAL,
                       "a document of %lld tokens in a set of %lld each [E-INTERNAL]", (long long)n,
                       (long long)s->f.document_tokens);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= s->f.num_tokens)
            return hx_fail(HX_E_INTERNAL, "token %d of %lld [E-INTERNAL]", ids[i],
                           (long long)s->f.num_tokens);
    return HX_OK;
}

hx_result hx_set_put(hx_set *s, const int32_t *ids, const uint8_t *mask, int64_t n,
                     int64_t source_bytes)
{
    HX_TRY(check_ids(s, ids, n));
    HX_TRY(add_document(s));
    for (int64_t at = 0; at < n;) {
        if (!s->open)
            HX_TRY(open_shard(s));
        int64_t m = hx_min(hx_min(PIECE, n - at), s->shard_tokens - s->in_shard);
        HX_TRY(put_tokens(s, ids + at, m));
        if (s->f.masked)
            HX_TRY(hx_writer_put(&s->mask, mask + at, m));
        at += m;
        s->in_shard += m;
        if (s->in_shard == s->shard_tokens)
            HX_TRY(close_shard(s));
    }
    s->f.tokens += n;
    s->f.source_bytes += source_bytes;
    return HX_OK;
}

// ---- end ----------------------------------------------------------------------------------
static hx_result write_documents(hx_set *s)
{
    if (s->f.document_tokens)
        return HX_OK;
    uint8_t *b = malloc((size_t)s->f.documents * 8 + 1);
    if (!b)
        return hx_fail(HX_E_NOMEM, "no memory for %lld documents [E-NOMEM]",
                       (long long)s->f.documents);
    for (int64_t i = 0; i < s->f.documents * 8; i++)
        b[i] = (uint8_t)((uint64_t)s->doc[i / 8] >> (i % 8 * 8));
    hx_result r = write_whole(s, "documents.bin", b, s->f.documents * 8, true);
    free(b);
    return r;
}

static hx_result write_manifest(hx_set *s)
{
    const hx_set_facts *f = &s->f;
    hx_out o = { 0 };
    hx_out_add(
        &o,
        "{\n  \"format\": \"htxvk-set\",\n  \"version\": 1,\n  \"dtype\": \"u%d\",\n"
        "  \"num_tokens\": %lld,\n  \"tokens\": %lld,\n  \"documents\": %lld,\n"
        "  \"document_tokens\": %lld,\n  \"shards\": %lld,\n  \"source_bytes\": %lld,\n"
        "  \"masked\": %s,\n  \"tokenizer\": \"%s\",\n  \"made\": %s,\n  \"files\": {%s\n  }\n}\n",
        8 * f->width, (long long)f->num_tokens, (long long)f->tokens, (long long)f->documents,
        (long long)f->document_tokens, (long long)f->shards, (long long)f->source_bytes,
        f->masked ? "true" : "false", f->tokenizer ? "tokenizer.json" : "bytes",
        f->made ? f->made : "{}", s->files.data ? s->files.data : "");
    hx_result r = o.failed || s->files.failed
                      ? hx_fail(HX_E_NOMEM, "no memory for a manifest [E-NOMEM]")
                      : write_whole(s, "MANIFEST.json", o.data, o.size, false);
    hx_out_free(&o);
    return r;
}

static hx_result end(hx_set *s)
{
    if (!s->f.tokens)
        return hx_fail(HX_E_INPUT, "'%s': there is not one token to write [E-TEXT-EMPTY]", s->dir);
    HX_TRY(close_shard(s));
    HX_TRY(write_documents(s));
    HX_TRY(write_manifest(s));
    HX_TRY(hx_dir_sync(s->stage));
    return hx_rename(s->stage, s->dir);
}

hx_result hx_set_end(hx_set **s)
{
    hx_result r = end(*s);
    hx_set_drop(s);
    return r;
}

void hx_set_drop(hx_set **sp)
{
    hx_set *s = *sp;
    if (!s)
        return;
    if (s->open) {
        hx_writer_drop(&s->tokens);
        hx_writer_drop(&s->mask);
    }
    // after hx_set_end there is no such directory any more
    if (s->stage && s->dir && hx_file_exists(s->stage))
        hx_dir_remove(s->stage);
    free(s->doc);
    hx_out_free(&s->files);
    hx_arena *a = s->arena;
    *sp = NULL;
    hx_arena_free(&a);
}
