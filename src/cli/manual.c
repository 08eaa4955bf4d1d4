// manual.c - `htxvk manual`: the manual pages, from the tables that parse the command line.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../train/conf_run.h"
#include "cli.h"

// Text for troff: hyphens that can be copied, no line that is taken for a request.
static void put(const char *s, int64_t n)
{
    bool first = true;
    for (int64_t i = 0; i < n && s[i]; i++) {
        if (first && (s[i] == '.' || s[i] == '\''))
            fputs("\\&", stdout);
        first = s[i] == '\n';
        if (s[i] == '\\')
            fputs("\\e", stdout);
        else if (s[i] == '-')
            fputs("\\-", stdout);
        else
            putchar(s[i]);
    }
}

static void put_text(const char *s) { put(s, (int64_t)strlen(s)); }

static void head(const char *name, int section, const char *what)
{
    // the day of the build can be fixed, so that two builds give the same pages
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    time_t when = epoch ? (time_t)atoll(epoch) : time(NULL);
    struct tm t;
    char day[16];
    strftime(day, sizeof day, "%Y-%m-%d", gmtime_r(&when, &t));
    printf(".TH %s %d %s \"htxvk %s\"\n.SH NAME\n", name, section, day, HX_VERSION);
    put_text(name);
    fputs(" \\- ", stdout);
    put_text(what);
    fputs("\n", stdout);
}

static void put_default(const hx_field *f)
{
    if (f->type == HX_BOOL || !f->def || !*f->def || !strcmp(f->def, "[]"))
        return;
    fputs(" Default: ", stdout);
    put_text(f->def);
    fputs(".", stdout);
}

static void put_options(const hx_field *f)
{
    static const char *const values[] = {
        [HX_I32] = "N", [HX_I64] = "N", [HX_F32] = "X", [HX_F64] = "X", [HX_BOOL] = "",
        [HX_STR] = "TEXT", [HX_INTS] = "LIST", [HX_REALS] = "LIST", [HX_STRS] = "TEXT" };
    for (; f && f->name; f++) {
        char name[64];
        snprintf(name, sizeof name, "--%s", f->name);
        for (char *s = name; *s; s++)
            *s = *s == '_' ? '-' : *s;
        fputs(".TP\n.B ", stdout);
        put_text(name);
        printf(" \\fI%s\\fR\n", values[f->type]);
        put_text(f->help);
        fputs(".", stdout);
        put_default(f);
        fputs("\n", stdout);
    }
}

static const char exit_codes[] =
    ".SH EXIT STATUS\n"
    "0 done, 2 usage, 3 a file, text or configuration is not acceptable, 4 no usable device,\n"
    "5 a value that must be finite is not, 6 out of memory, 7 input or output, 8 a check failed,\n"
    "70 a defect of htxvk itself, 75 stopped, can be resumed.\n";

static void see_also(void)
{
    fputs(".SH SEE ALSO\n.BR htxvk (1)", stdout);
    for (int i = 0; i < hx_n_cmds; i++)
        printf(",\n.BR htxvk\\-%s (1)", hx_cmds[i]->name);
    fputs(",\n.BR htxvk\\-config (5)\n", stdout);
}

static void overview(void)
{
    head("htxvk", 1, "trains and runs long-context transformers on any GPU with Vulkan");
    fputs(".SH SYNOPSIS\n.B htxvk\n.I COMMAND\n[options]\n.SH COMMANDS\n", stdout);
    for (int i = 0; i < hx_n_cmds; i++) {
        printf(".TP\n.B %s\n", hx_cmds[i]->name);
        put_text(hx_cmds[i]->help);
        fputs(".\n", stdout);
    }
    fputs(".SH OPTIONS OF EVERY COMMAND\n", stdout);
    put_options(hx_cli_common);
    fputs(".SH ENVIRONMENT\n"
          ".TP\n.B XDG_CACHE_HOME\nwhere compiled pipelines are kept (~/.cache).\n"
          ".TP\n.B XDG_CONFIG_HOME\nwhere presets of your own are (~/.config).\n"
          ".TP\n.B VK_DRIVER_FILES\nwhich Vulkan drivers the loader looks at.\n"
          ".TP\n.B NO_COLOR\nnothing is coloured, with or without it.\n", stdout);
    fputs(exit_codes, stdout);
    see_also();
}

static void one_command(const hx_cmd *c)
{
    char name[64];
    snprintf(name, sizeof name, "htxvk-%s", c->name);
    head(name, 1, c->help);
    printf(".SH SYNOPSIS\n.B htxvk %s\n", c->name);
    put_text(c->args);
    fputs("\n", stdout);
    if (c->opts && c->opts->name) {
        fputs(".SH OPTIONS\n", stdout);
        put_options(c->opts);
    }
    fputs(".SH OPTIONS OF EVERY COMMAND\n", stdout);
    put_options(hx_cli_common);
    if (c->more) {
        fputs(".SH NOTES\n", stdout);
        put_text(c->more);
    }
    fputs(exit_codes, stdout);
    see_also();
}

static void put_keys(const char *section, const hx_field *f)
{
    for (; f && f->name; f++) {
        printf(".TP\n.B ");
        put_text(section);
        fputs(".", stdout);
        put_text(f->name);
        fputs("\n", stdout);
        put_text(f->help);
        fputs(".", stdout);
        put_default(f);
        fputs("\n", stdout);
    }
}

static void keys(void)
{
    head("htxvk-config", 5, "configuration of a training");
    fputs(".SH DESCRIPTION\nYAML 1.2 without anchors and tags, or JSON: a map of sections. Keys that are "
          "not known are refused.\n", stdout);
    for (const hx_section *s = hx_sections; s->name; s++) {
        printf(".SH %s: ", s->name);
        put_text(s->help);
        fputs("\n", stdout);
        put_keys(s->name, s->fields);
    }
    for (int i = 0; i < hx_n_models; i++) {
        fputs(".SH model with arch ", stdout);
        put_text(hx_models[i]->name);
        fputs("\n", stdout);
        put_text(hx_models[i]->title);
        fputs(".\n", stdout);
        put_keys("model", hx_models[i]->fields);
    }
    see_also();
}

static hx_result run(hx_cli *c)
{
    const char *what = c->n_args ? c->args[0] : "";
    if (!*what)
        overview();
    else if (!strcmp(what, "keys"))
        keys();
    else {
        int i = 0;
        while (i < hx_n_cmds && strcmp(hx_cmds[i]->name, what))
            i++;
        if (i == hx_n_cmds)
            return hx_fail(HX_E_USAGE, "manual: there is no command '%s' [E-USAGE]", what);
        one_command(hx_cmds[i]);
    }
    return HX_OK;
}

HX_CMD(manual, .args = "[COMMAND|keys]", .help = "a manual page as troff", .max_args = 1, .run = run,
       .more = "example: htxvk manual train | man -l -\n");
