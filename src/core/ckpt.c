// ckpt.c - writing, finding, verifying and reading checkpoints.
#include "ckpt.h"
#include "case.h"
#include "../../runtime/log.h"
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_JSON = 1 << 20, MAX_FILES = 16, LISTED = 3 };
static const char *const required[] = { "config.json", "model.safetensors", "state.json" };

// "step-00000500" is 500; -1 for any other name.
static int64_t step_of(const char *name)
{
    if (strncmp(name, "step-", 5))
        return -1;
    size_t n = strspn(name + 5, "0123456789");
    return n >= 8 && n <= 18 && !name[5 + n] ? atoll(name + 5) : -1;
}

// ---- parameters and files -----------------------------------------------------------------
static bool same_shape(const hx_st_tensor *t, const hx_param *p)
{
    bool same = t->rank == p->rank;
    for (int d = 0; same && d < t->rank; d++)
        same = t->shape[d] == p->shape[d];
    return same;
}

static void put_shape(hx_out *o, int rank, const int64_t *shape)
{
    hx_out_add(o, "[");
    for (int d = 0; d < rank; d++)
        hx_out_add(o, "%s%lld", d ? ", " : "", (long long)shape[d]);
    hx_out_add(o, "]");
}

// One of the three lists of a message: how many, and the first few.
typedef struct list { int n; hx_out text; } list;

static void note(list *l, const hx_st *st, const char *name)
{
    if (l->n++ < LISTED)
        hx_out_add(&l->text, "%s%s", l->n > 1 ? ", " : "", hx_printable(st->arena, name));
    else if (l->n == LISTED + 1)
        hx_out_add(&l->text, ", ...");
}

static bool is_param(const hx_params *ps, const hx_param *const *sorted, const char *name)
{
    int lo = 0, hi = ps->n;
    while (lo < hi) {
        int mid = (lo + hi) / 2, c = strcmp(sorted[mid]->name, name);
        if (!c)
            return true;
        *(c < 0 ? &lo : &hi) = c < 0 ? mid + 1 : mid;
    }
    return false;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const hx_param *const *)a)->name, (*(const hx_param *const *)b)->name);
}

// Which names with this prefix belong to no parameter.
static hx_result find_extra(const hx_st *st, const hx_params *ps, const char *prefix, list *extra)
{
    const hx_param **sorted = hx_new(st->arena, const hx_param *, ps->n + 1);
    if (!sorted)
        return HX_E_NOMEM;
    for (int i = 0; i < ps->n; i++)
        sorted[i] = &ps->list[i];
    qsort(sorted, (size_t)ps->n, sizeof *sorted, by_name);
    size_t n = strlen(prefix);
    for (int i = 0; i < st->n; i++)
        if (!strncmp(st->t[i].name, prefix, n) && !is_param(ps, sorted, st->t[i].name + n))
            note(extra, st, st->t[i].name);
    return HX_OK;
}

static hx_result compare(const hx_st *st, const hx_params *ps, const char *prefix, list l[3])
{
    for (int i = 0; i < ps->n; i++) {
        const hx_param *p = &ps->list[i];
        const char *name = hx_sprintf(st->arena, "%s%s", prefix, p->name);
        if (!name)
            return HX_E_NOMEM;
        const hx_st_tensor *t = hx_st_find(st, name);
        if (!t && !p->buffer && !ps->lenient)
            note(&l[0], st, name);
        if (!t || same_shape(t, p))
            continue;
        note(&l[2], st, name);
        if (l[2].n > LISTED)
            continue;
        hx_out_add(&l[2].text, " is ");
        put_shape(&l[2].text, t->rank, t->shape);
        hx_out_add(&l[2].text, ", not ");
        put_shape(&l[2].text, p->rank, p->shape);
    }
    return find_extra(st, ps, prefix, &l[1]);
}

static hx_result fits(const hx_st *st, const hx_params *ps, const char *prefix)
{
    static const char *const what[] = { "missing", "unexpected", "of another shape" };
    list l[3] = { 0 };
    hx_out all = { 0 };
    hx_result r = compare(st, ps, prefix, l);
    for (int i = 0; i < 3; i++) {
        if (l[i].n)
            hx_out_add(&all, "%s%d %s (%s)", all.size ? "; " : "", l[i].n, what[i], l[i].text.data);
        hx_out_free(&l[i].text);
    }
    if (!r && all.size)
        r = hx_fail(HX_E_INPUT, "%s does not fit the model: %s [E-ST-MATCH]", st->path, all.data);
    hx_out_free(&all);
    return r;
}

