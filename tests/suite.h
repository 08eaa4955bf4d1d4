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

// before/after run around every test; either may be NULL. Returns the exit status.
static inline int run_suite(const char *name, void (*before)(void), void (*after)(void),
                            const TTest *const *tests, int n)
{
    TCase *tc = tcase_create(name);
    tcase_set_timeout(tc, 120);
    if (before || after)
        tcase_add_checked_fixture(tc, before, after);
    for (int i = 0; i < n; i++)
        tcase_add_test(tc, tests[i]);
    Suite *s = suite_create(name);
    suite_add_tcase(s, tc);
    return run_made(s, CK_NORMAL);
}
