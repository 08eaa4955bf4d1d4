// clock.h - time that only grows, for measuring.
#pragma once
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// Milliseconds since some moment in the past.
static inline double hx_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

// Milliseconds that a processor has worked for this thread.
static inline double hx_thread_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

// Milliseconds since this process began, to a hundredth of a second; negative where the system does
// not say.
static inline double hx_process_age_ms(void)
{
    char text[1024];
    FILE *f = fopen("/proc/self/stat", "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = 0;
    const char *at = strrchr(text, ')');   // the name before may hold anything
    unsigned long long begin = 0;
    if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                      "%*d %llu", &begin) != 1)
        return -1;
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec -
        1e3 * (double)begin / (double)sysconf(_SC_CLK_TCK);
}
