// clock.h - time that only grows, for measuring.
#pragma once
#include <time.h>

// Milliseconds since some moment in the past.
static inline double hx_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

// The same in seconds.
static inline double hx_now(void) { return 1e-3 * hx_now_ms(); }

// Milliseconds that a processor has worked for this thread.
static inline double hx_thread_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}
