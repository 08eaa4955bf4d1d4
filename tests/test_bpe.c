// test_bpe.c - byte-pair encoding: pieces as the published expressions cut them, merges by rank,
// added tokens, every text back from its tokens, files that are broken or ask for something else.
#include "../src/core/conf.h"
#include "../src/data/bpe.h"
#include "../src/data/pretok.h"
#include "scratch.h"

// ---- a tokenizer.json of our own ------------------------------------------------------------
// Byte b as the vocabulary writes it.
static void put_char(hx_out *o, int b)
{
    static int code[256];
    if (!code[255])
        for (int i = 0, next = 256; i < 256; i++)
            code[i] = (i >= '!' && i <= '~') || (i >= 0xa1 && i <= 0xac) || i >= 0xae ? i : next++;
    int c = code[b];
    if (c == '"' || c == '\\')
        hx_out_add(o, "\\%c", c);
    else if (c < 0x80)
        hx_out_add(o, "%c", c);
    else
        hx_out_add(o, "%c%c", 0xc0 | c >> 6, 0x80 | (c & 63));
}

static void put_word(hx_out *o, const char *s)
{
    for (; *s; s++)
        put_char(o, (uint8_t)*s);
}

// Bytes are their own ids; then these words, 256 and up, merged in this order.
static const char *const left[]  = { "l", "h", "o", " ", "he", "hell", "a", "aa", " w", "ab" };
static const char *const right[] = { "l", "e", " ", "w", "ll", "o",    "a", "aa", "o",  "c" };
enum { MERGES = HX_COUNT(left) };
#define GPT2 "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}"
#define ADDED                                                                                      \
    "[{\"id\": 300, \"content\": \"<end>\", \"special\": true, \"normalized\": false}, "           \
    "{\"id\": 301, \"content\": \"<e\", \"normalized\": false}, {\"id\": 302, \"content\": "       \
    "\"nd\", \"normalized\": true}]"

static const char *tokenizer(const char *name, const char *pre, const char *added, const char *more)
{
    hx_out o = { 0 };
    hx_out_add(&o,
               "{\"version\": \"1.0\", \"normalizer\": null, \"pre_tokenizer\": %s, "
               "\"added_tokens\": %s, \"model\": "
               "{\"type\": \"BPE\"%s, \"vocab\": {",
               pre, added, more);
    for (int b = 0; b < 256; b++) {
        hx_out_add(&o, "%s\"", b ? ", " : "");
        put_char(&o, b);
        hx_out_add(&o, "\": %d", b);
    }
    hx_out_add(&o, ", \"ab\": 299");
    for (int i = 0; i < MERGES; i++) {
        hx_out_add(&o, ", \"");
        put_word(&o, left[i]);
        put_word(&o, right[i]);
        hx_out_add(&o, "\": %d", 256 + i);
    }
    hx_out_add(&o, "}, \"merges\": [");
    for (int i = 0; i < MERGES; i++) {
        hx_out_add(&o, i % 2 ? ", [\"" : i ? ", \"" : "\"");
        put_word(&o, left[i]);
        hx_out_add(&o, i % 2 ? "\", \"" : " ");
        put_word(&o, right[i]);
        hx_out_add(&o, i % 2 ? "\"]" : "\"");
    }
    hx_out_add(&o, "]}}");
    const char *path = put(name, o.data, (size_t)o.size);
    hx_out_free(&o);
    return path;
}

static void check_ids(const hx_bpe *b, const char *text, int n, const int32_t *want)
{
    hx_ids ids = { 0 };
    ck_ok(hx_bpe_encode(b, text, (int64_t)strlen(text), &ids));
    ck_assert_msg(ids.n == n && (!n || !memcmp(ids.v, want, sizeof *want * (size_t)n)),
                  "'%s': %lld tokens, first %d", text, (long long)ids.n, ids.n ? ids.v[0] : -1);
    hx_ids_free(&ids);
}
#define CHECK_IDS(b, text, ...)                                                                    \
    check_ids(b, text, HX_COUNT(((const int32_t[]){__VA_ARGS__})), (const int32_t[]){__VA_ARGS__})

