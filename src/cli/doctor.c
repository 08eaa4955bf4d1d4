// doctor.c - `htxvk doctor`: why a GPU is not used, and what to do about it.
#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../runtime/file.h"
#include "cli.h"
#include "nodes.h"

typedef struct doctor_opts { const char *json; } doctor_opts;
static const hx_field doctor_fields[] = {
    { "json", HX_STR, offsetof(doctor_opts, json), "", 0, 0, "write JSON to this file, - for stdout" },
    {0}
};

typedef enum { GOOD, NOTE, BAD } verdict;
typedef struct visit { hx_arena *a; json_t *list; bool print; int bad, manifests, usable; } visit;

// One finding; `fix` is what to do, or NULL.
static void __attribute__((format(printf, 4, 5)))
found(visit *v, verdict how, const char *fix, const char *fmt, ...)
{
    static const char *const words[] = { "ok", "note", "problem" };
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    v->bad += how == BAD;
    json_t *row = json_pack("{ss ss}", "verdict", words[how], "text", text);
    if (fix)
        json_object_set_new(row, "fix", json_string(fix));
    json_array_append_new(v->list, row);
    if (v->print)
        printf("%-8s %s\n", words[how], text);
    if (v->print && fix)
        printf("         fix: %s\n", fix);
}

// ---- drivers ------------------------------------------------------------------------------

// A driver's manifest: can it be read, and is the library that it names there?
static void look_at_manifest(visit *v, const char *path)
{
    json_error_t e;
    json_t *j = json_load_file(path, 0, &e);
    const char *lib = json_string_value(json_object_get(json_object_get(j, "ICD"), "library_path"));
    if (!lib)
        found(v, BAD, "reinstall the driver's package", "%s: no driver manifest: %s", path,
              j ? "it names no library" : e.text);
    else if (lib[0] == '/' && access(lib, R_OK))
        found(v, BAD, "reinstall the driver's package", "%s names %s, which cannot be read: %s", path,
              lib, strerror(errno));
    else
        found(v, GOOD, NULL, "driver manifest %s", path);
    v->manifests += lib != NULL;
    json_decref(j);
}

static void look_in(visit *v, const char *dir)
{
    hx_names names;
    if (hx_dir_list(v->a, dir, &names))
        return;
    for (int i = 0; i < names.n; i++) {
        size_t n = strlen(names.v[i]);
        const char *path = hx_path_join(v->a, dir, names.v[i]);
        if (path && n > 5 && !strcmp(names.v[i] + n - 5, ".json"))
            look_at_manifest(v, path);
    }
}

// Every entry of a list with colons.
static void each_path(visit *v, const char *list, const char *below, void (*look)(visit *, const char *))
{
    for (const char *s = list; s && *s;) {
        int n = (int)strcspn(s, ":");
        const char *path = hx_sprintf(v->a, "%.*s%s", n, s, below);
        if (n && path)
            look(v, path);
        s += n + (s[n] == ':');
    }
}

static void look_at_drivers(visit *v)
{
    static const char *const vars[] = { "VK_DRIVER_FILES", "VK_ICD_FILENAMES" };
    for (int i = 0; i < HX_COUNT(vars); i++)
        if (getenv(vars[i])) {
            found(v, NOTE, hx_sprintf(v->a, "unset %s to use what is installed", vars[i]),
                  "%s is set: only %s is looked at", vars[i], getenv(vars[i]));
            each_path(v, getenv(vars[i]), "", look_at_manifest);
            return;
        }
    const char *home = getenv("HOME"), *data = getenv("XDG_DATA_DIRS");
    look_in(v, "/etc/vulkan/icd.d");
    each_path(v, data && *data ? data : "/usr/local/share:/usr/share", "/vulkan/icd.d", look_in);
    if (home)
        look_in(v, hx_sprintf(v->a, "%s/.local/share/vulkan/icd.d", home));
    if (!v->manifests)
        found(v, BAD, "apt install mesa-vulkan-drivers (or your vendor's driver)",
              "no driver manifest in /etc/vulkan/icd.d, /usr/share/vulkan/icd.d and beside");
}

// ---- nodes --------------------------------------------------------------------------------

