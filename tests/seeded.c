// seeded.c - no test: single mistakes, one for each lane that looks for such; a lane counts only if it
// notices its own.
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int shared;

static void *count(void *user)
{
    for (int i = 0; i < 100000; i++)
        ++*(volatile int *)user;
    return NULL;
}

static int race(void)
{
    pthread_t other;
    if (pthread_create(&other, NULL, count, &shared))
        return 0;
    count(&shared);
    pthread_join(other, NULL);
    return shared < 0;
}

// `n` is 8 as the program is called, so that no compiler sees through it.
static int behind(int n)
{
    volatile char *p = malloc((size_t)n);
    int sum = 0;
    for (int i = 0; i <= n; i++) {
        p[i] = 1;
        sum += p[i];
    }
    free((char *)(size_t)p);
    return sum < 0;
}

static int unset(int n)
{
    int *volatile p = malloc((size_t)n * sizeof *p);
    int wrong = p[n - 1] > 0 ? puts("more") : puts("less");
    free(p);
    return wrong < 0;
}

static int shifted(int n)
{
    return (int)(1u << 31) - n > 0;        // an int below the least
}

int main(int argc, char **argv)
{
    int n = argc + 6;
    const char *what = argc > 1 ? argv[1] : "";
    return !strcmp(what, "race") ? race() : !strcmp(what, "behind") ? behind(n)
        : !strcmp(what, "unset") ? unset(n) : !strcmp(what, "overflow") ? shifted(n) : 2;
}
