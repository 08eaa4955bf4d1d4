// test_sets.c - prepared sets: what is written is read, whatever the width, and damage is found;
// and the generated tasks: each answer is worked out again from what the document tells.
#include "../src/core/conf.h"
#include "../src/data/task.h"
#include "scratch.h"

enum { DOCS = 7 };
static const int64_t doc_size[DOCS] = { 3, 1, 10, 4, 2, 9, 6 };      // 35 tokens

static int32_t token(int64_t vocabulary, int64_t i)
{
    return (int32_t)((uint64_t)(i * 7919 + 13) * (uint64_t)(vocabulary - 1) / 40 %
                     (uint64_t)vocabulary);
}

// A set of seven documents; the mask marks every third token.
static const char *make(const char *name, int64_t vocabulary, bool masked, int64_t shard)
{
    hx_set *s;
    int64_t n = 0;
    ck_ok(hx_set_begin(
        at(name),
        &(hx_set_facts){.num_tokens = vocabulary, .masked = masked, .made = "{\"by\": 1}"}, shard,
        &s));
    for (int d = 0; d < DOCS; d++) {
        int32_t ids[16];
        uint8_t mask[16];
        for (int64_t i = 0; i < doc_size[d]; i++, n++) {
            ids[i] = token(vocabulary, n);
            mask[i] = n % 3 == 0;
        }
        ck_ok(hx_set_put(s, ids, masked ? mask : NULL, doc_size[d], 2 * doc_size[d]));
    }
    ck_ok(hx_set_end(&s));
    ck_assert_ptr_null(s);
    return at(name);
}

static hx_result get(hx_text **t, const char *a, const char *b)
{
    return hx_text_read(&(hx_strs){ b ? 2 : 1, { a, b } }, 0, t);
}

static void check_text(const hx_text *t, int64_t vocabulary, bool masked, int64_t from)
{
    for (int64_t i = 0; i < 35; i++) {
        ck_assert_int_eq(hx_text_token(t, from + i), token(vocabulary, i));
        ck_assert_int_eq(t->mask ? t->mask[from + i] : 2, masked ? i % 3 == 0 : 2);
    }
}

START_TEST(round_trip)
{
    static const int64_t vocabulary[] = { 2, 256, 257, 65536, 65537, 1 << 20 };
    static const int width[] = { 1, 1, 2, 2, 4, 4 };
    for (int k = 0; k < HX_COUNT(vocabulary); k++)
        for (int shard = 1; shard < 60; shard += 13) {
            bool masked = shard % 2;
            char name[32];
            snprintf(name, sizeof name, "s%d-%d", k, shard);
            const char *dir = make(name, vocabulary[k], masked, shard);
            hx_text *t;
            hx_set_facts f;
            ck_ok(hx_set_facts_read(arena, dir, &f));
            ck_assert_int_eq(f.shards, hx_ceil_div(35, shard));
            ck_assert_str_eq(f.made, "{\"by\":1}");
            ck_ok(get(&t, dir, NULL));
            ck_assert_int_eq(t->size, 35);
            ck_assert_int_eq(t->width, width[k]);
            ck_assert_int_eq(t->num_tokens, vocabulary[k]);
            ck_assert_int_eq(t->source_bytes, 70);
            ck_assert_int_eq(t->n_doc, DOCS);
            for (int64_t d = 0, n = 0; d < DOCS; n += doc_size[d++])
                ck_assert_int_eq(t->doc[d], n);
            check_text(t, vocabulary[k], masked, 0);
            hx_text_free(&t);
        }
}
END_TEST

