// test_param.c - where parameters lie, how large they may be, and what they begin as.
#include "../src/core/param.h"
#include "suite.h"
#include <math.h>

enum { N = 20000 };
static hx_params *ps;
static float out[N + 1];

static void begin(void) { ps = hx_params_new(); }
static void end(void) { hx_params_free(&ps); }

static hx_p add(int64_t n) { return hx_param_add(ps, HX_INIT_NORMAL, 1, 1, &n, "p%d", ps->n); }

START_TEST(places)
{
    ck_assert_int_eq(add(1), 1);
    ck_assert_int_eq(add(64), 2);
    ck_assert_int_eq(add(65), 3);
    ck_assert_int_eq(add(1), 4);
    static const int64_t at[] = { 0, 256, 512, 1024 };
    for (int i = 0; i < ps->n; i++)
        ck_assert_int_eq(ps->list[i].at, at[i]);
    ck_assert_int_eq(ps->bytes, 1280);
    ck_assert_int_eq(ps->trained, 1280);
    ck_assert_int_eq(hx_params_count(ps), 131);
    ck_assert_ptr_eq(hx_param_find(ps, "p3"), &ps->list[3]);
    ck_assert_ptr_null(hx_param_find(ps, "p4"));
    // more than there is room for at first, all still there
    for (int i = 4; i < 300; i++)
        ck_assert_int_eq(add(1), i + 1);
    ck_assert_str_eq(ps->list[0].name, "p0");
    ck_assert_int_eq(ps->list[299].at, 1024 + 256 * 296);
}
END_TEST

// Up to the end of a block, and one number further.
START_TEST(blocks)
{
    int64_t all = HX_PARAM_BLOCK / 4;
    add(64);
    add(all - 64);
    ck_assert_int_eq(ps->list[1].at, 256);
    ck_assert_int_eq(ps->bytes, HX_PARAM_BLOCK);
    add(64);
    add(all - 63);
    ck_assert_int_eq(ps->list[2].at, HX_PARAM_BLOCK);
    ck_assert_int_eq(ps->list[3].at, 2 * HX_PARAM_BLOCK);
    add(all);
    ck_assert_int_eq(ps->list[4].at, 3 * HX_PARAM_BLOCK);
    // larger than a block: from the beginning of one
    add(2 * all + 1);
    ck_assert_int_eq(ps->list[5].at, 4 * HX_PARAM_BLOCK);
    ck_assert_int_eq(ps->bytes, 6 * HX_PARAM_BLOCK + 256);
}
END_TEST

START_TEST(too_large)
{
    ck_assert_int_eq(add(UINT32_MAX), 1);
    ck_assert_int_eq(ps->err, HX_OK);
    ck_assert_int_eq(add((int64_t)UINT32_MAX + 1), 0);
    ck_assert_int_eq(ps->err, HX_E_INPUT);
    ck_assert_ptr_nonnull(strstr(hx_last_message(), "parameter p1 would hold more than 4294967295"));
    ck_assert_int_eq(ps->n, 1);
    static const int64_t wrong[][3] = { { 0, 1, 1 }, { 2, -1, 1 }, { 1ll << 32, 1ll << 32, 1 }, { 1, 1, INT64_MAX },
                                        { 1ll << 31, 2, 1 } };
    for (int i = 0; i < HX_COUNT(wrong); i++)
        ck_assert_int_eq(hx_param_add(ps, HX_INIT_NORMAL, 1, 3, wrong[i], "x"), 0);
    ck_assert_int_eq(hx_param_add(ps, HX_INIT_NORMAL, 1, HX_MAX_RANK + 1, (const int64_t[HX_MAX_RANK + 1]){ 1 }, "x"), 0);
    ck_assert_int_eq(hx_param_fixed(ps, 1, 3, wrong[0], "x"), 0);
    ck_assert_int_eq(ps->n, 1);
    // what is trained comes first
    ps->err = HX_OK;
    ck_assert_int_ne(hx_param_fixed(ps, 2, 1, (const int64_t[]){ 3 }, "fixed"), 0);
    add(1);
    ck_assert_int_eq(ps->err, HX_E_INTERNAL);
}
END_TEST

typedef struct { double mean, deviation, least, most; } facts;