hx_result hx_params_read(const hx_st *st, const hx_params *ps, const char *prefix, void *arena)
{
    HX_TRY(fits(st, ps, prefix));
    for (int i = 0; i < ps->n; i++) {
        const hx_param *p = &ps->list[i];
        if (p->table || p->same)
            continue;
        const char *name = hx_sprintf(st->arena, "%s%s", prefix, p->name);
        if (!name)
            return HX_E_NOMEM;
        const hx_st_tensor *t = hx_st_find(st, name);
        float *to = (float *)((char *)arena + p->at);
        if (t)
            HX_TRY(hx_st_read_f32(st, t, to));
        else
            hx_param_init(p, ps->seed, to);    // a buffer that the file leaves out, or what is new
    }
    return HX_OK;
}

// Items of all parameters under prefix + name; the names live in `a`.
static hx_result add_items(hx_arena *a, const hx_params *ps, const char *prefix, const void *arena,
                           bool buffers, hx_st_item *items, int *n)
{
    for (int i = 0; i < ps->n; i++) {
        const hx_param *p = &ps->list[i];
        if (p->buffer && !buffers)
            continue;
        const char *name = hx_sprintf(a, "%s%s", prefix, p->name);
        if (!name)
            return HX_E_NOMEM;
        const void *data = p->table ? (const void *)p->table : (const char *)arena + p->at;
        items[(*n)++] = (hx_st_item){ name, HX_ST_F32, p->rank, p->shape, data };
    }
    return HX_OK;
}

hx_result hx_params_write(const char *path, const hx_params *ps, const void *arena)
{
    hx_arena *a = hx_arena_new();
    hx_st_item *items = hx_new(a, hx_st_item, ps->n + 1);
    int n = 0;
    hx_result r = items ? add_items(a, ps, "", arena, true, items, &n)
                : hx_fail(HX_E_NOMEM, "no memory to write '%s' [E-NOMEM]", path);
    r = r ? r : hx_st_write(path, items, n, NULL);
    hx_arena_free(&a);
    return r;
}

// ---- small JSON files ---------------------------------------------------------------------
static hx_result read_json(hx_arena *a, const char *dir, const char *name, json_t **out)
{
    *out = NULL;
    const char *path = hx_path_join(a, dir, name);
    hx_blob b;
    if (!path)
        return HX_E_NOMEM;
    HX_TRY(hx_file_read(path, MAX_JSON, HX_FILE_NOFOLLOW, &b));
    json_error_t e;
    *out = json_loadb((const char *)b.data, (size_t)b.size, JSON_REJECT_DUPLICATES, &e);
    hx_blob_free(&b);
    if (json_is_object(*out))
        return HX_OK;
    json_decref(*out);
    *out = NULL;
    return hx_fail(HX_E_INPUT, "'%s' is not a JSON map [E-CKPT-JSON]", path);
}

static void put_state(hx_out *o, const hx_ckpt_state *s)
{
#define int64_t_text(v) hx_out_add(o, "%" PRId64, (int64_t)(v))
#define double_text(v)                                                                             \
    hx_conf_put(o, (const hx_field[]){ { "v", HX_F64, 0, "0" }, { 0 } }, &(double){ (double)(v) })
    const char *comma = "{";
#define X(type, name) hx_out_add(o, "%s\"%s\": ", comma, #name); comma = ", "; type##_text(s->name);
    HX_CKPT_STATE(X)
#undef X
    hx_out_add(o, "}\n");
}

// What an older version did not write is 0.
static hx_result take_integer(const char *dir, const json_t *o, const char *name, int64_t *out)
{
    const json_t *v = json_object_get(o, name);
    *out = json_integer_value(v);
    if (v && (!json_is_integer(v) || *out < 0))
        return hx_fail(HX_E_INPUT, "'%s/state.json': '%s' must be an integer from 0 "
                       "[E-CKPT-STATE]", dir, name);
    return HX_OK;
}

static hx_result take_real(const char *dir, const json_t *o, const char *name, double *out)
{
    const json_t *v = json_object_get(o, name);
    *out = json_number_value(v);
    if (v && !json_is_number(v))
        return hx_fail(HX_E_INPUT, "'%s/state.json': '%s' must be a number [E-CKPT-STATE]", dir,
                       name);
    return HX_OK;
}

static const struct { const char *name; size_t at; bool whole; } state_fields[] = {
#define WHOLE_int64_t true
#define WHOLE_double false
#define X(type, name) { #name, offsetof(hx_ckpt_state, name), WHOLE_##type },
    HX_CKPT_STATE(X)
#undef X
};

