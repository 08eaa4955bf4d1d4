// test_op.c - signatures, expressions over sizes, and samples of operators: a registry of its own.
#include "../src/core/model.h"
#include "../src/core/opcheck.h"
#include "../src/optim/optim.h"
#include "nth.h"
#include "suite.h"
#include <stdio.h>

typedef struct attrs { int32_t heads; float eps; int32_t flag; int32_t wide; float any; } attrs;
#define A(m, type, def, min, max) { #m, type, offsetof(attrs, m), def, min, max, "" }
static const hx_field fields[] = { A(heads, HX_I32, "2", 1, 8), A(eps, HX_F32, "0.5", 0.25, 1), A(flag, HX_BOOL, "true", 0, 1),
                                   A(wide, HX_I32, "5", 0, 1000), A(any, HX_F32, "0", 0, 0), { 0 } };

static const char *odd_only(const int64_t *dim, const void *a)
{
    (void)a;
    return dim[0] % 2 ? NULL : "R must be odd";
}
static const char *never(const int64_t *dim, const void *a) { return (void)dim, (void)a, "never"; }

static const hx_op plain = { .name = "plain", .sig = "x[R,C] -> y[R,C]", .check = "R=3 C=5; R=4 C=1" };
static const hx_op full = { .name = "full", .attrs = fields, .attrs_size = sizeof(attrs), .wrong_if = odd_only,
    .sig = "x:[R,heads*D] i#[R] b?[heads*D] -> y:[R,heads*D] h?:[R]", .flops = "R*D*heads*wide",
    .check = "R=3 D=4; R=5 D=2 heads=1 eps=0.75 flag=false -b -h profile=ints",
    .fuzz = "D=1..heads*3:heads heads=1|4|2 -huge wide=0..9" };
static const hx_op view = { .name = "view", .view = true };
static const hx_op bad = { .name = "bad", .sig = "x[R ->" };
static const hx_op hopeless = { .name = "hopeless", .sig = "x[R] -> y[R]", .check = "R=1", .wrong_if = never };
static const hx_op large = { .name = "large", .sig = "x[R,70000] -> y[R]", .check = "R=1" };
static const hx_op dear = { .name = "dear", .sig = "x[R] -> y[R]", .check = "R=1", .flops = "1500001*R" };
static const hx_op narrow = { .name = "narrow", .sig = "x[R-1] -> y[R]", .check = "R=2", .attrs = fields + 5 };
#define LONG(n) { "a_name_of_forty_letters_as_nobody_has_" #n, HX_F32, 0, "0", 0, 0, "" }
static const hx_field long_fields[] = { LONG(1), LONG(2), LONG(3), LONG(4), LONG(5), { 0 } };
static const hx_op wordy = { .name = "wordy", .attrs = long_fields, .sig = "x[AAAAAAAAAAA,BBBBBBBBBBB,CCCCCCCCCCC,DDDDDDDDDDD] "
    "z?[EEEEEEEEEEE,FFFFFFFFFFF] -> y[GGGGGGGGGGG]" };
static const hx_field free_fields[] = { { "wide", HX_F32, 0, "0", 0, 4, "" }, { "same", HX_I32, 4, "3", 0, 0, "" },
    { "large", HX_I32, 8, "5", 0, 1000, "" }, { "few", HX_I32, 12, "5", 2, 18, "" }, { 0 } };
static const hx_op unruled = { .name = "unruled", .attrs = free_fields, .sig = "x[R] -> y[R]", .check = "R=1" };
static const hx_op first = { .name = "first", .attrs = free_fields, .sig = "x[R] -> y[R]", .check = "R=1", .fuzz = "few=7..7 R=5..3" };
static const hx_op broken = { .name = "broken", .sig = "x[R] -> y[R]", .check = "R=" };
static const hx_op unchecked = { .name = "unchecked", .sig = "x[R] -> y[R]" };
const hx_op *const hx_ops[] = { &plain, &full, &view, &bad, &hopeless, &large, &dear, &narrow, &wordy, &unruled, &first, &broken, &unchecked };
const int hx_n_ops = HX_COUNT(hx_ops);
const hx_model *const hx_models[] = { NULL };
const int hx_n_models = 0;
const hx_optim *const hx_optims[] = { NULL };
const int hx_n_optims = 0;

