// test_reflect.c - SPIR-V modules made word by word: what is read off them, and what is refused.
#include "../runtime/vulkan/reflect.h"
#include "nth.h"
#include "suite.h"

enum { BOUND = 100, MAX = 1000 };
static uint32_t code[MAX];
static size_t n_words;
static hx_reflect out;

static void begin(void)
{
    n_words = 5;
    memset(code, 0, sizeof code);
    code[0] = 0x07230203;
    code[3] = BOUND;
}

static void put(uint32_t op, int n, const uint32_t *words)
{
    code[n_words++] = (uint32_t)(n + 1) << 16 | op;
    for (int i = 0; i < n; i++)
        code[n_words++] = words[i];
}
#define W(...) HX_COUNT(((const uint32_t[]){ __VA_ARGS__ })), (const uint32_t[]){ __VA_ARGS__ }
#define NAME(text) ((const uint32_t[]){ (text)[0] | (uint32_t)(text)[1] << 8 })[0]

// Ids below 20 are types and such of every module: uint, int, float, bool, and constants 0 to 4.
enum { UINT = 1, INT, FLOAT, BOOL, ZERO, ONE, TWO, THREE, FOUR, FREE = 20 };
static void usual(void)
{
    put(16, W(99, 17, 8, 4, 2));                       // local size 8 x 4 x 2
    put(21, W(UINT, 32, 0));
    put(21, W(INT, 32, 1));
    put(22, W(FLOAT, 32));
    put(20, W(BOOL));
    for (uint32_t i = 0; i < 5; i++)
        put(43, W(UINT, ZERO + i, i));
}

static hx_result read_with(const uint32_t *spec, int n)
{
    size_t before = n_words;
    put(54, W(1, 98, 0, 97));                          // a function, empty
    put(56, 0, NULL);
    hx_result r = hx_reflect_spirv("k", code, n_words, spec, n, &out);
    n_words = before;
    return r;
}
static hx_result read_it(void) { return read_with(NULL, 0); }

#define ok(e) ck_assert_msg((e) == HX_OK, "%s", hx_last_message())
#define fails(text)                                                                                  \
    do {                                                                                             \
        ck_assert_int_eq(read_it(), HX_E_INTERNAL);                                                  \
        ck_assert_msg(strstr(hx_last_message(), text) != NULL, "%s", hx_last_message());             \
    } while (0)

// A buffer at (set, binding) of `type`, variable id; an array of uints in a block if type is 0.
static void buffer(uint32_t id, uint32_t set, uint32_t binding, uint32_t type)
{
    if (!type) {
        type = id + 1;
        put(29, W(id + 2, UINT));
        put(30, W(type, id + 2));
        put(5, W(type, NAME("in")));
        put(6, W(type, 0, NAME("x")));
    }
    put(71, W(id, 34, set));
    put(71, W(id, 33, binding));
    put(32, W(id + 3, 12, type));
    put(59, W(id + 3, id, 12));
}

START_TEST(buffers)
{
    usual();
    buffer(20, 0, 2, 0);
    buffer(30, 0, 0, 0);
    put(71, W(30, 24));                                // not written
    buffer(40, 0, 5, 0);
    put(72, W(41, 0, 25));                             // its only member is not read
    put(72, W(41, 0, 35, 0));
    buffer(50, 0, 3, 0);
    put(71, W(50, 25));
    put(71, W(50, 99));                                // nothing we know
    put(17, W(6022));
    ok(read_it());
    ck_assert_int_eq(out.n_binding, 6);
    ck_assert(out.binding[0].present && !out.binding[1].present && out.binding[2].present && !out.binding[4].present);
    ck_assert_str_eq(out.binding[2].name, "x");
    ck_assert_str_eq(out.binding[2].block, "in");
    ck_assert(out.binding[0].readonly && !out.binding[0].writeonly && out.binding[5].writeonly && !out.binding[5].readonly);
    ck_assert(out.binding[3].writeonly && !out.binding[2].readonly && !out.binding[2].writeonly && out.coopmat);
    ck_assert(out.local[0] == 8 && out.local[1] == 4 && out.local[2] == 2 && out.shared_bytes == 0 && out.n_spec == 0);
    begin();
    usual();
    put(17, W(5357));
    put(17, 0, NULL);
    ok(read_it());
    ck_assert(out.coopmat && out.n_binding == 0);
}
END_TEST

