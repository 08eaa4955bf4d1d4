#include "rows.h"

#include <math.h>
#include <string.h>

#include "../../runtime/file.h"

enum { METRICS_MAX = 1 << 30 };

hx_result hx_rows_read(hx_arena *a, const char *dir, hx_rows *out)
{
    *out = (hx_rows){ .dir = dir };
    const char *path = hx_path_join(a, dir, "metrics.jsonl");
    hx_blob all = {0};
    if (!path)
        return HX_E_NOMEM;
    if (!hx_file_exists(path))
        return hx_fail(HX_E_INPUT, "%s: no such file, so %s is no run that was begun [E-RUN-NONE]",
                       path, dir);
    HX_TRY(hx_file_read(path, METRICS_MAX, 0, &all));
    if (!(out->all = json_array())) {
        hx_blob_free(&all);
        return hx_fail(HX_E_NOMEM, "no memory for the rows of %s [E-NOMEM]", path);
    }
    const char *at = (const char *)all.data, *end = at + all.size, *stop;
    for (; at < end && (stop = memchr(at, '\n', (size_t)(end - at))); at = stop + 1) {
        json_t *row = json_loadb(at, (size_t)(stop - at), 0, NULL);
        if (json_is_object(row))
            json_array_append(out->all, row);
        json_decref(row);
    }
    hx_blob_free(&all);
    return HX_OK;
}

void hx_rows_done(hx_rows *r)
{
    json_decref(r->all);
    r->all = NULL;
}

static bool is_type(const json_t *row, const char *type)
{
    const char *t = json_string_value(json_object_get(row, "type"));
    return t && !strcmp(t, type);
}

// "mem.device": a member of a member.
static const json_t *value_of(const json_t *row, const char *key)
{
    const char *dot = strchr(key, '.');
    char first[64];
    if (!dot || dot - key >= (int)sizeof first)
        return json_object_get(row, key);
    memcpy(first, key, (size_t)(dot - key));
    first[dot - key] = 0;
    return json_object_get(json_object_get(row, first), dot + 1);
}

hx_result hx_rows_line(hx_arena *a, const hx_rows *r, const char *type, const char *x,
                       const char *key, hx_line *out)
{
    int most = (int)json_array_size(r->all);
    *out = (hx_line){ .name = key, .x = hx_new(a, double, most + 1),
                      .y = hx_new(a, double, most + 1) };
    if (!out->x || !out->y)
        return HX_E_NOMEM;
    for (int i = 0; i < most; i++) {
        const json_t *row = json_array_get(r->all, (size_t)i);
        const json_t *v = is_type(row, type) ? value_of(row, key) : NULL;
        if (!json_is_number(v))
            continue;
        out->x[out->n] = json_number_value(json_object_get(row, x));
        out->y[out->n++] = json_number_value(v);
    }
    return HX_OK;
}

const json_t *hx_rows_last(const hx_rows *r, const char *type)
{
    for (size_t i = json_array_size(r->all); i-- > 0;)
        if (is_type(json_array_get(r->all, i), type))
            return json_array_get(r->all, i);
    return NULL;
}

hx_result hx_line_smooth(hx_arena *a, const hx_line *raw, hx_line *out)
{
    *out = *raw;
    out->y = hx_new(a, double, raw->n + 1);
    if (!out->y)
        return HX_E_NOMEM;
    double keep = 1 - 1 / fmax(1, raw->n / 40.0), sum = 0, weight = 0;
    for (int i = 0; i < raw->n; i++) {
        sum = keep * sum + (1 - keep) * raw->y[i];
        weight = keep * weight + 1 - keep;
        out->y[i] = sum / weight;
    }
    return HX_OK;
}