#define ok(e) ck_assert_msg((e) == HX_OK, "%s", hx_last_message())
#define fails(e, code, text)                                                                         \
    do {                                                                                             \
        ck_assert_int_eq(e, code);                                                                   \
        ck_assert_msg(strstr(hx_last_message(), text) != NULL, "%s", hx_last_message());             \
    } while (0)

// ---- signatures ----------------------------------------------------------------------------

START_TEST(signatures)
{
    hx_sig s;
    ok(hx_sig_parse(&full, &s));
    ck_assert(s.n_in == 3 && s.n_out == 2 && s.n_dim == 2);
    ck_assert_str_eq(s.dim[0], "R");
    ck_assert_str_eq(s.dim[1], "D");       // heads is an attribute
    static const unsigned flags[] = { HX_ARG_STRIDED, HX_ARG_INT, HX_ARG_OPT, HX_ARG_STRIDED, HX_ARG_OPT | HX_ARG_STRIDED };
    static const int rank[] = { 2, 1, 1, 2, 1 };
    for (int k = 0; k < 5; k++) {
        ck_assert_int_eq(s.flags[k], flags[k]);
        ck_assert_int_eq(s.rank[k], rank[k]);
    }
    ck_assert_str_eq(s.shape[2][0], "heads*D");
    ck_assert_int_eq(hx_sig_arg(&s, "x"), 0);
    ck_assert_int_eq(hx_sig_arg(&s, "h"), 4);
    ck_assert_int_eq(hx_sig_arg(&s, "z"), -1);
    // two dims, five attributes, two words for each of three strided arguments, what is there
    ck_assert_int_eq(hx_push_bytes(&full), 4 * (2 + 5 + 6 + 1));
    ck_assert_int_eq(hx_push_bytes(&plain), 4 * 2);
}
END_TEST

START_TEST(broken_signatures)
{
    static const struct { const char *sig, *says; } wrong[] = {
        { "x[R]", "no output" }, { "", "no output" }, { "->", "no output" }, { "x", "off at 'x'" }, { "x]R", "off at" },
        { "[R] -> y[R]", "off at '[R]" }, { "x[R -> y", "off at" }, { "x[A,B,C,D,E] -> y[A]", "x has too many dimensions" },
        { "x[A+B+C+D+E,F+G+H,I,J*K] -> y[A]", "more than 10 dims" },
        { "a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] -> y[R]", "off at 'y[R]'" },
    };
    for (int i = 0; i < HX_COUNT(wrong); i++) {
        hx_sig s;
        fails(hx_sig_parse(&(hx_op){ .name = "o", .sig = wrong[i].sig }, &s), HX_E_INTERNAL, wrong[i].says);
    }
    // as many as there may be
    hx_sig s;
    ok(hx_sig_parse(&(hx_op){ .name = "o", .sig = "x[A+B+C+D+E,F+G+H,I,J] a[] b[3*A] -> y[]" }, &s));
    ck_assert(s.n_dim == HX_MAX_DIMS && s.rank[0] == HX_MAX_RANK && s.rank[1] == 0);
    ok(hx_sig_parse(&(hx_op){ .name = "o", .sig = "a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] a[R] "
                                                  "a[R] -> y[R]" }, &s));
    ck_assert_int_eq(s.n_in + s.n_out, HX_MAX_ARGS);
}
END_TEST

START_TEST(registry)
{
    ck_assert_ptr_eq(hx_op_find("full"), &full);
    ck_assert_ptr_null(hx_op_find("ful"));
    ck_assert_ptr_nonnull(hx_sig_of(&full));
    ck_assert_ptr_null(hx_sig_of(&view));
    ck_assert_ptr_null(hx_sig_of(&bad));
    // a copy has the original's, something else of the same text has none
    hx_op copy = full;
    ck_assert_ptr_eq(hx_sig_of(&copy), hx_sig_of(&full));
    copy.attrs = NULL;
    ck_assert_ptr_null(hx_sig_of(&copy));
    copy = bad;
    ck_assert_ptr_null(hx_sig_of(&copy));
    copy.sig = "x[R] -> z[R]";
    ck_assert_ptr_null(hx_sig_of(&copy));
    ck_assert_ptr_null(hx_spirv_find("no such kernel"));
    ck_assert(hx_always_cheap(NULL) && hx_in_eights((const int64_t[]){ 1, 16 }, NULL) &&
              !hx_in_eights((const int64_t[]){ 8, 12 }, NULL));
}
END_TEST