START_TEST(buffers_refused)
{
    static const uint32_t at[][2] = { { 1, 0 }, { 0, HX_MAX_BINDINGS }, { 0, UINT32_MAX } };
    for (int i = 0; i < HX_COUNT(at); i++) {
        begin();
        usual();
        buffer(20, at[i][0], at[i][1], 0);
        fails(i ? "binding" : "set 1 binding 0");
    }
    begin();
    usual();
    put(71, W(20, 34, 0));                             // no binding at all
    put(32, W(21, 12, UINT));
    put(59, W(21, 20, 12));
    fails("binding -1");
    begin();
    usual();
    buffer(20, 0, 0, UINT);
    fails("not a block");
    begin();
    usual();
    buffer(20, 0, 0, 0);
    buffer(30, 0, 0, 0);
    fails("share a binding");
    begin();
    usual();
    put(30, 1, (const uint32_t[]){ 29 });              // a block without members
    buffer(20, 0, 0, 29);
    put(72, W(29, 0, 24));
    ok(read_it());
    ck_assert(!out.binding[0].readonly && !out.binding[0].writeonly && !out.binding[0].name[0]);
    for (uint32_t kind = 0; kind < 3; kind++) {
        begin();
        usual();
        put(32, W(21, kind, UINT));
        put(59, W(21, 20, kind));
        if (kind == 1)
            ok(read_it());                             // inputs are none of our business
        else
            fails("uniforms");
    }
    begin();
    usual();
    put(59, W(UINT, 20, 12));
    fails("no type");
}
END_TEST

START_TEST(push_constants)
{
    usual();
    put(30, W(20, UINT, INT, FLOAT, BOOL, 77));
    put(6, W(20, 0, NAME("a")));
    put(6, W(20, 2, NAME("b")));
    put(6, W(20, 5, NAME("z")));                       // no such member
    for (uint32_t i = 0; i < 6; i++)
        put(72, W(20, i, 35, 4 * i));
    put(72, W(20, 0, 24));
    put(72, W(20, 0, 35));                             // an offset that is not told
    put(32, W(21, 9, 20));
    put(59, W(21, 22, 9));
    ok(read_it());
    ck_assert_int_eq(out.n_push, 5);
    ck_assert_int_eq(out.push_bytes, 16);
    static const char types[] = "uif??";
    static const int bytes[] = { 4, 4, 4, 4, 0 };
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(out.push[i].type, types[i]);
        ck_assert_int_eq(out.push[i].bytes, bytes[i]);
        ck_assert_int_eq(out.push[i].offset, 4 * i);
    }
    ck_assert_str_eq(out.push[0].name, "a");
    ck_assert_str_eq(out.push[2].name, "b");
    begin();
    usual();
    put(32, W(21, 9, UINT));
    put(59, W(21, 22, 9));
    fails("push constants");
    begin();
    usual();
    uint32_t many[HX_REFLECT_PUSH + 2] = { 20 };
    for (int i = 1; i < HX_COUNT(many); i++)
        many[i] = UINT;
    put(30, HX_COUNT(many), many);
    put(32, W(21, 9, 20));
    put(59, W(21, 22, 9));
    fails("push constants");
}
END_TEST

static int64_t shared_of(uint32_t type)
{
    put(32, W(90, 4, type));
    put(59, W(90, 91, 4));
    ok(read_it());
    return out.shared_bytes;
}

