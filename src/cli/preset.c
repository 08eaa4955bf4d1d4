#include "preset.h"

#include <stdlib.h>
#include <string.h>

#include "../../runtime/file.h"

enum { PREFIX = 7, TEXT_MAX = 1 << 20 };   // of "preset:"

// The user's own file of this name; NULL where there is none.
static const char *own_file(hx_arena *a, const char *name)
{
    const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if ((!base || base[0] != '/') && !home)
        return NULL;
    if (!base || base[0] != '/')
        base = hx_path_join(a, home, ".config");
    // a name, never a path
    const char *file = base && !strchr(name, '/') && name[0] != '.'
                           ? hx_sprintf(a, "%s/htxvk/presets/%s.yaml", base, name) : NULL;
    return file && hx_file_exists(file) ? file : NULL;
}

hx_result hx_preset_text(hx_arena *a, const char *name, const char **text)
{
    const char *names[64], *file = own_file(a, name);
    int n = 0;
    if (file) {
        hx_blob b;
        HX_TRY(hx_file_read(file, TEXT_MAX, 0, &b));
        *text = hx_strdup(a, (const char *)b.data);
        hx_blob_free(&b);
        return *text ? HX_OK : HX_E_NOMEM;
    }
    for (const hx_preset *p = hx_presets; p->name; p++) {
        if (!strcmp(p->name, name)) {
            *text = p->text;
            return HX_OK;
        }
        names[n++ % HX_COUNT(names)] = p->name;
    }
    const char *near = hx_nearest(name, names, n);
    return hx_fail(HX_E_INPUT, "there is no preset '%s'; %s '%s', see `htxvk config presets` "
                   "[E-PRESET]", hx_printable(a, name), near ? "did you mean" : "one that exists is",
                   near ? near : names[0]);
}

// data.train=["/a/b", ...] as an assignment.
static const char *train_files(hx_arena *a, const hx_strs *data)
{
    hx_out b = {0};
    hx_out_add(&b, "data.train=[");
    for (int i = 0; i < data->n; i++) {
        char *whole = realpath(data->v[i], NULL);
        hx_out_add(&b, "%s", i ? ", " : "");
        hx_out_json_text(&b, whole ? whole : data->v[i]);
        free(whole);
    }
    hx_out_add(&b, "]");
    const char *s = b.failed ? NULL : hx_strdup(a, b.data);
    hx_out_free(&b);
    return s;
}

hx_result hx_cli_conf(hx_cli *c, const char *path, const hx_strs *set, const hx_strs *data,
                      hx_run_conf **out)
{
    hx_strs all = *set;
    if (data && data->n) {
        if (all.n == HX_MAX_LIST)
            return hx_fail(HX_E_USAGE, "more than %d --set with --data [E-USAGE]", HX_MAX_LIST - 1);
        if (!(all.v[all.n++] = train_files(c->arena, data)))
            return HX_E_NOMEM;
    }
    if (strncmp(path, "preset:", PREFIX))
        return hx_run_conf_read(c->arena, path, all.v, all.n, out);
    const char *text;
    HX_TRY(hx_preset_text(c->arena, path + PREFIX, &text));
    return hx_run_conf_parse(c->arena, path, text, ".", all.v, all.n, out);
}