START_TEST(together)
{
    hx_text *t;
    const char *a = make("a", 300, true, 9), *b = make("b", 300, true, 100),
               *c = make("c", 300, false, 9), *d = make("d", 200, true, 9);
    ck_ok(get(&t, a, b));
    ck_assert_int_eq(t->size, 70);
    check_text(t, 300, true, 0);
    check_text(t, 300, true, 35);
    ck_assert_int_eq(t->doc[DOCS], 35);
    hx_text_free(&t);
    ck_assert_int_eq(get(&t, a, c), HX_E_INPUT);
    ck_says("one is masked");
    ck_assert_int_eq(get(&t, a, d), HX_E_INPUT);
    ck_says("different widths");
    put("plain.txt", "text", 4);
    ck_assert_int_eq(get(&t, a, at("plain.txt")), HX_E_INPUT);
    ck_says("1 of 2 paths");
    hx_set *s;
    ck_assert_int_eq(hx_set_begin(a, &(hx_set_facts){ .num_tokens = 3 }, 0, &s), HX_E_USAGE);
    ck_says("exists already");
    // what is given up leaves nothing, and so does a set without a token
    ck_ok(hx_set_begin(at("none"), &(hx_set_facts){ .num_tokens = 3 }, 0, &s));
    ck_assert_int_eq(hx_set_end(&s), HX_E_INPUT);
    ck_assert(!hx_file_exists(at("none")) && !hx_file_exists(at("none.tmp")));
}
END_TEST

// The file of a set with one bit turned, or cut short, in place; -1: whole again.
static void damage(const char *path, const hx_blob *b, int64_t bit, int64_t size)
{
    uint8_t *copy = hx_alloc(arena, (size_t)b->size + 1);
    memcpy(copy, b->data, (size_t)b->size);
    if (bit >= 0)
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
    ck_ok(hx_file_write(path, copy, size));
}

START_TEST(damaged)
{
    static const char *const files[] = {"tokens-00000.bin", "tokens-00001.bin", "mask-00000.bin",
                                        "documents.bin"};
    const char *dir = make("s", 300, true, 20);
    hx_text *t;
    for (int f = 0; f < HX_COUNT(files); f++) {
        const char *path = hx_path_join(arena, dir, files[f]);
        hx_blob b;
        ck_ok(hx_file_read(path, 1 << 20, 0, &b));
        for (int64_t bit = 0; bit < 8 * b.size; bit++) {
            damage(path, &b, bit, b.size);
            ck_assert_int_eq(get(&t, dir, NULL), HX_E_INPUT);
        }
        for (int64_t n = 0; n < b.size; n++) {
            damage(path, &b, -1, n);
            ck_assert_int_eq(get(&t, dir, NULL), HX_E_INPUT);
        }
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(get(&t, dir, NULL), HX_E_INPUT);
        damage(path, &b, -1, b.size);
        hx_blob_free(&b);
        ck_ok(get(&t, dir, NULL));
        hx_text_free(&t);
    }
}
END_TEST

// The manifest has no hash of its own: a change is either refused or leaves the tokens as they are.
START_TEST(damaged_manifest)
{
    const char *dir = make("s", 300, true, 20), *path = hx_path_join(arena, dir, "MANIFEST.json");
    hx_blob b;
    hx_text *t;
    ck_ok(hx_file_read(path, 1 << 20, 0, &b));
    int refused = 0;
    for (int64_t bit = 0; bit < 8 * b.size; bit++) {
        damage(path, &b, bit, b.size);
        bool is;
        ck_ok(hx_set_is(dir, &is));
        if (!is)               // a directory of files like any other
            continue;
        hx_result r = get(&t, dir, NULL);
        ck_assert(r == HX_OK || r == HX_E_INPUT);
        refused += r != HX_OK;
        if (!r)
            check_text(t, 300, true, 0);
        hx_text_free(&t);
    }
    ck_assert_int_gt(refused, 100);
    hx_blob_free(&b);
}
END_TEST

