// test_opcheck.c - that the checks of operators cannot be fooled: operators whose host function is
// right pass, and each way to break one is noticed within a few random cases.
#include "spirv_mutants.h"
#include "suite.h"
#include "src/core/opcheck.h"
#include <stdio.h>
#include <string.h>

enum { CASES = 150 };
static const hx_op *whole;                 // the operator whose function is called and damaged
static hx_dev *dev;
static hx_lab *lab;
static int calls;

#define ok(e) ck_assert_msg((e) == HX_OK, "%s", hx_last_message())

typedef struct { int k; float *y; int64_t rows, cols, ld; } first_output;

static first_output output_of(const hx_call *c)
{
    int k = c->sig->n_in;
    int64_t n = hx_arg_count(c->op, c->dim, c->attrs, k);
    int64_t cols = c->sig->rank[k] ? hx_eval(c->sig->shape[k][c->sig->rank[k] - 1], c->op,
        c->dim, c->attrs) : 1;
    return (first_output){ k, c->a[k], n / cols, cols, c->ld[k] };
}

// ---- ways to break a function --------------------------------------------------------------

static void none(const hx_call *c) { whole->host(c); }

static void leaves_the_last_unwritten(const hx_call *c)
{
    first_output o = output_of(c);
    float *last = o.y + (o.rows - 1) * o.ld + o.cols - 1, before = *last;
    whole->host(c);
    memcpy(last, &before, 4);
}

static void writes_past_the_end(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    o.y[(o.rows - 1) * o.ld + o.cols] = 0;
}

static void writes_before_the_start(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    o.y[-1] = 0;
}

static void writes_between_rows(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    if (o.ld > o.cols && o.rows > 1)
        o.y[o.cols] = 0;
}

static void changes_an_input(const hx_call *c)
{
    whole->host(c);
    *(uint32_t *)c->a[0] ^= 1;
}

static void is_off_by_a_part_in_20000(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    for (int64_t i = 0; i < o.rows; i++)
        o.y[i * o.ld] *= 1.00005f;
}

static void is_off_by_two_ulp_in_exact_sums(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    uint32_t w;
    memcpy(&w, o.y, 4);
    w += 2;
    memcpy(o.y, &w, 4);
}

static void rounds_to_half_precision(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    for (int64_t i = 0; i < o.rows; i++)
        for (int64_t j = 0; j < o.cols; j++)
            *(uint32_t *)&o.y[i * o.ld + j] &= ~0x1fffu;
}

static void differs_from_run_to_run(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    *(uint32_t *)o.y ^= (uint32_t)(calls++ & 1);
}

static void ignores_row_distances(const hx_call *c)
{
    hx_call d = *c;
    d.ld[0] = hx_eval(c->sig->shape[0][c->sig->rank[0] - 1], c->op, c->dim, c->attrs);
    whole->host(&d);
}

static void reads_one_too_far(const hx_call *c)
{
    hx_call d = *c;
    d.a[0] = (float *)d.a[0] + 1;
    whole->host(&d);
}

static void forgets_an_optional_argument(const hx_call *c)
{
    hx_call d = *c;
    for (int k = 0; k < c->sig->n_in; k++)
        if (c->sig->flags[k] & HX_ARG_OPT)
            d.a[k] = NULL;
    whole->host(&d);
}

static void turns_nan_into_zero(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    for (int64_t i = 0; i < o.rows; i++)
        for (int64_t j = 0; j < o.cols; j++)
            if (o.y[i * o.ld + j] != o.y[i * o.ld + j])
                o.y[i * o.ld + j] = 0;
}

static void spreads_nan(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    float sum = 0;
    for (int64_t i = 0; i < o.rows; i++)
        for (int64_t j = 0; j < o.cols; j++)
            sum += 0 * o.y[i * o.ld + j];
    *o.y += sum;
}

static void loses_the_sign_of_zero(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    for (int64_t i = 0; i < o.rows; i++)
        for (int64_t j = 0; j < o.cols; j++)
            o.y[i * o.ld + j] += 0.0f;
}

static void writes_before_it_reads(const hx_call *c)
{
    first_output o = output_of(c);
    for (int64_t i = 0; i < o.rows; i++)
        memset(o.y + i * o.ld, 0, (size_t)o.cols * 4);
    whole->host(c);
}

