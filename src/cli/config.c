// config.c - `htxvk config`: presets, every key with its meaning, what a configuration comes to.
#include <string.h>

#include "../../runtime/file.h"
#include "../core/case.h"
#include "preset.h"

typedef struct config_opts { hx_strs set, data; const char *out; } config_opts;
#define O(type, member, def, help) { #member, type, offsetof(config_opts, member), def, 0, 0, help }
static const hx_field config_fields[] = {
    O(HX_STRS, set, "[]", "show, check: replace one value, key=value; may be repeated"),
    O(HX_STRS, data, "[]", "show, check: text to train on, instead of data.train; may be repeated"),
    O(HX_STR, out, "", "init, show: file to write, which must not exist; stdout if not given"),
    {0}
};
#undef O

static hx_result put_out(const config_opts *o, const char *text, int64_t n)
{
    if (!o->out[0]) {
        fwrite(text, 1, (size_t)n, stdout);
        return HX_OK;
    }
    if (hx_file_exists(o->out))
        return hx_fail(HX_E_USAGE, "%s exists already; name another file [E-USAGE]", o->out);
    return hx_file_write(o->out, text, n);
}

static hx_result init(hx_cli *c)
{
    const char *text;
    HX_TRY(hx_preset_text(c->arena, c->n_args > 1 ? c->args[1] : "demo", &text));
    return put_out(c->opts, text, (int64_t)strlen(text));
}

static hx_result need_path(const hx_cli *c)
{
    return c->n_args > 1 ? HX_OK : hx_fail(HX_E_USAGE, "config %s needs a file or preset:NAME "
                                           "[E-USAGE]", c->args[0]);
}

static hx_result show(hx_cli *c)
{
    const config_opts *o = c->opts;
    hx_run_conf *k;
    hx_out b = {0};
    HX_TRY(need_path(c));
    HX_TRY(hx_cli_conf(c, c->args[1], &o->set, &o->data, &k));
    hx_run_conf_put(&b, k);
    hx_result r = b.failed ? HX_E_NOMEM : put_out(o, b.data, b.size);
    hx_out_free(&b);
    return r;
}

static hx_result check(hx_cli *c)
{
    const config_opts *o = c->opts;
    hx_run_conf *k;
    HX_TRY(need_path(c));
    HX_TRY(hx_cli_conf(c, c->args[1], &o->set, &o->data, &k));
    printf("%s: %s, %lld steps of %d x %d x %d tokens\n", c->args[1], k->model->name,
           (long long)k->train.steps, k->train.accumulate, k->train.batch, k->train.seq_len);
    return HX_OK;
}

static hx_result presets(hx_cli *c)
{
    (void)c;
    for (const hx_preset *p = hx_presets; p->name; p++) {
        // the comment at its head, without the marks
        printf("%-22s", p->name);
        const char *s = p->text;
        for (bool first = true; *s == '#'; first = false) {
            int n = (int)strcspn(s, "\n");
            printf("%*s%.*s\n", first ? 0 : 22, "", n - 2 > 0 ? n - 2 : 0, s + 2);
            s += n + (s[n] == '\n');
        }
    }
    return HX_OK;
}

static void put_fields(const char *section, const hx_field *f)
{
    for (; f && f->name; f++)
        printf("  %s.%s: %s\n      %s\n", section, f->name, !f->def ? "(must be given)"
               : *f->def ? f->def : "''", f->help);
}

static hx_result keys(hx_cli *c)
{
    const char *want = c->n_args > 1 ? c->args[1] : "";
    bool found = false;
    for (const hx_section *s = hx_sections; s->name; s++) {
        if (*want && strcmp(want, s->name))
            continue;
        printf("%s - %s\n", s->name, s->help);
        put_fields(s->name, s->fields);
        found = true;
    }
    for (int i = 0; i < hx_n_models; i++) {
        if (*want && strcmp(want, hx_models[i]->name))
            continue;
        printf("model with arch %s - %s\n", hx_models[i]->name, hx_models[i]->title);
        put_fields("model", hx_models[i]->fields);
        found = true;
    }
    return found ? HX_OK : hx_fail(HX_E_USAGE, "config keys: there is no section or architecture "
                                   "'%s' [E-USAGE]", want);
}

static hx_result run(hx_cli *c)
{
    static const struct { const char *name; hx_result (*run)(hx_cli *c); } what[] = {
        { "init", init }, { "show", show }, { "check", check }, { "presets", presets },
        { "keys", keys } };
    const char *words[HX_COUNT(what)];
    for (int i = 0; i < HX_COUNT(what); i++) {
        words[i] = what[i].name;
        if (!strcmp(what[i].name, c->args[0]))
            return what[i].run(c);
    }
    const char *near = hx_nearest(c->args[0], words, HX_COUNT(what));
    return hx_fail(HX_E_USAGE, "config: there is no '%s'; %s '%s' [E-USAGE]", c->args[0],
                   near ? "did you mean" : "there is", near ? near : words[0]);
}

HX_CMD(config, .args = "init [PRESET] | show FILE | check FILE | presets | keys [SECTION|ARCH]",
       .help = "configurations: start one, resolve it, check it, all keys", .opts = config_fields,
       .opts_size = sizeof(config_opts), .min_args = 1, .max_args = 2, .run = run,
       .more = "init prints a preset to start from, show every value as training would use it.\n"
               "FILE may be preset:NAME, here as in train and plan. Presets of your own are files\n"
               "NAME.yaml in $XDG_CONFIG_HOME/htxvk/presets.\n"
               "example: htxvk config init demo --out my.yaml\n");