// Numbers that agree with hashes and still are lies.
START_TEST(lies)
{
    static const struct { const char *from, *to, *says; } lie[] = {
        { "\"num_tokens\": 300", "\"num_tokens\": 200", "its manifest says that ids end at 199" },
        { "\"tokens\": 35", "\"tokens\": 36", "72 are needed" },
        { "\"tokens\": 35", "\"tokens\": 1152921504606846976", "tokens must be an integer from 1" },
        { "\"tokens\": 35", "\"tokens\": 34", "leave" },
        { "\"documents\": 7", "\"documents\": 6", "leave" },
        { "\"document_tokens\": 0", "\"document_tokens\": 4", "not documents times" },
        { "\"shards\": 2", "\"shards\": 1", "70 are needed" },
        { "\"shards\": 2", "\"shards\": 3", "no row of tokens-00002.bin" },
        { "\"dtype\": \"u16\"", "\"dtype\": \"u8\"", "E-SET-SIZE" },
        { "\"dtype\": \"u16\"", "\"dtype\": \"f4\"", "u8, u16 or u32" },
        { "\"version\": 1", "\"version\": 2", "version 1" },
        { "\"tokenizer\": \"bytes\"", "\"tokenizer\": \"/etc/passwd\"", "tokenizer must be" },
    };
    const char *dir = make("s", 300, true, 20), *path = hx_path_join(arena, dir, "MANIFEST.json");
    hx_blob b;
    hx_text *t;
    ck_ok(hx_file_read(path, 1 << 20, 0, &b));
    for (int i = 0; i < HX_COUNT(lie); i++) {
        const char *place = strstr((const char *)b.data, lie[i].from);
        ck_assert_ptr_nonnull(place);
        hx_out o = { 0 };
        hx_out_add(&o, "%.*s%s%s", (int)(place - (const char *)b.data), (const char *)b.data,
                   lie[i].to, place + strlen(lie[i].from));
        ck_ok(hx_file_write(path, o.data, o.size));
        hx_out_free(&o);
        ck_assert_int_eq(get(&t, dir, NULL), HX_E_INPUT);
        ck_says(lie[i].says);
    }
    hx_blob_free(&b);
}
END_TEST

// A set whose manifest says this; its files are not looked at.
static const char *says_only(const char *name, const char *files, int64_t tokens, int64_t of_document)
{
    const char *text = hx_sprintf(arena, "{\"format\": \"htxvk-set\", \"version\": 1, \"num_tokens\": 70000, \"tokens\": %lld, "
        "\"documents\": %lld, \"document_tokens\": %lld, \"shards\": 1, \"source_bytes\": 1, \"dtype\": \"u32\", "
        "\"masked\": false, \"tokenizer\": \"bytes\", \"files\": {%s}}", (long long)tokens,
        (long long)(of_document ? tokens / of_document : 1), (long long)of_document, files);
    ck_ok(hx_dir_make(at(name), 0755));
    put(hx_sprintf(arena, "%s/MANIFEST.json", name), text, strlen(text));
    return at(name);
}