hx_result hx_ckpt_state_read(const char *dir, hx_ckpt_state *out)
{
    hx_arena *a = hx_arena_new();
    json_t *o;
    hx_result r = read_json(a, dir, "state.json", &o);
    *out = (hx_ckpt_state){ 0 };
    if (!r && !json_object_get(o, "step"))
        r = hx_fail(HX_E_INPUT, "'%s/state.json': 'step' is missing [E-CKPT-STATE]", dir);
    for (int i = 0; i < HX_COUNT(state_fields) && !r; i++) {
        void *to = (char *)out + state_fields[i].at;
        r = state_fields[i].whole ? take_integer(dir, o, state_fields[i].name, to)
                                  : take_real(dir, o, state_fields[i].name, to);
    }
    json_decref(o);
    hx_arena_free(&a);
    return r;
}

// ---- writing ------------------------------------------------------------------------------
typedef struct save { hx_arena *a; const char *dir; hx_out manifest; int files; } save;

static void list_file(save *s, const char *name, const uint64_t hash[2], int64_t size)
{
    hx_out_add(&s->manifest,
               "%s\n    \"%s\": {\"size\": %" PRId64 ", \"xxh3_128\": \"%016" PRIx64 "%016" PRIx64
               "\"}",
               s->files++ ? "," : "", name, size, hash[0], hash[1]);
}

static hx_result put_text(save *s, const char *name, const hx_out *text, bool listed)
{
    const char *path = hx_path_join(s->a, s->dir, name);
    if (!path || text->failed)
        return hx_fail(HX_E_NOMEM, "no memory to write %s [E-NOMEM]", name);
    hx_writer w;
    uint64_t hash[2];
    HX_TRY(hx_writer_open(&w, path, 0, text->size));
    hx_result r = hx_writer_put(&w, text->data, text->size);
    if (r)
        hx_writer_drop(&w);
    HX_TRY(r ? r : hx_writer_close(&w, hash));
    if (listed)
        list_file(s, name, hash, text->size);
    return HX_OK;
}

static hx_result put_tensors(save *s, const char *name, const hx_st_item *items, int n,
                             const char *const *meta)
{
    const char *path = hx_path_join(s->a, s->dir, name);
    uint64_t hash[2];
    int64_t size;
    if (!path)
        return HX_E_NOMEM;
    HX_TRY(hx_st_write_new(path, items, n, meta, hash, &size));
    list_file(s, name, hash, size);
    return HX_OK;
}

static hx_result put_optimizer(save *s, const hx_ckpt *c, const char *const *meta)
{
    hx_st_item *items = hx_new(s->a, hx_st_item, 2 * c->params->n + 1);
    int n = 0;
    if (!items)
        return HX_E_NOMEM;
    if (c->m)
        HX_TRY(add_items(s->a, c->params, "exp_avg.", c->m, false, items, &n));
    if (c->v)
        HX_TRY(add_items(s->a, c->params, "exp_avg_sq.", c->v, false, items, &n));
    return n ? put_tensors(s, "optimizer.safetensors", items, n, meta) : HX_OK;
}

static hx_result put_files(save *s, const hx_ckpt *c)
{
    const char *step = hx_sprintf(s->a, "%" PRId64, c->state.step);
    const char *const meta[] = { "arch", c->model->name, "step", step, NULL };
    hx_st_item *items = hx_new(s->a, hx_st_item, c->params->n + 1);
    int n = 0;
    if (!items || !step)
        return HX_E_NOMEM;
    hx_out text = { 0 };
    hx_case_put(&text, c->model, c->conf);
    hx_result r = put_text(s, "config.json", &text, true);
    hx_out_free(&text);
    HX_TRY(r);
    HX_TRY(add_items(s->a, c->params, "", c->p, true, items, &n));
    HX_TRY(put_tensors(s, "model.safetensors", items, n, meta));
    HX_TRY(put_optimizer(s, c, meta));
    n = 0;
    if (c->ema)
        HX_TRY(add_items(s->a, c->params, "", c->ema, true, items, &n));
    if (c->ema)
        HX_TRY(put_tensors(s, "ema.safetensors", items, n, meta));
    if (c->n_memory)
        HX_TRY(put_tensors(s, "memory.safetensors", c->memory, c->n_memory, meta));
    put_state(&text, &c->state);
    r = put_text(s, "state.json", &text, true);
    hx_out_free(&text);
    return r;
}

