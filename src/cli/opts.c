// opts.c - command-line words to fields, and the help made from the same tables.
#include "cli.h"

#include <getopt.h>
#include <string.h>

typedef struct common_opts {
    const char *device, *precision;
    int32_t     threads;
    bool        validation, no_cache, quiet, help;
} common_opts;

#define O(type, member, def, lo, hi, help) \
    { #member, type, offsetof(common_opts, member), def, lo, hi, help }
const hx_field hx_cli_common[] = {
    O(HX_STR, device, "", 0, 0, "auto | host | N | name:TEXT | uuid:HEX, see `htxvk devices`"),
    O(HX_STR, precision, "", 0, 0,
      "fp32 | bf16 | fp16 | auto: what matrix products round their factors to; unless given, what "
      "the configuration says in train and bench, else fp32"),
    O(HX_I32, threads, "0", 0, 4096, "threads of the host device; 0 takes all processors"),
    O(HX_BOOL, validation, "false", 0, 0,
      "turn Vulkan's validation layer on; its messages fail the run"),
    O(HX_BOOL, no_cache, "false", 0, 0, "do not read or write the pipeline cache"),
    O(HX_BOOL, quiet, "false", 0, 0, "only errors on stderr"),
    O(HX_BOOL, help, "false", 0, 0, "this text"),
    {0}
};
#undef O

enum { MAX_OPTS = 48 };
typedef struct word { char name[32]; const hx_field *f; void *obj; } word;

static int count_words(const hx_field *f, void *obj, word *w, int n)
{
    for (; f && f->name && n < MAX_OPTS; f++, n++) {
        snprintf(w[n].name, sizeof w[n].name, "%s", f->name);
        for (char *s = w[n].name; *s; s++)
            *s = *s == '_' ? '-' : *s;
        w[n].f = f;
        w[n].obj = obj;
    }
    return n;
}

static hx_result set_option(const word *w, const char *text, hx_arena *a)
{
    void *at = (char *)w->obj + w->f->offset;
    switch (w->f->type) {
    case HX_BOOL:
        *(bool *)at = true;
        return HX_OK;
    // texts are taken as they are: a prompt may look like anything
    case HX_STR:
        *(const char **)at = text;
        return HX_OK;
    case HX_STRS: {
        hx_strs *list = at;
        if (list->n == HX_MAX_LIST)
            return hx_fail(HX_E_USAGE, "--%s: given more than %d times [E-USAGE]", w->name,
                           HX_MAX_LIST);
        list->v[list->n++] = text;
        return HX_OK;
    }
    default:
        break;
    }
    if (hx_field_set(w->f, w->obj, w->f->name, text, a) == HX_OK)
        return HX_OK;
    char why[512];
    snprintf(why, sizeof why, "%s", hx_last_message());
    return hx_fail(HX_E_USAGE, "--%s %s: %s", w->name, text, why);
}

static hx_result unknown(const hx_cmd *cmd, const word *w, int n, const char *given)
{
    const char *names[MAX_OPTS];
    for (int i = 0; i < n; i++)
        names[i] = w[i].name;
    char bare[64];
    const char *start = given + strspn(given, "-");
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(start, "="), start);
    const char *near = hx_nearest(bare, names, n);
    if (near)
        return hx_fail(HX_E_USAGE, "%s has no option '%s'; did you mean '--%s'? [E-USAGE]",
                       cmd->name, given, near);
    return hx_fail(HX_E_USAGE, "%s has no option '%s'; see `htxvk %s --help` [E-USAGE]",
                   cmd->name, given, cmd->name);
}

// Options that may stand without their value when another option or nothing follows: --json.
static bool value_is_missing(const word *w, const char *value)
{
    return !strcmp(w->name, "json") && value[0] == '-' && value[1];
}

