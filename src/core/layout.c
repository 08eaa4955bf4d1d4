#include "layout.h"
#include <stdlib.h>
#include <string.h>

static int by_size(const void *a, const void *b)
{
    const hx_item *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return x->first != y->first ? x->first - y->first : x->id - y->id;
}

static int by_area(const void *a, const void *b)
{
    const hx_item *x = a, *y = b;
    double p = (double)x->bytes * (x->last - x->first + 1), q = (double)y->bytes * (y->last - y->first + 1);
    return p != q ? (p < q ? 1 : -1) : by_size(a, b);
}

static int by_life(const void *a, const void *b)
{
    const hx_item *x = a, *y = b;
    int p = x->last - x->first, q = y->last - y->first;
    return p != q ? q - p : by_size(a, b);
}

static int by_start(const void *a, const void *b)
{
    const hx_item *x = a, *y = b;
    return x->first != y->first ? x->first - y->first : by_size(a, b);
}

// lowest offset where the item fits beside those alive at the same time
static int64_t lowest(const hx_item *placed, int n, const hx_item *it, int64_t block)
{
    int64_t at = 0;
    for (int i = 0; i < n; i++) {          // placed[] is sorted by offset
        const hx_item *o = &placed[i];
        if (o->last < it->first || it->last < o->first)
            continue;
        if (at / block != (at + it->bytes - 1) / block)
            at = hx_align(at, block);
        if (at + it->bytes <= o->at)
            break;
        at = hx_max(at, o->at + o->bytes);
    }
    return at / block != (at + it->bytes - 1) / block ? hx_align(at, block) : at;
}

// placed[] begins with `fixed` items that are where they are.
static int64_t place_in_order(hx_item *list, int n, hx_item *placed, int fixed, int64_t block)
{
    int64_t top = 0;
    for (int i = 0; i < fixed; i++)
        top = hx_max(top, placed[i].at + placed[i].bytes);
    for (int i = 0; i < n; i++) {
        list[i].at = lowest(placed, fixed + i, &list[i], block);
        top = hx_max(top, list[i].at + list[i].bytes);
        int k = fixed + i;
        for (; k > 0 && placed[k - 1].at > list[i].at; k--)
            placed[k] = placed[k - 1];
        placed[k] = list[i];
    }
    return top;
}

static void count_lives(const hx_item *list, int n, int64_t *delta)
{
    for (int i = 0; i < n; i++) {
        delta[list[i].first] += list[i].bytes;
        delta[list[i].last + 1] -= list[i].bytes;
    }
}

int64_t hx_layout_bound(const hx_item *list, int n, const hx_item *fixed, int n_fixed, int levels, int64_t *delta)
{
    int64_t sum = 0, most = 0;
    memset(delta, 0, ((size_t)levels + 2) * sizeof *delta);
    count_lives(list, n, delta);
    count_lives(fixed, n_fixed, delta);
    for (int l = 0; l <= levels; l++)
        most = hx_max(most, sum += delta[l]);
    return most;
}

int64_t hx_layout(hx_item *list, int n, const hx_item *fixed, int n_fixed, int64_t block, int64_t bound, hx_item *placed,
                  hx_item *best)
{
    int64_t least = INT64_MAX;
    int (*const orders[])(const void *, const void *) = { by_size, by_area, by_life, by_start };
    for (int o = 0; o < HX_COUNT(orders) && least > bound; o++) {
        qsort(list, (size_t)n, sizeof *list, orders[o]);
        memcpy(placed, fixed, (size_t)n_fixed * sizeof *fixed);
        int64_t top = place_in_order(list, n, placed, n_fixed, block);
        if (top < least) {
            least = top;
            memcpy(best, list, (size_t)n * sizeof *list);
        }
    }
    memcpy(list, best, (size_t)n * sizeof *list);
    return least;
}