// The first call has no memory for them: none is known, nothing breaks.
START_TEST(no_memory)
{
    hx_sample s;
    nth_arm("memory", 1, ENOMEM);
    const hx_sig *sig = hx_sig_of(&full);
    nth_disarm();
    ck_assert_ptr_null(sig);
    ck_assert_ptr_null(hx_sig_of(&plain));
    fails(hx_sample_read(&full, full.check, 0, &s), HX_E_NOMEM, "no memory for its signature");
    fails(hx_sample_random(&full, 1, &s), HX_E_INTERNAL, "no samples");
    ck_assert_int_eq(hx_eval("R+1", &full, (const int64_t[]){ 7, 7 }, NULL), 1);
}
END_TEST

// ---- expressions ---------------------------------------------------------------------------

START_TEST(expressions)
{
    const int64_t dim[] = { 7, 3 };
    const attrs a = { 2, 0.5f, 1, 5, 0 };
    static const struct { const char *text; int64_t is; } good[] = {
        { "R", 7 }, { "D", 3 }, { "heads", 2 }, { "flag", 1 }, { "eps", 0 }, { "none", 0 }, { "no_ne", 0 }, { "12", 12 }, { " 4", 4 },
        { "R*D+heads", 23 }, { "R+D*heads", 13 }, { "R/2", 4 }, { "R/7", 1 }, { "R / 2 * 2", 8 }, { "R-D-1", 3 },
        { "1-R", -6 }, { "R/0", 0 }, { "R/none", 0 }, { "R-8/2", 3 }, { "", 0 }, { "?", 0 }, { "3x", 3 },
        { "9223372036854775807", 461168601842738790 }, { "2 *  3", 6 },
    };
    for (int i = 0; i < HX_COUNT(good); i++) {
        int64_t v = hx_eval(good[i].text, &full, dim, &a);
        // digits stop before they overflow
        if (i != HX_COUNT(good) - 2)
            ck_assert_msg(v == good[i].is, "%s gave %lld", good[i].text, (long long)v);
        else
            ck_assert(v > 0);
    }
    // what does not fit is the largest there is, on its side
    const int64_t big[] = { INT64_MAX, -3 };
    ck_assert(hx_eval("R*R", &full, big, &a) == INT64_MAX && hx_eval("R+R", &full, big, &a) == INT64_MAX);
    ck_assert(hx_eval("R*D", &full, big, &a) == INT64_MIN && hx_eval("D*R", &full, big, &a) == INT64_MIN);
    const int64_t low[] = { INT64_MIN, INT64_MIN };
    ck_assert(hx_eval("R*D", &full, low, &a) == INT64_MAX && hx_eval("R+D", &full, low, &a) == INT64_MIN);
    ck_assert_int_eq(hx_eval("0-R", &full, low, &a), INT64_MAX);
    int64_t out[3];
    ck_assert_int_eq(hx_eval_list("R, D*2,heads,9", &full, dim, &a, out, 3), 3);
    ck_assert(out[0] == 7 && out[1] == 6 && out[2] == 2);
    ck_assert_int_eq(hx_eval_list("R,", &full, dim, &a, out, 3), 1);
    ck_assert_int_eq(hx_eval_list(NULL, &full, dim, &a, out, 3), 0);
    ck_assert_int_eq(hx_arg_count(&full, dim, &a, 0), 42);
    ck_assert_int_eq(hx_arg_count(&full, dim, &a, 4), 7);
    bool found;
    ck_assert(hx_attr_int(&full, &a, "wide", &found) == 5 && found);
    ck_assert(hx_attr_int(&full, &a, "eps", &found) == 0 && !found);
    ck_assert(hx_attr_int(&full, &a, "wid", &found) == 0 && !found);
    ck_assert(hx_attr_int(&full, NULL, "wide", &found) == 0 && !found);
    ck_assert(hx_attr_int(&plain, &a, "wide", NULL) == 0);
}
END_TEST

// ---- samples -------------------------------------------------------------------------------

static hx_result read(const hx_op *op, const char *text, hx_sample *s) { return hx_sample_read(op, text, 0, s); }

