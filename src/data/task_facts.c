// task_facts.c - tasks in sentences: who is where, among sentences about nothing of the kind. The answer
// is the word for the place, or for models that classify its number, a digit.
#include <stdio.h>
#include <string.h>

#include "task.h"

enum { N = 6, MAX_PAIRS = N, LINE = 64 };
static const char *const people[N] = { "Mary", "Otto", "Ruth", "Adam", "Nora", "Paul" };
static const char *const places[N] = {"garden", "kitchen", "office", "cellar", "library", "stable"};
static const char *const things[N] = { "apple", "book", "lamp", "coin", "key", "cup" };
static const char *const goes[4]   = { "went to", "walked to", "is now in", "ran to" };
static const char *const takes[4]  = { "took", "picked up", "got", "found" };
static const char *const what[8] = {"The wind", "A grey cloud", "The old river", "Some rain",
                                    "The moon", "A small bird", "The long road", "Warm light"};
static const char *const does[8] = {"rests",        "moves on", "comes back", "fades",
                                    "turns slowly", "is gone",  "sings",      "waits"};
static const char *const when[8] = {"at noon",     "in spring",   "by night",  "once more",
                                    "before dawn", "for a while", "after all", "in silence"};

#define ANY(d, list) (list)[hx_draw(d, HX_COUNT(list))]

static void put(hx_doc *d, const char *s, bool answer)
{
    hx_doc_put(d, s, (int64_t)strlen(s), answer);
}

// Whole sentences in exactly n bytes; what is left over is blank.
static void noise(hx_doc *d, int64_t n)
{
    int64_t end = d->at + n;
    for (;;) {
        char s[LINE];
        int len = snprintf(s, sizeof s, "%s %s %s. ", ANY(d, what), ANY(d, does), ANY(d, when));
        if (d->at + len > end)
            break;
        hx_doc_put(d, s, len, false);
    }
    while (d->at < end)
        hx_doc_put(d, " ", 1, false);
}

// The first `count` of 0 .. N-1 in random order.
static void shuffled(hx_doc *d, int64_t count, int out[N])
{
    for (int i = 0; i < N; i++)
        out[i] = i;
    for (int64_t i = 0; i < count; i++) {
        int64_t j = i + hx_draw(d, N - i);
        int t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}

// Cuts n bytes of noise into `parts` at random: size[i] in bytes.
static void cut(hx_doc *d, int64_t n, int parts, int64_t *size)
{
    int64_t at[2 * MAX_PAIRS + 2];
    for (int i = 0; i < parts - 1; i++) {
        int64_t x = hx_draw(d, n + 1);
        int j = i;
        for (; j > 0 && at[j - 1] > x; j--)
            at[j] = at[j - 1];
        at[j] = x;
    }
    at[parts - 1] = n;
    for (int i = 0; i < parts; i++)
        size[i] = at[i] - (i ? at[i - 1] : 0);
}

// ---- what is told, and asked ------------------------------------------------------------------
typedef struct story {
    char        line[2 * MAX_PAIRS][LINE]; // facts in the order in which they are told
    int         n;
    char        question[LINE];
    const char *answer;
    int64_t     bytes;                     // of all that is not noise
} story;

static void add(story *s, const char *a, const char *b, const char *c)
{
    s->bytes += snprintf(s->line[s->n++], LINE, "%s %s the %s. ", a, b, c);
}

static void ask(hx_doc *d, story *s, const char *whom, int place)
{
    static const char *const numbers[N] = { "0", "1", "2", "3", "4", "5" };
    s->answer = d->k->classes ? numbers[place] : places[place];
    s->bytes += snprintf(s->question, LINE, "Where is %s? ", whom) + (int64_t)strlen(s->answer);
}

static void one_step(hx_doc *d, story *s)
{
    int who[N], where[N];
    shuffled(d, d->k->pairs, who);
    shuffled(d, d->k->pairs, where);
    for (int i = 0; i < d->k->pairs; i++)
        add(s, people[who[i]], ANY(d, goes), places[where[i]]);
    int64_t q = hx_draw(d, d->k->pairs);
    ask(d, s, people[who[q]], where[q]);
}

// Somebody takes a thing, later goes somewhere; the thing is asked for. Facts of several people
// mix, each one's in their order.
static void two_steps(hx_doc *d, story *s)
{
    int64_t P = d->k->pairs;
    int who[N], where[N], thing[N], told[N] = { 0 };
    shuffled(d, P, who);
    shuffled(d, P, where);
    shuffled(d, P, thing);
    while (s->n < 2 * P) {
        int64_t i = hx_draw(d, P);
        if (told[i] == 0)
            add(s, people[who[i]], ANY(d, takes), things[thing[i]]);
        else if (told[i] == 1)
            add(s, people[who[i]], ANY(d, goes), places[where[i]]);
        told[i]++;
    }
    int64_t q = hx_draw(d, P);
    char whom[LINE];
    snprintf(whom, sizeof whom, "the %s", things[thing[q]]);
    ask(d, s, whom, where[q]);
}

// Facts with noise before, between and behind them; `first`: all noise comes behind.
static void tell(hx_doc *d, const story *s, bool first)
{
    int64_t gap[2 * MAX_PAIRS + 1] = { 0 }, left = d->n - s->bytes;
    if (first)
        gap[s->n] = left;
    else
        cut(d, left, s->n + 1, gap);
    for (int i = 0; i <= s->n; i++) {
        noise(d, gap[i]);
        if (i < s->n)
            put(d, s->line[i], false);
    }
    put(d, s->question, false);
    put(d, s->answer, true);
}

static void memorize(hx_doc *d)
{
    story s = { 0 };
    one_step(d, &s);
    tell(d, &s, true);
}

static void detect_memorize(hx_doc *d)
{
    story s = { 0 };
    one_step(d, &s);
    tell(d, &s, false);
}

static void reason(hx_doc *d)
{
    story s = { 0 };
    two_steps(d, &s);
    tell(d, &s, false);
}

// The longest sentences that can be drawn.
static int64_t one_step_least(const hx_task_conf *k) { return k->pairs * 29 + 24; }
static int64_t two_steps_least(const hx_task_conf *k) { return k->pairs * (26 + 29) + 28; }

HX_TASK(memorize, .help = "a fact at the beginning, noise, a question",
        .source = "after Bulatov et al. 2023 (RMT to a million tokens), own sentences",
        .def = {.length = 256, .pairs = 1, .classes = 1}, .max_pairs = MAX_PAIRS, .least = one_step_least,
        .make = memorize);

HX_TASK(detect_memorize, .help = "a fact somewhere in noise, a question",
        .source = "after Bulatov et al. 2023 (RMT to a million tokens), own sentences",
        .def = {.length = 256, .pairs = 1, .classes = 1}, .max_pairs = MAX_PAIRS, .least = one_step_least,
        .make = detect_memorize);

HX_TASK(reason,
        .help = "who took a thing and where they went, somewhere in noise; the thing is asked for",
        .source = "after Bulatov et al. 2023 and bAbI (Weston et al. 2015), own sentences",
        .def = {.length = 512, .pairs = 2, .classes = 1}, .max_pairs = MAX_PAIRS, .least = two_steps_least,
        .make = reason);
