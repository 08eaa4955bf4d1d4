// check_ops.c - every check of every operator, read off its descriptor:
//   gradient  the derivative against central differences of the reference, in fp64
//   wrong     each error sample fails, saying what it should
//   shader    modules declare the buffers and push constants of the signature, in its order
//   random    random shapes, attributes, layouts and kinds of numbers, as in `htxvk check`
//   kernel    every kernel row on the host and every Vulkan device against the reference
// Usage: check_ops OPERATOR [DEVICE ...]; devices: all of them unless named.
#include "src/core/opcheck.h"
#include "src/core/plan.h"
#include "suite.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SEED = 20260101 };
static const hx_op *op;
static const char *devices[8];
static int n_devices;

#define ok(e) ck_assert_msg((e) == HX_OK, "%s", hx_last_message())

START_TEST(gradient)
{
    hx_sample s;
    double worst;
    ok(hx_sample_read(op, op->check, _i, &s));
    ok(hx_check_gradient(op, &s, SEED + (uint64_t)_i, &worst));
    if (op->vjp)
        printf("  gradient %-18s [%s] worst %.1e\n", op->name, s.text, worst);
}
END_TEST

START_TEST(wrong)
{
    hx_sample s;
    ok(hx_sample_read(op, op->wrong, _i, &s));
    ok(hx_check_wrong(op, &s));
}
END_TEST

// every row of the operator that the device can run, once; the host has one way
static void check_device(hx_dev *d, const hx_sample *s, int i, int precision)
{
    bool vulkan = !strcmp(hx_dev_get_caps(d)->kind, "vulkan");
    int rows = 0;
    for (int row = 0; row < (vulkan ? HX_MAX_ROWS : 1); row++) {
        hx_opreport r;
        if (vulkan && !hx_row_usable(d, op, row, s->dim, s->attrs))
            continue;
        rows++;
        int rows_own = op->kernels[row].precision;
        if (rows_own != precision && !(rows_own == HX_AUTO && precision != HX_FP32))
            continue;
        ok(hx_check_kernel(d, op, vulkan ? row : -1, s, SEED + (uint64_t)i, &r));
        printf("  kernel   %-18s [%s] %.24s: %s at %.0f%% of the tolerance, L2 %.1e, %.3f ms\n",
            op->name,
            s->text, hx_dev_get_caps(d)->name, r.row, 100 * r.worst, r.l2, r.ms);
    }
    ck_assert_msg(rows || !op->kernels[0].name, "%s: no kernel row can run on %s", op->name,
        hx_dev_get_caps(d)->name);
}

START_TEST(kernel)
{
    hx_sample s;
    ok(hx_sample_read(op, op->check, _i, &s));
    for (int k = 0; k < n_devices; k++)
        for (int p = HX_FP32; p <= HX_FP16; p++) {
            hx_dev *d;
            hx_dev_params params = { .select = devices[k], .threads = 2,
                                     .precision = (hx_precision)p };
            hx_result r = hx_dev_open(&params, &d);
            if (p != HX_FP32 && r == HX_E_NODEVICE)
                continue;                  // no matrix units for this
            ok(r);
            if (op->kernels[0].name || strcmp(hx_dev_get_caps(d)->kind, "vulkan"))
                check_device(d, &s, _i, p);
            hx_dev_close(&d);
        }
}
END_TEST

// random cases, two seconds on each device
START_TEST(random_cases)
{
    for (int k = 0; k < n_devices; k++) {
        hx_dev *d;
        hx_lab *l;
        int n = 0;
        time_t end = time(NULL) + 2;
        ok(hx_dev_open(&(hx_dev_params){ .select = devices[k], .threads = 2 }, &d));
        ok(hx_lab_new(d, &l));
        for (uint64_t seed = 1; (seed <= 200 && time(NULL) <= end) || seed <= 5; seed++) {
            hx_sample s;
            hx_opreport r;
            int rows;
            ok(hx_sample_random(op, seed, &s));
            hx_result e = hx_lab_check_rows(l, op, &s, seed, &r, &rows);
            ck_assert_msg(!e, "%s\nhtxvk check %s \"%s\" --seed %d --profile %s --device %s",
                hx_last_message(), op->name,
                          s.text, (int)seed, hx_profile_name(s.profile), devices[k]);
            n += rows;
        }
        printf("  random   %-18s %.24s: %d runs\n", op->name, hx_dev_get_caps(d)->name, n);
        hx_lab_free(&l);
        hx_dev_close(&d);
    }
}
END_TEST

START_TEST(descriptor)
{
    ck_assert_msg(hx_sig_of(op), "%s: its signature cannot be read", op->name);
    ck_assert_msg(op->math && op->source && op->check && op->bench,
        "%s lacks math, source, check or bench", op->name);
    ck_assert_msg(!!op->ref != !!op->expand, "%s must have a reference or an expansion", op->name);
    ck_assert_int_le(hx_push_bytes(op), HX_MAX_PUSH);
    for (int i = 0; i < HX_MAX_ROWS && op->kernels[i].name; i++)
        ck_assert_msg(hx_spirv_find(op->kernels[i].name) || op->kernels[i].needs,
            "%s: there is no module '%s'", op->name, op->kernels[i].name);
}
END_TEST

int main(int argc, char **argv)
{
    hx_dev_info list[8];
    int n = 0;
    const char *note;
    if (argc < 2 || !(op = hx_op_find(argv[1]))) {
        fprintf(stderr, "usage: check_ops OPERATOR [DEVICE ...]\n");
        return 2;
    }
    for (int i = 2; i < argc && n_devices < HX_COUNT(devices); i++)
        devices[n_devices++] = argv[i];
    if (!n_devices && hx_dev_list(list, HX_COUNT(list), &n, &note))
        return 1;
    for (int i = 0; i < n; i++)
        if (!*list[i].why_not)
            devices[n_devices++] = list[i].selector;
    Suite *s = suite_create(op->name);
    TCase *c = tcase_create("derived");
    tcase_set_timeout(c, 300);
    tcase_add_test(c, descriptor);
    tcase_add_loop_test(c, gradient, 0, hx_sample_count(op->check));
    tcase_add_loop_test(c, wrong, 0, hx_sample_count(op->wrong));
    tcase_add_loop_test(c, kernel, 0, hx_sample_count(op->check));
    tcase_add_test(c, random_cases);
    suite_add_tcase(s, c);
    return run_made(s, CK_NORMAL);
}
