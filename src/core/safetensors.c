// safetensors.c - strict reader: nothing of the header is believed before it is proved.
#include "safetensors.h"
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian, and so are we");

enum { MAX_TENSORS = 1 << 20, MAX_DEPTH = 3, PREFIX = 8, CHUNK = 1 << 16 };
static const int dtype_bytes[] = {
#define X(name, bytes) bytes,
    HX_ST_DTYPES(X)
#undef X
};
static const char *const dtype_name[] = {
#define X(name, bytes) #name,
    HX_ST_DTYPES(X)
#undef X
};

static hx_result get_bytes(const hx_st *st, void *out, int64_t n, int64_t at)
{
    if (st->fd >= 0)
        return hx_file_pread(st->fd, st->path, out, n, at);
    if (at < 0 || at > st->size - n)
        return hx_fail(HX_E_INTERNAL, "%s: read outside its bytes [E-ST]", st->path);
    memcpy(out, st->mem + at, (size_t)n);
    return HX_OK;
}

// One pass over the header before any memory is spent on it: how deep it nests, how many objects
// it holds, and that no list is longer than a shape can be.
static hx_result scan(const hx_st *st, const char *s, int64_t n)
{
    int depth = 0, items = 0, objects = 0;
    bool text = false;
    for (int64_t i = 0; i < n; i++) {
        char c = s[i];
        if (text) {
            i += c == '\\';
            text = c != '"';
        } else if (c == '"') {
            text = true;
        } else if (c == '{' || c == '[') {
            items = 0;
            objects += c == '{';
            if (++depth > MAX_DEPTH)
                return hx_fail(HX_E_INPUT, "%s: the header nests deeper than %d [E-ST-DEPTH]",
                               st->path, MAX_DEPTH);
        } else if (c == '}' || c == ']') {
            depth--;
        } else if (c == ',' && depth == 3 && ++items >= HX_ST_MAX_RANK) {
            return hx_fail(HX_E_INPUT, "%s: a tensor has more than %d dimensions [E-ST-RANK]",
                           st->path, HX_ST_MAX_RANK);
        }
        if (objects > MAX_TENSORS)
            return hx_fail(HX_E_INPUT, "%s: more than %d tensors [E-ST-COUNT]", st->path,
                           MAX_TENSORS);
    }
    return HX_OK;
}

static hx_result bad(hx_st *st, const hx_st_tensor *t, const char *what, const char *id)
{
    const char *name = hx_printable(st->arena, t->name);
    return name ? hx_fail(HX_E_INPUT, "%s: tensor '%s' %s [%s]", st->path, name, what, id) : HX_E_NOMEM;
}

// Takes one tensor's row of the header: dtype, shape, offsets.
static hx_result take(hx_st *st, hx_st_tensor *t, const char *name, json_t *o, int64_t base)
{
    if (!(t->name = hx_strdup(st->arena, name)))
        return HX_E_NOMEM;
    const char *dtype = json_string_value(json_object_get(o, "dtype"));
    json_t *shape = json_object_get(o, "shape"), *offsets = json_object_get(o, "data_offsets");
    if (!dtype || !json_is_array(shape) || json_array_size(offsets) != 2 ||
        json_object_size(o) != 3)
        return bad(st, t, "does not have exactly dtype, shape and data_offsets", "E-ST-HEADER");
    int d = 0;
    while (d < HX_COUNT(dtype_name) && strcmp(dtype, dtype_name[d]))
        d++;
    if (d == HX_COUNT(dtype_name))
        return bad(st, t, "has a dtype that is not known here", "E-ST-DTYPE");
    t->dtype = (hx_st_dtype)d;
    t->rank = (int)json_array_size(shape); // scan has seen that they are no more than can be
    t->elems = 1;
    for (int i = 0; i < t->rank; i++) {
        json_t *v = json_array_get(shape, (size_t)i);
        t->shape[i] = json_integer_value(v);
        if (json_typeof(v) != JSON_INTEGER || t->shape[i] < 0)
            return bad(st, t, "has a dimension that is not a whole number from 0", "E-ST-SHAPE");
        if (!hx_mul(t->elems, t->shape[i], &t->elems))
            return bad(st, t, "has more elements than can be counted", "E-ST-OVERFLOW");
    }
    json_t *a = json_array_get(offsets, 0), *b = json_array_get(offsets, 1);
    int64_t begin = json_integer_value(a), end = json_integer_value(b), need;
    if (json_typeof(a) != JSON_INTEGER || json_typeof(b) != JSON_INTEGER || begin < 0 || end < begin ||
        end > st->size - base)
        return bad(st, t, "has offsets that do not lie in the file", "E-ST-OFFSET");
    if (!hx_mul(t->elems, dtype_bytes[t->dtype], &need))
        return bad(st, t, "has more bytes than can be counted", "E-ST-OVERFLOW");
    if (need != end - begin)
        return bad(st, t, "has a shape that does not match its number of bytes", "E-ST-SIZE");
    t->at = base + begin;
    t->bytes = need;
    return HX_OK;
}

