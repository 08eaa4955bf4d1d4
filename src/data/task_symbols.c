// task_symbols.c - tasks over single letters: recall at a distance, associative retrieval, copying.
#include <string.h>

#include "task.h"

static void put(hx_doc *d, char c, bool answer) { hx_doc_put(d, &c, 1, answer); }

static char noise_letter(hx_doc *d) { return (char)('a' + hx_draw(d, d->k->symbols)); }

static void noise(hx_doc *d, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        put(d, noise_letter(d), false);
}

static void fill(hx_doc *d, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        put(d, '.', false);
}

// n of `of` letters in random order.
static void shuffled(hx_doc *d, char first, int64_t of, int64_t n, char out[26])
{
    for (int i = 0; i < of; i++)
        out[i] = (char)(first + i);
    for (int64_t i = 0; i < n; i++) {
        int64_t j = i + hx_draw(d, of - i);
        char c = out[i];
        out[i] = out[j];
        out[j] = c;
    }
}

// ---- recall: noise ":Kv" noise "?K" v --------------------------------------------------------
// A key and a value of several letters; the value is made again from where it was drawn.
static void fact(hx_doc *d, char mark, char key, uint64_t drawn, bool answer)
{
    uint64_t now = d->drawn;
    put(d, mark, false);
    put(d, key, false);
    d->drawn = drawn;
    for (int64_t i = 0; i < d->k->answer; i++)
        put(d, noise_letter(d), answer);
    d->drawn = now > d->drawn ? now : d->drawn;
}

static int64_t recall_least(const hx_task_conf *k)
{
    return (k->pairs + 2) * (2 + k->answer) + k->distance;
}

// Where the asked fact begins: `distance` before the question, or as far off as there is room.
static void recall(hx_doc *d)
{
    const hx_task_conf *k = d->k;
    int64_t size = 2 + k->answer, room = d->n - 2 * size, gap = k->distance ? k->distance : room;
    noise(d, room - gap);
    char key = (char)('A' + hx_draw(d, 26));
    uint64_t drawn = d->drawn;
    fact(d, ':', key, drawn, false);
    noise(d, gap);
    fact(d, '?', key, drawn, true);
}

HX_TASK(recall, .help = "a key and its value are shown once, then asked for after noise",
        .source = "definition",
        .def = {.length = 256, .distance = 1, .pairs = 0, .symbols = 8, .answer = 1},
        .max_symbols = 26, .least = recall_least, .make = recall);

// Slots of one fact's size to the left and right of the asked fact; `count` of them, none twice.
static void choose_slots(hx_doc *d, int64_t slots, int64_t count, int64_t *out)
{
    for (int64_t i = 0; i < count; i++) {
        bool again;
        do {
            out[i] = hx_draw(d, slots);
            again = false;
            for (int64_t j = 0; j < i; j++)
                again |= out[j] == out[i];
        } while (again);
    }
}

static void kv_recall(hx_doc *d)
{
    const hx_task_conf *k = d->k;
    int64_t size = 2 + k->answer, body = d->n - size;
    int64_t at = k->distance ? body - k->distance - size : hx_draw(d, body - size + 1);
    int64_t left = at / size, right = (body - at - size) / size, slot[26];
    char key[26];
    shuffled(d, 'A', k->keys, k->pairs, key);
    choose_slots(d, left + right, k->pairs - 1, slot);
    noise(d, body);
    // the others overwrite noise; slots on the left are counted from the asked fact backwards
    for (int64_t i = 0; i + 1 < k->pairs; i++) {
        d->at = slot[i] < left ? at - (slot[i] + 1) * size : at + (slot[i] - left + 1) * size;
        fact(d, ':', key[i], d->drawn, false);
    }
    uint64_t drawn = d->drawn;
    d->at = at;
    fact(d, ':', key[k->pairs - 1], drawn, false);
    d->at = body;
    fact(d, '?', key[k->pairs - 1], drawn, true);
}

HX_TASK(kv_recall,
    .help = "several keys with their values among noise; one is asked for",
    .source = "definition",
    .def = { .length = 256, .distance = 1, .pairs = 4, .keys = 26, .symbols = 8, .answer = 1 }, .max_pairs = 26,
    .max_symbols = 26, .least = recall_least, .make = kv_recall);

// ---- associative: "k1k2..." as in c9k8j3f1 ... ?k 8 -----------------------------------------
static int64_t associative_least(const hx_task_conf *k) { return 2 * k->pairs + 3; }

static void associative(hx_doc *d)
{
    int64_t P = d->k->pairs, asked = hx_draw(d, P);
    char key[26], value = '0';
    shuffled(d, 'a', d->k->keys, P, key);
    for (int64_t i = 0; i < P; i++) {
        char v = (char)('0' + hx_draw(d, d->k->symbols));
        value = i == asked ? v : value;
        put(d, key[i], false);
        put(d, v, false);
    }
    fill(d, d->n - 2 * P - 3);
    put(d, '?', false);
    put(d, key[asked], false);
    put(d, value, true);
}

HX_TASK(associative,
    .help = "pairs of a letter and a digit; the digit of one letter is asked for",
    .source = "Ba et al. 2016; Bulatov et al. 2022 (RMT)",
    .def = { .length = 64, .pairs = 4, .keys = 26, .symbols = 10 }, .max_pairs = 26, .max_symbols = 10,
    .least = associative_least, .make = associative);

// ---- copy and reverse: x, filler, '|', then x twice or backwards -------------------------------
static int64_t copy_least(const hx_task_conf *k)    { return 3 * hx_max(k->answer, 1) + 1; }
static int64_t reverse_least(const hx_task_conf *k) { return 2 * hx_max(k->answer, 1) + 1; }

// The first m letters, room for `again` times as many answers left behind the mark.
static void told(hx_doc *d, int64_t m, int64_t again)
{
    noise(d, m);
    fill(d, d->n - (1 + again) * m - 1);
    put(d, '|', false);
}

static void copy(hx_doc *d)
{
    int64_t m = d->k->answer ? d->k->answer : d->k->length / 3;
    told(d, m, 2);
    for (int64_t i = 0; i < 2 * m; i++)
        put(d, (char)d->text[i % m], true);
}

static void reverse(hx_doc *d)
{
    int64_t m = d->k->answer ? d->k->answer : d->k->length / 2;
    told(d, m, 1);
    for (int64_t i = 0; i < m; i++)
        put(d, (char)d->text[m - 1 - i], true);
}

HX_TASK(copy, .help = "letters, then the same twice", .source = "Bulatov et al. 2022 (RMT)",
        .def = {.length = 72, .symbols = 8, .answer = -1}, .max_symbols = 26, .least = copy_least,
        .make = copy);

HX_TASK(reverse, .help = "letters, then the same backwards", .source = "Bulatov et al. 2022 (RMT)",
        .def = {.length = 48, .symbols = 8, .answer = -1}, .max_symbols = 26,
        .least = reverse_least, .make = reverse);
