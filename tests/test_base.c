// test_base.c - results, messages, checked sizes, fields from text, nearest words.
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include "../runtime/arena.h"
#include "../runtime/kernel.h"
#include "suite.h"

typedef struct all {
    int32_t i;
    int64_t l;
    float f;
    double d;
    bool b;
    const char *s;
    hx_ints ints;
    hx_reals reals;
    hx_strs strs;
} all;
static const hx_field fields[] = {
    { "steps", HX_I32, offsetof(all, i), "10", 1, 1000, "steps" },
    { "tokens", HX_I64, offsetof(all, l), "1e12", 0, 0, "tokens" },
    { "lr", HX_F32, offsetof(all, f), "3e-4", 0, 1, "step size" },
    { "eps", HX_F64, offsetof(all, d), "1e-8", 0, 0, "added" },
    { "causal", HX_BOOL, offsetof(all, b), "true", 0, 0, "looks back only" },
    { "name", HX_STR, offsetof(all, s), "adamw", 0, 0, "name" },
    { "window_sizes", HX_INTS, offsetof(all, ints), "[32, 64, null]", 1, 4096, "tokens" },
    { "betas", HX_REALS, offsetof(all, reals), "[0.9, 0.99]", 0, 1, "decay" },
    { "files", HX_STRS, offsetof(all, strs), "[]", 0, 0, "paths" },
    { "required", HX_I32, offsetof(all, i), NULL, 0, 0, "has no default" },
    { 0 },
};

static all obj;
static hx_arena *arena;
static void setup(void)
{
    arena = hx_arena_new();
    memset(&obj, 0xaa, sizeof obj);
    ck_assert_int_eq(hx_fields_default(fields, &obj), HX_OK);
}
static void teardown(void) { hx_arena_free(&arena); }
static hx_result set(const char *key, const char *text)
{
    return hx_field_set(fields, &obj, key, text, arena);
}

#define REFUSES(key, text, ...)                                             \
    do {                                                                    \
        static const char *const parts[] = { __VA_ARGS__ };                 \
        all before = obj;                                                   \
        ck_assert_int_eq(set(key, text), HX_E_INPUT);                       \
        for (int part = 0; part < HX_COUNT(parts); part++)                  \
            ck_assert_ptr_nonnull(strstr(hx_last_message(), parts[part]));  \
        ck_assert_mem_eq(&before, &obj, sizeof obj);                        \
    } while (0)

START_TEST(results)
{
    ck_assert_int_eq(hx_result_exit(HX_OK), 0);
    ck_assert_int_eq(hx_result_exit(HX_E_USAGE), 2);
    ck_assert_int_eq(hx_result_exit(HX_E_NODEVICE), 4);
    ck_assert_int_eq(hx_result_exit(HX_E_INTERNAL), 70);
    ck_assert_int_eq(hx_result_exit((hx_result)999), 70);
    ck_assert_str_eq(hx_result_text(HX_OK), "done");
    ck_assert_str_eq(hx_result_text((hx_result)-1), "unknown result");
}
END_TEST

static hx_result inner(void) { return hx_fail(HX_E_SHAPE, "x has %d rows [E-SHAPE]", 7); }
static hx_result outer(void)
{
    HX_TRY(inner());
    return HX_OK;
}