START_TEST(sizes)
{
    hx_text *t;
    hx_strs many = { .n = 9 };
    for (int i = 0; i < 9; i++)
        many.v[i] = says_only(hx_sprintf(arena, "huge%d", i), "", INT64_MAX / 8, 0);
    // the sum of nine overflows; four times the tokens of one does; half a limit each does not
    ck_assert_int_eq(hx_set_read(&many, INT64_MAX, &t), HX_E_INPUT);
    ck_says("grows beyond");
    many.n = 3;
    ck_assert_int_eq(hx_set_read(&many, INT64_MAX, &t), HX_E_INPUT);
    ck_says("grows beyond");
    many.n = 1;
    ck_assert_int_eq(hx_set_read(&many, 1000, &t), HX_E_INPUT);
    ck_says("grows beyond 1000 bytes");
    static const struct { const char *files, *says; } rows[] = {
        { "", "no row of tokens-00000.bin" },
        { "\"tokens-00000.bin\": 1", "no row of" },
        { "\"tokens-00000.bin\": {\"size\": 8}", "no row of" },
        { "\"tokens-00000.bin\": {\"xxh3_128\": \"\"}", "no row of" },
        { "\"tokens-00000.bin\": {\"size\": \"8\", \"xxh3_128\": \"\"}", "no row of" },
        { "\"tokens-00000.bin\": {\"size\": -1, \"xxh3_128\": \"\"}", "no row of" },
        { "\"tokens-00000.bin\": {\"size\": 9, \"xxh3_128\": \"\"}", "leave 8 for it" },
    };
    for (int i = 0; i < HX_COUNT(rows); i++) {
        const char *dir = says_only(hx_sprintf(arena, "s%d", i), rows[i].files, 2, 0);
        ck_assert_int_eq(hx_set_read(&(hx_strs){ 1, { dir } }, 8, &t), HX_E_INPUT);
        ck_says(rows[i].says);
        if (!i) {
            ck_assert_int_eq(hx_set_read(&(hx_strs){ 1, { dir } }, 7, &t), HX_E_INPUT);
            ck_says("grows beyond 7 bytes");
        }
    }
    // fewer documents in the file than the manifest says
    const char *dir = make("short", 300, true, 100), *path = hx_path_join(arena, dir, "MANIFEST.json");
    hx_blob b;
    ck_ok(hx_file_read(path, 1 << 20, 0, &b));
    char *count = strstr((char *)b.data, "\"documents\": 7");
    ck_assert_ptr_nonnull(count);
    count[13]++;
    put("short/MANIFEST.json", b.data, (size_t)b.size);
    ck_assert_int_eq(hx_set_read(&(hx_strs){ 1, { dir } }, 1000, &t), HX_E_INPUT);
    ck_says("first tokens must ascend");
    hx_blob_free(&b);
    const char *one = says_only("one", "", 4, 2), *two = says_only("two", "", 4, 1),
               *other = says_only("other", "\"tokenizer.json\": {\"xxh3_128\": \"00\"}", 4, 2);
    ck_assert_int_eq(hx_set_read(&(hx_strs){ 2, { one, two } }, 1000, &t), HX_E_INPUT);
    ck_says("different lengths");
    ck_assert_int_eq(hx_set_read(&(hx_strs){ 2, { one, other } }, 1000, &t), HX_E_INPUT);
    ck_says("different tokenizers");
}
END_TEST

// Documents of one length are windows; shares are of whole documents.
START_TEST(documents)
{
    hx_set *s;
    hx_text *t;
    enum { L = 5, N = 40 };
    ck_ok(hx_set_begin(
        at("s"), &(hx_set_facts){.num_tokens = 256, .masked = true, .document_tokens = L}, 33, &s));
    for (int d = 0; d < N; d++)
        ck_ok(hx_set_put(s, (int32_t[L]){ d, 1, 2, 3, 4 }, (uint8_t[L]){ 0, 0, 0, 1, 1 }, L, L));
    ck_assert_int_eq(hx_set_put(s, (int32_t[1]){ 0 }, (uint8_t[1]){ 0 }, 1, 1), HX_E_INTERNAL);
    ck_ok(hx_set_end(&s));
    ck_ok(get(&t, at("s"), NULL));
    hx_span cut[3], all = hx_text_whole(t);
    ck_ok(hx_text_split(t, &(hx_reals){ 3, false, { 0.51, 0.26, 0.1 } }, cut));
    ck_assert_int_eq(cut[0].n, 20 * L);
    ck_assert_int_eq(cut[1].at, 20 * L);
    ck_assert_int_eq(cut[1].n, 11 * L);
    ck_ok(hx_span_check("train", cut[0], L - 1));
    ck_assert_int_eq(hx_span_check("train", cut[0], L), HX_E_INPUT);
    ck_says("train.seq_len: 4 (now 5)");
    ck_assert_int_eq(hx_window_count(cut[1], L - 1), 11);
    ck_assert_int_eq(hx_window_at(cut[1], L - 1, 3), 23 * L);
    int seen[N] = { 0 };
    for (int i = 0; i < 1000; i++) {
        int64_t w = hx_window_random(all, L - 1, 5, i);
        ck_assert_int_eq(w % L, 0);
        seen[w / L]++;
    }
    for (int i = 0; i < N; i++)
        ck_assert_int_gt(seen[i], 5);
    int32_t ids[L], labels[L];
    hx_window_ids(t, 7 * L, L - 1, ids);
    hx_window_labels(t, 7 * L, L - 1, -9, labels);
    ck_assert(!memcmp(ids, (int32_t[L]){ 7, 1, 2, 3, 4 }, sizeof ids));
    ck_assert(!memcmp(labels, (int32_t[L]){ -9, -9, -9, 3, 4 }, sizeof labels));
    hx_text_free(&t);
}
END_TEST

