// text.c - bytes of files, plain or compressed, in one piece of memory.
#include "set.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#include <Random123/philox.h>

enum { CHUNK = 1 << 18, MAX_DEPTH = 32 };

void hx_text_free(hx_text **t)
{
    if (!t || !*t)
        return;
    free((*t)->data);
    free((*t)->mask);
    free((*t)->doc);
    hx_arena *a = (*t)->arena;
    *t = NULL;
    hx_arena_free(&a);
}

static hx_result too_long(const hx_text *t, const char *path)
{
    return hx_fail(HX_E_INPUT, "the text grows beyond %lld bytes in '%s' [E-TEXT-SIZE]",
                   (long long)t->limit, path);
}

// Room for n more bytes.
static hx_result reserve(hx_text *t, int64_t n, const char *path)
{
    if (n > t->limit - t->size)
        return too_long(t, path);
    int64_t need = t->size + n;
    if (need <= t->cap)
        return HX_OK;
    int64_t cap = hx_min(hx_max(need, 2 * t->cap), t->limit);
    uint8_t *p = realloc(t->data, (size_t)hx_max(cap, 1));
    if (!p)
        return hx_fail(HX_E_NOMEM, "no memory for %lld bytes of text, at '%s' [E-NOMEM]",
                       (long long)cap, path);
    t->data = p;
    t->cap = cap;
    return HX_OK;
}

static hx_result add_part(hx_text *t, const char *path)
{
    if (t->n_part == t->cap_part) {
        int cap = t->cap_part ? 2 * t->cap_part : 16;
        hx_text_part *p = hx_new(t->arena, hx_text_part, cap);
        if (!p)
            return HX_E_NOMEM;
        if (t->n_part)
            memcpy(p, t->part, sizeof *p * (size_t)t->n_part);
        t->part = p;
        t->cap_part = cap;
    }
    const char *name = hx_strdup(t->arena, path);
    if (!name)
        return HX_E_NOMEM;
    t->part[t->n_part++] = (hx_text_part){ name, t->size };
    return HX_OK;
}

// ---- sources ------------------------------------------------------------------------------
typedef struct source { int fd; const char *path; int64_t size, at; } source;

// Next piece of the file; *n is 0 at its end.
static hx_result next(source *s, uint8_t *buf, int64_t *n)
{
    *n = hx_min(CHUNK, s->size - s->at);
    HX_TRY(hx_file_pread(s->fd, s->path, buf, *n, s->at));
    s->at += *n;
    return HX_OK;
}

static hx_result read_plain(hx_text *t, source *s, uint8_t *buf)
{
    (void)buf;
    if (!s->size)
        return HX_OK;
    HX_TRY(reserve(t, s->size, s->path));
    HX_TRY(hx_file_pread(s->fd, s->path, t->data + t->size, s->size, 0));
    t->size += s->size;
    return HX_OK;
}

static hx_result broken(const source *s, const char *why)
{
    return hx_fail(HX_E_INPUT, "'%s' cannot be unpacked: %s near byte %lld of %lld [E-TEXT-PACKED]",
                   s->path, why, (long long)s->at, (long long)s->size);
}

// One gzip member after another; each ends with a checksum that inflate compares.
static hx_result inflate_all(hx_text *t, source *s, uint8_t *buf, z_stream *z)
{
    int end = Z_OK;
    for (int64_t n;;) {
        if (!z->avail_in) {
            HX_TRY(next(s, buf, &n));
            if (!n)
                return end == Z_STREAM_END ? HX_OK : broken(s, "it ends in the middle");
            z->next_in = buf;
            z->avail_in = (unsigned)n;
        }
        if (end == Z_STREAM_END && inflateReset(z))
            return broken(s, "no further member can be read");
        // one byte more than the limit, so that going beyond is seen
        if (t->size == t->limit)
            return too_long(t, s->path);
        HX_TRY(reserve(t, hx_min(CHUNK, t->limit - t->size), s->path));
        int64_t room = hx_min(t->cap - t->size, 1 << 30);
        z->next_out = t->data + t->size;
        z->avail_out = (unsigned)room;
        end = inflate(z, Z_NO_FLUSH);
        t->size += room - z->avail_out;
        if (end == Z_MEM_ERROR)
            return hx_fail(HX_E_NOMEM, "no memory to unpack '%s' [E-NOMEM]", s->path);
        if (end != Z_OK && end != Z_STREAM_END && end != Z_BUF_ERROR)
            return broken(s, z->msg);
    }
}

static hx_result read_gz(hx_text *t, source *s, uint8_t *buf)
{
    z_stream z = { 0 };
    if (inflateInit2(&z, 15 + 16))
        return hx_fail(HX_E_NOMEM, "no memory to unpack '%s' [E-NOMEM]", s->path);
    hx_result r = inflate_all(t, s, buf, &z);
    inflateEnd(&z);
    return r;
}

