// test_api.c - the public library as its users see it: only htxvk.h, linked with the shared object.
#include "../src/htxvk.h"
#include "suite.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char yaml[] =
    "run: {seed: 2}\n"
    "model: {arch: hierarchical, num_tokens: 64, dim: [16, 24], depth: 1, dim_head: 8, heads: 2,\n"
    "  seq_len: 16, hierarchies: [1, 4], window_sizes: [8, null], ignore_index: -1}\n"
    "train: {steps: 10, batch: 2, accumulate: 2, ema: 0.5}\n";

#define ck_ok(e) ck_assert_msg((e) == HTXVK_OK, "%s", htxvk_message())
#define ck_fails(e, code, word)                                                                    \
    do {                                                                                           \
        ck_assert_int_eq(e, code);                                                                 \
        ck_assert_msg(strstr(htxvk_message(), word), "'%s'", htxvk_message());                     \
    } while (0)

static htxvk_trainer *make(void)
{
    htxvk_trainer *t;
    ck_ok(htxvk_trainer_new(yaml, "host", &t));
    return t;
}

static void fill(int32_t *ids, int n, int from)
{
    for (int i = 0; i < n; i++)
        ids[i] = (from + i * 7) % 64;
}

START_TEST(goes_on_with_the_same_bits)
{
    char folder[] = "/tmp/htxvk-api-XXXXXX";
    int32_t ids[2 * 2 * 17];
    htxvk_losses a = { sizeof a }, b = { sizeof b };
    htxvk_sizes s = { sizeof s };
    htxvk_trainer *t = make(), *u = make();
    ck_assert_ptr_nonnull(mkdtemp(folder));
    ck_ok(htxvk_trainer_sizes(t, &s));
    ck_assert(s.accumulate == 2 && s.batch == 2 && s.tokens == 17 && s.vocabulary == 64 && !s.step);
    for (int i = 0; i < 3; i++) {
        fill(ids, 68, i);
        ck_ok(htxvk_trainer_step(t, ids, &a));
        ck_assert(a.step == i + 1 && isfinite(a.loss) && a.grad_norm > 0 && !a.skipped);
    }
    ck_ok(htxvk_trainer_save(t, folder, 2));
    ck_ok(htxvk_trainer_load(u, folder));
    fill(ids, 68, 9);
    ck_ok(htxvk_trainer_eval(t, ids, &a));
    ck_ok(htxvk_trainer_eval(u, ids, &b));
    ck_assert(a.loss == b.loss && a.cross_entropy == b.cross_entropy);
    for (int i = 0; i < 2; i++) {
        ck_ok(htxvk_trainer_step(t, ids, &a));
        ck_ok(htxvk_trainer_step(u, ids, &b));
        ck_assert(a.loss == b.loss && a.grad_norm == b.grad_norm && a.step == b.step);
    }
    htxvk_trainer_free(&t);
    htxvk_trainer_free(&u);
    ck_assert_ptr_null(t);
    char remove[64];
    snprintf(remove, sizeof remove, "rm -r %s", folder);
    ck_assert_int_eq(system(remove), 0);
}
END_TEST

static int collect(void *user, uint8_t byte)
{
    char *text = user;
    size_t n = strlen(text);
    text[n] = (char)('0' + byte);
    return n + 1 < 5;
}

START_TEST(text)
{
    htxvk_trainer *t = make();
    htxvk_sampling how = { sizeof how, 0.9, 0, 1, 0.01, 7 };
    char one[64] = "", two[64] = "";
    ck_ok(htxvk_trainer_generate(t, "\1\2", 2, 20, &how, collect, one));
    ck_ok(htxvk_trainer_generate(t, "\1\2", 2, 20, &how, collect, two));
    ck_assert_str_eq(one, two);
    ck_assert_uint_eq(strlen(one), 5);
    ck_fails(htxvk_trainer_generate(t, "a", 1, 2, &how, collect, one), HTXVK_INPUT, "E-TOKEN-RANGE");
    htxvk_trainer_free(&t);
}
END_TEST

START_TEST(mistakes)
{
    htxvk_trainer *t;
    htxvk_losses l = { sizeof l }, none = { 0 };
    int32_t ids[68];
    ck_fails(htxvk_trainer_new("model: {arch: hirarchical}", "host", &t), HTXVK_INPUT, "hierarchical");
    ck_assert_ptr_null(t);
    ck_fails(htxvk_trainer_new(yaml, "name:no such thing", &t), HTXVK_NODEVICE, "no such thing");
    ck_fails(htxvk_trainer_new(NULL, "host", &t), HTXVK_USAGE, "yaml");
    ck_fails(htxvk_trainer_step(NULL, ids, &l), HTXVK_USAGE, "NULL");
    t = make();
    fill(ids, 68, 0);
    ids[67] = 64;
    ck_fails(htxvk_trainer_step(t, ids, &l), HTXVK_INPUT, "ids[67] is 64");
    ids[67] = -1;
    ck_fails(htxvk_trainer_step(t, ids, &l), HTXVK_INPUT, "ids[67] is -1");
    ids[67] = 63;
    ck_fails(htxvk_trainer_eval(t, ids, &none), HTXVK_USAGE, "sizeof(htxvk_losses)");
    ck_fails(htxvk_trainer_load(t, "/nonexistent"), HTXVK_INPUT, "/nonexistent");
    ck_fails(htxvk_trainer_save(t, "/proc/none", 1), HTXVK_IO, "/proc/none");
    ck_ok(htxvk_trainer_step(t, ids, &l));
    htxvk_trainer_free(&t);
    htxvk_trainer_free(&t);
    htxvk_trainer_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("api");
    TCase *c = tcase_create("api");
    tcase_add_test(c, goes_on_with_the_same_bits);
    tcase_add_test(c, text);
    tcase_add_test(c, mistakes);
    suite_add_tcase(s, c);
    return run_made(s, CK_ENV);
}
