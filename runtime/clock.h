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
