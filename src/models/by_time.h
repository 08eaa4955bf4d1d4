// by_time.h - what models share whose rows are in the order of time: row t*B + b is token or memory
// slot t of batch row b, so that parts of a sequence lie one below the other.
#pragma once
#include "../ops/t.h"
#include "head.h"

static inline hx_t bt_linear(hx_t x, hx_t w)
{
    return t_linear(x, w, HX_NONE, HX_ACT_NONE, HX_NONE);
}

// x[..,C] -> [1,R,C]
static inline hx_t bt_rows3(hx_t x)
{
    return hx_reshape(x, 3, (int64_t[]){ 1, hx_rows(x), hx_dim(x, -1) });
}

// x[n,C] for each of B batch rows -> [1, n*B, C]
static inline hx_t bt_for_batch(hx_t x, int64_t B)
{
    return t_repeat(bt_rows3(x), hx_rows(x) * B, (int)B);
}

// rows in the order of time to [B, rows/B, C]
static inline hx_t bt_by_batch(hx_t x, int64_t B)
{
    int64_t n = hx_rows(x) / B, W = hx_dim(x, -1);
    hx_t y = t_swap(hx_reshape(x, 4, (int64_t[]){ 1, n, B, W }));
    return hx_reshape(y, 3, (int64_t[]){ B, n, W });
}

// [B, n, C] to rows in the order of time, [1, n*B, C]
static inline hx_t bt_by_time(hx_t x)
{
    int64_t B = hx_dim(x, 0), n = hx_dim(x, 1), W = hx_dim(x, -1);
    return bt_rows3(t_swap(hx_reshape(x, 4, (int64_t[]){ 1, B, n, W })));
}

// The rows of x: a, b and c of them in a row; parts of no rows stay HX_NONE.
static inline void bt_cut(hx_t x, int64_t a, int64_t b, int64_t c, hx_t *out)
{
    int64_t size[3], want[3] = { a, b, c };
    hx_t part[3];
    int n = 0, used = 0;
    for (int i = 0; i < 3; i++)
        if (want[i] > 0)
            size[n++] = want[i];
    if (n == 1)
        part[0] = t_flat(x);
    else
        hx_split(0, t_flat(x), n, size, part);
    for (int i = 0; i < 3; i++) out[i] = want[i] > 0 ? part[used++] : HX_NONE;
}

// One below the other, those that there are: [R, C]
static inline hx_t bt_stack(hx_t a, hx_t b, hx_t c)
{
    hx_t all[3] = { a, b, c }, part[3];
    int n = 0;
    for (int i = 0; i < 3; i++)
        if (hx_is(all[i]))
            part[n++] = t_flat(all[i]);
    return n == 1 ? part[0] : hx_concat(0, n, part);
}

// Names an output WHAT.s or WHAT.s.i (i < 0: none).
static inline void bt_named(hx_graph *g, const char *what, int64_t s, int i, hx_t x)
{
    hx_arena *a = g->tape->arena;
    const char *name = i < 0 ? hx_sprintf(a, "%s.%lld", what, (long long)s)
                             : hx_sprintf(a, "%s.%lld.%d", what, (long long)s, i);
    hx_output(g, name ? name : what, x);
}