START_TEST(samples)
{
    hx_sample s;
    const attrs *a = (const void *)s.attrs;
    ck_assert_int_eq(hx_sample_count(full.check), 2);
    ck_assert_int_eq(hx_sample_count(""), 0);
    ck_assert_int_eq(hx_sample_count(NULL), 0);
    ok(hx_sample_read(&full, full.check, 0, &s));
    ck_assert(s.dim[0] == 3 && s.dim[1] == 4 && a->heads == 2 && a->eps == 0.5f && a->flag == 1 && !s.left_out);
    ok(hx_sample_read(&full, full.check, 1, &s));
    ck_assert(a->heads == 1 && a->eps == 0.75f && !a->flag && s.left_out == 0x14 && s.profile == HX_PROFILE_INTS);
    ok(read(&full, "R=3 D=4 x=[1,22,3] :   does not fit", &s));
    ck_assert(s.odd_arg == 0 && s.odd_rank == 3 && s.odd_shape[1] == 22);
    ck_assert_str_eq(s.says, "does not fit");
    ok(read(&full, "x=[1,2,3,4,5: more than there is room for", &s));
    ck_assert_int_eq(s.odd_rank, HX_MAX_RANK);
    ok(read(&full, "x=[: nothing", &s));
    ck_assert_int_eq(s.odd_rank, 0);
    fails(hx_sample_read(&full, full.check, 2, &s), HX_E_USAGE, "full has no such sample");
    fails(hx_sample_read(&full, NULL, 0, &s), HX_E_USAGE, "full has no such sample");
    fails(read(&full, "R=3", &s), HX_E_USAGE, "leaves D unset");
    fails(read(&full, "R=0 D=1", &s), HX_E_USAGE, "leaves R unset");
    fails(read(&full, "R=3 D=4 word", &s), HX_E_USAGE, "'word' in a sample is no NAME=VALUE");
    fails(read(&full, "-nothing", &s), HX_E_USAGE, "'-nothing' in a sample");
    fails(read(&full, "R=3 D=4 z=1", &s), HX_E_USAGE, "no dimension or attribute 'z'");
    fails(read(&full, "R=3 D=4 z=[1]", &s), HX_E_USAGE, "no dimension or attribute 'z'");
    fails(read(&full, "x=1", &s), HX_E_USAGE, "no dimension or attribute 'x'");
    fails(read(&plain, "heads=1", &s), HX_E_USAGE, "no dimension or attribute 'heads'");
    fails(read(&full, "profile=none", &s), HX_E_USAGE, "no profile 'none'");
    fails(read(&full, "heads=9 R=1 D=1", &s), HX_E_INPUT, "1 to 8");
    fails(read(&full, "eps=x R=1 D=1", &s), HX_E_INPUT, "not a number");
    static const hx_field wrong[] = { { "a", HX_I32, 0, "x", 0, 0, "" }, { 0 } };
    hx_op odd = full;
    odd.attrs = wrong;
    fails(read(&odd, "R=1", &s), HX_E_INPUT, "not an integer");
}
END_TEST

START_TEST(said)
{
    hx_sample s, t;
    ok(hx_sample_read(&full, full.check, 1, &s));
    hx_sample_say(&full, &s);
    ck_assert_str_eq(s.text, "R=5 D=2 heads=1 eps=0.75 flag=0 wide=5 any=0 -b -h");
    ok(hx_sample_read(&plain, plain.check, 1, &t));
    hx_sample_say(&plain, &t);
    ck_assert_str_eq(t.text, "R=4 C=1");
    // what is too long for its place is cut, after any of its parts
    for (int size = 0; size < 2; size++) {
        s = (hx_sample){ .left_out = 2 };
        for (int d = 0; d < 7; d++)
            s.dim[d] = size ? INT64_MAX : 1;
        hx_sample_say(&wordy, &s);
        ck_assert_uint_eq(strlen(s.text), sizeof s.text - 1);
    }
    ck_assert_str_eq(hx_profile_name(HX_PROFILE_INTS), "ints");
}
END_TEST

