#include "op.h"
#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int find_dim(const hx_sig *s, const char *name, size_t len)
{
    for (int i = 0; i < s->n_dim; i++)
        if (strlen(s->dim[i]) == len && !strncmp(s->dim[i], name, len))
            return i;
    return -1;
}

static const hx_field *find_attr(const hx_op *op, const char *name, size_t len)
{
    for (const hx_field *f = op->attrs; f && f->name; f++)
        if (strlen(f->name) == len && !strncmp(f->name, name, len))
            return f;
    return NULL;
}

static size_t word(const char *p)
{
    size_t n = 0;
    while (isalnum((unsigned char)p[n]) || p[n] == '_')
        n++;
    return n;
}

// every name in a shape that is not an attribute is a dim
static hx_result note_dims(const hx_op *op, hx_sig *s, const char *expr)
{
    for (const char *p = expr; *p;) {
        size_t n = word(p);
        if (!n || isdigit((unsigned char)*p)) {
            p += n ? n : 1;
            continue;
        }
        if (!find_attr(op, p, n) && find_dim(s, p, n) < 0) {
            if (s->n_dim == HX_MAX_DIMS)
                return hx_fail(HX_E_INTERNAL, "%s: more than %d dims [E-SIG]", op->name,
                    HX_MAX_DIMS);
            snprintf(s->dim[s->n_dim++], sizeof s->dim[0], "%.*s", (int)n, p);
        }
        p += n;
    }
    return HX_OK;
}

static hx_result parse_arg(const hx_op *op, hx_sig *s, int i, const char **text)
{
    const char *p = *text, *open = strchr(p, '['), *close = strchr(p, ']');
    size_t n = word(p);
    if (!open || !close || !n || i == HX_MAX_ARGS)
        return hx_fail(HX_E_INTERNAL, "%s: signature is off at '%s' [E-SIG]", op->name, p);
    snprintf(s->name[i], sizeof s->name[0], "%.*s", (int)n, p);
    for (p += n; p < open; p++)
        s->flags[i] |= *p == ':' ? HX_ARG_STRIDED : *p == '?' ? HX_ARG_OPT : HX_ARG_INT;
    for (p = open + 1; p < close;) {
        size_t len = strcspn(p, ",]");
        if (s->rank[i] == HX_MAX_RANK)
            return hx_fail(HX_E_INTERNAL, "%s: %s has too many dimensions [E-SIG]", op->name,
                s->name[i]);
        char *shape = s->shape[i][s->rank[i]++];
        snprintf(shape, sizeof s->shape[0][0], "%.*s", (int)len, p);
        HX_TRY(note_dims(op, s, shape));
        p += len + 1;
    }
    *text = close + 1;
    return HX_OK;
}

hx_result hx_sig_parse(const hx_op *op, hx_sig *s)
{
    memset(s, 0, sizeof *s);
    bool outputs = false;
    for (const char *p = op->sig; *p;) {
        if (isspace((unsigned char)*p)) {
            p++;
        } else if (!strncmp(p, "->", 2)) {
            outputs = true;
            p += 2;
        } else {
            HX_TRY(parse_arg(op, s, s->n_in + s->n_out, &p));
            (*(outputs ? &s->n_out : &s->n_in))++;
        }
    }
    return s->n_out ? HX_OK : hx_fail(HX_E_INTERNAL, "%s: no output in '%s' [E-SIG]", op->name,
        op->sig);
}

// signatures of the registry, parsed the first time that any is asked for
static hx_sig *parsed;
static pthread_once_t parse_once = PTHREAD_ONCE_INIT;

static void parse_all(void)
{
    parsed = calloc((size_t)hx_n_ops, sizeof *parsed);
    for (int i = 0; parsed && i < hx_n_ops; i++)
        if (!hx_ops[i]->view && hx_sig_parse(hx_ops[i], &parsed[i]))
            parsed[i].n_out = 0;
}

const hx_sig *hx_sig_of(const hx_op *op)
{
    pthread_once(&parse_once, parse_all);
    for (int i = 0; parsed && i < hx_n_ops; i++)
        if (hx_ops[i] == op)
            return parsed[i].n_out ? &parsed[i] : NULL;
    for (int i = 0; parsed && i < hx_n_ops; i++)
        if (hx_ops[i]->sig && hx_ops[i]->sig == op->sig && hx_ops[i]->attrs == op->attrs &&
            parsed[i].n_out)
            return &parsed[i];
    return NULL;
}

const hx_op *hx_op_find(const char *name)
{
    for (int i = 0; i < hx_n_ops; i++)
        if (!strcmp(hx_ops[i]->name, name))
            return hx_ops[i];
    return NULL;
}

bool hx_always_cheap(const hx_node *n)
{
    (void)n;
    return true;
}

