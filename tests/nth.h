// nth.h - the n-th call of a kind that the library makes fails. Tests that use it are linked with
// nth.c and with --wrap for each name (tests/meson.build), so that calls of other libraries stay.
#pragma once
#include <errno.h>
#include <stdbool.h>

// From now on calls of `what` are counted, "memory" or the name of a function as nth.c has it; number
// `n` (from 1; 0: none) sets errno to `error` and fails.
// What happens instead of a failure at the call that was armed with the error 0.
extern void (*nth_then)(void);
void nth_arm(const char *what, long n, int error);
// Ends that; how many calls there were.
long nth_disarm(void);
// For code of the test itself in between.
void nth_pause(bool on);
