// pool.c - worker threads that claim tasks by one atomic counter; the caller works along.
#include "pool.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct job { int64_t n; void (*task)(void *ctx, int64_t i); void *ctx; } job;

struct hx_pool {
    pthread_mutex_t lock;
    pthread_cond_t  wake, left;
    job             now;                   // under lock
    unsigned        turn;                  // counts jobs, under lock
    bool            open, stop;            // open: workers may join the job
    int             inside;                // workers in the job
    _Atomic int64_t next;
    int             n_workers;             // the caller is one thread more
    pthread_t       worker[];
};

static void work(hx_pool *p, job j)
{
    for (int64_t i; (i = atomic_fetch_add(&p->next, 1)) < j.n;)
        j.task(j.ctx, i);
}

static void *worker_main(void *arg)
{
    hx_pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (unsigned seen = 0; !p->stop;) {
        if (!p->open || p->turn == seen) {
            pthread_cond_wait(&p->wake, &p->lock);
            continue;
        }
        seen = p->turn;
        job j = p->now;
        p->inside++;
        pthread_mutex_unlock(&p->lock);
        work(p, j);
        pthread_mutex_lock(&p->lock);
        if (--p->inside == 0)
            pthread_cond_signal(&p->left);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int hx_processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

hx_pool *hx_pool_new(int threads)
{
    int n = threads > 0 ? threads : hx_processors();
    hx_pool *p = calloc(1, sizeof *p + sizeof(pthread_t) * (size_t)n);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->left, NULL);

    // signals are for the threads of whoever embeds us
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (p->n_workers < n - 1 && !pthread_create(&p->worker[p->n_workers], NULL, worker_main, p))
        p->n_workers++;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return p;
}

void hx_pool_free(hx_pool **pool)
{
    if (!pool || !*pool)
        return;
    hx_pool *p = *pool;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->n_workers; i++)
        pthread_join(p->worker[i], NULL);
    pthread_cond_destroy(&p->left);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
    *pool = NULL;
}

int hx_pool_threads(const hx_pool *p) { return p->n_workers + 1; }

void hx_pool_run(hx_pool *p, int64_t n, void (*task)(void *ctx, int64_t i), void *ctx)
{
    if (!p->n_workers || n < 2) {
        for (int64_t i = 0; i < n; i++)
            task(ctx, i);
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->now = (job){ n, task, ctx };
    atomic_store(&p->next, 0);
    p->open = true;
    p->turn++;
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);

    work(p, p->now);

    // nobody may join any more; whoever joined must leave before the counter is used again
    pthread_mutex_lock(&p->lock);
    p->open = false;
    while (p->inside)
        pthread_cond_wait(&p->left, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