START_TEST(merges)
{
    hx_bpe *b;
    ck_ok(hx_bpe_read(tokenizer("t.json", GPT2, ADDED, ""), &b));
    ck_assert_int_eq(hx_bpe_num_tokens(b), 303);
    check_ids(b, "", 0, NULL);
    CHECK_IDS(b, "hello", 261);
    CHECK_IDS(b, "hell", 260);
    CHECK_IDS(b, "lll", 256, 'l');                     // the leftmost of equals
    CHECK_IDS(b, "aaaaa", 263, 'a');
    CHECK_IDS(b, "aaaaaa", 263, 262);
    CHECK_IDS(b, "hello world", 261, 264, 'r', 'l', 'd');
    CHECK_IDS(b, "o o", 'o', ' ', 'o');                // "o " lies across two pieces
    CHECK_IDS(b, "abc", 'a', 'b', 'c');                // a word that no merge makes
    CHECK_IDS(b, "<end>", 300);                        // the longest added token
    CHECK_IDS(b, "<ell", 301, 256);
    CHECK_IDS(b, "and<end>nd", 'a', 302, 300, 302);
    CHECK_IDS(b, "he<end>ll", 257, 300, 256);          // nothing merges across it
    int64_t n;
    ck_assert(!memcmp(hx_bpe_bytes(b, 264, &n), " wo", 3) && n == 3);
    ck_assert(!memcmp(hx_bpe_bytes(b, 300, &n), "<end>", 5) && n == 5);
    hx_bpe_bytes(b, 280, &n);
    ck_assert_int_eq(n, 0);
    hx_bpe_bytes(b, 303, &n);
    ck_assert_int_eq(n, 0);
    hx_bpe_free(&b);
    // words of the vocabulary before merges; a space put before text; text in one piece
    ck_ok(hx_bpe_read(tokenizer("t.json", GPT2, "[]", ", \"ignore_merges\": true"), &b));
    CHECK_IDS(b, "ab", 299);
    hx_bpe_free(&b);
    ck_ok(hx_bpe_read(
        tokenizer("t.json", "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}", ADDED, ""),
        &b));
    CHECK_IDS(b, "wo<end> wo", 264, 300, 264);
    hx_bpe_free(&b);
    ck_ok(hx_bpe_read(
        tokenizer("t.json",
                  "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}",
                  "[]", ""),
        &b));
    CHECK_IDS(b, "o o", 258, 'o');
    hx_bpe_free(&b);
}
END_TEST

// Pieces, with '|' between them, as the expressions cut.
static void check_pieces(const hx_pretok *p, const char *want)
{
    uint8_t text[256];
    char got[512];
    int64_t n = 0, k = 0;
    for (const char *s = want; *s; s++)
        if (*s != '|')
            text[n++] = (uint8_t)*s;
    for (int64_t at = 0; at < n;) {
        int64_t end = p->next(text, n, at);
        ck_assert(end > at && end <= n);
        k += sprintf(got + k, "%s%.*s", at ? "|" : "", (int)(end - at), (const char *)text + at);
        at = end;
    }
    ck_assert_str_eq(got, want);
}

START_TEST(pieces)
{
    static const char *const gpt2[] = {"I|'m| sure|,| it|'s| 1234|.",
                                       "don|'|T",
                                       "a|  | b",
                                       "a|  ",
                                       " |\n|x",
                                       "caf\xc3\xa9| \xe4\xb8\xad\xe6\x96\x87|\xc2\xb2",
                                       "x|\xc2\xa0|y",
                                       "!?\xf0\x9f\x98\x80| #",
                                       "(|x|)",
                                       "it|'|\xc5\xbf| x",
                                       "\n\n  | x",
                                       "\t|\t|xy",
                                       "a|\xff\xfe|b",
                                       "\xc3",
                                       "\xe4\xb8|b"}; // no UTF-8: signs
    static const char *const llama3[] = {"I|'m| sure|,| it|'s| |123|4|.",
                                         "don|'T",
                                         "a|  | b",
                                         "a|  ",
                                         " \n|x",
                                         "x|\xc2\xa0y",
                                         "!?\n\n|x",
                                         "(x|)",
                                         "it|'\xc5\xbf| x",
                                         "\n\n|  | x",
                                         "\t|\txy"};
    for (int i = 0; i < HX_COUNT(gpt2); i++)
        check_pieces(&hx_pretoks[0], gpt2[i]);
    for (int i = 0; i < HX_COUNT(llama3); i++)
        check_pieces(&hx_pretoks[1], llama3[i]);
    check_pieces(&hx_pretoks[2], "a| |1|2|3");
}
END_TEST

static uint32_t next_random(uint32_t *s) { return *s = *s * 1664525u + 1013904223u, *s >> 8; }