START_TEST(messages)
{
    ck_assert_int_eq(outer(), HX_E_SHAPE);
    ck_assert_str_eq(hx_last_message(), "x has 7 rows [E-SHAPE]");

    // a message may quote the one before, and may be too long for its place
    hx_fail(HX_E_IO, "layer 3: %s", hx_last_message());
    ck_assert_str_eq(hx_last_message(), "layer 3: x has 7 rows [E-SHAPE]");
    char text[5000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    ck_assert_int_eq(hx_fail(HX_E_IO, "%s", text), HX_E_IO);
    ck_assert_uint_lt(strlen(hx_last_message()), sizeof text - 1);
    ck_assert_uint_gt(strlen(hx_last_message()), 500);
}
END_TEST

START_TEST(sizes)
{
    int64_t n = -5;
    ck_assert(hx_mul(1 << 30, 1 << 30, &n) && n == (1ll << 60));
    ck_assert(hx_sum(INT64_MAX - 1, 1, &n) && n == INT64_MAX);
    ck_assert(hx_sum(5, 0, &n) && n == 5 && hx_sum(0, 5, &n) && n == 5 && hx_sum(0, 0, &n) && n == 0);
    ck_assert(hx_mul(5, 0, &n) && n == 0 && hx_mul(0, INT64_MAX, &n) && n == 0 && hx_mul(1, INT64_MAX, &n) && n == INT64_MAX);
    ck_assert(!hx_mul(1ll << 32, 1ll << 31, &n));
    ck_assert(!hx_sum(INT64_MAX, 1, &n));
    ck_assert(!hx_mul(-1, 3, &n) && !hx_mul(3, -1, &n) && !hx_sum(-1, 3, &n) && !hx_sum(3, -1, &n));
    ck_assert_int_eq(hx_align(65, 64), 128);
    ck_assert_int_eq(hx_ceil_div(64, 64), 1);
}
END_TEST

START_TEST(defaults)
{
    ck_assert_int_eq(obj.l, 1000000000000);
    ck_assert_float_eq(obj.f, 3e-4f);
    ck_assert_double_eq(obj.d, 1e-8);
    ck_assert(obj.b);
    ck_assert_str_eq(obj.s, "adamw");
    ck_assert_int_eq(obj.ints.n, 3);
    ck_assert_int_eq(obj.ints.v[2], HX_NULL);
    ck_assert(!obj.ints.scalar);
    ck_assert_double_eq(obj.reals.v[1], 0.99);
    ck_assert_int_eq(obj.strs.n, 0);
    ck_assert_int_eq(obj.i, 0);            // "required" shares its place and comes last
}
END_TEST

START_TEST(numbers)
{
    static const struct { const char *text; double is;
    } good[] = {
        { "0", 0 },
        { "-0.5", -0.5 },
        { "+2", 2 },
        { ".25", 0.25 },
        { "3.", 3 },
        { " 1e-3 ", 1e-3 },
        { "1E+2", 100 },
        { "0.1", 0.1 },
        { "0.30000000000000004", 0.1 + 0.2 },
        { "9007199254740993", 9007199254740992 },
        { "9007199254740995", 9007199254740996 },
        { "1.7976931348623157e308", 1.7976931348623157e308 },
        { "4.9e-324", 4.9406564584124654e-324 },
        { "1e-999999999999", 0 },
        { "6.02214076e23", 6.02214076e23 },
        { "123456789012345678901234567890", 123456789012345678901234567890.0 },
    };
    for (int i = 0; i < HX_COUNT(good); i++) {
        ck_assert_int_eq(set("eps", good[i].text), HX_OK);
        ck_assert_msg(obj.d == good[i].is, "%s gave %.17g", good[i].text, obj.d);
    }
    static const char *const bad[] = { "",      " ",    "-",    ".",     "e5",    "1e",  "1e+",
                                       "1x",    "0x10", "1,5",  "1 2",   "nan",   "inf", "--1",
                                       "1.2.3", "null", "true", "1e309", "-1e309", "1e5x", "1e-x" };
    for (int i = 0; i < HX_COUNT(bad); i++)
        ck_assert_msg(set("eps", bad[i]) == HX_E_INPUT, "'%s' was taken as %g", bad[i], obj.d);
    REFUSES("lr", "1e39", "lr", "1e39", "E-RANGE");
}
END_TEST

// Against the C library's, which rounds to nearest even as well: near halves, powers of two and the ends.
START_TEST(nearest_numbers)
{
    uint64_t state = 1;
    for (int i = 0; i < 12000; i++) {
        char text[64];
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = state ^ state >> 29;
        double d;
        int digits = 1 + (int)(state >> 33) % 19;
        if (i % 3 == 0) {                  // a double, and the middle to the next one as far as 19 digits go
            memcpy(&d, &bits, sizeof d);
            snprintf(text, sizeof text, "%.*e", digits - 1, d);
            if (!isfinite(d))
                continue;
        } else if (i % 3 == 1) {           // whole numbers of 54 bits: every second lies half way
            snprintf(text, sizeof text, "%llue%d", (unsigned long long)((1ull << 53) + (bits >> 11)), i / 3 % 6);
        } else {
            snprintf(text, sizeof text, "%.*se%d", digits, "9999999999999999999" + i % 2, (int)(bits >> 7) % 680 - 360);
        }
        double want = strtod(text, NULL);
        ck_assert_int_eq(set("eps", text), isfinite(want) ? HX_OK : HX_E_INPUT);
        ck_assert_msg(!isfinite(want) || obj.d == want, "%s gave %.17g", text, obj.d);
    }
    static const char *const ends[] = { "2.4703282292062327e-324", "2.4703282292062328e-324", "1.7976931348623158e308",
        "1.7976931348623159e308", "1e-340", "2.2250738585072011e-308", "2.2250738585072014e-308", "1e-400",
        "9007199254740993e0", "90071992547409930e-1", "18014398509481990", "0.5e-323" };
    for (int i = 0; i < HX_COUNT(ends); i++) {
        double want = strtod(ends[i], NULL);
        ck_assert_int_eq(set("eps", ends[i]), isfinite(want) ? HX_OK : HX_E_INPUT);
        ck_assert_msg(!isfinite(want) || obj.d == want, "%s gave %.17g", ends[i], obj.d);
    }
}
END_TEST

START_TEST(any_locale)
{
    // whichever of these is installed writes a half as 0,5
    static const char *const names[] = { "de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "C" };
    for (int i = 0; i < HX_COUNT(names) && !setlocale(LC_ALL, names[i]); i++)
        ;
    ck_assert_int_eq(set("eps", "0.5"), HX_OK);
    ck_assert_double_eq(obj.d, 0.5);
    ck_assert_int_eq(set("eps", "0,5"), HX_E_INPUT);
    setlocale(LC_ALL, "C");
}
END_TEST

START_TEST(integers)
{
    ck_assert_int_eq(set("tokens", "-9223372036854775807"), HX_OK);
    ck_assert_int_eq(obj.l, -INT64_MAX);
    ck_assert_int_eq(set("tokens", "9007199254740993"), HX_OK);    // no double holds this one
    ck_assert_int_eq(obj.l, 9007199254740993);
    ck_assert_int_eq(set("steps", "1e2"), HX_OK);
    ck_assert_int_eq(obj.i, 100);
    REFUSES("tokens", "9223372036854775808", "9223372036854775808", "9223372036854775807");
    REFUSES("tokens", "10000000000000000000", "10000000000000000000", "9223372036854775807");   // twenty digits
    REFUSES("tokens", "1e30", "1e30", "9223372036854775807");
    REFUSES("steps", "1.5", "steps", "1.5", "fraction");
    REFUSES("steps", "ten", "steps", "'ten'");
    REFUSES("steps", "2147483648", "-2147483648 to 2147483647");
    REFUSES("steps", "-2147483649", "-2147483649", "-2147483648 to 2147483647");
    ck_assert_int_eq(set("tokens", "-9223372036854775807e0"), HX_E_INPUT);       // no double is this
}
END_TEST

START_TEST(bounds)
{
    ck_assert_int_eq(set("steps", "1"), HX_OK);
    ck_assert_int_eq(set("steps", "1000"), HX_OK);
    REFUSES("steps", "0", "steps: 0 ", "1 to 1000");
    REFUSES("steps", "1001", "1001", "1 to 1000");
    REFUSES("lr", "-0.1", "lr: -0.1 ", "0 to 1");
    REFUSES("window_sizes", "[32, 5000]", "5000", "1 to 4096");
    REFUSES("betas", "[0.9, 1.5]", "1.5", "0 to 1");
}
END_TEST

START_TEST(lists)
{
    ck_assert_int_eq(set("window_sizes", "[ 1,2 , null,]"), HX_OK);
    ck_assert(obj.ints.n == 3 && obj.ints.v[1] == 2 && obj.ints.v[2] == HX_NULL &&
              !obj.ints.scalar);
    ck_assert_int_eq(set("window_sizes", "7"), HX_OK);
    ck_assert(obj.ints.n == 1 && obj.ints.v[0] == 7 && obj.ints.scalar);
    ck_assert_int_eq(set("window_sizes", "null"), HX_OK);
    ck_assert(obj.ints.n == 1 && obj.ints.v[0] == HX_NULL && obj.ints.scalar);
    ck_assert_int_eq(set("window_sizes", "[]"), HX_OK);
    ck_assert_int_eq(obj.ints.n, 0);
    REFUSES("window_sizes", "[1, , 2]", "item 2", "empty");
    REFUSES("window_sizes", "[1, 2", "closing");
    REFUSES("window_sizes", "[1, two]", "'two'");
    REFUSES("betas", "[0.9, null]", "'null'");
    REFUSES("betas", "[0.9", "closing");
    REFUSES("betas", "[", "closing");
    REFUSES("window_sizes", "", "'' is not an integer");
    REFUSES("files", "[a", "closing");
    char many[HX_MAX_LIST * 3 + 8] = "[1";
    for (int i = 0; i < HX_MAX_LIST; i++)
        strcat(many, ",1");
    REFUSES("window_sizes", strcat(many, "]"), "32");
}
END_TEST

START_TEST(texts)
{
    ck_assert_int_eq(set("files", "[a.txt, \"b, \\\"c\\\"\", 'd]']"), HX_OK);
    ck_assert_int_eq(obj.strs.n, 3);
    ck_assert_str_eq(obj.strs.v[0], "a.txt");
    ck_assert_str_eq(obj.strs.v[1], "b, \"c\"");
    ck_assert_str_eq(obj.strs.v[2], "d]");
    // quotes that do not end, or hold a backslash at their end
    ck_assert_int_eq(set("files", "[\"]"), HX_OK);
    ck_assert_str_eq(obj.strs.v[0], "\"");
    ck_assert_int_eq(set("files", "[\"c\\]"), HX_OK);
    ck_assert_str_eq(obj.strs.v[0], "\"c\\");
    ck_assert_int_eq(set("files", "['a\"]"), HX_OK);
    ck_assert_str_eq(obj.strs.v[0], "'a\"");
    ck_assert_int_eq(set("files", "['a\\b']"), HX_OK);
    ck_assert_str_eq(obj.strs.v[0], "a\\b");
    ck_assert_int_eq(set("files", "[\"a\\\"]"), HX_OK);
    ck_assert_str_eq(obj.strs.v[0], "a\\");
    char word[] = "one file.txt";
    ck_assert_int_eq(set("files", word), HX_OK);
    ck_assert_int_eq(set("name", word), HX_OK);
    memset(word, 'x', sizeof word - 1);    // texts are copies
    ck_assert(obj.strs.n == 1 && !strcmp(obj.strs.v[0], "one file.txt"));
    ck_assert_str_eq(obj.s, "one file.txt");
    ck_assert_int_eq(set("files", ""), HX_OK);
    ck_assert_int_eq(obj.strs.n, 0);
    ck_assert_int_eq(hx_field_set(fields, &obj, "name", "x", NULL), HX_E_NOMEM);
}
END_TEST

START_TEST(booleans)
{
    ck_assert_int_eq(set("causal", "false"), HX_OK);
    ck_assert(!obj.b);
    REFUSES("causal", "yes", "causal", "'yes'");
    REFUSES("causal", "1", "'1'");
}
END_TEST

START_TEST(unknown_keys)
{
    REFUSES("window_size", "1", "'window_size'", "'window_sizes'");
    REFUSES("btas", "1", "'betas'");
    REFUSES("zzzzzz", "1", "unknown key 'zzzzzz' [E-KEY]");
    ck_assert_ptr_eq(hx_field_find(fields, "lr"), &fields[2]);
    ck_assert_ptr_null(hx_field_find(fields, "l"));
}
END_TEST

// Tables that are off, and one with more names than are compared.
START_TEST(tables)
{
    hx_field wrong[] = { { "a", (hx_type)99, 0, NULL, 0, 0, "" }, { 0 } };
    ck_assert_int_eq(hx_field_set(wrong, &obj, "a", "1", arena), HX_E_INTERNAL);
    ck_assert_ptr_nonnull(strstr(hx_last_message(), "type 99"));
    hx_field list[] = { { "a", HX_STRS, offsetof(all, strs), "[b]", 0, 0, "" }, { 0 } };
    ck_assert_int_eq(hx_fields_default(list, &obj), HX_E_INTERNAL);
    list[0].def = "b";
    ck_assert_int_eq(hx_fields_default(list, &obj), HX_OK);
    ck_assert(obj.strs.n == 1 && !strcmp(obj.strs.v[0], "b"));
    list[0].def = "";
    ck_assert_int_eq(hx_fields_default(list, &obj), HX_OK);
    ck_assert_int_eq(obj.strs.n, 0);
    ck_assert(hx_fields_default(NULL, &obj) == HX_OK && !hx_field_find(NULL, "a"));
    hx_field many[302] = { 0 };
    for (int i = 0; i < 300; i++)
        many[i] = (hx_field){ "word", HX_I32, 0, "0", 0, 0, "" };
    many[255].name = "needle";
    many[256].name = "noodle";
    ck_assert_int_eq(hx_field_set(many, &obj, "needl", "1", arena), HX_E_INPUT);
    ck_assert_ptr_nonnull(strstr(hx_last_message(), "'needle'"));
    ck_assert_int_eq(hx_field_set(many, &obj, "noodl", "1", arena), HX_E_INPUT);
    ck_assert_ptr_null(strstr(hx_last_message(), "'noodle'"));
    ck_assert_int_eq(hx_field_set(many, &obj, "noodle", "7", arena), HX_OK);
    ck_assert_int_eq(obj.i, 7);
}
END_TEST

START_TEST(nearest)
{
    static const char *const words[] = { "train", "eval", "generate", "clip_norm" };
    ck_assert_str_eq(hx_nearest("clip_nrom", words, 4), "clip_norm");
    ck_assert_str_eq(hx_nearest("Trian", words, 4), "train");
    ck_assert_str_eq(hx_nearest("evl", words, 4), "eval");
    ck_assert_str_eq(hx_nearest("generat", words, 4), "generate");
    ck_assert_ptr_null(hx_nearest("bench", words, 4));
    ck_assert_ptr_null(hx_nearest("", words, 4));
    ck_assert_ptr_null(hx_nearest("train", words, 0));
    char longer[500];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    ck_assert_ptr_null(hx_nearest(longer, words, 4));
}
END_TEST

START_TEST(capability_names)
{
    static const char *const upper[] = {
#define X(name, text) #name,
        HX_CAPS(X)
#undef X
    };
    for (int i = 0; i < HX_N_CAPS; i++) {
        const char *u = upper[i], *l = hx_cap_names[i];
        ck_assert_uint_eq(strlen(u), strlen(l));
        for (; *u; u++, l++)
            ck_assert_int_eq(*l, *u >= 'A' && *u <= 'Z' ? *u + 32 : *u);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { results, messages, sizes, defaults, numbers, nearest_numbers, any_locale,
                                   integers, bounds, lists, texts, booleans, unknown_keys, tables, nearest,
                                   capability_names };
    return run_suite("base", setup, teardown, tests, HX_COUNT(tests));
}
