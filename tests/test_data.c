// test_data.c - text from every kind of source, broken archives, splits, windows.
#include "../src/data/text.h"
#include "scratch.h"
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

static hx_result get(hx_text **t, int64_t limit, int n, const char *const *paths)
{
    hx_strs s = { .n = n };
    memcpy(s.v, paths, sizeof *paths * (size_t)n);
    return hx_text_read(&s, limit, t);
}
#define GET(t, limit, ...)                                                                         \
    get(t, limit, HX_COUNT(((const char *const[]){ __VA_ARGS__ })),                                \
        (const char *const[]){ __VA_ARGS__ })

static size_t pack_gz(const void *data, size_t n, uint8_t *out, size_t cap)
{
    z_stream z = { .next_in = (void *)(uintptr_t)data,
                   .avail_in = (unsigned)n,
                   .next_out = out,
                   .avail_out = (unsigned)cap };
    ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return cap - z.avail_out;
}

static bool holds(const hx_text *t, const char *s)
{
    return t->size == (int64_t)strlen(s) && !memcmp(t->data, s, strlen(s));
}

START_TEST(sources)
{
    uint8_t buf[512];
    put("a.txt", "one ", 4);
    size_t n = pack_gz("two ", 4, buf, sizeof buf);
    n += pack_gz("three ", 6, buf + n, sizeof buf - n);          // two members
    put("b.gz", buf, n);
    n = ZSTD_compress(buf, 256, "four ", 5, 3);
    n += ZSTD_compress(buf + n, 256, "five ", 5, 3);
    put("c.zst", buf, n);
    hx_text *t;
    ck_ok(GET(&t, 0, at("c.zst"), at("a.txt"), at("b.gz")));
    ck_assert(holds(t, "four five one two three "));
    ck_assert_int_eq(t->part[2].at, 14);
    hx_text_free(&t);
    // a directory: below it too, in byte order, hidden files and links left out
    ck_ok(hx_dir_make_all(at("d/B/deep"), 0700));
    put("d/a", "1", 1);
    put("d/B/deep/x", "2", 1);
    put("d/B/z", "3", 1);
    put("d/.hidden", "4", 1);
    put("d/empty", "", 0);
    ck_assert_int_eq(symlink(scratch, at("d/round")), 0);
    ck_ok(GET(&t, 0, at("d")));
    ck_assert(holds(t, "231"));
    hx_text_free(&t);
    hx_text_free(&t);
}
END_TEST

START_TEST(refused)
{
    hx_text *t;
    put("a", "0123456789", 10);
    put("none", "", 0);
    ck_assert_int_eq(GET(&t, 0, at("missing.txt")), HX_E_INPUT);
    ck_says("missing.txt");
    ck_assert_int_eq(GET(&t, 0, at("none")), HX_E_INPUT);
    ck_says("E-TEXT-EMPTY");
    ck_assert_int_eq(GET(&t, 0, "/dev/zero"), HX_E_INPUT);
    ck_assert_int_eq(GET(&t, 19, at("a"), at("a")), HX_E_INPUT);
    ck_says("19 bytes");
    ck_ok(GET(&t, 20, at("a"), at("a")));
    hx_text_free(&t);
    if (getuid()) {
        chmod(at("a"), 0);
        ck_assert_int_eq(GET(&t, 0, at("a")), HX_E_INPUT);
    }
    hx_fault_set("io:read:1:EIO");
    ck_assert(!HAVE_FAULTS || GET(&t, 0, at("a")) == HX_E_IO);
    ck_assert_ptr_null(t);
}
END_TEST

