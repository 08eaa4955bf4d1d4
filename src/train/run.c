// run.c - the files of a run.
#include "run.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../runtime/file.h"

enum { METRICS_MAX = 1 << 30 };

static hx_result new_run(const char *dir, hx_run **out)
{
    *out = NULL;
    hx_arena *a = hx_arena_new();
    hx_run *r = a ? hx_new(a, hx_run, 1) : NULL;
    if (!r) {
        hx_arena_free(&a);
        return HX_E_NOMEM;
    }
    *r = (hx_run){
        .arena = a, .dir = hx_strdup(a, dir), .ckpt_dir = hx_path_join(a, dir, "ckpt"),
        .metrics = hx_path_join(a, dir, "metrics.jsonl"), .log = hx_path_join(a, dir, "train.log"),
        .lock = -1};
    *out = r;
    return r->dir && r->ckpt_dir && r->metrics && r->log ? HX_OK : HX_E_NOMEM;
}

void hx_run_close(hx_run **rp)
{
    hx_run *r = *rp;
    if (!r)
        return;
    if (r->lock >= 0)
        close(r->lock);
    hx_arena *a = r->arena;
    hx_arena_free(&a);
    *rp = NULL;
}

bool hx_run_is(const char *dir)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/config.yaml", dir);
    return hx_file_exists(path);
}

static hx_result write_conf(const char *path, const hx_run_conf *c)
{
    hx_out b = {0};
    hx_run_conf_put(&b, c);
    hx_result r = b.failed ? hx_fail(HX_E_NOMEM, "no memory for the configuration's text [E-NOMEM]")
                           : hx_file_write(path, b.data, b.size);
    hx_out_free(&b);
    return r;
}

hx_result hx_run_save_conf(hx_run *r, const hx_run_conf *c)
{
    return write_conf(hx_path_join(r->arena, r->dir, "config.yaml"), c);
}

// The run keeps its tokenizer, so that it can be talked to without the text it was trained on.
static hx_result copy_tokenizer(hx_arena *a, const char *stage, const char *from)
{
    hx_blob b;
    const char *to = hx_path_join(a, stage, "tokenizer.json");
    if (!from)
        return HX_OK;
    if (!to)
        return HX_E_NOMEM;
    HX_TRY(hx_file_read(from, (int64_t)1 << 30, 0, &b));
    hx_result r = hx_file_write(to, b.data, b.size);
    hx_blob_free(&b);
    return r;
}

static hx_result fill_stage(hx_arena *a, const char *stage, const hx_run_conf *c)
{
    HX_TRY(hx_dir_make(stage, 0777));
    HX_TRY(hx_dir_make(hx_path_join(a, stage, "samples"), 0777));
    HX_TRY(hx_dir_make(hx_path_join(a, stage, "ckpt"), 0777));
    HX_TRY(write_conf(hx_path_join(a, stage, "config.yaml"), c));
    HX_TRY(copy_tokenizer(a, stage, c->data.tokenizer_file));
    return hx_dir_sync(stage);
}

static hx_result take_lock(hx_run *r)
{
    return hx_lock(hx_path_join(r->arena, r->dir, "lock"), &r->lock);
}

static hx_result create(hx_run *r, const hx_run_conf *c)
{
    hx_arena *a = r->arena;
    const char *parent = hx_path_dir(a, r->dir);
    const char *slash = strrchr(r->dir, '/');
    const char *stage =
        hx_path_join(a, parent, hx_sprintf(a, ".%s.tmp-%d", slash ? slash + 1 : r->dir, getpid()));
    HX_TRY(hx_dir_make_all(parent, 0777));
    hx_result res = fill_stage(a, stage, c);
    if (!res)
        res = hx_rename(stage, r->dir);
    if (res) {
        // keep the first message: removing is best effort
        char why[512];
        snprintf(why, sizeof why, "%s", hx_last_message());
        hx_dir_remove(stage);
        return hx_fail(res, "%s", why);
    }
    return take_lock(r);
}

hx_result hx_run_create(const char *dir, const hx_run_conf *c, hx_run **out)
{
    // "runs/x/" and "runs/x" are one
    char path[4096];
    snprintf(path, sizeof path, "%s", dir);
    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = 0;
    if (hx_file_exists(path))
        return hx_fail(
            HX_E_USAGE,
            "%s exists already; resume it with `htxvk train %s`, or name another with --out "
            "[E-RUN-EXISTS]",
            path, path);
    HX_TRY(new_run(path, out));
    hx_result r = create(*out, c);
    if (r)
        hx_run_close(out);
    return r;
}