START_TEST(round_trips)
{
    static const char *const pre[] = {
        GPT2,
        "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", "
        "\"pattern\": {\"Regex\": "
        "\"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}{1,3}"
        "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}, "
        "\"behavior\": \"Isolated\", "
        "\"invert\": false}, {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": "
        "false}]}"};
    uint32_t seed = 5;
    for (int p = 0; p < HX_COUNT(pre); p++) {
        hx_bpe *b;
        ck_ok(hx_bpe_read(tokenizer("t.json", pre[p], ADDED, ""), &b));
        for (int i = 0; i < 3000; i++) {
            uint8_t text[200];
            int64_t n = next_random(&seed) % sizeof text, at = 0;
            for (int64_t k = 0; k < n; k++)
                text[k] = next_random(&seed) % 3
                              ? (uint8_t) "helow a'sd1<nd>\n"[next_random(&seed) % 16]
                              : (uint8_t)next_random(&seed);
            hx_ids ids = { 0 };
            ck_ok(hx_bpe_encode(b, text, n, &ids));
            for (int64_t k = 0; k < ids.n; k++) {
                int64_t m;
                const uint8_t *s = hx_bpe_bytes(b, ids.v[k], &m);
                ck_assert(m > 0 && at + m <= n && !memcmp(text + at, s, (size_t)m));
                at += m;
            }
            ck_assert_int_eq(at, n);
            hx_ids_free(&ids);
        }
        hx_bpe_free(&b);
    }
}
END_TEST

// A long piece takes time that grows a little faster than its length, not with its square.
START_TEST(long_piece)
{
    enum { N = 1 << 20 };
    hx_bpe *b;
    hx_ids ids = { 0 };
    char *text = malloc(N);
    ck_ok(hx_bpe_read(tokenizer("t.json", GPT2, "[]", ""), &b));
    memset(text, 'a', N);
    ck_ok(hx_bpe_encode(b, text, N, &ids));
    ck_assert_int_eq(ids.n, N / 4);
    for (int64_t i = 0; i < ids.n; i++)
        ck_assert_int_eq(ids.v[i], 263);
    hx_ids_free(&ids);
    hx_bpe_free(&b);
    free(text);
}
END_TEST