static hx_result zst_all(hx_text *t, source *s, uint8_t *buf, ZSTD_DCtx *z)
{
    size_t left = 1;
    for (int64_t n;;) {
        HX_TRY(next(s, buf, &n));
        if (!n)
            return left ? broken(s, "it ends in the middle") : HX_OK;
        ZSTD_inBuffer in = { buf, (size_t)n, 0 };
        for (bool more = true; more;) {
            HX_TRY(reserve(t, hx_min(CHUNK, t->limit - t->size), s->path));
            ZSTD_outBuffer out = { t->data + t->size, (size_t)(t->cap - t->size), 0 };
            left = ZSTD_decompressStream(z, &out, &in);
            if (ZSTD_isError(left))
                return broken(s, ZSTD_getErrorName(left));
            bool full = out.pos == out.size;
            t->size += (int64_t)out.pos;
            more = in.pos < in.size || (full && left);
            if (more && t->size == t->limit)
                return too_long(t, s->path);
        }
    }
}

static hx_result read_zst(hx_text *t, source *s, uint8_t *buf)
{
    ZSTD_DCtx *z = ZSTD_createDCtx();
    hx_result r = z ? zst_all(t, s, buf, z)
                    : hx_fail(HX_E_NOMEM, "no memory to unpack '%s' [E-NOMEM]", s->path);
    ZSTD_freeDCtx(z);
    return r;
}

// How a file is read, by the end of its name; the last row takes all.
static const struct {
    const char *end;
    hx_result (*read)(hx_text *, source *, uint8_t *);
} formats[] = {
    { ".gz", read_gz },
    { ".zst", read_zst },
    { "", read_plain },
};

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

static hx_result add_file(hx_text *t, const char *path)
{
    source s = { .path = path };
    HX_TRY(add_part(t, path));
    HX_TRY(hx_file_open(path, 0, &s.fd, &s.size));
    int k = 0;
    while (!ends_with(path, formats[k].end))
        k++;
    uint8_t *buf = malloc(CHUNK);
    hx_result r = buf ? formats[k].read(t, &s, buf)
                      : hx_fail(HX_E_NOMEM, "no memory to read '%s' [E-NOMEM]", path);
    free(buf);
    close(s.fd);
    return r;
}

static hx_result add_dir(hx_text *t, const char *path, int depth)
{
    hx_names names;
    HX_TRY(hx_dir_list(t->arena, path, &names));
    if (depth == MAX_DEPTH)
        return hx_fail(HX_E_INPUT, "'%s': directories nest deeper than %d [E-TEXT-DEPTH]", path,
                       MAX_DEPTH);
    for (int i = 0; i < names.n; i++) {
        if (names.v[i][0] == '.')
            continue;
        const char *p = hx_path_join(t->arena, path, names.v[i]);
        struct stat st;
        if (!p)
            return HX_E_NOMEM;
        // links are left out: they could lead round in circles or outside
        if (lstat(p, &st))
            continue;
        if (S_ISDIR(st.st_mode))
            HX_TRY(add_dir(t, p, depth + 1));
        else if (S_ISREG(st.st_mode))
            HX_TRY(add_file(t, p));
    }
    return HX_OK;
}

static hx_result add_all(hx_text *t, const hx_strs *paths)
{
    for (int i = 0; i < paths->n; i++) {
        struct stat st;
        bool dir = !stat(paths->v[i], &st) && S_ISDIR(st.st_mode);
        HX_TRY(dir ? add_dir(t, paths->v[i], 0) : add_file(t, paths->v[i]));
    }
    if (!t->size)
        return hx_fail(HX_E_INPUT,
                       "the text is empty: %d of the %d files in '%s'%s hold a byte [E-TEXT-EMPTY]",
                       0, t->n_part, paths->n ? paths->v[0] : "",
                       paths->n > 1 ? " and others" : "");
    return HX_OK;
}

static hx_result read_bytes(const hx_strs *paths, int64_t limit, hx_text **out)
{
    hx_arena *a = hx_arena_new();
    hx_text *t = hx_new(a, hx_text, 1);
    if (!t) {
        hx_arena_free(&a);
        return hx_fail(HX_E_NOMEM, "no memory to read text [E-NOMEM]");
    }
    *t = (hx_text){ .arena = a, .width = 1, .num_tokens = 256, .limit = limit };
    hx_result r = add_all(t, paths);
    t->source_bytes = t->size;
    if (r)
        hx_text_free(&t);
    *out = t;
    return r;
}

