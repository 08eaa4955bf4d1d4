// inspect.c - `htxvk inspect`: what is in a checkpoint or a safetensors file.
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../../runtime/file.h"
#include "../core/ckpt.h"
#include "cli.h"

typedef struct inspect_opts { const char *json; bool stats; } inspect_opts;
#define O(type, member, def, help) { #member, type, offsetof(inspect_opts, member), def, 0, 0, help }
static const hx_field inspect_fields[] = {
    O(HX_BOOL, stats, "false", "read every value: smallest, largest, root of the mean square, not finite"),
    O(HX_STR, json, "", "write JSON to this file, - for stdout"),
    {0}
};
#undef O

static const char *const dtype_names[] = {
#define X(name, bytes) #name,
    HX_ST_DTYPES(X)
#undef X
};

static const char *shape_text(hx_arena *a, const hx_st_tensor *t)
{
    const char *s = "";
    for (int d = 0; d < t->rank && s; d++)
        s = hx_sprintf(a, "%s%s%lld", s, d ? "x" : "", (long long)t->shape[d]);
    return s && *s ? s : "scalar";
}

static hx_result add_stats(const hx_st *st, const hx_st_tensor *t, json_t *row)
{
    float *v = malloc((size_t)hx_max(t->elems, 1) * sizeof *v);
    if (!v)
        return hx_fail(HX_E_NOMEM, "no memory for %s [E-NOMEM]", t->name);
    hx_result r = hx_st_read_f32(st, t, v);
    double lo = INFINITY, hi = -INFINITY, square = 0;
    int64_t bad = 0;
    for (int64_t i = 0; i < t->elems && !r; i++) {
        bad += !isfinite(v[i]);
        lo = fmin(lo, v[i]);
        hi = fmax(hi, v[i]);
        square += isfinite(v[i]) ? (double)v[i] * v[i] : 0;
    }
    free(v);
    HX_TRY(r);
    if (isfinite(lo) && isfinite(hi)) {
        json_object_set_new(row, "min", json_real(lo));
        json_object_set_new(row, "max", json_real(hi));
    }
    json_object_set_new(row, "rms", json_real(sqrt(square / (double)hx_max(t->elems, 1))));
    json_object_set_new(row, "not_finite", json_integer(bad));
    return HX_OK;
}

static void print_row(const json_t *row)
{
    printf("  %-52s %-4s %16s %12lld", json_string_value(json_object_get(row, "name")),
           json_string_value(json_object_get(row, "dtype")),
           json_string_value(json_object_get(row, "shape")),
           (long long)json_integer_value(json_object_get(row, "elements")));
    const json_t *rms = json_object_get(row, "rms");
    if (rms)
        printf("  min %.3g  max %.3g  rms %.3g  not finite %lld",
               json_number_value(json_object_get(row, "min")),
               json_number_value(json_object_get(row, "max")), json_number_value(rms),
               (long long)json_integer_value(json_object_get(row, "not_finite")));
    puts("");
}

// One file: its tensors in a table and under its name in the document.
static hx_result add_file(hx_cli *c, const char *path, const char *name, json_t *doc)
{
    const inspect_opts *o = c->opts;
    hx_st *st;
    HX_TRY(hx_st_open(path, &st));
    json_t *list = json_array();
    int64_t elems = 0;
    hx_result r = HX_OK;
    for (int i = 0; i < st->n; i++)
        elems += st->t[i].elems;
    if (!o->json[0])
        printf("%s: %d tensors, %lld numbers, %s\n", name, st->n, (long long)elems,
               hx_cli_bytes(c->arena, (double)st->size));
    for (int i = 0; i < st->n && !r; i++) {
        const hx_st_tensor *t = &st->t[i];
        json_t *row = json_pack("{ss ss ss sI}", "name", hx_printable(c->arena, t->name), "dtype",
                                dtype_names[t->dtype], "shape", shape_text(c->arena, t), "elements",
                                (json_int_t)t->elems);
        r = o->stats ? add_stats(st, t, row) : HX_OK;
        if (!r && !o->json[0])
            print_row(row);
        json_array_append_new(list, row);
    }
    hx_st_close(&st);
    json_object_set_new(doc, name, list);
    return r;
}

static void add_state(const hx_ckpt_state *s, json_t *doc, bool print)
{
#define int64_t_put(name) json_object_set_new(state, #name, json_integer(s->name)); \
    if (print) printf("  %-12s %lld\n", #name, (long long)s->name)
#define double_put(name) json_object_set_new(state, #name, json_real(s->name)); \
    if (print) printf("  %-12s %.9g\n", #name, s->name)
    json_t *state = json_object();
#define X(type, name) type##_put(name);
    HX_CKPT_STATE(X)
#undef X
    json_object_set_new(doc, "state", state);
}

static hx_result add_checkpoint(hx_cli *c, const char *dir, json_t *doc)
{
    static const char *const files[] = { "model.safetensors", "ema.safetensors",
                                         "optimizer.safetensors", "memory.safetensors" };
    const inspect_opts *o = c->opts;
    hx_ckpt_state state;
    HX_TRY(hx_ckpt_verify(dir));
    HX_TRY(hx_ckpt_state_read(dir, &state));
    json_object_set_new(doc, "checkpoint", json_string(dir));
    if (!o->json[0])
        printf("%s: whole, all hashes are right\n", dir);
    add_state(&state, doc, !o->json[0]);
    for (int i = 0; i < HX_COUNT(files); i++) {
        const char *path = hx_path_join(c->arena, dir, files[i]);
        if (path && hx_file_exists(path))
            HX_TRY(add_file(c, path, files[i], doc));
    }
    return HX_OK;
}

static hx_result inspect(hx_cli *c, json_t *doc)
{
    const char *path = c->args[0], *dir = NULL, *slash = strrchr(path, '/');
    struct stat s;
    if (stat(path, &s))
        return hx_fail(HX_E_INPUT, "%s: no such file or directory [E-IO-MISSING]", path);
    if (!S_ISDIR(s.st_mode))
        return add_file(c, path, slash ? slash + 1 : path, doc);
    HX_TRY(hx_ckpt_find(c->arena, path, &dir));
    return dir ? add_checkpoint(c, dir, doc)
               : hx_fail(HX_E_INPUT, "%s has no checkpoint [E-CKPT-NONE]", path);
}

static hx_result run(hx_cli *c)
{
    const inspect_opts *o = c->opts;
    json_t *doc = json_object();
    hx_result r = inspect(c, doc);
    if (!r)
        r = hx_cli_json(doc, o->json);
    json_decref(doc);
    return r;
}

HX_CMD(inspect, .args = "RUN|CHECKPOINT|FILE.safetensors [--stats]",
       .help = "tensors and state of a checkpoint, after verifying it", .opts = inspect_fields,
       .opts_size = sizeof(inspect_opts), .min_args = 1, .max_args = 1, .run = run);
