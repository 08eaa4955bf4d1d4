// generate.c - `htxvk generate`: text from a checkpoint, byte by byte to stdout.
#include "../train/generate.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

typedef struct generate_opts {
    const char *prompt;
    int64_t     length, top_k, seed;
    double      temp, top_p, min_p;
} generate_opts;
#define O(type, member, def, lo, hi, help) \
    { #member, type, offsetof(generate_opts, member), def, lo, hi, help }
static const hx_field generate_fields[] = {
    O(HX_STR, prompt, "", 0, 0, "text to continue; - reads it from stdin"),
    O(HX_I64, length, "256", 0, 1e15, "tokens to make: bytes, or the run's tokenizer's"),
    O(HX_F64, temp, "1", 0, 1000, "temperature; 0 always takes the most likely byte"),
    O(HX_I64, top_k, "0", 0, 1e9, "choose among the k most likely; 0: all"),
    O(HX_F64, top_p, "1", 0, 1, "choose among the most likely that have this share together"),
    O(HX_F64, min_p, "0", 0, 1, "leave out what is less likely than this share of the most likely"),
    O(HX_I64, seed, "0", 0, 9e15, "of the random choices"),
    {0}
};
#undef O

enum { PROMPT_MAX = 1 << 20 };

static bool print_byte(void *user, uint8_t byte)
{
    (void)user;
    return fputc(byte, stdout) != EOF && !fflush(stdout);
}

static hx_result read_prompt(hx_cli *c, const char **text, int64_t *n)
{
    const generate_opts *o = c->opts;
    *text = o->prompt;
    *n = (int64_t)strlen(o->prompt);
    if (strcmp(o->prompt, "-"))
        return HX_OK;
    char *all = hx_alloc(c->arena, PROMPT_MAX);
    if (!all)
        return HX_E_NOMEM;
    *n = (int64_t)fread(all, 1, PROMPT_MAX, stdin);
    *text = all;
    if (ferror(stdin))
        return hx_fail(HX_E_IO, "standard input: %s [E-IO-READ]", strerror(errno));
    return *n == PROMPT_MAX
               ? hx_fail(HX_E_INPUT, "the prompt has more than %d bytes [E-SIZE]", PROMPT_MAX - 1)
               : HX_OK;
}

static hx_result run(hx_cli *c)
{
    const generate_opts *o = c->opts;
    const char *prompt;
    int64_t n;
    hx_loaded l = {0};
    hx_generator *g = NULL;
    hx_sampling how = { o->temp, o->top_k, o->top_p, (uint64_t)o->seed, o->min_p };
    HX_TRY(read_prompt(c, &prompt, &n));
    hx_result r = hx_load(c, c->args[0], &l);
    hx_memory *shared[HX_N_PLACES] = { [HX_PARAM] = &l.params };
    if (!r)
        r = hx_generator_new(l.dev, &l.net, shared, &g);
    if (!r)
        hx_generator_use(g, l.bpe);
    if (!r)
        r = hx_generate(g, prompt, n, o->length, &how, print_byte, NULL);
    if (!r && isatty(STDOUT_FILENO))
        putchar('\n');
    hx_generator_free(&g);
    return hx_load_done(&l, r);
}

HX_CMD(
    generate, .args = "RUN|CHECKPOINT [--prompt TEXT] [--length N]",
    .help = "continue a prompt with text from a checkpoint", .opts = generate_fields,
    .opts_size = sizeof(generate_opts), .min_args = 1, .max_args = 1, .run = run,
    .more =
        "Only the new bytes go to stdout. The same seed gives the same text.\n"
        "example: htxvk generate runs/demo --prompt 'In the beginning' --length 400 --temp 0.8\n");
