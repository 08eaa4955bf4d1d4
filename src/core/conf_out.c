// conf_out.c - fields back into text, so that reading it gives the same bits.
#include "conf.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hx_out_free(hx_out *b)
{
    free(b->data);
    *b = (hx_out){ 0 };
}

void hx_out_add(hx_out *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && !b->failed && b->size + n + 1 > b->cap) {
        int64_t cap = hx_max(2 * b->cap, b->size + n + 256);
        char *p = realloc(b->data, (size_t)cap);
        b->failed = !p;
        b->data = p ? p : b->data;
        b->cap = p ? cap : b->cap;
    }
    if (n < 0 || b->failed) {
        b->failed = true;
    } else {
        vsnprintf(b->data + b->size, (size_t)n + 1, fmt, again);
        b->size += n;
    }
    va_end(again);
}

void hx_out_json_text(hx_out *b, const char *s)
{
    if (!s) {
        hx_out_add(b, "null");
        return;
    }
    hx_out_add(b, "\"");
    for (const unsigned char *p = (const unsigned char *)s; *p; p++) {
        if (*p == '"' || *p == '\\')
            hx_out_add(b, "\\%c", *p);
        else if (*p < 0x20 || *p == 0x7f)
            hx_out_add(b, "\\u%04x", *p);
        else
            hx_out_add(b, "%c", *p);
    }
    hx_out_add(b, "\"");
}

// Fewest digits that our own reader takes back to the same bits.
static void put_real(hx_out *b, double v, bool single)
{
    char text[40];
    for (int digits = 1; digits <= (single ? 9 : 17); digits++) {
        struct { float f; double d; } back = { 0 };
        const hx_field f[] = {
            { "v", single ? HX_F32 : HX_F64, single ? 0 : offsetof(typeof(back), d), "0" }, { 0 }
        };
        snprintf(text, sizeof text, "%.*g", digits, v);
        for (char *p = text; *p; p++)      // the decimal point, whatever the locale
            *p = *p == ',' ? '.' : *p;
        if (!hx_field_set(f, &back, "v", text, NULL) && (single ? back.f == (float)v : back.d == v))
            break;
    }
    hx_out_add(b, "%s", text);
}

static void put_ints(hx_out *b, const hx_ints *v)
{
    bool scalar = v->scalar && v->n == 1;
    hx_out_add(b, scalar ? "" : "[");
    for (int i = 0; i < v->n; i++) {
        hx_out_add(b, i ? ", " : "");
        if (v->v[i] == HX_NULL)
            hx_out_add(b, "null");
        else
            hx_out_add(b, "%d", v->v[i]);
    }
    hx_out_add(b, scalar ? "" : "]");
}

static void put_reals(hx_out *b, const hx_reals *v)
{
    bool scalar = v->scalar && v->n == 1;
    hx_out_add(b, scalar ? "" : "[");
    for (int i = 0; i < v->n; i++) {
        hx_out_add(b, i ? ", " : "");
        put_real(b, v->v[i], false);
    }
    hx_out_add(b, scalar ? "" : "]");
}

static void put_texts(hx_out *b, const hx_strs *v)
{
    hx_out_add(b, "[");
    for (int i = 0; i < v->n; i++) {
        hx_out_add(b, i ? ", " : "");
        hx_out_json_text(b, v->v[i]);
    }
    hx_out_add(b, "]");
}

void hx_conf_put(hx_out *b, const hx_field *f, const void *obj)
{
    const void *p = (const char *)obj + f->offset;
    switch (f->type) {
    case HX_I32:   hx_out_add(b, "%d", *(const int32_t *)p); break;
    case HX_I64:   hx_out_add(b, "%lld", (long long)*(const int64_t *)p); break;
    case HX_F32:   put_real(b, *(const float *)p, true); break;
    case HX_F64:   put_real(b, *(const double *)p, false); break;
    case HX_BOOL:  hx_out_add(b, *(const bool *)p ? "true" : "false"); break;
    case HX_INTS:  put_ints(b, p); break;
    case HX_REALS: put_reals(b, p); break;
    case HX_STRS:  put_texts(b, p); break;
    case HX_STR: {
        const char *s = *(const char *const *)p;
        if (s && f->def && (f->def[0] == '[' || f->def[0] == '{'))
            hx_out_add(b, "%s", s);        // a list or a map that its reader wants as text
        else
            hx_out_json_text(b, s);
        break;
    }
    }
}

void hx_conf_put_yaml(hx_out *b, const hx_field *f, const void *obj, int indent)
{
    for (; f->name; f++) {
        const char *dot = strchr(f->name, '.');
        if (dot) {
            // a dotted name is a map of one: neighbours with the same head share it
            size_t n = (size_t)(dot - f->name) + 1;
            hx_out_add(b, "%*s%.*s: {", indent, "", (int)n - 1, f->name);
            const hx_field *first = f;
            for (; f->name && !strncmp(f->name, first->name, n); f++) {
                hx_out_add(b, "%s%s: ", f == first ? "" : ", ", f->name + n);
                hx_conf_put(b, f, obj);
            }
            f--;
            hx_out_add(b, "}\n");
            continue;
        }
        hx_out_add(b, "%*s%s: ", indent, "", f->name);
        hx_conf_put(b, f, obj);
        hx_out_add(b, "\n");
    }
}

void hx_conf_put_json(hx_out *b, const hx_field *f, const void *obj)
{
    const hx_field *start = f;
    for (; f->name; f++) {
        const char *dot = strchr(f->name, '.');
        size_t n = dot ? (size_t)(dot - f->name) + 1 : 0;
        hx_out_add(b, f == start ? "" : ", ");
        if (dot)
            hx_out_add(b, "\"%.*s\": {", (int)n - 1, f->name);
        const hx_field *first = f;
        for (; f->name && (f == first || (n && !strncmp(f->name, first->name, n))); f++) {
            hx_out_add(b, "%s\"%s\": ", f == first ? "" : ", ", f->name + n);
            hx_conf_put(b, f, obj);
        }
        f--;
        hx_out_add(b, dot ? "}" : "");
    }
}
