// layout.h - offsets in one stretch of memory for items that are alive for some of the levels.
#pragma once
#include "../../runtime/base.h"

// Alive in levels [first, last]; at: its offset in bytes, of the stretch's beginning.
typedef struct { int id, first, last; int64_t bytes, at; } hx_item;

// The most bytes alive at one level, less than which no layout can need. fixed: other items, which
// already have offsets; levels lie in [0, levels]; delta: room for levels + 2.
int64_t hx_layout_bound(const hx_item *list, int n, const hx_item *fixed, int n_fixed, int levels,
                        int64_t *delta);
// Gives each item of the list an offset at which it shares no byte with one alive at the same level
// and lies within one block of `block` bytes: the best of four greedy orders, at once where one
// reaches `bound`. The list comes back in another order. placed: room for n_fixed + n; best: for n.
// Bytes needed, `fixed` included.
int64_t hx_layout(hx_item *list, int n, const hx_item *fixed, int n_fixed, int64_t block, int64_t bound,
                  hx_item *placed, hx_item *best);