// Files, then the manifest that makes them count, then their names on the disk.
static hx_result put_all(save *s, const hx_ckpt *c)
{
    hx_out_add(&s->manifest, "{\"version\": 1, \"step\": %" PRId64 ", \"files\": {", c->state.step);
    HX_TRY(put_files(s, c));
    hx_out_add(&s->manifest, "\n}}\n");
    HX_TRY(put_text(s, "MANIFEST.json", &s->manifest, false));
    return hx_dir_sync(s->dir);
}

// What a killed process left behind. Failing to remove it is no reason not to save.
static void sweep(hx_arena *a, const char *dir)
{
    hx_names names;
    if (hx_dir_list(a, dir, &names))
        return;
    for (int i = 0; i < names.n; i++) {
        const char *path = hx_path_join(a, dir, names.v[i]);
        if (path && !strncmp(names.v[i], ".tmp-step-", 10) && hx_dir_remove(path))
            hx_log(HX_LOG_WARN, "%s", hx_last_message());
    }
}

// The checkpoint that is best so far; "" when none is named.
static void read_best(hx_arena *a, const char *dir, char *name, size_t size)
{
    const char *link = hx_path_join(a, dir, "best");
    ssize_t n = link ? readlink(link, name, size - 1) : -1;
    name[n > 0 ? n : 0] = 0;
}

// Keeps the newest `keep`, the best, and always `spare`.
static void prune(hx_arena *a, const char *dir, const char *spare, int keep)
{
    hx_names names;
    if (hx_dir_list(a, dir, &names))
        return;
    int64_t newest = INT64_MAX;
    char good[64];
    read_best(a, dir, good, sizeof good);
    for (int kept = 0;; kept++) {
        // the next one below `newest`
        int best = -1;
        int64_t step = -1;
        for (int i = 0; i < names.n; i++) {
            int64_t s = step_of(names.v[i]);
            if (s >= 0 && s < newest && s > step) {
                step = s;
                best = i;
            }
        }
        if (best < 0)
            return;
        newest = step;
        const char *path = hx_path_join(a, dir, names.v[best]);
        bool spared = !strcmp(names.v[best], spare) || !strcmp(names.v[best], good);
        if (kept >= keep && path && !spared && hx_dir_remove(path))
            hx_log(HX_LOG_WARN, "%s", hx_last_message());
    }
}

// Bytes that a checkpoint takes at least.
static int64_t size_of(const hx_ckpt *c)
{
    int64_t n = 0;
    for (int i = 0; i < c->params->n; i++)
        n += 4 * c->params->list[i].elems * (1 + !!c->m + !!c->v + !!c->ema);
    return n;
}

// A disk that is too full is noticed before anything is written.
static hx_result check_room(const char *dir, const hx_ckpt *c)
{
    int64_t need = size_of(c), room = hx_dir_room(dir);
    if (room < 0 || need + need / 20 <= room)
        return HX_OK;
    return hx_fail(HX_E_IO, "no room for a checkpoint of %.1f MiB in '%s', %.1f MiB are free: make "
                   "some, or keep fewer with save.keep [E-IO-FULL]", (double)need / 1048576, dir,
                   (double)room / 1048576);
}

static hx_result stage_and_rename(hx_arena *a, const char *dir, const char *name, const hx_ckpt *c)
{
    save s = { .a = a, .dir = hx_sprintf(a, "%s/.tmp-%s-%ld", dir, name, (long)getpid()) };
    const char *final = hx_path_join(a, dir, name);
    if (!s.dir || !final)
        return HX_E_NOMEM;
    HX_TRY(check_room(dir, c));
    HX_TRY(hx_dir_make(s.dir, 0755));
    hx_result r = put_all(&s, c);
    hx_out_free(&s.manifest);
    r = r ? r : hx_rename(s.dir, final);
    if (r) {
        // the first message is the one that matters
        char why[1024];
        snprintf(why, sizeof why, "%s", hx_last_message());
        if (hx_file_exists(s.dir))
            hx_dir_remove(s.dir);
        return hx_fail(r, "%s", why);
    }
    r = hx_ckpt_verify(final);
    return r ? hx_fail(r == HX_E_NOMEM ? r : HX_E_IO, "written, but not readable: %s", hx_last_message())
             : HX_OK;
}

