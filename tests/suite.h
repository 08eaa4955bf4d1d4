// suite.h - the main of a hand-written test: a list of Check tests, each a process of its own.
#pragma once
#include <check.h>
#include <stdlib.h>
#include <string.h>

// Runs a suite; mode: CK_NORMAL, or CK_ENV where the caller's environment says what to print.
// Returns the exit status.
static inline int run_made(Suite *s, enum print_output mode)
{
    SRunner *r = srunner_create(s);
    srunner_run_all(r, mode);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}

// The only case of a new suite, for tests that are added one by one and as loops. before/after as below.
static inline TCase *only_case(Suite **s, const char *name, void (*before)(void), void (*after)(void), double seconds)
{
    TCase *tc = tcase_create(name);
    tcase_set_timeout(tc, seconds);
    if (before || after)
        tcase_add_checked_fixture(tc, before, after);
    *s = suite_create(name);
    suite_add_tcase(*s, tc);
    return tc;
}

// before/after run around every test; either may be NULL. Returns the exit status.
static inline int run_suite(const char *name, void (*before)(void), void (*after)(void),
                            const TTest *const *tests, int n)
{
    Suite *s;
    TCase *tc = only_case(&s, name, before, after, 120);
    for (int i = 0; i < n; i++)
        tcase_add_test(tc, tests[i]);
    return run_made(s, CK_NORMAL);
}
