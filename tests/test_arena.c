// test_arena.c - memory by scope: alignment, zeroes, refusals.
#include <stdint.h>
#include "../runtime/arena.h"
#include "suite.h"

START_TEST(aligned_and_zeroed)
{
    hx_arena *a = hx_arena_new();
    char *last = NULL;
    for (size_t bytes = 1; bytes < 300000; bytes = bytes * 3 + 1) {
        char *p = hx_alloc(a, bytes);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 64, 0);
        for (size_t i = 0; i < bytes; i++)
            if (p[i])                      // a passing ck_assert is a system call
                ck_abort_msg("byte %zu of %zu is %d", i, bytes, p[i]);
        memset(p, 0xff, bytes);            // must not reach the next one, nor the one before
        ck_assert(!last || (unsigned char)last[0] == 0xff);
        last = p;
    }
    hx_arena_free(&a);
    ck_assert_ptr_null(a);
    hx_arena_free(&a);
    hx_arena_free(NULL);
}
END_TEST

START_TEST(apart)
{
    hx_arena *a = hx_arena_new();
    enum { N = 3000 };
    int *p[N];
    for (int i = 0; i < N; i++)
        *(p[i] = hx_new(a, int, 1 + i % 7)) = i;
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(*p[i], i);
    ck_assert_uint_eq(hx_arena_bytes(a), N * 64);
    hx_arena_free(&a);
}
END_TEST

START_TEST(texts)
{
    hx_arena *a = hx_arena_new();
    char word[] = "word";
    char *copy = hx_strdup(a, word);
    word[0] = 'x';
    ck_assert_str_eq(copy, "word");
    ck_assert_str_eq(hx_sprintf(a, "%s %d %s", copy, 7, "end"), "word 7 end");
    char *wide = hx_sprintf(a, "%100000d", 5);
    ck_assert_uint_eq(strlen(wide), 100000);
    hx_arena_free(&a);
}
END_TEST

START_TEST(too_much)
{
    hx_arena *a = hx_arena_new();
    static const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 62, SIZE_MAX / 2 + 1, SIZE_MAX / 4 };
    for (int i = 0; i < HX_COUNT(sizes); i++) {
        hx_fail(HX_E_IO, "before");
        ck_assert_ptr_null(hx_alloc(a, sizes[i]));
        ck_assert_ptr_nonnull(strstr(hx_last_message(), "E-NOMEM"));
    }
    ck_assert_ptr_null(hx_alloc(NULL, 1));
    ck_assert_ptr_null(hx_strdup(NULL, "x"));
    ck_assert_ptr_nonnull(hx_alloc(a, 0));
    ck_assert_ptr_nonnull(hx_alloc(a, 100));
    hx_arena_free(&a);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { aligned_and_zeroed, apart, texts, too_much };
    return run_suite("arena", NULL, NULL, tests, HX_COUNT(tests));
}
