// elem.c - see elem.h.
#include "elem.h"

enum { CHUNK = 32768 };                    // elements a task: 128 KiB, stays in a level-2 cache

typedef struct each { const hx_call *c; hx_row_fn fn; int64_t rows, cols, step; } each;

// Task i: `step` whole rows, or a CHUNK of the one long row.
static void each_task(void *ctx, int64_t i)
{
    const each *e = ctx;
    if (e->rows == 1) {
        int64_t from = i * CHUNK;
        e->fn(e->c, 0, from, hx_min(CHUNK, e->cols - from));
        return;
    }
    int64_t last = hx_min(e->rows, (i + 1) * e->step);
    for (int64_t r = i * e->step; r < last; r++)
        e->fn(e->c, r, 0, e->cols);
}

void hx_each_row(const hx_call *c, int arg, hx_row_fn row_fn)
{
    each e = { c, row_fn, c->dim[0], c->dim[1], 1 };
    bool gaps = false;
    for (int i = 0; i <= arg; i++)
        if (c->a[i] && c->ld[i] != e.cols)
            gaps = true;
    if (!gaps) {
        e.cols *= e.rows;
        e.rows = 1;
    }
    e.step = hx_max(1, CHUNK / e.cols);
    int64_t n = e.rows == 1 ? hx_ceil_div(e.cols, CHUNK) : hx_ceil_div(e.rows, e.step);
    if (n == 1)
        each_task(&e, 0);
    else
        hx_pool_run(c->pool, n, each_task, &e);
}