START_TEST(limits)
{
    hx_text *t;
    hx_text_free(NULL);
    // names shorter than an ending, in the current directory
    char *home = getcwd(NULL, 0);
    put("x", "0123456789", 10);
    put("none", "", 0);
    ck_assert_int_eq(chdir(scratch), 0);
    ck_ok(GET(&t, 0, "x"));
    ck_assert_int_eq(hx_text_check(t, '9'), HX_E_INPUT);
    ck_says("byte");
    t->tokenizer = "tokenizer.json";
    ck_assert_int_eq(hx_text_check(t, '9'), HX_E_INPUT);
    ck_says("id");
    ck_ok(hx_text_check(t, '9' + 1));
    hx_span all = hx_text_whole(t);
    ck_ok(hx_span_check("train", all, 9));
    ck_assert_int_eq(hx_span_check("train", all, 10), HX_E_INPUT);
    ck_assert_int_eq(hx_span_check("train", all, 0), HX_E_INPUT);
    // no room for a second window, or for a whole document: the only one
    ck_assert_int_eq(hx_window_random(all, 10, 1, 1), 0);
    ck_assert_int_eq(hx_window_random((hx_span){ 3, 4, 5 }, 4, 1, 1), 3);
    ck_assert_int_eq(hx_window_random((hx_span){ 3, 5, 5 }, 4, 1, 1), 3);
    hx_text_free(&t);
    ck_assert_int_eq(chdir(home), 0);
    free(home);
    ck_assert_int_eq(GET(&t, 0, at("none"), at("none")), HX_E_INPUT);
    ck_says("none' and others hold a byte");
    ck_assert_int_eq(hx_text_read(&(hx_strs){ 0 }, 0, &t), HX_E_INPUT);
    ck_says("the text is empty");
    // 32 directories below one another are read, 33 are not
    char path[200] = "deep";
    for (int i = 0; i < 32; i++)
        strcat(path, "/d");
    ck_ok(hx_dir_make_all(at(path), 0755));
    put("deep/file", "x", 1);
    ck_assert_int_eq(GET(&t, 0, at("deep")), HX_E_INPUT);
    ck_says("nest deeper than 32");
    ck_ok(hx_dir_remove(at(path)));
    ck_ok(GET(&t, 0, at("deep")));
    hx_text_free(&t);
    // an archive that fills its room exactly, and one that has more for it
    enum { ROOM = 1 << 18 };
    static char zeros[3 * ROOM];
    static uint8_t packed[ROOM];
    for (int k = 0; k < 3; k++) {
        int64_t n = (int64_t)(k + 1) * ROOM - (k == 1);
        put("z.zst", packed, ZSTD_compress(packed, sizeof packed, zeros, (size_t)n, 1));
        ck_ok(GET(&t, 0, at("z.zst")));
        ck_assert_int_eq(t->size, n);
        hx_text_free(&t);
        ck_ok(GET(&t, n, at("z.zst")));
        hx_text_free(&t);
        ck_assert_int_eq(GET(&t, n - 1, at("z.zst")), HX_E_INPUT);
        ck_says("grows beyond");
    }
}
END_TEST