hx_result hx_run_open(const char *dir, hx_run **out)
{
    HX_TRY(new_run(dir, out));
    hx_result r = take_lock(*out);
    if (!r)
        r = hx_dir_make((*out)->ckpt_dir, 0777);
    if (!r)
        r = hx_dir_make(hx_path_join((*out)->arena, dir, "samples"), 0777);
    if (r)
        hx_run_close(out);
    return r;
}

const char *hx_run_name(hx_arena *a, const char *conf_path)
{
    const char *base = strrchr(conf_path, '/');
    base = base ? base + 1 : strncmp(conf_path, "preset:", 7) ? conf_path : conf_path + 7;
    const char *dot = strrchr(base, '.');
    int n = dot && dot > base ? (int)(dot - base) : (int)strlen(base);
    char when[32];
    time_t now = time(NULL);
    struct tm t;
    strftime(when, sizeof when, "%Y%m%d-%H%M%S", localtime_r(&now, &t));
    const char *name = hx_sprintf(a, "runs/%.*s-%s", n, base, when);
    // two runs within a second
    for (int i = 2; name && hx_file_exists(name); i++)
        name = hx_sprintf(a, "runs/%.*s-%s-%d", n, base, when, i);
    return name;
}

static hx_result append_line(const char *path, const char *line)
{
    hx_out b = {0};
    hx_out_add(&b, "%s\n", line);
    hx_result res = b.failed ? HX_E_NOMEM : hx_file_append(path, b.data, b.size);
    hx_out_free(&b);
    return res;
}

hx_result hx_run_metric(hx_run *r, const char *json)
{
    return append_line(r->metrics, json);
}

hx_result hx_run_log(hx_run *r, const char *line)
{
    return append_line(r->log, line);
}

hx_result hx_run_sample(hx_run *r, int64_t step, const void *text, int64_t n)
{
    const char *name = hx_sprintf(r->arena, "samples/step-%08lld.txt", (long long)step);
    return name ? hx_file_write(hx_path_join(r->arena, r->dir, name), text, n) : HX_E_NOMEM;
}

// Calls line() with every whole row and what it says; a row cut short by a crash is left out.
static hx_result each_row(hx_run *r,
                          void (*line)(void *user, const char *text, int n, const json_t *row),
                          void *user)
{
    const char *path = hx_path_join(r->arena, r->dir, "metrics.jsonl");
    hx_blob all = {0};
    if (!path)
        return HX_E_NOMEM;
    if (!hx_file_exists(path))
        return HX_OK;
    HX_TRY(hx_file_read(path, METRICS_MAX, 0, &all));
    const char *at = (const char *)all.data, *end = at + all.size, *stop;
    for (; at < end && (stop = memchr(at, '\n', (size_t)(end - at))); at = stop + 1) {
        json_t *j = json_loadb(at, (size_t)(stop - at), 0, NULL);
        if (j)
            line(user, at, (int)(stop + 1 - at), j);
        json_decref(j);
    }
    hx_blob_free(&all);
    return HX_OK;
}

typedef struct rewind_to { int64_t step; hx_out kept; } rewind_to;

static void keep_row(void *user, const char *text, int n, const json_t *row)
{
    rewind_to *to = user;
    const json_t *step = json_object_get(row, "step");
    if (!step || json_integer_value(step) <= to->step)
        hx_out_add(&to->kept, "%.*s", n, text);
}

hx_result hx_run_rewind(hx_run *r, int64_t step)
{
    rewind_to to = { .step = step };
    const char *path = hx_path_join(r->arena, r->dir, "metrics.jsonl");
    hx_result res = each_row(r, keep_row, &to);
    if (!res && to.kept.failed)
        res = hx_fail(HX_E_NOMEM, "%s: no memory to read it [E-NOMEM]", path);
    if (!res && path && hx_file_exists(path))
        res = hx_file_write(path, to.kept.data ? to.kept.data : "", to.kept.size);
    hx_out_free(&to.kept);
    return res;
}

typedef struct wanted { const char *type; int64_t step; bool found; } wanted;

static void look_for(void *user, const char *text, int n, const json_t *row)
{
    (void)text, (void)n;
    wanted *w = user;
    const char *type = json_string_value(json_object_get(row, "type"));
    w->found |= type && !strcmp(type, w->type) &&
                json_integer_value(json_object_get(row, "step")) == w->step;
}

bool hx_run_has_row(hx_run *r, const char *type, int64_t step)
{
    wanted w = { .type = type, .step = step };
    return !each_row(r, look_for, &w) && w.found;
}
