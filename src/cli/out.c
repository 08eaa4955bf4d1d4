// out.c - opening the chosen device, and results in forms for people and machines.
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../runtime/file.h"
#include "../../runtime/log.h"
#include "../core/op.h"
#include "cli.h"
#include "nodes.h"

// A build whose compiler did not know matrix units has no kernels for them.
static hx_result find_precision(const char *name, hx_precision *out)
{
    int p = hx_precision_find(name);
    if (p < 0)
        return hx_fail(HX_E_USAGE, "precision '%s': there is fp32, bf16, fp16 and auto "
                       "[E-PRECISION]", name);
    if (p != HX_FP32 && p != HX_AUTO && *hx_spirvs_left_out)
        return hx_fail(HX_E_NODEVICE, "precision %s: this build has no kernels for matrix units, its "
                       "shader compiler was too old; run tools/setup and build again "
                       "[E-PRECISION]", name);
    *out = p == HX_AUTO && *hx_spirvs_left_out ? HX_FP32 : (hx_precision)p;
    return HX_OK;
}

// Nobody who has a GPU wants a processor to do its work without hearing of it.
static void warn_of_software(hx_arena *a, const hx_dev_caps *k)
{
    if (k->type != HX_DEV_CPU || strcmp(k->kind, "vulkan"))
        return;
    hx_node_file first = hx_node_get(a, 0), f = first;
    for (int i = 1; f.path && !f.why; i++)
        f = hx_node_get(a, i);
    if (f.path)
        hx_log(HX_LOG_WARN, "using %s, a processor, although a GPU is present: %s. Fix: %s", k->name, f.why, f.fix);
    else if (first.path)
        hx_log(HX_LOG_WARN, "using %s, a processor, although a GPU is present, %s: no Vulkan driver for it was "
               "found; `htxvk doctor` says what to do", k->name, first.path);
}

hx_result hx_cli_open(const hx_cli *c, const char *fallback, const char *precision, hx_dev **out)
{
    *out = NULL;
    hx_dev_params p = { .select = c->device ? c->device : fallback, .threads = c->threads,
                        .validation = c->validation, .no_cache = c->no_cache, .compile_only = c->compile_only };
    precision = c->precision ? c->precision : precision;
    HX_TRY(find_precision(precision ? precision : "fp32", &p.precision));
    HX_TRY(hx_dev_open(&p, out));
    if (!p.select || !strcmp(p.select, "auto"))
        warn_of_software(c->arena, hx_dev_get_caps(*out));
    return HX_OK;
}

hx_result hx_cli_close(hx_dev **d, hx_result r)
{
    int64_t messages = *d ? hx_dev_get_stats(*d).validation_messages : 0;
    hx_dev_close(d);
    if (r || !messages)
        return r;
    return hx_fail(HX_E_INTERNAL, "Vulkan's validation had %lld remarks, see above [E-VALIDATION]",
                   (long long)messages);
}

// To a device or a pipe as it is; a file appears whole.
static hx_result write_text(const char *path, const char *text)
{
    struct stat st;
    if (stat(path, &st) || S_ISREG(st.st_mode))
        return hx_file_write(path, text, (int64_t)strlen(text));
    FILE *f = fopen(path, "w");
    bool wrong = !f || fputs(text, f) == EOF;
    int why = errno;
    if (f && fclose(f) && !wrong) {
        why = errno;
        wrong = true;
    }
    return wrong ? hx_fail(HX_E_IO, "%s: %s [E-IO-WRITE]", path, strerror(why)) : HX_OK;
}

hx_result hx_cli_json(const json_t *j, const char *path)
{
    size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(9);
    if (!path || !*path)
        return HX_OK;
    if (!strcmp(path, "-")) {
        if (json_dumpf(j, stdout, flags) || putchar('\n') == EOF)
            return hx_fail(HX_E_IO, "standard output: %s [E-IO-WRITE]", strerror(errno));
        return HX_OK;
    }
    char *text = json_dumps(j, flags);
    if (!text)
        return hx_fail(HX_E_NOMEM, "no memory for what %s is to hold [E-NOMEM]", path);
    hx_result r = write_text(path, text);
    free(text);
    return r;
}

const char *hx_cli_bytes(hx_arena *a, double bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    int u = 0;
    while (fabs(bytes) >= 1024 && u < 6) {
        bytes /= 1024;
        u++;
    }
    const char *s = hx_sprintf(a, u && bytes < 100 ? "%.1f %s" : "%.0f %s", bytes, units[u]);
    return s ? s : "";
}

const char *hx_cli_count(hx_arena *a, double n)
{
    static const char *const units[] = { "", " k", " M", " G", " T", " P", " E" };
    int u = 0;
    while (fabs(n) >= 1000 && u < 6) {
        n /= 1000;
        u++;
    }
    const char *s = hx_sprintf(a, u ? "%.3g%s" : "%.4g%s", n, units[u]);
    return s ? s : "";
}

const char *hx_cli_time(hx_arena *a, double seconds)
{
    long t = seconds > 0 && seconds < 1e9 ? lround(seconds) : 0;
    const char *s = t >= 3600 ? hx_sprintf(a, "%ldh%02ldm", t / 3600, t / 60 % 60)
                  : t >= 60   ? hx_sprintf(a, "%ldm%02lds", t / 60, t % 60)
                              : hx_sprintf(a, "%lds", t);
    return s ? s : "";
}