START_TEST(refused)
{
    static const struct { const char *json, *says;
    } wrong[] = {
        {"", "E-BPE-JSON"},
        {"{\n \"model\": }", ":2:"},
        {"[1]", "not a JSON map"},
        {"{}", "no model with vocab"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {}, \"merges\": []}}", "no model with vocab"},
        {"{\"model\": {\"type\": \"WordPiece\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
         "another model than BPE"},
        {"{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
         "no pre-tokenizer"},
        {"{\"pre_tokenizer\": {\"type\": \"Metaspace\"}, \"model\": {\"vocab\": {\"a\": 0}, "
         "\"merges\": []}}",
         "another pre-tokenizer"},
        {"{\"normalizer\": {\"type\": \"NFC\"}, \"model\": {\"vocab\": {\"a\": 0}, \"merges\": "
         "[]}}",
         "a normalizer"},
        {"{\"model\": {\"dropout\": 0.1, \"vocab\": {\"a\": 0}, \"merges\": []}}", "dropout"},
        {"{\"model\": {\"end_of_word_suffix\": \"</w>\", \"vocab\": {\"a\": 0}, \"merges\": []}}",
         "end_of_word_suffix"},
        {"{\"pre_tokenizer\": " GPT2
         ", \"model\": {\"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}}",
         "two words have the id 0"},
        {"{\"model\": []}", "no model with vocab"},
        {"{\"model\": {\"vocab\": [\"a\"], \"merges\": []}}", "no model with vocab"},
        {"{\"model\": {\"vocab\": {\"a\": 0}}}", "no model with vocab"},
        {"{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": {}}}", "no model with vocab"},
        {"{\"added_tokens\": 5, \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}", "added_tokens is no list"},
        {"{\"model\": {\"byte_fallback\": true, \"vocab\": {\"a\": 0}, \"merges\": []}}", "byte_fallback"},
        {"{\"pre_tokenizer\": null, \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}", "no pre-tokenizer"},
        {"{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [" GPT2 "]}, \"model\": {\"vocab\": "
         "{\"a\": 0}, \"merges\": []}}", "not Split, then ByteLevel"},
        {"{\"pre_tokenizer\": " GPT2 ", \"added_tokens\": [{\"id\": \"1\", \"content\": \"x\"}], \"model\": "
         "{\"vocab\": {\"a\": 0}, \"merges\": []}}", "the id of 'x' must be"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 0, \"\": 1}, \"merges\": [\" a\"]}}",
         "merge 0"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": [\"a b\"]}}",
         "merge 0"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 0, \"aa\": 1}, \"merges\": [\"a a\", "
         "\"a c\"]}}", "merge 1"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": [[\"a\", 1]]}}", "merge 0"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": [[1, \"a\"]]}}", "merge 0"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": [7]}}", "merge 0"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}, \"added_tokens\": "
         "[{\"id\": 0, \"content\": \"ab\"}]}", "has the id 0 of another word"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": -1}, \"merges\": []}}",
         "integer from 0"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 1e9}, \"merges\": []}}",
         "integer from 0"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 99999999}, \"merges\": []}}",
         "integer from 0"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": [\"a a\"]}}",
         "merge 0"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": [\"a\"]}}",
         "merge 0"},
        {"{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": [[\"a\"]]}}",
         "merge 0"},
        {"{\"pre_tokenizer\": " GPT2
         ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}, \"added_tokens\": "
         "[{\"id\": 1, \"content\": \"x\", \"lstrip\": true}]}",
         "has lstrip"},
        {"{\"pre_tokenizer\": " GPT2
         ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}, \"added_tokens\": "
         "[{\"id\": 1, \"content\": \"\"}]}",
         "is empty"},
        {"{\"pre_tokenizer\": " GPT2
         ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}, \"added_tokens\": "
         "[{\"id\": 0, \"content\": \"x\"}]}",
         "has the id 0 of another word"},
        {"{\"pre_tokenizer\": " GPT2
         ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}, \"added_tokens\": "
         "[{\"id\": 1, \"content\": \"x\"}, {\"id\": 1, \"content\": \"y\"}]}",
         "has the id 1 of another word"},
        {"{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", "
         "\"pattern\": {\"Regex\": "
         "\"x\"}, \"behavior\": \"Isolated\"}, " GPT2
         "]}, \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}",
         "a way of splitting"},
    };
    hx_bpe *b;
    for (int i = 0; i < HX_COUNT(wrong); i++) {
        ck_assert_int_eq(hx_bpe_read(put("w.json", wrong[i].json, strlen(wrong[i].json)), &b),
                         HX_E_INPUT);
        ck_says(wrong[i].says);
        ck_assert_ptr_null(b);
    }
    ck_assert_int_eq(hx_bpe_read(at("none.json"), &b), HX_E_INPUT);
    const char *few =
        "{\"pre_tokenizer\": " GPT2 ", \"model\": {\"vocab\": {\"a\": 7}, \"merges\": []}}";
    hx_ids ids = { 0 };
    ck_ok(hx_bpe_read(put("w.json", few, strlen(few)), &b));
    ck_ok(hx_bpe_encode(b, "aa", 2, &ids));
    ck_assert(ids.n == 2 && ids.v[1] == 7);
    ck_assert_int_eq(hx_bpe_encode(b, "ab", 2, &ids), HX_E_INPUT);
    ck_says("byte 98 is in no token");
    hx_ids_free(&ids);
    hx_bpe_free(&b);
}
END_TEST

// A tokenizer of these rules, whose words are `n` letters, all pairs of them, and words of other characters.
static const char *rules(const char *first, const char *second, int n, int added)
{
    hx_out o = { 0 };
    hx_out_add(&o, "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [%s, %s]}, \"model\": {\"vocab\": {"
               "\"A\u20ac\": 4004, \"\": 4000, \"\u20ac\": 4001, \"\u00e9\u0142\": 4002, \"\u7000\": 4003", first, second);
    for (int i = 0; i < n; i++)
        hx_out_add(&o, ", \"%c\": %d", 'A' + i, i);
    for (int i = 0; i < n * n; i++)
        hx_out_add(&o, ", \"%c%c\": %d", 'A' + i / n, 'A' + i % n, n + i);
    hx_out_add(&o, "}, \"merges\": [");
    for (int twice = 0; twice < 2; twice++)
        for (int i = 0; i < n * n; i++)
            hx_out_add(&o, "%s\"%c %c\"", twice || i ? ", " : "", 'A' + i / n, 'A' + i % n);
    hx_out_add(&o, "]}, \"added_tokens\": [");
    for (int i = 0; i < added; i++)
        hx_out_add(&o, "%s{\"id\": 5000, \"content\": \"a\"}", i ? ", " : "");
    hx_out_add(&o, "]}");
    const char *path = put("r.json", o.data, (size_t)o.size);
    hx_out_free(&o);
    return path;
}