static hx_result write_in(hx_arena *a, const char *dir, const hx_ckpt *c, int keep)
{
    HX_TRY(hx_dir_make_all(dir, 0755));
    sweep(a, dir);
    const char *name = hx_sprintf(a, "step-%08" PRId64, c->state.step);
    const char *final = name ? hx_path_join(a, dir, name) : NULL,
               *latest = hx_path_join(a, dir, "latest");
    if (!final || !latest)
        return HX_E_NOMEM;
    bool there = hx_file_exists(final);
    hx_result old = there ? hx_ckpt_verify(final) : HX_OK;
    if (old == HX_E_NOMEM)
        return old;
    if (old) {
        HX_TRY(hx_dir_remove(final));
        there = false;
    }
    if (!there)
        HX_TRY(stage_and_rename(a, dir, name, c));
    if (hx_link_swap(name, latest))
        hx_log(HX_LOG_WARN, "%s", hx_last_message());   // a hint only: readers look for themselves
    prune(a, dir, name, keep > 1 ? keep : 1);
    return HX_OK;
}

hx_result hx_ckpt_write(const char *dir, const hx_ckpt *c, int keep)
{
    hx_arena *a = hx_arena_new();
    hx_result r =
        a ? write_in(a, dir, c, keep) : hx_fail(HX_E_NOMEM, "no memory to save [E-NOMEM]");
    hx_arena_free(&a);
    return r;
}

hx_result hx_ckpt_mark_best(const char *dir, int64_t step)
{
    hx_arena *a = hx_arena_new();
    const char *name = hx_sprintf(a, "step-%08" PRId64, step);
    const char *there = hx_path_join(a, dir, name ? name : ""), *link = hx_path_join(a, dir, "best");
    hx_result r = !name || !there || !link ? HX_E_NOMEM
                : hx_file_exists(there)    ? hx_link_swap(name, link)
                                           : HX_OK;
    hx_arena_free(&a);
    return r;
}

// ---- verifying and finding ----------------------------------------------------------------
static hx_result verify_file(hx_arena *a, const char *dir, const char *name, json_t *row)
{
    // a name, never a path
    if (strchr(name, '/') || name[0] == '.')
        return hx_fail(HX_E_INPUT,
                       "'%s/MANIFEST.json' names '%s', which is not a file of its directory "
                       "[E-CKPT-MANIFEST]",
                       dir, hx_printable(a, name));
    const char *want = json_string_value(json_object_get(row, "xxh3_128"));
    json_t *size = json_object_get(row, "size");
    const char *path = hx_path_join(a, dir, name);
    if (!path)
        return HX_E_NOMEM;
    if (!want || !json_is_integer(size))
        return hx_fail(HX_E_INPUT,
                       "'%s/MANIFEST.json': the row of '%s' is broken [E-CKPT-MANIFEST]", dir,
                       name);
    struct stat st;
    if (!lstat(path, &st) && st.st_size != json_integer_value(size))
        return hx_fail(HX_E_INPUT, "'%s' has %lld bytes, its manifest says %lld [E-CKPT-SIZE]",
                       path, (long long)st.st_size, (long long)json_integer_value(size));
    uint64_t hash[2];
    int64_t bytes;
    HX_TRY(hx_file_hash(path, hash, &bytes));
    char have[40];
    snprintf(have, sizeof have, "%016" PRIx64 "%016" PRIx64, hash[0], hash[1]);
    if (strcmp(have, want))
        return hx_fail(HX_E_INPUT, "'%s' is damaged: its hash is not the manifest's [E-CKPT-HASH]",
                       path);
    return HX_OK;
}

static hx_result verify(hx_arena *a, const char *dir)
{
    json_t *o;
    HX_TRY(read_json(a, dir, "MANIFEST.json", &o));
    json_t *files = json_object_get(o, "files");
    hx_result r =
        json_object_size(files) <= MAX_FILES
            ? HX_OK
            : hx_fail(HX_E_INPUT, "'%s/MANIFEST.json' lists too many files [E-CKPT-MANIFEST]", dir);
    for (int i = 0; i < HX_COUNT(required) && !r; i++)
        if (!json_object_get(files, required[i]))
            r = hx_fail(HX_E_INPUT, "'%s/MANIFEST.json' does not list %s [E-CKPT-MANIFEST]", dir,
                        required[i]);
    // the manifest itself has no hash: what it says in clear must agree with the files
    if (!r && json_integer_value(json_object_get(o, "version")) != 1)
        r = hx_fail(HX_E_INPUT, "'%s/MANIFEST.json' is not of version 1 [E-CKPT-MANIFEST]", dir);
    for (void *i = json_object_iter(files); i && !r; i = json_object_iter_next(files, i))
        r = verify_file(a, dir, json_object_iter_key(i), json_object_iter_value(i));
    hx_ckpt_state state;
    r = r ? r : hx_ckpt_state_read(dir, &state);
    if (!r && (!json_is_integer(json_object_get(o, "step")) ||
               json_integer_value(json_object_get(o, "step")) != state.step))
        r = hx_fail(HX_E_INPUT,
                    "'%s': the manifest and state.json are of different steps [E-CKPT-MANIFEST]",
                    dir);
    json_decref(o);
    return r;
}