hx_result hx_text_read(const hx_strs *paths, int64_t limit, hx_text **out)
{
    int sets = 0;
    *out = NULL;
    limit = limit ? limit : (int64_t)HX_TEXT_LIMIT_GIB << 30;
    for (int i = 0; i < paths->n; i++) {
        bool is;
        HX_TRY(hx_set_is(paths->v[i], &is));
        sets += is;
    }
    if (sets && sets < paths->n)
        return hx_fail(
            HX_E_INPUT,
            "%d of %d paths are prepared sets, the others text: give one kind, or prepare "
            "the text, too, with `htxvk data prepare` [E-SET-MIXED]",
            sets, paths->n);
    return sets ? hx_set_read(paths, limit, out) : read_bytes(paths, limit, out);
}

// ---- splits, tokens, windows --------------------------------------------------------------
hx_span hx_text_whole(const hx_text *t) { return (hx_span){ 0, t->size, t->doc_tokens }; }

hx_result hx_text_split(const hx_text *t, const hx_reals *share, hx_span out[3])
{
    double before = 0;
    int64_t at = 0, unit = t->doc_tokens ? t->doc_tokens : 1;
    for (int i = 0; i < 3; i++) {
        double s = i < share->n ? share->v[i] : 0;
        if (!(s >= 0) || !((before += s) <= 1 + 1e-9))
            return hx_fail(
                HX_E_INPUT,
                "the shares of the text must be from 0 up and sum to at most 1, they reach "
                "%g [E-TEXT-SPLIT]",
                before);
        int64_t end = hx_min(t->size, (int64_t)((double)(t->size / unit) * before + 0.5) * unit);
        out[i] = (hx_span){ at, end - at, t->doc_tokens };
        at = end;
    }
    return HX_OK;
}

hx_result hx_text_check(const hx_text *t, int64_t num_tokens)
{
    if (num_tokens >= t->num_tokens)
        return HX_OK;
    int64_t at = 0;
    while (at < t->size && hx_text_token(t, at) < num_tokens)
        at++;
    if (at == t->size)
        return HX_OK;
    int p = t->n_part - 1;
    while (p > 0 && t->part[p].at > at)
        p--;
    return hx_fail(
        HX_E_INPUT,
        "%s:%lld: %s %d is no token: the model has %lld (0 to %lld); set model.num_tokens: "
        "%lld [E-TOKEN-RANGE]",
        t->part[p].path, (long long)(at - t->part[p].at), t->tokenizer ? "id" : "byte",
        hx_text_token(t, at), (long long)num_tokens, (long long)num_tokens - 1,
        (long long)t->num_tokens);
}

hx_result hx_span_check(const char *what, hx_span s, int64_t seq_len)
{
    if (s.doc && s.doc != seq_len + 1)
        return hx_fail(HX_E_INPUT,
                       "the %s data has documents of %lld tokens; they are taken whole, so set "
                       "train.seq_len: %lld (now %lld) [E-SET-LENGTH]",
                       what, (long long)s.doc, (long long)s.doc - 1, (long long)seq_len);
    if (seq_len > 0 && s.n > seq_len)
        return HX_OK;
    return hx_fail(
        HX_E_INPUT,
        "the %s text has %lld bytes, one sequence of %lld tokens needs %lld; give more text, "
        "another data.split or a smaller train.seq_len [E-TEXT-SHORT]",
        what, (long long)s.n, (long long)seq_len, (long long)seq_len + 1);
}

int64_t hx_window_random(hx_span s, int64_t seq_len, uint64_t seed, int64_t index)
{
    uint64_t i = (uint64_t)index;
    philox4x32_ctr_t c = { { (uint32_t)i, (uint32_t)(i >> 32), 0x77696e64,
                             0 } };   // "wind": this use of the seed
    philox4x32_key_t k = { { (uint32_t)seed, (uint32_t)(seed >> 32) } };
    philox4x32_ctr_t r = philox4x32(c, k);
    uint64_t bits = (uint64_t)r.v[1] << 32 | r.v[0];
    if (s.doc)
        return s.n >= s.doc ? s.at + (int64_t)(bits % (uint64_t)(s.n / s.doc)) * s.doc : s.at;
    return s.n > seq_len ? s.at + (int64_t)(bits % (uint64_t)(s.n - seq_len)) : s.at;
}

int64_t hx_window_count(hx_span s, int64_t seq_len)
{
    return s.doc ? s.n / s.doc : s.n > 0 ? (s.n - 1) / seq_len : 0;
}

int64_t hx_window_at(hx_span s, int64_t seq_len, int64_t index)
{
    return s.at + index * (s.doc ? s.doc : seq_len);
}

void hx_window_ids(const hx_text *t, int64_t at, int64_t seq_len, int32_t *out)
{
    for (int64_t i = 0; i <= seq_len; i++)
        out[i] = hx_text_token(t, at + i);
}

void hx_window_labels(const hx_text *t, int64_t at, int64_t seq_len, int32_t ignore, int32_t *out)
{
    for (int64_t i = 0; i <= seq_len; i++)
        out[i] = !t->mask || t->mask[at + i] ? hx_text_token(t, at + i) : ignore;
}
