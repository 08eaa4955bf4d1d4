// each.h - a reader or writer with each of its allocations, system calls or reads failing in turn.
#pragma once
#include "nth.h"
#include "scratch.h"

typedef hx_result scene(hx_arena *a);

// Within a scene, what the test itself does is not counted.
#define quiet(check)      \
    do {                  \
        nth_pause(true);  \
        check;            \
        nth_pause(false); \
    } while (0)

static inline const char *here(const char *name)
{
    const char *path;
    quiet(path = at(name));
    return path;
}

// Runs f with the 1st, 2nd, ... call failing, until it makes fewer. `may_pass` of these failures may
// cost nothing; the others must give `want`. How many calls there were.
static inline long each(const char *what, int error, scene *f, hx_result want, long may_pass)
{
    long passed = 0;
    for (long n = 1;; n++) {
        hx_arena *a = hx_arena_new();
        hx_fail(HX_OK, "nothing");
        nth_arm(what, n, error);
        hx_result r = f(a);
        long seen = nth_disarm();
        hx_arena_free(&a);
        if (seen < n) {
            ck_assert_msg(r == HX_OK, "%s", hx_last_message());
            ck_assert_int_gt(n, 1);
            ck_assert_msg(passed <= may_pass, "%ld of %ld failures of %s cost nothing", passed, n - 1, what);
            return n - 1;
        }
        passed += !r;
        ck_assert_msg(!r || r == want, "%s %ld gave %d: %s", what, n, r, hx_last_message());
        ck_assert_msg(!r || says("[E-"), "%s %ld: %s", what, n, hx_last_message());
    }
}

static inline long no_memory(scene *f, long may_pass) { return each("memory", ENOMEM, f, HX_E_NOMEM, may_pass); }

// Faults of the seams in io.h, one error after another.
static inline void seams(const char *call, const char *word, scene *f, hx_result want)
{
    for (int n = 1;; n++) {
        hx_arena *a = hx_arena_new();
        hx_fault_set(hx_sprintf(a, "io:%s:%d:%s", call, n, word));
        hx_result r = f(a);
        hx_fault_set("");
        hx_arena_free(&a);
        if (r == HX_OK) {
            ck_assert_int_gt(n, 1);        // or there was nothing to fail
            break;
        }
        ck_assert_msg(r == want, "%s %d gave %d: %s", call, n, r, hx_last_message());
        ck_assert_int_lt(n, 100);
    }
}
