// saver.c - the thread that checkpoints are written by.
#include "saver.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef enum { NOTHING, ASKED, WRITTEN } progress;

struct hx_saver {
    pthread_t       thread;
    pthread_mutex_t lock;
    pthread_cond_t  change;
    const char     *dir;
    int             keep;
    // under the lock
    progress        at;
    bool            stop;
    hx_ckpt         ckpt;                  // the thread's while ASKED
    bool            best;
    hx_result       result;                // as of WRITTEN, with its message
    char            why[1024];
};

static hx_result save(const hx_saver *s)
{
    HX_TRY(hx_ckpt_write(s->dir, &s->ckpt, s->keep));
    return s->best ? hx_ckpt_mark_best(s->dir, s->ckpt.state.step) : HX_OK;
}

static void *saver_main(void *arg)
{
    hx_saver *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->stop || s->at == ASKED) {
        if (s->at != ASKED) {
            pthread_cond_wait(&s->change, &s->lock);
            continue;
        }
        pthread_mutex_unlock(&s->lock);
        hx_result r = save(s);
        pthread_mutex_lock(&s->lock);
        s->result = r;
        snprintf(s->why, sizeof s->why, "%s", r ? hx_last_message() : "");
        s->at = WRITTEN;
        pthread_cond_broadcast(&s->change);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static int start(hx_saver *s)
{
    // signals are for the thread that trains
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&s->thread, NULL, saver_main, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed;
}

hx_result hx_saver_new(const char *dir, int keep, hx_saver **out)
{
    hx_saver *s = *out = calloc(1, sizeof *s);
    if (!s)
        return hx_fail(HX_E_NOMEM, "no memory for writing checkpoints [E-NOMEM]");
    s->dir = dir;
    s->keep = keep;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->change, &attr);
    pthread_condattr_destroy(&attr);
    int failed = start(s);
    if (!failed)
        return HX_OK;
    pthread_cond_destroy(&s->change);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *out = NULL;
    return hx_fail(HX_E_NOMEM, "no thread for writing checkpoints: %s; is a limit of processes, "
                   "`ulimit -u`, too low? [E-THREAD]", strerror(failed));
}

void hx_saver_free(hx_saver **sp)
{
    hx_saver *s = *sp;
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->change);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->change);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *sp = NULL;
}

hx_result hx_saver_begin(hx_saver *s, const hx_ckpt *c, bool best)
{
    pthread_mutex_lock(&s->lock);
    bool free_now = s->at == NOTHING;
    if (free_now) {
        s->ckpt = *c;
        s->best = best;
        s->at = ASKED;
        pthread_cond_broadcast(&s->change);
    }
    pthread_mutex_unlock(&s->lock);
    return free_now ? HX_OK : hx_fail(HX_E_INTERNAL, "step %lld: a checkpoint is being written already "
                                      "[E-INTERNAL]", (long long)c->state.step);
}

bool hx_saver_idle(hx_saver *s, int ms)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    int64_t ns = end.tv_nsec + (int64_t)ms * 1000000;
    end.tv_sec += ns / 1000000000;
    end.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&s->lock);
    while (s->at == ASKED && !pthread_cond_timedwait(&s->change, &s->lock, &end))
        continue;
    bool idle = s->at != ASKED;
    pthread_mutex_unlock(&s->lock);
    return idle;
}

hx_result hx_saver_take(hx_saver *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->at == ASKED)
        pthread_cond_wait(&s->change, &s->lock);
    hx_result r = s->at == WRITTEN ? s->result : HX_OK;
    s->at = NOTHING;
    pthread_mutex_unlock(&s->lock);
    return r ? hx_fail(r, "%s", s->why) : HX_OK;
}
