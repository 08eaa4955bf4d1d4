// rows.h - what host functions over rows are written with: 16 elements at a time, whatever vector
// registers the processor has, so that sums have the same bits everywhere.
#pragma once
#include "elem.h"

enum { HX_V16 = 16 };
typedef float hx_v16 __attribute__((vector_size(4 * HX_V16), aligned(4), may_alias));

// HX_EACH(n, BODY) runs BODY(hx_v16) over whole groups of lanes, then BODY(float) over what is
// left of n elements; HX_AT(type, p) is element (or lanes) i of p. Sums go to sum_##type, of which
// HX_SUM declares one of each kind and HX_TOTAL folds both in a fixed tree.
#define HX_AT(type, p) (*(type *)((p) + i))
#define HX_OF(type, p) (*(const type *)((p) + i))
#define HX_EACH(n, BODY) do {                                           \
        int64_t i = 0;                                                  \
        for (; i + HX_V16 <= (n); i += HX_V16) { BODY(hx_v16); }        \
        for (; i < (n); i++) { BODY(float); }                           \
    } while (0)
#define HX_SUM(name) hx_v16 name##_hx_v16 = {0}; float name##_float = 0
#define HX_TOTAL(name) (hx_v16_total(&name##_hx_v16) + name##_float)

HX_INLINE float hx_v16_total(const hx_v16 *v)
{
    float s[HX_V16 / 2];
    for (int i = 0; i < HX_V16 / 2; i++) s[i] = (*v)[i] + (*v)[i + HX_V16 / 2];
    for (int n = HX_V16 / 4; n; n /= 2)
        for (int i = 0; i < n; i++) s[i] += s[i + n];
    return s[0];
}

// Rows per task, a multiple of 16: about 16 Ki elements, by the width of a row only.
static inline int64_t hx_rows_per_task(int64_t width)
{
    return 16 * hx_max(1, 1024 / hx_max(1, width));
}

// Shares out the rows; task i does hx_rows_per_task of them from i times that.
static inline void hx_share_rows(const hx_call *c, int64_t rows, int64_t width,
                                 void (*task)(void *ctx, int64_t i))
{
    hx_pool_run(c->pool, hx_ceil_div(rows, hx_rows_per_task(width)), task, (void *)c);
}