// ---- tasks ----------------------------------------------------------------------------------
// The answer that a document's other bytes imply, in out; NULL: they do not.
typedef bool (*solver)(const hx_task_conf *k, const char *text, int64_t n, char *out);

static bool solve_recall(const hx_task_conf *k, const char *text, int64_t n, char *out)
{
    int64_t q = n - 2 - k->answer, found = -1;
    for (int64_t i = 0; i + 1 < q; i++)
        if (text[i] == ':' && text[i + 1] == text[q + 1]) {
            if (found >= 0)
                return false;
            found = i;
        }
    bool far = !k->distance || q - (found + 2 + k->answer) == k->distance;
    if (found < 0 || text[q] != '?' || !far)
        return false;
    memcpy(out, text + found + 2, (size_t)k->answer);
    return true;
}

static bool solve_kv(const hx_task_conf *k, const char *text, int64_t n, char *out)
{
    int64_t facts = 0;
    for (int64_t i = 0; i < n; i++)
        facts += text[i] == ':';
    return facts == k->pairs && solve_recall(k, text, n, out);
}

static bool solve_associative(const hx_task_conf *k, const char *text, int64_t n, char *out)
{
    int found = 0;
    for (int64_t i = 0; i < 2 * k->pairs; i += 2)
        if (text[i] == text[n - 2]) {
            out[0] = text[i + 1];
            found++;
        }
    return found == 1 && text[n - 3] == '?';
}

static bool solve_copy(const hx_task_conf *k, const char *text, int64_t n, char *out)
{
    int64_t m = k->answer ? k->answer : k->length / 3;
    for (int64_t i = 0; i < 2 * m; i++)
        out[i] = text[i % m];
    return text[n - 2 * m - 1] == '|';
}

static bool solve_reverse(const hx_task_conf *k, const char *text, int64_t n, char *out)
{
    int64_t m = k->answer ? k->answer : k->length / 2;
    for (int64_t i = 0; i < m; i++)
        out[i] = text[m - 1 - i];
    return text[n - m - 1] == '|';
}

// The place in the only sentence "WHO goes the PLACE." with a verb of going.
static bool place_of(const char *text, const char *who, char *out)
{
    static const char *const goes[] = { "went to", "walked to", "is now in", "ran to" };
    int found = 0;
    for (int i = 0; i < HX_COUNT(goes); i++) {
        char s[64];
        snprintf(s, sizeof s, "%s %s the ", who, goes[i]);
        const char *p = strstr(text, s);
        if (p) {
            p += strlen(s);
            sprintf(out, "%.*s", (int)strcspn(p, "."), p);
            found++;
        }
    }
    return found == 1;
}

// The place's number, where a class is asked for.
static bool as_asked(const hx_task_conf *k, char *out)
{
    static const char *const places[] = { "garden", "kitchen", "office", "cellar", "library", "stable" };
    int i = 0;
    while (k->classes && i < HX_COUNT(places) && strcmp(out, places[i])) i++;
    if (k->classes)
        sprintf(out, "%d", i);
    return i < HX_COUNT(places);
}

static bool solve_person(const hx_task_conf *k, const char *text, int64_t n, char *out)
{
    (void)n;
    char who[16];
    const char *q = strstr(text, "Where is ");
    return q && sscanf(q, "Where is %15[A-Za-z]?", who) == 1 && place_of(text, who, out) && as_asked(k, out);
}

static bool solve_thing(const hx_task_conf *k, const char *text, int64_t n, char *out)
{
    (void)n;
    static const char *const takes[] = { "took", "picked up", "got", "found" };
    char thing[16], s[64];
    const char *q = strstr(text, "Where is the ");
    if (!q || sscanf(q, "Where is the %15[a-z]?", thing) != 1)
        return false;
    for (int i = 0; i < HX_COUNT(takes); i++) {
        snprintf(s, sizeof s, " %s the %s.", takes[i], thing);
        const char *p = strstr(text, s), *b = p;
        while (b && b > text && b[-1] != ' ')
            b--;
        if (p) {
            char who[16];
            snprintf(who, sizeof who, "%.*s", (int)(p - b), b);
            // taken first, then carried away
            return place_of(text, who, out) && place_of(p, who, out) && as_asked(k, out);
        }
    }
    return false;
}