// Archives: cut anywhere, any bit flipped, junk behind, and a bomb.
START_TEST(archives)
{
    static const char text[] =
        "the same words the same words the same words, and again the same words";
    static const char *const names[] = { "x.gz", "x.zst" };
    uint8_t buf[512];
    for (int k = 0; k < 2; k++) {
        ZSTD_CCtx *z = ZSTD_createCCtx();
        ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
        size_t n = k ? ZSTD_compress2(z, buf, sizeof buf, text, sizeof text - 1)
                     : pack_gz(text, sizeof text - 1, buf, sizeof buf);
        ZSTD_freeCCtx(z);
        hx_text *t;
        for (size_t cut = 0; cut < n; cut++) {
            put(names[k], buf, cut);
            ck_assert_msg(GET(&t, 0, at(names[k])) == HX_E_INPUT, "%s cut at %zu", names[k], cut);
        }
        for (size_t bit = 0; bit < 8 * n; bit++) {
            buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
            put(names[k], buf, n);
            // flags and times of a header may change; the text never does unseen
            if (GET(&t, 1 << 20, at(names[k])) == HX_OK) {
                ck_assert_msg(holds(t, text), "%s bit %zu", names[k], bit);
                hx_text_free(&t);
            }
            buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        memcpy(buf + n, "junk", 4);
        put(names[k], buf, n + 4);
        ck_assert_int_eq(GET(&t, 0, at(names[k])), HX_E_INPUT);
        ck_says("E-TEXT-PACKED");
        put(names[k], buf, n);
        ck_assert_int_eq(GET(&t, sizeof text - 2, at(names[k])), HX_E_INPUT);
        ck_says("E-TEXT-SIZE");
        ck_ok(GET(&t, sizeof text - 1, at(names[k])));
        hx_text_free(&t);
    }
    size_t n = 64 << 20, cap = 1 << 20;
    char *zeros = calloc(1, n);
    uint8_t *packed = malloc(cap);
    put("bomb.gz", packed, pack_gz(zeros, n, packed, cap));
    free(zeros);
    free(packed);
    hx_text *t;
    ck_assert_int_eq(GET(&t, 1 << 20, at("bomb.gz")), HX_E_INPUT);
    ck_says("E-TEXT-SIZE");
    ck_ok(GET(&t, 0, at("bomb.gz")));
    ck_assert_int_eq(t->size, 64 << 20);
    hx_text_free(&t);
}
END_TEST

START_TEST(splits)
{
    char bytes[1000] = { 0 };
    hx_text *t;
    ck_ok(GET(&t, 0, put("a", bytes, 1000)));
    hx_span s[3];
    hx_reals share = { 3, false, { 0.9, 0.05, 0.05 } };
    ck_ok(hx_text_split(t, &share, s));
    ck_assert(s[0].at == 0 && s[0].n == 900 && s[1].at == 900 && s[1].n == 50 && s[2].at == 950 &&
              s[2].n == 50);
    share = (hx_reals){ 1, true, { 1 } };
    ck_ok(hx_text_split(t, &share, s));
    ck_assert(s[0].n == 1000 && s[1].n == 0 && s[2].n == 0);
    share = (hx_reals){ 2, false, { 0.9, 0.2 } };
    ck_assert_int_eq(hx_text_split(t, &share, s), HX_E_INPUT);
    share = (hx_reals){ 2, false, { 0.9, -0.2 } };
    ck_assert_int_eq(hx_text_split(t, &share, s), HX_E_INPUT);
    hx_text_free(&t);
    ck_ok(hx_span_check("train", (hx_span){ 0, 65 }, 64));
    ck_assert_int_eq(hx_span_check("train", (hx_span){ 0, 64 }, 64), HX_E_INPUT);
    ck_says("train text has 64 bytes");
    ck_says("needs 65");
}
END_TEST

START_TEST(tokens)
{
    hx_text *t;
    ck_ok(GET(&t, 0, put("a", "abc", 3), put("b", "ab\xff", 3)));
    ck_ok(hx_text_check(t, 256));
    ck_assert_int_eq(hx_text_check(t, 255), HX_E_INPUT);
    ck_says("/b:2: byte 255");
    ck_says("E-TOKEN-RANGE");
    ck_assert_int_eq(hx_text_check(t, 'b'), HX_E_INPUT);
    ck_says("/a:1: byte 98");
    hx_text_free(&t);
}
END_TEST

START_TEST(windows)
{
    enum { LEN = 1000, SEQ = 64 };
    uint8_t bytes[LEN];
    for (int i = 0; i < LEN; i++)
        bytes[i] = (uint8_t)(i * 31 >> 2);
    hx_text *t;
    ck_ok(GET(&t, 0, put("a", bytes, LEN)));
    hx_span s = { 100, 800 };
    // all starts occur, none outside, and about equally often
    int count[LEN] = { 0 };
    for (int i = 0; i < 100 * (800 - SEQ); i++) {
        int64_t w = hx_window_random(s, SEQ, 5, i);
        ck_assert(w >= 100 && w + SEQ + 1 <= 900);
        count[w]++;
    }
    double chi = 0;
    for (int w = 100; w < 900 - SEQ; w++) {
        ck_assert_int_gt(count[w], 0);
        chi += (count[w] - 100.) * (count[w] - 100.) / 100;
    }
    ck_assert_msg(chi > 735 - 6 * 38.4 && chi < 735 + 6 * 38.4,
                  "chi square is %g, 735 was expected", chi);
    // pure functions of seed and index, different for different ones
    ck_assert_int_eq(hx_window_random(s, SEQ, 5, 77), hx_window_random(s, SEQ, 5, 77));
    int same = 0;
    for (int i = 0; i < 1000; i++)
        same += hx_window_random(s, SEQ, 5, i) == hx_window_random(s, SEQ, 6, i);
    ck_assert_int_lt(same, 20);
    ck_assert_int_eq(hx_window_random((hx_span){ 3, SEQ + 1 }, SEQ, 1, 9), 3);
    ck_assert(hx_window_random(s, SEQ, UINT64_MAX, INT64_MAX) >= 100);
    // known answer of Philox4x32-10 for this counter and key, so that runs stay comparable for ever
    ck_assert_int_eq(
        hx_window_random((hx_span){ 0, INT64_MAX }, 0, 0x0123456789abcdef, 0x1122334455667788),
        8803473091055861719LL);
    // in sequence: every byte but the first is predicted once
    int64_t n = hx_window_count(s, SEQ);
    ck_assert_int_eq(n, 799 / SEQ);
    int32_t ids[SEQ + 1];
    for (int64_t i = 0; i < n; i++) {
        ck_assert_int_eq(hx_window_at(s, SEQ, i), 100 + i * SEQ);
        hx_window_ids(t, hx_window_at(s, SEQ, i), SEQ, ids);
        for (int k = 0; k <= SEQ; k++)
            ck_assert_int_eq(ids[k], bytes[100 + i * SEQ + k]);
    }
    ck_assert_int_eq(hx_window_count((hx_span){ 0, 0 }, SEQ), 0);
    ck_assert_int_eq(hx_window_count((hx_span){ 0, SEQ + 1 }, SEQ), 1);
    hx_text_free(&t);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { sources, refused, limits, archives, splits, tokens, windows };
    return run_suite("data", setup, teardown, tests, HX_COUNT(tests));
}