static void does_one_row_less_above_100(const hx_call *c)
{
    first_output o = output_of(c);
    float before[4096];
    int64_t n = hx_min(o.cols, 4096);
    memcpy(before, o.y + (o.rows - 1) * o.ld, (size_t)n * 4);
    whole->host(c);
    if (o.rows > 100)
        memcpy(o.y + (o.rows - 1) * o.ld, before, (size_t)n * 4);
}

static void is_wrong_at_257_columns_only(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    if (o.cols == 257 || o.cols == 255)
        o.y[o.cols - 1] *= 1.5f;
}

static void adds_what_it_should_replace(const hx_call *c)
{
    first_output o = output_of(c);
    float before = *o.y;
    whole->host(c);
    *o.y += before;
}

static void gives_up_on_tiny_numbers(const hx_call *c)
{
    first_output o = output_of(c);
    whole->host(c);
    for (int64_t i = 0; i < o.rows; i++)
        for (int64_t j = 0; j < o.cols; j++)
            if (o.y[i * o.ld + j] < 1e-12f && o.y[i * o.ld + j] > -1e-12f)
                o.y[i * o.ld + j] = 0;
}

static const struct { void (*host)(const hx_call *c); const char *name, *ops; } bugs[] = {
#define BUG(name, ops) { name, #name, ops }
    BUG(leaves_the_last_unwritten, "add linear rmsnorm embedding attn_causal adamw"),
    BUG(writes_past_the_end, "add linear colsum rmsnorm attn_band cross_entropy"),
    BUG(writes_before_the_start, "add linear colsum rmsnorm attn_band cross_entropy"),
    BUG(writes_between_rows, "add linear matmul_nn rotary layernorm"),
    BUG(changes_an_input, "add linear colsum cosine embedding unfold"),
    BUG(is_off_by_a_part_in_20000, "add linear rmsnorm rotary attn_causal cross_entropy adam"),
    BUG(is_off_by_two_ulp_in_exact_sums, "add matmul_nn colsum linear"),
    BUG(rounds_to_half_precision, "add linear rmsnorm attn_band act_bwd clip"),
    BUG(differs_from_run_to_run, "add linear rmsnorm sumsq attn_causal"),
    BUG(ignores_row_distances, "add linear rmsnorm rotary attn_causal matmul_tn"),
    BUG(reads_one_too_far, "add copy linear rmsnorm embedding attn_band"),
    BUG(forgets_an_optional_argument, "linear matmul_nn layernorm fold embedding_bwd"),
    BUG(turns_nan_into_zero, "add linear rmsnorm cross_entropy colsum copy"),
    BUG(spreads_nan, "add linear rmsnorm copy matmul_tn"),
    BUG(loses_the_sign_of_zero, "copy take shift repeat embedding"),
    BUG(writes_before_it_reads, "add scale rotary axpy"),
    BUG(does_one_row_less_above_100, "add linear rmsnorm repeat"),
    BUG(is_wrong_at_257_columns_only, "add linear layernorm shift"),
    BUG(adds_what_it_should_replace, "add linear rmsnorm colsum"),
    BUG(gives_up_on_tiny_numbers, "add matmul_nn act_bwd rotary"),
};

// the number of the first case that notices, -1: none does
static int noticed(const hx_op *op, void (*host)(const hx_call *c))
{
    hx_op broken = *op;
    memcpy(&broken.host, &host, sizeof host);
    whole = op;
    for (int i = 0; i < CASES; i++) {
        hx_sample s;
        hx_opreport r;
        ok(hx_sample_random(&broken, (uint64_t)i, &s));
        hx_result e = hx_lab_check(lab, &broken, -1, &s, (uint64_t)i, &r);
        ck_assert_msg(!e || e == HX_E_CHECK, "%s", hx_last_message());
        if (e)
            return i;
    }
    return -1;
}

START_TEST(whole_ones_pass)
{
    for (int i = 0; i < hx_n_ops; i++)
        if (hx_ops[i]->host)
            ck_assert_msg(noticed(hx_ops[i], none) < 0, "%s", hx_last_message());
}
END_TEST