static hx_result parse_words(const hx_cmd *cmd, const word *w, int n, int argc, char **argv,
                             hx_arena *a)
{
    struct option table[MAX_OPTS + 1] = {0};
    for (int i = 0; i < n; i++)
        table[i] = (struct option){
            w[i].name, w[i].f->type == HX_BOOL ? no_argument : required_argument, NULL, 1000 + i};
    opterr = 0;
    optind = 0;
    for (;;) {
        int at = optind > 0 ? optind : 1;
        int k = getopt_long(argc, argv, ":hq", table, NULL);
        if (k < 0)
            return HX_OK;
        const char *given = argv[optind > at ? optind - 1 : at];
        if (k == 'h' || k == 'q') {
            for (int i = 0; i < n; i++)
                if (!strcmp(w[i].name, k == 'h' ? "help" : "quiet"))
                    *(bool *)((char *)w[i].obj + w[i].f->offset) = true;
        } else if (k == ':') {
            int i = 0;
            while (i < n - 1 && 1000 + i != optopt)
                i++;
            if (strcmp(w[i].name, "json"))
                return hx_fail(HX_E_USAGE, "%s: '%s' needs a value [E-USAGE]", cmd->name, given);
            HX_TRY(set_option(&w[i], "-", a));
        } else if (k < 1000) {
            return unknown(cmd, w, n, given);
        } else if (optarg && value_is_missing(&w[k - 1000], optarg)) {
            HX_TRY(set_option(&w[k - 1000], "-", a));
            optind--;
        } else {
            HX_TRY(set_option(&w[k - 1000], optarg, a));
        }
    }
}

hx_result hx_cli_parse(const hx_cmd *cmd, int argc, char **argv, hx_cli *c, bool *help)
{
    common_opts common = {0};
    c->opts = hx_alloc(c->arena, cmd->opts_size + 1);
    if (!c->opts)
        return HX_E_NOMEM;
    HX_TRY(hx_fields_default(hx_cli_common, &common));
    if (cmd->opts)
        HX_TRY(hx_fields_default(cmd->opts, c->opts));

    word w[MAX_OPTS];
    int n = count_words(cmd->opts, c->opts, w, 0);
    n = count_words(hx_cli_common, &common, w, n);
    HX_TRY(parse_words(cmd, w, n, argc, argv, c->arena));
    c->args = argv + optind;
    c->n_args = argc - optind;
    c->device = common.device[0] ? common.device : NULL;
    c->precision = common.precision[0] ? common.precision : NULL;
    c->threads = common.threads;
    c->validation = common.validation;
    c->no_cache = common.no_cache;
    c->quiet = common.quiet;
    *help = common.help;
    if (*help)
        return HX_OK;
    if (c->n_args < cmd->min_args)
        return hx_fail(HX_E_USAGE, "%s needs %s; see `htxvk %s --help` [E-USAGE]", cmd->name,
                       cmd->args, cmd->name);
    if (c->n_args > cmd->max_args)
        return hx_fail(HX_E_USAGE, "%s: unexpected '%s'; see `htxvk %s --help` [E-USAGE]",
                       cmd->name, c->args[cmd->max_args], cmd->name);
    return HX_OK;
}

static void print_fields(const hx_field *f, FILE *to)
{
    static const char *const values[] = {
        [HX_I32] = " N",     [HX_I64] = " N",      [HX_F32] = " X",
        [HX_F64] = " X",     [HX_BOOL] = "",       [HX_STR] = " TEXT",
        [HX_INTS] = " LIST", [HX_REALS] = " LIST", [HX_STRS] = " TEXT"};
    for (; f && f->name; f++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s", f->name, values[f->type]);
        for (char *s = left; *s; s++)
            *s = *s == '_' ? '-' : *s;
        fprintf(to, "  %-20s  %s", left, f->help);
        bool says = f->type != HX_BOOL && f->def && f->def[0] && strcmp(f->def, "[]");
        if (says)
            fprintf(to, " (%s)", f->def);
        fputs("\n", to);
    }
}

void hx_cli_help(const hx_cmd *cmd, FILE *to)
{
    fprintf(to, "htxvk %s %s\n\n%s\n", cmd->name, cmd->args, cmd->help);
    if (cmd->opts && cmd->opts->name) {
        fputs("\nOptions:\n", to);
        print_fields(cmd->opts, to);
    }
    fputs("\nOptions of every command:\n", to);
    print_fields(hx_cli_common, to);
    if (cmd->more)
        fprintf(to, "\n%s", cmd->more);
}