START_TEST(shared)
{
    usual();
    put(23, W(20, FLOAT, 3));
    put(24, W(21, 20, 2));
    put(28, W(22, 21, FOUR));
    put(30, W(23, 22, BOOL, INT));
    ck_assert_int_eq(shared_of(23), 3 * 4 * 2 * 4 + 8);
    put(59, W(90, 92, 4));
    ok(read_it());
    ck_assert_int_eq(out.shared_bytes, 2 * (96 + 8));
    put(32, W(93, 4, 99));
    put(59, W(93, 94, 4));                             // unknown behind known ones
    ok(read_it());
    ck_assert_int_eq(out.shared_bytes, -1);
    static const uint32_t unknown[] = { 99, 30, 31, 32, 33, 34, 35, 36 };
    for (int i = 0; i < HX_COUNT(unknown); i++) {
        begin();
        usual();
        put(29, W(30, UINT));                          // of no length
        put(23, W(31, 30, 2));                         // of those
        put(23, W(32, UINT, 5));                       // more than there can be
        put(28, W(33, 30, TWO));
        put(28, W(34, UINT, UINT));                    // as many as a type is
        put(30, W(35, UINT, 30));
        put(30, W(36, 36));                            // of itself
        ck_assert_int_eq(shared_of(unknown[i]), -1);
        put(59, W(90, 92, 4));                         // and the sum with another
        ok(read_it());
        ck_assert_int_eq(out.shared_bytes, -1);
    }
    begin();
    usual();
    put(43, W(UINT, 30, UINT32_MAX));
    put(28, W(31, UINT, 30));
    put(28, W(32, 31, 30));                            // 2^66 bytes
    ck_assert_int_eq(shared_of(32), -1);
    begin();
    usual();
    put(43, W(UINT, 30, UINT32_MAX));
    put(43, W(UINT, 31, 536870912));
    put(28, W(32, UINT, 30));
    put(28, W(33, 32, 31));                            // 2^63 less 2^31
    put(30, W(34, 33, 33));
    ck_assert_int_eq(shared_of(34), -1);
}
END_TEST

// Wide structures of structures: it gives up instead of visiting billions.
START_TEST(many_visits)
{
    usual();
    put(30, W(20, UINT, UINT, UINT, UINT, UINT, UINT, UINT, UINT));
    for (uint32_t i = 21; i < 35; i++)
        put(30, W(i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1));
    ck_assert_int_eq(shared_of(34), -1);
    begin();
    usual();
    put(43, W(UINT, 20, 1));
    for (uint32_t i = 21; i < 38; i++)                 // sums of sums
        put(52, W(UINT, i, 128, i - 1, i - 1));
    put(28, W(40, UINT, 36));
    ck_assert_int_eq(shared_of(40), -1);
    begin();
    usual();
    put(43, W(UINT, 20, 1));
    for (uint32_t i = 21; i < 38; i++)
        put(52, W(UINT, i, 128, i - 1, ZERO));
    put(28, W(40, UINT, 36));
    ck_assert_int_eq(shared_of(40), 4);                // 16 deep
    for (uint32_t which = 0; which < 2; which++) {     // so with choices, in what is chosen and in the choice
        begin();
        usual();
        put(43, W(UINT, 20, 1));
        for (uint32_t i = 21; i < 38; i++)
            put(52, W(UINT, i, 169, which ? i - 1 : ONE, which ? ONE : i - 1, ZERO));
        put(28, W(40, UINT, 36));
        put(28, W(41, UINT, 37));
        ck_assert_int_eq(shared_of(40), 4);
        ck_assert_int_eq(shared_of(41), -1);
        begin();
        usual();
        put(43, W(UINT, 20, 1));
        for (uint32_t i = 21; i < 38; i++)             // and with parts
            put(44, W(UINT, 40 + i, i - 1)), put(52, W(UINT, i, 81, 40 + i, 0));
        put(28, W(90, UINT, 36));
        put(28, W(91, UINT, 37));
        put(32, W(92, 4, which ? 91 : 90));
        put(59, W(92, 93, 4));
        ok(read_it());
        ck_assert_int_eq(out.shared_bytes, which ? -1 : 4);
    }
    begin();
    usual();
    put(43, W(UINT, 20, 1));
    for (uint32_t i = 21; i < 38; i++)
        put(52, W(UINT, i, 128, i - 1, ZERO));
    put(28, W(40, UINT, 36));
    put(28, W(41, UINT, 37));
    ck_assert_int_eq(shared_of(41), -1);               // 17 deep
}
END_TEST