static const struct { const char *name; solver solve; hx_task_conf k[4];
} cases[] = {
    {"recall",
     solve_recall,
     {{.length = 6 - 1, .symbols = 2},
      {.length = 100, .distance = 20},
      {.length = 64, .answer = 5, .symbols = 26},
      {.length = 300, .distance = 293}}},
    {"kv_recall",
     solve_kv,
     {{.length = 17, .symbols = 3},
      {.length = 200, .distance = 60, .pairs = 26},
      {.length = 120, .pairs = 1},
      {.length = 90, .distance = 1, .answer = 3, .pairs = 6}}},
    {"associative",
     solve_associative,
     {{.length = 10}, {.pairs = 26}, {.pairs = 1, .length = 4}, {.symbols = 2, .keys = 5, .length = 300}}},
    {"copy",
     solve_copy,
     {{.length = 3}, {.length = 72}, {.length = 200, .answer = 24}, {.symbols = 26}}},
    {"reverse",
     solve_reverse,
     {{.length = 2}, {.length = 48}, {.length = 100, .answer = 9}, {.symbols = 1}}},
    {"memorize",
     solve_person,
     {{.length = 0}, {.length = 52}, {.pairs = 6, .length = 400}, {.pairs = 2, .classes = 1}}},
    {"detect_memorize",
     solve_person,
     {{.length = 0}, {.length = 52}, {.pairs = 6, .length = 300, .classes = 1}, {.pairs = 2}}},
    {"reason",
     solve_thing,
     {{.length = 0}, {.pairs = 6}, {.pairs = 1, .length = 82}, {.length = 4000, .pairs = 3, .classes = 1}}},
};

START_TEST(tasks)
{
    ck_assert_int_eq(hx_n_tasks, HX_COUNT(cases));
    for (int c = 0; c < HX_COUNT(cases) * 4; c++) {
        const hx_task *t = hx_task_find(cases[c / 4].name);
        hx_task_conf k = cases[c / 4].k[c % 4];
        ck_ok(hx_task_resolve(t, &k));
        int64_t n = k.length + 1;
        char *text = hx_new(arena, char, n + 1), *other = hx_new(arena, char, n + 1),
             *want = hx_new(arena, char, n + 1), *asked = hx_new(arena, char, n + 1);
        uint8_t *mask = hx_new(arena, uint8_t, n + 1), *mask2 = hx_new(arena, uint8_t, n + 1);
        int same_index = 0, same_part = 0, same_seed = 0;
        for (int i = 0; i < 300; i++) {
            hx_task_document(t, &k, 9, 0, i, (uint8_t *)text, mask);
            int64_t labels = 0;
            bool tail = true;              // the answer is the end of the document and nothing else
            for (int64_t j = 0; j < n; j++) {
                ck_assert_msg(text[j] >= ' ' && text[j] < 127, "%s: byte %d", t->name, text[j]);
                labels += mask[j];
                tail &= j == 0 || mask[j] >= mask[j - 1];
            }
            ck_assert(tail && labels > 0);
            memcpy(asked, text, (size_t)(n - labels));
            asked[n - labels] = 0;
            memset(want, 0, (size_t)n + 1);
            // the answer itself is not there to be read
            ck_assert_msg(cases[c / 4].solve(&k, asked, n, want), "%s cannot be solved: %s",
                          t->name, text);
            ck_assert_msg(!strncmp(want, text + n - labels, (size_t)labels) && !want[labels],
                          "%s: '%s' in %s", t->name, want, text);
            hx_task_document(t, &k, 9, 0, i, (uint8_t *)other, mask2);
            ck_assert(!memcmp(text, other, (size_t)n) && !memcmp(mask, mask2, (size_t)n));
            hx_task_document(t, &k, 9, 0, i + 1, (uint8_t *)other, mask2);
            same_index += !memcmp(text, other, (size_t)n);
            hx_task_document(t, &k, 9, 1, i, (uint8_t *)other, mask2);
            same_part += !memcmp(text, other, (size_t)n);
            hx_task_document(t, &k, 10, 0, i, (uint8_t *)other, mask2);
            same_seed += !memcmp(text, other, (size_t)n);
        }
        // documents of a few letters repeat now and then
        int most = k.length < 20 || k.symbols == 1 ? 300 : t->def.symbols ? 10 : 60;
        ck_assert_msg(same_index <= most && same_part <= most && same_seed <= most,
                      "%s %d: %d %d %d", t->name, c % 4, same_index, same_part, same_seed);
    }
}
END_TEST