static void look_at_nodes(visit *v)
{
    int nodes = 0;
    for (hx_node_file f; (f = hx_node_get(v->a, nodes)).path; nodes++)
        found(v, f.why ? BAD : GOOD, f.fix, "%s%s", f.why ? f.why : f.path, f.why ? "" : " can be opened");
    bool inside = hx_in_container();
    if (!nodes)
        found(v, NOTE, inside ? "start it with --device /dev/dri, or --gpus all for NVIDIA with "
                                "NVIDIA_DRIVER_CAPABILITIES=all" : NULL,
              "no GPU is visible%s: neither /dev/dri/renderD* nor /dev/nvidiactl",
              inside ? " in this container" : "");
}

// ---- devices ------------------------------------------------------------------------------

// Does a buffer come back as it was written?
static hx_result try_device(const char *selector)
{
    uint32_t out[64], in[64] = {0};
    hx_dev *d = NULL;
    hx_buf *b = NULL;
    for (int i = 0; i < 64; i++)
        out[i] = (uint32_t)i * 2654435761u;
    hx_result r = hx_dev_open(&(hx_dev_params){ .select = selector, .no_cache = true }, &d);
    if (!r)
        r = hx_buf_new(d, sizeof out, HX_BUF_DEVICE, "doctor", &b);
    if (!r)
        r = hx_buf_write(b, 0, out, sizeof out);
    if (!r)
        r = hx_buf_read(b, 0, in, sizeof in);
    if (!r && memcmp(in, out, sizeof in))
        r = hx_fail(HX_E_CHECK, "what was written is not what was read [E-DOCTOR]");
    hx_buf_free(&b);
    hx_dev_close(&d);
    return r;
}

static hx_result look_at_devices(visit *v)
{
    enum { MOST = 64 };
    hx_dev_info *list = hx_new(v->a, hx_dev_info, MOST);
    const char *note = NULL;
    int n = 0;
    if (!list)
        return HX_E_NOMEM;
    HX_TRY(hx_dev_list(list, MOST, &n, &note));
    if (note && *note)
        found(v, BAD, NULL, "%s", note);
    for (int i = 0; i < n; i++) {
        const hx_dev_caps *c = &list[i].caps;
        if (strcmp(c->kind, "vulkan"))
            continue;
        const char *name = hx_printable(v->a, c->name);
        if (list[i].why_not[0])
            found(v, BAD, "install a newer driver", "device %s, %s: %s", list[i].selector, name,
                  list[i].why_not);
        else if (try_device(list[i].selector))
            found(v, BAD, NULL, "device %s, %s: %s", list[i].selector, name, hx_last_message());
        else
            found(v, GOOD, NULL, "device %s, %s, works%s", list[i].selector, name,
                  c->type == HX_DEV_CPU ? " (a processor, no GPU)" : "");
        v->usable += !list[i].why_not[0];
    }
    return HX_OK;
}

static void look_at_rest(visit *v)
{
    static const char *const filters[] = { "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK" };
    for (int i = 0; i < HX_COUNT(filters); i++)
        if (getenv(filters[i]))
            found(v, NOTE, "choose with --device, see `htxvk devices`",
                  "%s is set, which Vulkan does not look at", filters[i]);
    const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const char *cache = base && *base ? base : home ? hx_path_join(v->a, home, ".cache") : NULL;
    if (!cache || (hx_file_exists(cache) && access(cache, W_OK)))
        found(v, NOTE, "set XDG_CACHE_HOME to a directory of your own",
              "%s cannot be written: pipelines are compiled anew every time", cache ? cache : "$HOME/.cache");
}

static hx_result run(hx_cli *c)
{
    const doctor_opts *o = c->opts;
    visit v = { .a = c->arena, .list = json_array(), .print = !o->json[0] };
    look_at_drivers(&v);
    look_at_nodes(&v);
    hx_result r = look_at_devices(&v);
    look_at_rest(&v);
    if (!r && !v.usable)
        found(&v, BAD, "--device host works without any", "no Vulkan device can be used");
    json_t *doc = json_pack("{so si si}", "findings", v.list, "problems", v.bad, "devices", v.usable);
    if (!r)
        r = hx_cli_json(doc, o->json);
    json_decref(doc);
    if (!r && !v.usable)
        r = hx_fail(HX_E_NODEVICE, "no Vulkan device can be used, see above [E-DOCTOR]");
    return r;
}

HX_CMD(doctor, .args = "[--json FILE]", .help = "why a GPU is not used, and what to do about it",
       .opts = doctor_fields, .opts_size = sizeof(doctor_opts), .run = run,
       .more = "Looks at drivers, device files, their permissions, containers and every device. Exit code 4 when\n"
               "no Vulkan device can be used.\n");