static const char *split_by(const char *type, const char *behaviour, const char *regex, const char *invert)
{
    hx_out o = { 0 };
    hx_out_add(&o, "{\"type\": \"%s\", \"behavior\": \"%s\", \"invert\": %s, \"pattern\": {\"Regex\": ", type, behaviour,
               invert);
    hx_out_json_text(&o, regex);
    hx_out_add(&o, "}}");
    const char *text = hx_strdup(arena, o.data);
    hx_out_free(&o);
    return text;
}

START_TEST(two_rules)
{
    static const char plain[] = "{\"type\": \"ByteLevel\", \"use_regex\": false}";
    const char *regex = hx_pretoks[1].regex, *good = split_by("Split", "Isolated", regex, "false");
    hx_bpe *b;
    ck_ok(hx_bpe_read(rules(good, plain, 26, 1), &b));
    CHECK_IDS(b, "ABAZ", 26 + 1, 26 + 25);
    CHECK_IDS(b, "ZZa", 26 + 675, 5000);
    CHECK_IDS(b, "A", 0);                  // not what only begins with it
    hx_bpe_free(&b);
    ck_ok(hx_bpe_read(rules(good, plain, 3, 65536), &b));
    hx_bpe_free(&b);
    static const char null_added[] = "{\"pre_tokenizer\": " GPT2 ", \"added_tokens\": null, \"model\": {\"vocab\": {\"a\": 0}, "
        "\"merges\": []}}";
    ck_ok(hx_bpe_read(put("w.json", null_added, strlen(null_added)), &b));
    hx_bpe_free(&b);
    const struct { const char *first, *second, *says; int added; } wrong[] = {
        { split_by("Other", "Isolated", regex, "false"), plain, "a way of splitting", 1 },
        { split_by("Split", "Removed", regex, "false"), plain, "a way of splitting", 1 },
        { split_by("Split", "Isolated", regex, "true"), plain, "a way of splitting", 1 },
        { good, "{\"type\": \"Digits\"}", "another pre-tokenizer than ByteLevel", 1 },
        { good, GPT2, "two pre-tokenizers in a row", 1 },
        { good, "{\"type\": \"ByteLevel\", \"use_regex\": true}", "two pre-tokenizers in a row", 1 },
        { good, "{\"type\": \"ByteLevel\", \"use_regex\": false, \"add_prefix_space\": true}", "a space before pieces", 1 },
        { good, plain, "too many added tokens", 65537 },
    };
    for (int i = 0; i < HX_COUNT(wrong); i++) {
        ck_assert_int_eq(hx_bpe_read(rules(wrong[i].first, wrong[i].second, 3, wrong[i].added), &b), HX_E_INPUT);
        ck_says(wrong[i].says);
    }
}
END_TEST

// Bits turned, ends cut off: read or refused, never worse, and what is read still encodes.
START_TEST(damaged)
{
    hx_blob blob;
    ck_ok(hx_file_read(tokenizer("t.json", GPT2, ADDED, ""), 1 << 20, 0, &blob));
    uint32_t seed = 9;
    int refused_ones = 0;
    for (int i = 0; i < 4000; i++) {
        int64_t n = i % 4 ? blob.size : next_random(&seed) % blob.size,
                at_bit = next_random(&seed) % (8 * blob.size);
        uint8_t *copy = malloc((size_t)blob.size);
        memcpy(copy, blob.data, (size_t)blob.size);
        copy[at_bit / 8] ^= (uint8_t)(i % 4 ? 1 << at_bit % 8 : 0);
        hx_bpe *b;
        hx_ids ids = { 0 };
        hx_result r = hx_bpe_read(put("d.json", copy, (size_t)n), &b);
        ck_assert(r == HX_OK || r == HX_E_INPUT);
        refused_ones += r != HX_OK;
        if (!r) {
            r = hx_bpe_encode(b, "hello world <end> aaaaaaaa", 26, &ids);
            ck_assert(r == HX_OK || r == HX_E_INPUT);
            for (int64_t k = 0; k < ids.n; k++)
                ck_assert(ids.v[k] >= 0 && ids.v[k] < hx_bpe_num_tokens(b));
        }
        hx_ids_free(&ids);
        hx_bpe_free(&b);
        free(copy);
    }
    ck_assert_int_gt(refused_ones, 1000);
    hx_blob_free(&blob);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { merges, pieces, round_trips, long_piece, refused, two_rules, damaged };
    return run_suite("bpe", setup, teardown, tests, HX_COUNT(tests));
}