// All of the n elements are written and finite, the one behind them is not.
static facts init(hx_p h, uint64_t seed)
{
    facts f = { 0, 0, INFINITY, -INFINITY };
    int64_t n = ps->list[h - 1].elems;
    for (int i = 0; i <= N; i++)
        out[i] = NAN;
    hx_param_init(&ps->list[h - 1], seed, out);
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(out[i]))             // a passing ck_assert is a system call
            ck_abort_msg("element %d is %g", (int)i, out[i]);
        f.mean += out[i] / (double)n;
        f.deviation += (double)out[i] * out[i] / (double)n;
        f.least = fmin(f.least, out[i]);
        f.most = fmax(f.most, out[i]);
    }
    ck_assert(isnan(out[n]));
    f.deviation = sqrt(f.deviation - f.mean * f.mean);
    return f;
}

// Means and deviations of 20,000 numbers within five standard errors.
START_TEST(beginnings)
{
    const int64_t shape[] = { 20, N / 20 };
    hx_p normal = hx_param_add(ps, HX_INIT_NORMAL, 3, 2, shape, "normal"),
         uniform = hx_param_add(ps, HX_INIT_UNIFORM, 0.5, 2, shape, "uniform"),
         near = hx_param_add(ps, HX_INIT_NEAR_ONE, 0.02, 2, shape, "near"),
         row = hx_param_add(ps, HX_INIT_NORMAL_ROW, 1, 2, shape, "row"),
         given = hx_param_add(ps, HX_INIT_NORMAL, 1, 1, (const int64_t[]){ 3 }, "given"),
         fixed = hx_param_fixed(ps, 0.25, 1, (const int64_t[]){ 5 }, "fixed");
    facts f = init(normal, 1);
    ck_assert_double_eq_tol(f.mean, 0, 5 * 3 / sqrt(N));
    ck_assert_double_eq_tol(f.deviation, 3, 5 * 3 / sqrt(2 * N));
    ck_assert(f.least > -3 * 6 && f.most < 3 * 6 && f.least < -3 * 3 && f.most > 3 * 3);
    f = init(uniform, 1);
    ck_assert_double_eq_tol(f.mean, 0, 5 * 0.5 / sqrt(3 * N));
    ck_assert(f.least >= -0.5 && f.least < -0.499 && f.most <= 0.5 && f.most > 0.499);
    f = init(near, 1);
    ck_assert_double_eq_tol(f.mean, 1, 5 * 0.02 / sqrt(N));
    ck_assert_double_eq_tol(f.deviation, 0.02, 5 * 0.02 / sqrt(2 * N));
    init(row, 1);
    for (int i = N / 20; i < N; i++)
        if (out[i] != out[i % (N / 20)])
            ck_abort_msg("element %d differs from its row's", i);
    ck_assert(out[0] != out[1]);
    f = init(fixed, 1);
    ck_assert(f.least == 0.25 && f.most == 0.25);
    hx_param_start(ps, given, (const float[]){ 7, 8, 9 });
    hx_param_start(ps, 0, (const float[]){ 1 });
    init(given, 1);
    ck_assert(out[0] == 7 && out[1] == 8 && out[2] == 9);
    hx_param_buffer(ps, (const float[]){ 4, 5 }, 2, "table");
    init(ps->n, 1);
    ck_assert(out[0] == 4 && out[1] == 5);
}
END_TEST

// Of seed, name and index, and nothing else.
START_TEST(one_function)
{
    float first[8], other[8];
    hx_p a = add(8), b = add(4), c = add(8);
    init(a, 1);
    memcpy(first, out, sizeof first);
    init(a, 1);
    ck_assert_mem_eq(first, out, sizeof first);
    init(a, 2);
    memcpy(other, out, sizeof other);
    for (int i = 0; i < 8; i++)
        ck_assert(first[i] != other[i]);
    init(a, 1ull << 32 | 1);
    ck_assert(first[0] != out[0]);
    init(c, 1);
    ck_assert(first[0] != out[0]);
    ps->list[b - 1].name = ps->list[a - 1].name;
    init(b, 1);
    ck_assert_mem_eq(first, out, 4 * sizeof *first);
    hx_param_tied(ps, a, "again");
    const hx_param *tied = hx_param_find(ps, "again");
    ck_assert(tied && tied->buffer && tied->same == a && tied->at == ps->list[a - 1].at);
    ck_assert_int_eq(hx_params_count(ps), 20);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { places, blocks, too_large, beginnings, one_function };
    return run_suite("param", begin, end, tests, HX_COUNT(tests));
}