static hx_result take_meta(hx_st *st, json_t *o)
{
    if (json_typeof(o) != JSON_OBJECT)
        return hx_fail(HX_E_INPUT, "%s: __metadata__ is not a map of texts [E-ST-META]", st->path);
    st->meta = hx_new(st->arena, const char *, 2 * json_object_size(o) + 1);
    for (void *i = json_object_iter(o); i; i = json_object_iter_next(o, i)) {
        const char *key = json_object_iter_key(i), *value = json_string_value(json_object_iter_value(i));
        if (!value)
            return hx_fail(HX_E_INPUT,
                           "%s: __metadata__ holds something else than texts [E-ST-META]",
                           st->path);
        if (!st->meta || !(st->meta[2 * st->n_meta] = hx_strdup(st->arena, key)) ||
            !(st->meta[2 * st->n_meta + 1] = hx_strdup(st->arena, value)))
            return HX_E_NOMEM;
        st->n_meta++;
    }
    return HX_OK;
}

static int by_place(const void *a, const void *b)
{
    const hx_st_tensor *x = a, *y = b;
    return x->at != y->at ? (x->at > y->at) - (x->at < y->at)
                          : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const hx_st_tensor *)a)->name, ((const hx_st_tensor *)b)->name);
}

// Sorted by place, each tensor must begin where the last one ended, and the last ends the file.
static hx_result check_layout(hx_st *st, int64_t base)
{
    if (st->n)
        qsort(st->t, (size_t)st->n, sizeof *st->t, by_place);
    int64_t end = base;
    for (int i = 0; i < st->n; i++) {
        const hx_st_tensor *t = &st->t[i];
        if (t->at < end)
            return bad(st, t, "overlaps another one", "E-ST-OVERLAP");
        if (t->at > end)
            return bad(st, t, "leaves a hole before it", "E-ST-HOLE");
        end = t->at + t->bytes;
    }
    if (end != st->size)
        return hx_fail(HX_E_INPUT, "%s: %lld bytes follow the last tensor [E-ST-TRAILING]",
                       st->path, (long long)(st->size - end));
    if (st->n)
        qsort(st->t, (size_t)st->n, sizeof *st->t, by_name);
    return HX_OK;
}

static hx_result from_json(hx_st *st, json_t *root, int64_t base)
{
    st->t = hx_new(st->arena, hx_st_tensor, json_object_size(root) + 1);
    if (!st->t)
        return HX_E_NOMEM;
    for (void *i = json_object_iter(root); i; i = json_object_iter_next(root, i)) {
        const char *name = json_object_iter_key(i);
        json_t *o = json_object_iter_value(i);
        if (!strcmp(name, "__metadata__"))
            HX_TRY(take_meta(st, o));
        else
            HX_TRY(take(st, &st->t[st->n++], name, o, base));
    }
    return check_layout(st, base);
}

static hx_result parse_header(hx_st *st, const char *text, int64_t n)
{
    if (text[0] != '{')
        return hx_fail(HX_E_INPUT, "%s: the header does not begin with '{' [E-ST-HEADER]",
                       st->path);
    HX_TRY(scan(st, text, n));
    json_error_t e;
    json_t *root = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, &e);
    if (!root) {
        const char *why = hx_printable(st->arena, e.text);
        bool twice = json_error_code(&e) == json_error_duplicate_key;
        return why ? hx_fail(HX_E_INPUT, "%s: header, byte %d: %s [%s]", st->path, e.position, why,
                             twice ? "E-ST-TWICE" : "E-ST-JSON")
                   : HX_E_NOMEM;
    }
    hx_result r = from_json(st, root, PREFIX + n);     // an object: it begins with '{'
    json_decref(root);
    return r;
}

static hx_result load(hx_st *st)
{
    if (st->size < PREFIX + 2)
        return hx_fail(HX_E_INPUT, "%s: %lld bytes are too few for a safetensors file [E-ST-SHORT]",
                       st->path, (long long)st->size);
    uint64_t n;
    HX_TRY(get_bytes(st, &n, PREFIX, 0));
    if (n < 2 || n > HX_ST_MAX_HEADER || n > (uint64_t)st->size - PREFIX)
        return hx_fail(HX_E_INPUT,
                       "%s: it says its header has %llu bytes; %lld follow, at most %d are taken "
                       "[E-ST-HEADER-SIZE]",
                       st->path, (unsigned long long)n, (long long)st->size - PREFIX,
                       HX_ST_MAX_HEADER);
    char *text = malloc(n + 1);
    if (!text)
        return hx_fail(HX_E_NOMEM, "no memory for the header of %s [E-NOMEM]", st->path);
    text[n] = 0;
    hx_result r = get_bytes(st, text, (int64_t)n, PREFIX);
    r = r ? r : parse_header(st, text, (int64_t)n);
    free(text);
    return r;
}