hx_result hx_ckpt_verify(const char *dir)
{
    hx_arena *a = hx_arena_new();
    hx_result r =
        a ? verify(a, dir) : hx_fail(HX_E_NOMEM, "no memory to verify '%s' [E-NOMEM]", dir);
    hx_arena_free(&a);
    return r;
}

// The newest whole one among the names of a directory.
static hx_result newest(hx_arena *a, const char *dir, const hx_names *names, const char **out)
{
    int64_t below = INT64_MAX;
    int broken = 0;
    for (;;) {
        int64_t step = -1;
        const char *name = NULL;
        for (int i = 0; i < names->n; i++) {
            int64_t s = step_of(names->v[i]);
            if (s < below && s > step) {
                step = s;
                name = names->v[i];
            }
        }
        if (!name)
            break;
        const char *path = hx_path_join(a, dir, name);
        if (!path)
            return HX_E_NOMEM;
        hx_result r = hx_ckpt_verify(path);
        if (!r)
            *out = path;
        // that nothing could be looked at says nothing about a checkpoint
        if (!r || r == HX_E_NOMEM)
            return r;
        hx_log(HX_LOG_WARN, "checkpoint %s is left out: %s", name, hx_last_message());
        below = step;
        broken++;
    }
    return broken
               ? hx_fail(HX_E_INPUT, "none of the %d checkpoints in '%s' is whole; the oldest: %s",
                         broken, dir, hx_last_message())
               : HX_OK;
}

hx_result hx_ckpt_find(hx_arena *arena, const char *path, const char **dir)
{
    *dir = NULL;
    const char *manifest = hx_path_join(arena, path, "MANIFEST.json");
    const char *inside = hx_path_join(arena, path, "ckpt");
    if (!manifest || !inside)
        return HX_E_NOMEM;
    if (hx_file_exists(manifest)) {
        HX_TRY(hx_ckpt_verify(path));
        *dir = path;
        return HX_OK;
    }
    const char *at = hx_file_exists(inside) ? inside : path;
    hx_names names;
    HX_TRY(hx_dir_list(arena, at, &names));
    return newest(arena, at, &names, dir);
}

static hx_result read_in(hx_arena *a, const char *dir, const hx_params *ps, void *p, void *m,
                         void *v)
{
    hx_st *st;
    const char *model = hx_path_join(a, dir, "model.safetensors");
    const char *optim = hx_path_join(a, dir, "optimizer.safetensors");
    if (!model || !optim)
        return HX_E_NOMEM;
    HX_TRY(hx_st_open(model, &st));
    hx_result r = hx_params_read(st, ps, "", p);
    hx_st_close(&st);
    HX_TRY(r);
    if (!m && !v)
        return HX_OK;
    HX_TRY(hx_st_open(optim, &st));
    r = m ? hx_params_read(st, ps, "exp_avg.", m) : HX_OK;
    r = !r && v ? hx_params_read(st, ps, "exp_avg_sq.", v) : r;
    hx_st_close(&st);
    return r;
}

hx_result hx_ckpt_read(const char *dir, const hx_params *ps, void *p, void *m, void *v)
{
    hx_arena *a = hx_arena_new();
    hx_result r =
        a ? read_in(a, dir, ps, p, m, v) : hx_fail(HX_E_NOMEM, "no memory to load [E-NOMEM]");
    hx_arena_free(&a);
    return r;
}

hx_result hx_ckpt_read_ema(const char *dir, const hx_params *ps, void *ema, bool *there)
{
    hx_arena *a = hx_arena_new();
    const char *path = hx_path_join(a, dir, "ema.safetensors");
    hx_st *st = NULL;
    *there = path && hx_file_exists(path);
    hx_result r = !path ? HX_E_NOMEM : *there ? hx_st_open(path, &st) : HX_OK;
    if (!r && *there)
        r = hx_params_read(st, ps, "", ema);
    hx_st_close(&st);
    hx_arena_free(&a);
    return r;
}