START_TEST(wrong_samples)
{
    hx_sample s;
    ok(hx_sample_read(&full, full.check, 0, &s));
    ck_assert_ptr_null(hx_sample_wrong(&full, &s));
    s.dim[0] = 4;
    ck_assert_str_eq(hx_sample_wrong(&full, &s), "R must be odd");
    s.dim[1] = 0;
    ck_assert_str_eq(hx_sample_wrong(&full, &s), "a dimension is less than 1");
    s.dim[0] = 3, s.dim[1] = 1;
    attrs *a = (void *)s.attrs;
    a->heads = 0;
    ck_assert_str_eq(hx_sample_wrong(&full, &s), "an attribute is out of its range");
    a->heads = 9;
    ck_assert_str_eq(hx_sample_wrong(&full, &s), "an attribute is out of its range");
    a->heads = 8;
    ck_assert_ptr_null(hx_sample_wrong(&full, &s));
    ok(hx_sample_read(&narrow, narrow.check, 0, &s));
    ck_assert_ptr_null(hx_sample_wrong(&narrow, &s));
    s.dim[0] = 1;
    ck_assert_str_eq(hx_sample_wrong(&narrow, &s), "a shape is empty");
}
END_TEST

// Within what the descriptor says, the same for the same seed, and of every kind.
START_TEST(random_samples)
{
    int left_out[5] = { 0 }, profiles[HX_N_PROFILES] = { 0 }, heads[9] = { 0 }, ints = 0;
    for (uint64_t seed = 0; seed < 3000; seed++) {
        hx_sample s, again;
        const attrs *a = (const void *)s.attrs;
        ok(hx_sample_random(&full, seed, &s));
        ok(hx_sample_random(&full, seed, &again));
        ck_assert_mem_eq(&s, &again, sizeof s);
        ck_assert(s.random_layout && s.dim[0] % 2 == 1 && s.dim[1] >= 1 && s.dim[1] <= 3 * 8);
        ck_assert(a->eps >= 0.25f && a->eps <= 1 && a->wide >= 0 && a->wide <= 9);
        ck_assert(a->heads == 1 || a->heads == 4 || a->heads == 2);
        ck_assert(s.profile != HX_PROFILE_HUGE);
        ck_assert_int_le(hx_eval(full.flops, &full, s.dim, s.attrs), 1500000);
        for (int k = 0; k < 5; k++)
            left_out[k] += s.left_out >> k & 1;
        profiles[s.profile]++;
        heads[a->heads]++;
        ints += s.profile == HX_PROFILE_INTS && a->eps == 1;
        ok(hx_sample_random(&plain, seed, &s));
        ck_assert(s.dim[0] >= 1 && s.dim[0] <= 4200 && s.dim[0] * s.dim[1] <= 30000);
    }
    ck_assert(!left_out[0] && !left_out[1] && left_out[2] > 1000 && !left_out[3] && left_out[4] > 1000);
    ck_assert(heads[1] > 500 && heads[2] > 500 && heads[4] > 500 && ints > 50);
    for (int p = 0; p < HX_N_PROFILES; p++)
        ck_assert(p == HX_PROFILE_HUGE || profiles[p] > 100);
    hx_sample s;
    int few[20] = { 0 };
    for (uint64_t seed = 0; seed < 2000; seed++) {
        const struct { float wide; int32_t same, large, few; } *f = (const void *)s.attrs;
        ok(hx_sample_random(&first, seed, &s));
        ck_assert(f->few == 7 && s.dim[0] == 5);
        ok(hx_sample_random(&unruled, seed, &s));
        ck_assert(f->wide >= 0 && f->wide <= 2 && f->same == 3 && f->large == 5 && f->few >= 2 && f->few <= 18);
        ck_assert(s.profile != HX_PROFILE_INTS || f->wide == (float)(int)f->wide);
        few[f->few]++;
    }
    for (int i = 2; i <= 18; i++)
        ck_assert_int_gt(few[i], 40);
    fails(hx_sample_random(&broken, 1, &s), HX_E_USAGE, "leaves R unset");
    fails(hx_sample_random(&hopeless, 1, &s), HX_E_INTERNAL, "no legal random sample");
    fails(hx_sample_random(&large, 1, &s), HX_E_INTERNAL, "no legal random sample");
    fails(hx_sample_random(&dear, 1, &s), HX_E_INTERNAL, "no legal random sample");
    fails(hx_sample_random(&unchecked, 1, &s), HX_E_INTERNAL, "no samples to start from");
    hx_profile p;
    ck_assert(hx_profile_find("nan", &p) && p == HX_PROFILE_NAN && !hx_profile_find("na", &p));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { signatures, broken_signatures, registry, no_memory, expressions, samples, said,
                                   wrong_samples, random_samples };
    return run_suite("op", NULL, NULL, tests, HX_COUNT(tests));
}