// Bytes of an array of `expr` words; -1: it cannot be followed.
static int64_t computed(int n, const uint32_t *words)
{
    begin();
    usual();
    put(41, W(BOOL, 60));                              // true, false, and 2^31, 2^32 - 1
    put(42, W(BOOL, 61));
    put(43, W(UINT, 62, 1u << 31));
    put(43, W(UINT, 63, UINT32_MAX));
    put(44, W(UINT, 64, THREE, FOUR));                 // composites
    put(51, W(UINT, 65, ONE, TWO));
    put(48, W(BOOL, 66));
    put(49, W(BOOL, 67));
    put(52, n, words);
    put(28, W(81, UINT, 80));
    int64_t bytes = shared_of(81);
    return bytes < 0 ? bytes : bytes / 4;
}

START_TEST(constants)
{
    static const struct { uint32_t op, a, b; int64_t is; } two[] = {
        { 128, THREE, FOUR, 7 }, { 128, 63, ZERO, UINT32_MAX }, { 128, 63, ONE, -1 }, { 130, FOUR, ONE, 3 },
        { 130, ONE, FOUR, -1 }, { 132, THREE, FOUR, 12 }, { 132, 63, TWO, -1 }, { 132, 63, 63, -1 },
        { 134, FOUR, THREE, 1 }, { 134, FOUR, ZERO, -1 }, { 135, FOUR, TWO, 2 }, { 137, FOUR, THREE, 1 },
        { 137, FOUR, ZERO, -1 }, { 194, FOUR, ONE, 2 }, { 194, FOUR, 62, -1 }, { 196, THREE, TWO, 12 },
        { 196, 62, ONE, 0 }, { 196, ONE, 63, -1 }, { 166, 61, 60, 1 }, { 166, 61, 61, 0 }, { 166, 60, 61, 1 },
        { 167, 60, 60, 1 }, { 167, 60, 61, 0 }, { 167, 61, 60, 0 }, { 170, TWO, TWO, 1 }, { 170, TWO, ONE, 0 },
        { 171, TWO, TWO, 0 }, { 171, TWO, ONE, 1 }, { 172, TWO, ONE, 1 }, { 173, TWO, TWO, 0 }, { 174, TWO, TWO, 1 },
        { 175, ONE, TWO, 0 }, { 176, ONE, TWO, 1 }, { 177, TWO, TWO, 0 }, { 178, TWO, TWO, 1 }, { 179, TWO, ONE, 0 },
        { 200, ONE, ONE, -1 }, { 128, 99, ONE, -1 }, { 128, ONE, 99, -1 }, { 128, UINT32_MAX, ONE, -1 },
        { 128, UINT, ONE, -1 }, { 128, 66, 67, 1 },
        { 81, 64, 1, 4 }, { 81, 65, 0, 1 }, { 81, 64, 2, -1 }, { 81, 64, UINT32_MAX, -1 }, { 81, ONE, 0, -1 },
        { 81, 99, 0, -1 },
    };
    for (int i = 0; i < HX_COUNT(two); i++) {
        int64_t v = computed(W(UINT, 80, two[i].op, two[i].a, two[i].b));
        ck_assert_msg(v == two[i].is, "%u of %u, %u gave %lld", two[i].op, two[i].a, two[i].b, (long long)v);
    }
    ck_assert_int_eq(computed(W(UINT, 80, 169, 60, THREE, FOUR)), 3);
    ck_assert_int_eq(computed(W(UINT, 80, 169, 61, THREE, FOUR)), 4);
    ck_assert_int_eq(computed(W(UINT, 80, 169, 99, THREE, FOUR)), -1);
    ck_assert_int_eq(computed(W(UINT, 80, 169, 60, THREE)), -1);
    ck_assert_int_eq(computed(W(UINT, 80, 81, 64)), -1);
    ck_assert_int_eq(computed(W(UINT, 80, 128, ONE, ONE, ONE)), -1);
}
END_TEST

