// pool.h - a fixed set of threads that share out numbered tasks.
#pragma once
#include "base.h"

// The processors this process may use, at least 1.
int hx_processors(void);

typedef struct hx_pool hx_pool;
// threads: 0 takes hx_processors(). NULL when memory is out.
hx_pool *hx_pool_new(int threads);
void     hx_pool_free(hx_pool **p);
int      hx_pool_threads(const hx_pool *p);
// Calls task(ctx, i) once for each i in [0, n), on any thread, and returns when all are done.
// How work is cut into tasks must depend on the problem only, never on the number of threads:
// then results have the same bits whatever that number is. Not reentrant.
void     hx_pool_run(hx_pool *p, int64_t n, void (*task)(void *ctx, int64_t i), void *ctx);