// Every value is drawn about as often as any other, and the shortest documents are refused below
// that.
START_TEST(task_options)
{
    hx_task_conf k = { .symbols = 4, .length = 40 };
    uint8_t text[41], mask[41];
    int seen[4] = { 0 };
    ck_ok(hx_task_resolve(&hx_task_recall, &k));
    for (int i = 0; i < 4000; i++) {
        hx_task_document(&hx_task_recall, &k, 3, 0, i, text, mask);
        seen[text[40] - 'a']++;
    }
    for (int v = 0; v < 4; v++)            // five standard deviations
        ck_assert_msg(abs(seen[v] - 1000) < 140, "%d", seen[v]);
    k = (hx_task_conf){ .length = 4 };
    ck_assert_int_eq(hx_task_resolve(&hx_task_recall, &k), HX_E_USAGE);
    ck_says("--length 4 is too short, these options need 5");
    k = (hx_task_conf){ .distance = 3 };
    ck_assert_int_eq(hx_task_resolve(&hx_task_copy, &k), HX_E_USAGE);
    ck_says("task copy has no --distance");
    k = (hx_task_conf){ .pairs = 27 };
    ck_assert_int_eq(hx_task_resolve(&hx_task_kv_recall, &k), HX_E_USAGE);
    ck_says("--pairs 27: it is from 1 to 26");
    k = (hx_task_conf){ .keys = 3 };
    ck_assert_int_eq(hx_task_resolve(&hx_task_kv_recall, &k), HX_E_USAGE);
    ck_says("--keys 3 are fewer than --pairs 4");
    k = (hx_task_conf){ .keys = 5 };
    ck_ok(hx_task_resolve(&hx_task_associative, &k));
    for (int i = 0; i < 200; i++) {
        uint8_t s[65], m[65];
        hx_task_document(&hx_task_associative, &k, 3, 0, i, s, m);
        for (int j = 0; j < 8; j += 2) ck_assert(s[j] >= 'a' && s[j] < 'a' + 5);
    }
    k = (hx_task_conf){ .symbols = -1 };
    ck_assert_int_eq(hx_task_resolve(&hx_task_copy, &k), HX_E_USAGE);
    ck_assert_ptr_null(hx_task_find("recal"));
}
END_TEST

START_TEST(task_sets)
{
    hx_task_conf k = { .length = 20, .pairs = 2 };
    hx_text *t;
    uint8_t text[21], mask[21];
    ck_ok(hx_task_resolve(&hx_task_associative, &k));
    ck_ok(hx_task_write(&hx_task_associative, &k, 5, 1, 30, at("s")));
    ck_ok(get(&t, at("s"), NULL));
    ck_assert_int_eq(t->size, 30 * 21);
    ck_assert_int_eq(t->doc_tokens, 21);
    for (int i = 0; i < 30; i++) {
        hx_task_document(&hx_task_associative, &k, 5, 1, i, text, mask);
        ck_assert(!memcmp(t->data + 21 * i, text, 21) && !memcmp(t->mask + 21 * i, mask, 21));
    }
    hx_text_free(&t);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {round_trip, together, damaged,      damaged_manifest, lies, sizes,
                                  documents,  tasks,    task_options, task_sets};
    return run_suite("sets", setup, teardown, tests, HX_COUNT(tests));
}