START_TEST(specialized)
{
    usual();
    put(71, W(20, 1, 0));
    put(71, W(21, 1, 1));
    put(71, W(22, 1, 2));
    put(50, W(UINT, 20, 16));
    put(48, W(BOOL, 21));
    put(49, W(BOOL, 22));
    put(52, W(UINT, 23, 169, 21, 20, ONE));
    put(52, W(UINT, 24, 169, 22, TWO, 23));
    put(28, W(25, UINT, 24));
    ck_assert_int_eq(shared_of(25), 64);
    ck_assert_int_eq(out.n_spec, 3);
    static const struct { uint32_t spec[3]; int n; int64_t bytes; } given[] = {
        { { 7 }, 1, 28 }, { { 7, 0 }, 2, 4 }, { { 7, 9 }, 2, 28 }, { { 7, 1, 1 }, 3, 8 }, { { 7, 1, 0 }, 3, 28 },
    };
    for (int i = 0; i < HX_COUNT(given); i++) {
        ok(read_with(given[i].spec, given[i].n));
        ck_assert_int_eq(out.shared_bytes, given[i].bytes);
    }
}
END_TEST

START_TEST(workgroups)
{
    // the built-in constant overrides, an execution mode by ids does the same as numbers
    usual();
    put(71, W(20, 11, 25));
    put(44, W(UINT, 20, TWO, THREE, FOUR));
    ok(read_it());
    ck_assert(out.local[0] == 2 && out.local[1] == 3 && out.local[2] == 4);
    begin();
    usual();
    put(71, W(20, 11, 26));                            // another built-in
    put(44, W(UINT, 20, TWO, THREE, FOUR));
    put(71, W(21, 11, 25));                            // of nothing, and of two numbers
    put(71, W(22, 11, 25));
    put(44, W(UINT, 22, TWO, THREE));
    ok(read_it());
    ck_assert_int_eq(out.local[0], 8);
    begin();
    usual();
    put(331, W(99, 38, FOUR, TWO, THREE));
    put(331, W(99, 39, ONE, ONE, ONE));
    put(16, W(99, 18, 7, 7, 7));
    ok(read_it());
    ck_assert(out.local[0] == 4 && out.local[1] == 2 && out.local[2] == 3);
    for (int i = 0; i < 3; i++) {
        begin();
        uint32_t mode[] = { 99, 17, 1, 1, 1 };
        mode[2 + i] = 0;
        put(16, HX_COUNT(mode), mode);
        fails("how large its workgroups are");
    }
    begin();
    put(16, W(99, 17, UINT32_MAX, 1, 1));
    ok(read_it());
    ck_assert_int_eq(out.local[0], INT32_MAX);
}
END_TEST

