#include "../../runtime/pool.h"
#include "param.h"
#include <Random123/philox.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hx_params *hx_params_new(void)
{
    hx_params *ps = calloc(1, sizeof *ps);
    if (ps && !(ps->arena = hx_arena_new()))
        hx_params_free(&ps);
    return ps;
}

void hx_params_free(hx_params **ps)
{
    if (!ps || !*ps)
        return;
    hx_arena_free(&(*ps)->arena);
    free((*ps)->list);
    free(*ps);
    *ps = NULL;
}

static hx_param *append(hx_params *ps, const char *fmt, va_list ap)
{
    char name[256];
    vsnprintf(name, sizeof name, fmt, ap);
    if (ps->n == ps->cap) {
        int cap = ps->cap ? 2 * ps->cap : 128;
        hx_param *list = realloc(ps->list, (size_t)cap * sizeof *list);
        if (!list) {
            ps->err = hx_fail(HX_E_NOMEM, "no memory for parameter %s [E-NOMEM]", name);
            return NULL;
        }
        ps->list = list;
        ps->cap = cap;
    }
    hx_param *p = &ps->list[ps->n++];
    *p = (hx_param){ .name = hx_strdup(ps->arena, name) };
    return p;
}

// Gives a parameter that was appended its shape and its place; its handle, 0 on failure.
static hx_p place(hx_params *ps, hx_param *p, int rank, const int64_t *shape)
{
    if (!p)
        return 0;
    p->rank = rank;
    p->elems = 1;
    int64_t bytes = 0, end = 0;
    bool fits = rank <= HX_MAX_RANK;
    for (int i = 0; i < rank && fits; i++) {
        p->shape[i] = shape[i];
        fits = shape[i] > 0 && hx_mul(p->elems, shape[i], &p->elems);
    }
    fits = fits && hx_mul(p->elems, 4, &bytes) && hx_sum(ps->bytes, bytes + 256, &end) && p->elems <= UINT32_MAX;
    if (!fits) {
        ps->err = hx_fail(HX_E_INPUT, "parameter %s would hold more than 4294967295 numbers; make the "
            "model smaller [E-SIZE]", p->name ? p->name : "");
        ps->n--;
        return 0;
    }
    bool across = ps->bytes / HX_PARAM_BLOCK != (ps->bytes + bytes - 1) / HX_PARAM_BLOCK;
    p->at = across ? hx_align(ps->bytes, HX_PARAM_BLOCK) : ps->bytes;
    ps->bytes = hx_align(p->at + bytes, 256);
    return ps->n;
}

hx_p hx_param_add(hx_params *ps, hx_init_kind init, double scale, int rank, const int64_t *shape,
                  const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    hx_param *p = append(ps, fmt, ap);
    va_end(ap);
    if (p && ps->trained < ps->bytes)
        ps->err = hx_fail(HX_E_INTERNAL, "parameter %s follows a buffer [E-PARAM]", p->name);
    hx_p h = place(ps, p, rank, shape);
    if (h) {
        p->init = init;
        p->scale = scale;
    }
    ps->trained = ps->bytes;
    return h;
}

void hx_param_start(hx_params *ps, hx_p p, const float *values)
{
    if (!p)
        return;
    ps->list[p - 1].init = HX_INIT_VALUES;
    ps->list[p - 1].values = values;
}

hx_p hx_param_fixed(hx_params *ps, double value, int rank, const int64_t *shape, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    hx_param *p = append(ps, fmt, ap);
    va_end(ap);
    hx_p h = place(ps, p, rank, shape);
    if (h) {
        p->init = HX_INIT_CONST;
        p->scale = value;
        p->buffer = true;
    }
    return h;
}

void hx_param_buffer(hx_params *ps, const float *table, int64_t n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    hx_param *p = append(ps, fmt, ap);
    va_end(ap);
    float *copy = p ? hx_new(ps->arena, float, n) : NULL;
    if (!copy)
        return;
    memcpy(copy, table, (size_t)n * sizeof *table);
    p->rank = 1;
    p->shape[0] = p->elems = n;
    p->init = HX_INIT_TABLE;
    p->table = copy;
    p->buffer = true;
}

void hx_param_tied(hx_params *ps, hx_p same, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    hx_param *p = append(ps, fmt, ap);
    va_end(ap);
    if (!p || !same)
        return;
    const char *name = p->name;
    *p = ps->list[same - 1];
    p->name = name;
    p->buffer = true;
    p->same = same;
}

const hx_param *hx_param_find(const hx_params *ps, const char *name)
{
    for (int i = 0; i < ps->n; i++)
        if (!strcmp(ps->list[i].name, name))
            return &ps->list[i];
    return NULL;
}

int64_t hx_params_count(const hx_params *ps)
{
    int64_t n = 0;
    for (int i = 0; i < ps->n; i++)
        n += ps->list[i].buffer ? 0 : ps->list[i].elems;
    return n;
}

static uint64_t hash(const char *s)        // FNV-1a
{
    uint64_t h = 0xCBF29CE484222325;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001B3;
    return h;
}

static double unit(uint32_t a, uint32_t b)     // in (0, 1), 53 bits
{
    return ((double)(((uint64_t)a << 32 | b) >> 11) + 0.5) * 0x1p-53;
}

static void init_part(const hx_param *p, uint64_t seed, int64_t from, int64_t to, float *out)
{
    uint64_t name = hash(p->name);
    int64_t row = p->init == HX_INIT_NORMAL_ROW ? p->shape[p->rank - 1] : 0;
    philox4x32_key_t key = { { (uint32_t)seed, (uint32_t)(seed >> 32) } };
    for (int64_t i = from; i < to; i++) {
        if (p->init == HX_INIT_CONST || p->init == HX_INIT_TABLE || p->init == HX_INIT_VALUES) {
            out[i] = p->init == HX_INIT_CONST ? (float)p->scale
                     : p->init == HX_INIT_TABLE ? p->table[i] : p->values[i];
            continue;
        }
        int64_t at = row ? i % row : i;
        philox4x32_ctr_t c = { { (uint32_t)at, (uint32_t)(at >> 32), (uint32_t)name,
                                 (uint32_t)(name >> 32) } };
        philox4x32_ctr_t r = philox4x32(c, key);
        double u = unit(r.v[0], r.v[1]), v = unit(r.v[2], r.v[3]);
        out[i] = (float)(p->init == HX_INIT_UNIFORM ? p->scale * (2 * u - 1)
                         : (p->init == HX_INIT_NEAR_ONE)
                           + p->scale * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
    }
}

void hx_param_init(const hx_param *p, uint64_t seed, float *out)
{
    init_part(p, seed, 0, p->elems, out);
}

// Every element is a function of its name and number: threads share them out.
enum { PART = 1 << 16 };
typedef struct start { const hx_param *p; uint64_t seed; float *out; } start;

static void start_part(void *ctx, int64_t i)
{
    const start *f = ctx;
    init_part(f->p, f->seed, i * PART, hx_min((i + 1) * PART, f->p->elems), f->out);
}

hx_result hx_params_init(const hx_params *ps, uint64_t seed, char *out)
{
    hx_pool *pool = hx_pool_new(0);
    if (!pool)
        return hx_fail(HX_E_NOMEM, "no memory for threads [E-NOMEM]");
    for (int i = 0; i < ps->n; i++)
        if (!ps->list[i].table && !ps->list[i].same)
            hx_pool_run(pool, hx_ceil_div(ps->list[i].elems, PART), start_part,
                        &(start){ &ps->list[i], seed, (float *)(out + ps->list[i].at) });
    hx_pool_free(&pool);
    return HX_OK;
}
