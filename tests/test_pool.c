// test_pool.c - every task runs once, on as many threads as asked, with the same bits.
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>
#include "../runtime/pool.h"
#include "suite.h"

typedef struct counts { _Atomic int runs[1000], total; } counts;
static void count(void *ctx, int64_t i)
{
    counts *c = ctx;
    c->runs[i]++;
    c->total++;
}

START_TEST(each_once)
{
    static const int threads[] = { 0, 1, 2, 5, 16 };
    for (int t = 0; t < HX_COUNT(threads); t++) {
        hx_pool *p = hx_pool_new(threads[t]);
        ck_assert_ptr_nonnull(p);
        ck_assert_int_eq(hx_pool_threads(p) >= 1, 1);
        if (threads[t])
            ck_assert_int_eq(hx_pool_threads(p), threads[t]);
        for (int n = 0; n <= 1000; n += n < 20 ? 1 : 245) {
            counts c = { 0 };
            hx_pool_run(p, n, count, &c);
            ck_assert_int_eq(c.total, n);
            for (int i = 0; i < n; i++)
                ck_assert_int_eq(c.runs[i], 1);
        }
        hx_pool_free(&p);
        ck_assert_ptr_null(p);
    }
    hx_pool_free(NULL);
}
END_TEST

// many short jobs in a row: a worker that wakes late must not touch the next job
START_TEST(short_jobs)
{
    hx_pool *p = hx_pool_new(4);
    for (int k = 0; k < 20000; k++) {
        counts c;
        c.total = 0;
        c.runs[0] = c.runs[1] = c.runs[2] = 0;
        hx_pool_run(p, 3, count, &c);
        ck_assert_int_eq(c.total, 3);
    }
    hx_pool_free(&p);
}
END_TEST

typedef struct meeting { pthread_barrier_t all; _Atomic int met; } meeting;
static void meet(void *ctx, int64_t i)
{
    (void)i;
    meeting *m = ctx;
    pthread_barrier_wait(&m->all);         // passes only when three tasks are inside at once
    m->met++;
}

START_TEST(at_once)
{
    hx_pool *p = hx_pool_new(3);
    meeting m = { .met = 0 };
    pthread_barrier_init(&m.all, NULL, 3);
    hx_pool_run(p, 3, meet, &m);
    ck_assert_int_eq(m.met, 3);
    pthread_barrier_destroy(&m.all);
    hx_pool_free(&p);
}
END_TEST

typedef struct sums { float x[4096], part[64]; } sums;
static void sum_part(void *ctx, int64_t i)
{
    sums *s = ctx;
    s->part[i] = 0;
    for (int j = 0; j < 64; j++)
        s->part[i] += s->x[i * 64 + j];
}

START_TEST(same_bits)
{
    static sums first, again;
    for (int i = 0; i < 4096; i++)
        first.x[i] = again.x[i] = sinf((float)i) * 1e3f;
    for (int threads = 1; threads <= 8; threads++) {
        hx_pool *p = hx_pool_new(threads);
        hx_pool_run(p, 64, sum_part, threads == 1 ? &first : &again);
        if (threads > 1)
            ck_assert_mem_eq(first.part, again.part, sizeof first.part);
        hx_pool_free(&p);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { each_once, short_jobs, at_once, same_bits };
    return run_suite("pool", NULL, NULL, tests, HX_COUNT(tests));
}