START_TEST(damaged)
{
    usual();
    code[0]++;
    fails("not SPIR-V");
    begin();
    ck_assert_int_eq(hx_reflect_spirv("k", code, 4, NULL, 0, &out), HX_E_INTERNAL);
    ck_assert_ptr_nonnull(strstr(hx_last_message(), "not SPIR-V"));
    ck_assert_int_eq(hx_reflect_spirv("k", code, 5, NULL, 0, &out), HX_E_INTERNAL);
    ck_assert_ptr_nonnull(strstr(hx_last_message(), "the end of the module is missing"));
    usual();
    code[3] = (1 << 20) + 1;
    fails("too many ids");
    code[3] = 1 << 20;
    ok(read_it());
    code[3] = 0;                                       // nothing may be declared then
    ok(read_it());
    ck_assert_int_eq(out.local[0], 8);
    // too short to be read: by a word less than each needs
    static const struct { uint32_t op; int least; } least[] = { { 71, 2 }, { 22, 2 }, { 16, 2 }, { 72, 3 }, { 6, 3 },
        { 21, 3 }, { 23, 3 }, { 24, 3 }, { 28, 3 }, { 32, 3 }, { 43, 3 }, { 50, 3 }, { 52, 3 }, { 59, 3 }, { 41, 1 } };
    for (int i = 0; i < HX_COUNT(least); i++) {
        begin();
        put(least[i].op, least[i].least - 1, (const uint32_t[]){ 1, 1, 1 });
        fails("too short");
        begin();
        usual();
        put(least[i].op, least[i].least, (const uint32_t[]){ 1, 20, 99 });
        hx_result r = read_it();
        ck_assert(r == HX_OK || strstr(hx_last_message(), "too short") == NULL);
    }
    // others may have any length; names and decorations of ids that are not there
    begin();
    usual();
    put(5, W(20));
    put(5, W(BOUND, NAME("x")));
    put(5, W(20, 0x41414141));                         // a name that does not end
    put(71, W(BOUND, 24));
    put(3, 0, NULL);
    put(43, W(UINT, BOUND, 1));
    ok(read_it());
    begin();
    usual();
    put(30, 2, (const uint32_t[]){ 20, UINT });
    put(6, W(20, 0, 0x41414141));                      // of a member, too
    buffer(30, 0, 0, 20);
    put(72, W(20, 0, 24));
    ok(read_it());
    ck_assert_str_eq(out.binding[0].name, "");
    begin();
    usual();
    put(6, 2, (const uint32_t[]){ 20, 0 });
    fails("too short");
    begin();
    code[n_words++] = 54;                              // of no words
    ck_assert_int_eq(hx_reflect_spirv("k", code, n_words, NULL, 0, &out), HX_E_INTERNAL);
    ck_assert_ptr_nonnull(strstr(hx_last_message(), "runs over the end"));
    begin();
    code[n_words++] = 2 << 16 | 54;                    // over the end
    ck_assert_int_eq(hx_reflect_spirv("k", code, n_words, NULL, 0, &out), HX_E_INTERNAL);
    ck_assert_ptr_nonnull(strstr(hx_last_message(), "runs over the end"));
    begin();
    usual();
    put(5, W(BOUND + 1, NAME("x")));
    put(6, W(20, 1, NAME("y")));                       // of the second member: the first has no name
    put(5, W(21));
    buffer(30, 0, 0, 0);
    put(6, W(31, 1, NAME("z")));
    ok(read_it());
    ck_assert_str_eq(out.binding[0].name, "x");
    begin();
    usual();
    ck_assert_int_eq(hx_reflect_spirv("k", code, n_words, NULL, 0, &out), HX_E_INTERNAL);
    ck_assert_ptr_nonnull(strstr(hx_last_message(), "the end of the module is missing"));
    // only declarations count: what a second function holds is not looked at
    begin();
    usual();
    put(54, W(1, 98, 0, 97));
    put(71, 1, (const uint32_t[]){ 20 });
    put(56, 0, NULL);
    ok(read_it());
    nth_arm("memory", 1, ENOMEM);
    hx_result r = read_it();
    nth_disarm();
    ck_assert_int_eq(r, HX_E_NOMEM);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { buffers, buffers_refused, push_constants, shared, many_visits, constants, specialized,
                                   workgroups, damaged };
    return run_suite("reflect", begin, NULL, tests, HX_COUNT(tests));
}