bool hx_in_eights(const int64_t *dim, const void *attrs)
{
    (void)attrs;
    return dim[1] % HX_HALF_EIGHT == 0;
}

const hx_spirv *hx_spirv_find(const char *name)
{
    for (int i = 0; i < hx_n_spirvs; i++)
        if (!strcmp(hx_spirvs[i].name, name))
            return &hx_spirvs[i];
    return NULL;
}

int hx_sig_arg(const hx_sig *s, const char *name)
{
    for (int i = 0; i < s->n_in + s->n_out; i++)
        if (!strcmp(s->name[i], name))
            return i;
    return -1;
}

int64_t hx_attr_int(const hx_op *op, const void *attrs, const char *name, bool *found)
{
    const hx_field *f = find_attr(op, name, strlen(name));
    bool ok = f && attrs && f->type != HX_F32;
    if (found)
        *found = ok;
    if (!ok)
        return 0;
    int32_t v = 0;
    memcpy(&v, (const char *)attrs + f->offset, f->type == HX_BOOL ? sizeof(bool) : sizeof v);
    return v;
}

typedef struct { const hx_op *op; const hx_sig *sig; const int64_t *dim; const void *attrs; } scope;

static int64_t atom(const char **p, const scope *s)
{
    while (isspace((unsigned char)**p))
        (*p)++;
    const char *start = *p;
    size_t n = word(start);
    *p += n ? n : (**p != 0);
    if (isdigit((unsigned char)*start)) {
        int64_t v = 0;
        for (size_t i = 0; i < n && isdigit((unsigned char)start[i]) && v < INT64_MAX / 20; i++)
            v = v * 10 + (start[i] - '0');
        return v;
    }
    int i = s->sig ? find_dim(s->sig, start, n) : -1;
    if (i >= 0)
        return s->dim[i];
    char name[32];
    snprintf(name, sizeof name, "%.*s", (int)n, start);
    return hx_attr_int(s->op, s->attrs, name, NULL);
}

// Sizes may come from a user's sample: what does not fit in 64 bits is the largest there is.
static int64_t times(int64_t a, int64_t b)
{
    int64_t r;
    return __builtin_mul_overflow(a, b, &r) ? (a < 0) != (b < 0) ? INT64_MIN : INT64_MAX : r;
}

static int64_t plus(int64_t a, int64_t b)
{
    int64_t r;
    return __builtin_add_overflow(a, b, &r) ? a < 0 ? INT64_MIN : INT64_MAX : r;
}

static int64_t product(const char **p, const scope *s)
{
    int64_t v = atom(p, s);
    while (**p == '*' || **p == '/' || **p == ' ') {
        char c = *(*p)++;
        if (c == ' ')
            continue;
        int64_t w = atom(p, s);
        v = c == '*' ? times(v, w) : w > 0 ? hx_ceil_div(v, w) : 0;
    }
    return v;
}

static int64_t sum(const char **p, const scope *s)
{
    int64_t v = product(p, s);
    while (**p == '+' || **p == '-') {
        char c = *(*p)++;
        int64_t w = product(p, s);
        v = plus(v, c == '+' ? w : times(w, -1));
    }
    return v;
}

int64_t hx_eval(const char *expr, const hx_op *op, const int64_t *dim, const void *attrs)
{
    scope s = { op, hx_sig_of(op), dim, attrs };
    return sum(&expr, &s);
}

int hx_eval_list(const char *list, const hx_op *op, const int64_t *dim, const void *attrs,
                 int64_t *out, int cap)
{
    scope s = { op, hx_sig_of(op), dim, attrs };
    int n = 0;
    for (const char *p = list; p && *p && n < cap; p += *p == ',')
        out[n++] = sum(&p, &s);
    return n;
}

int64_t hx_arg_count(const hx_op *op, const int64_t *dim, const void *attrs, int arg)
{
    const hx_sig *s = hx_sig_of(op);
    int64_t n = 1;
    for (int r = 0; r < s->rank[arg]; r++)
        n = times(n, hx_eval(s->shape[arg][r], op, dim, attrs));
    return n;
}

int hx_push_bytes(const hx_op *op)
{
    const hx_sig *s = hx_sig_of(op);
    int words = s->n_dim, optional = 0;
    for (const hx_field *f = op->attrs; f && f->name; f++)
        words++;
    for (int i = 0; i < s->n_in + s->n_out; i++) {
        words += s->flags[i] & HX_ARG_STRIDED ? 2 : 0;
        optional |= s->flags[i] & HX_ARG_OPT;
    }
    return 4 * (words + (optional != 0));
}

double hx_tolerance(const hx_op *op, const int64_t *dim, const void *attrs, double scale)
{
    double terms = op->terms ? (double)hx_eval(op->terms, op, dim, attrs) : 1;
    return 8 * 0x1p-24 * sqrt(fmax(terms, 1)) * scale;
}
