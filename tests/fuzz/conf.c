// conf.c - fuzz target: any bytes as a run's configuration, with assignments of --set behind it, and
// as config.json. What is taken must read back to the same text.
#include "../../src/train/conf_run.h"
#include "../toy.h"
#include "fuzz.h"

// libfyaml 0.7 loses the line it was about to quote in some messages: theirs, and not for each use.
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libfyaml"; }

static void run(hx_arena *a, const char *text, const char *const *set, int n)
{
    hx_run_conf *c, *d;
    if (hx_run_conf_parse(a, "fuzz", text, "/", set, n, &c))
        return;
    hx_out one = { 0 }, two = { 0 };
    hx_run_conf_put(&one, c);
    if (hx_run_conf_parse(a, "again", one.data, "/", NULL, 0, &d))
        abort();
    hx_run_conf_put(&two, d);
    if (strcmp(one.data, two.data))
        abort();
    hx_out_free(&one);
    hx_out_free(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hx_arena *a = hx_arena_new();
    hx_case c;
    part p[MAX_PARTS];
    char *text[MAX_PARTS];
    int n = 0;
    split(data, size, p);
    for (int i = 0; i < MAX_PARTS; i++) {
        text[i] = calloc(1, p[i].size + 1);
        memcpy(text[i], p[i].size ? p[i].data : data, p[i].size);
    }
    while (n + 1 < MAX_PARTS && p[n + 1].size)
        n++;
    hx_case_parse(a, "fuzz", text[0], (int64_t)p[0].size, &c);
    run(a, text[0], (const char *const *)text + 1, n);
    for (int i = 0; i < MAX_PARTS; i++)
        free(text[i]);
    hx_arena_free(&a);
    return 0;
}