static hx_st *make(const char *path)
{
    hx_arena *a = hx_arena_new();
    hx_st *st = hx_new(a, hx_st, 1);
    if (!st || !(st->path = hx_printable(a, path))) {
        hx_arena_free(&a);
        return NULL;
    }
    st->arena = a;
    st->fd = -1;
    return st;
}

static hx_result finish(hx_st *st, hx_result r, hx_st **out)
{
    r = r ? r : load(st);
    if (r)
        hx_st_close(&st);
    *out = st;
    return r;
}

hx_result hx_st_open(const char *path, hx_st **out)
{
    hx_st *st = *out = make(path);
    if (!st)
        return hx_fail(HX_E_NOMEM, "no memory to read '%s' [E-NOMEM]", path);
    return finish(st, hx_file_open(path, 0, &st->fd, &st->size), out);
}

hx_result hx_st_open_mem(const char *name, const void *data, int64_t size, hx_st **out)
{
    hx_st *st = *out = make(name);
    if (!st)
        return hx_fail(HX_E_NOMEM, "no memory to read '%s' [E-NOMEM]", name);
    st->mem = data;
    st->size = size;
    return finish(st, HX_OK, out);
}

void hx_st_close(hx_st **st)
{
    if (!st || !*st)
        return;
    if ((*st)->fd >= 0)
        close((*st)->fd);
    hx_arena *a = (*st)->arena;
    *st = NULL;
    hx_arena_free(&a);
}

const hx_st_tensor *hx_st_find(const hx_st *st, const char *name)
{
    hx_st_tensor key = { .name = name };
    return st->n ? bsearch(&key, st->t, (size_t)st->n, sizeof key, by_name) : NULL;
}

const char *hx_st_meta(const hx_st *st, const char *key)
{
    for (int i = 0; i < st->n_meta; i++)
        if (!strcmp(st->meta[2 * i], key))
            return st->meta[2 * i + 1];
    return NULL;
}

// ---- values -------------------------------------------------------------------------------
static float from_bits(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }

// sign 1, exponent 5, fraction 10 bits
static float from_half(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
    if (e == 31)
        return from_bits(sign | 0x7f800000 | m << 13);
    if (e)
        return from_bits(sign | (e + 112) << 23 | m << 13);
    float tiny = (float)m * 0x1p-24f;      // exact: fractions below the smallest normal number
    return sign ? -tiny : tiny;
}

// Element of any type as a double: exact but for I64 beyond 2^53.
static double value(hx_st_dtype d, const uint8_t *p)
{
#define LOAD(type) ({ type v_; memcpy(&v_, p, sizeof v_); v_; })
    switch (d) {
    case HX_ST_F32:  return LOAD(float);
    case HX_ST_F64:  return LOAD(double);
    case HX_ST_F16:  return from_half(LOAD(uint16_t));
    case HX_ST_BF16: return from_bits((uint32_t)LOAD(uint16_t) << 16);
    case HX_ST_I64:  return (double)LOAD(int64_t);
    case HX_ST_I32:  return LOAD(int32_t);
    case HX_ST_I16:  return LOAD(int16_t);
    case HX_ST_I8:   return LOAD(int8_t);
    case HX_ST_U8:   return *p;
    case HX_ST_BOOL: default: return *p != 0;
    }
}

// Reads in chunks and hands each to `put`, which converts n elements to out[at ...].
static hx_result convert(const hx_st *st, const hx_st_tensor *t, void *out, bool ints)
{
    uint8_t *buf = malloc(CHUNK);
    if (!buf)
        return hx_fail(HX_E_NOMEM, "no memory to read %s [E-NOMEM]", st->path);
    int size = dtype_bytes[t->dtype];
    hx_result r = HX_OK;
    for (int64_t at = 0; at < t->elems && !r; at += CHUNK / size) {
        int64_t n = hx_min(CHUNK / size, t->elems - at);
        r = get_bytes(st, buf, n * size, t->at + at * size);
        for (int64_t i = 0; i < n && !r; i++) {
            double v = value(t->dtype, buf + i * size);
            if (!ints)
                ((float *)out)[at + i] = (float)v;
            else if (v >= INT32_MIN && v <= INT32_MAX && v == floor(v))
                ((int32_t *)out)[at + i] = (int32_t)v;
            else
                r = hx_fail(HX_E_INPUT,
                            "%s: element %lld of '%s' is %g, a whole number of 32 bits is needed "
                            "[E-ST-VALUE]",
                            st->path, (long long)(at + i), t->name, v);
        }
    }
    free(buf);
    return r;
}

hx_result hx_st_read_f32(const hx_st *st, const hx_st_tensor *t, float *out)
{
    if (t->dtype == HX_ST_F32)
        return get_bytes(st, out, t->bytes, t->at);
    return convert(st, t, out, false);
}

hx_result hx_st_read_i32(const hx_st *st, const hx_st_tensor *t, int32_t *out)
{
    if (t->dtype == HX_ST_I32)
        return get_bytes(st, out, t->bytes, t->at);
    return convert(st, t, out, true);
}
