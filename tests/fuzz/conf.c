// conf.c - fuzz target: any bytes as a run's configuration and as config.json. What is taken must
// read back to the same text.
#include "../../src/train/conf_run.h"
#include "../toy.h"
#include <stdlib.h>
#include <string.h>

// libfyaml 0.7 loses the line it was about to quote in some messages: theirs, and not for each use.
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libfyaml"; }

static void run(hx_arena *a, const char *text)
{
    hx_run_conf *c, *d;
    if (hx_run_conf_parse(a, "fuzz", text, "/", NULL, 0, &c))
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hx_arena *a = hx_arena_new();
    hx_case c;
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = 0;
    hx_case_parse(a, "fuzz", text, (int64_t)size, &c);
    run(a, text);
    free(text);
    hx_arena_free(&a);
    return 0;
}