START_TEST(broken_ones_fail)
{
    char ops[256], *save;
    snprintf(ops, sizeof ops, "%s", bugs[_i].ops);
    for (char *name = strtok_r(ops, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
        const hx_op *op = hx_op_find(name);
        ck_assert_msg(op && op->host, "there is no operator %s", name);
        int n = noticed(op, bugs[_i].host);
        ck_assert_msg(n >= 0, "%s %s and no case of %d notices", name, bugs[_i].name, CASES);
        printf("  %s %s: noticed by case %d: %s\n", name, bugs[_i].name, n, hx_last_message());
    }
}
END_TEST

// A failure can be repeated from its text, and is smaller after shrinking.
START_TEST(shrunk_and_repeated)
{
    const hx_op *op = hx_op_find("add");
    hx_op broken = *op;
    void (*host)(const hx_call *c) = does_one_row_less_above_100;
    memcpy(&broken.host, &host, sizeof host);
    whole = op;
    hx_sample s, t;
    hx_opreport r;
    int rows;
    uint64_t seed = 0;
    do
        ok(hx_sample_random(&broken, ++seed, &s));
    while (seed < 1000 && hx_lab_check_rows(lab, &broken, &s, seed, &r, &rows) == HX_OK);
    hx_sample_shrink(lab, &broken, &s, seed);
    ck_assert_str_eq(s.text, "R=101 C=1 -twin");
    ok(hx_sample_read(&broken, s.text, 0, &t));
    t.profile = s.profile;
    t.random_layout = true;
    ck_assert_int_eq(hx_lab_check_rows(lab, &broken, &t, seed, &r, &rows), HX_E_CHECK);
}
END_TEST

// ---- broken shaders ------------------------------------------------------------------------

static const char *const shader_ops[] = { "add", "axpy", "colsum", "linear", "sumsq", "rotary",
                                          "cross_entropy", "adamw", "embedding", "unfold" };

// The operator with every mistake of one kind in its first kernel; 0: it offers none.
static int break_shader(hx_op *op, hx_spirv *module, uint32_t *words, mutation kind)
{
    static site s[4000];
    const hx_spirv *m = hx_spirv_find(op->kernels[0].name);
    int n = find_sites(m->words, m->n_words, s, HX_COUNT(s)), made = 0;
    memcpy(words, m->words, m->n_words * 4);
    for (int i = 0; i < n; i++)
        if (s[i].kind == kind && ++made)
            mutate(words, &s[i]);
    *module = (hx_spirv){ m->name, words, m->n_words };
    memset(op->kernels + 1, 0, sizeof op->kernels - sizeof *op->kernels);
    op->kernels[0].module = module;
    return made;
}

// Sums, products, indices, bounds and conditions: all of a kind wrong in a kernel is noticed.
START_TEST(broken_shaders_fail)
{
    static const mutation kinds[] = { MUT_PLUS, MUT_INDEX, MUT_BRANCH };
    hx_op op = *hx_op_find(shader_ops[_i]);
    hx_spirv module;
    hx_dev *d;
    hx_lab *l;
    if (hx_dev_open(&(hx_dev_params){ .select = "0", .no_cache = true }, &d))
        return;                            // no Vulkan here: the host's lanes must do
    ok(hx_lab_new(d, &l));
    uint32_t *words = malloc(hx_spirv_find(op.kernels[0].name)->n_words * 4);
    for (int k = 0; k < HX_COUNT(kinds); k++) {
        bool seen = !break_shader(&op, &module, words, kinds[k]);
        for (uint64_t i = 1; i <= 60 && !seen; i++) {
            hx_sample s;
            hx_opreport r;
            ok(hx_sample_random(&op, i, &s));
            seen = hx_lab_check(l, &op, 0, &s, i, &r) != HX_OK;
        }
        ck_assert_msg(seen, "%s: %s, and no case notices", op.name, mutation_names[kinds[k]]);
    }
    free(words);
    hx_lab_free(&l);
    hx_dev_close(&d);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("opcheck");
    TCase *c = tcase_create("bugs");
    tcase_set_timeout(c, 120);
    if (hx_dev_open(&(hx_dev_params){ .select = "host", .threads = 1 }, &dev) || hx_lab_new(dev,
        &lab))
        return 1;
    tcase_add_test(c, whole_ones_pass);
    tcase_add_loop_test(c, broken_ones_fail, 0, HX_COUNT(bugs));
    tcase_add_test(c, shrunk_and_repeated);
    tcase_add_loop_test(c, broken_shaders_fail, 0, HX_COUNT(shader_ops));
    suite_add_tcase(s, c);
    int failed = run_made(s, CK_NORMAL);
    hx_lab_free(&lab);
    hx_dev_close(&dev);
    return failed;
}
