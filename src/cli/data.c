// data.c - `htxvk data`: prepared sets from text and from generated tasks, and what is in them.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "../data/bpe.h"
#include "../data/task.h"
#include "cli.h"

typedef struct data_opts {
    const char  *out, *json, *lengths, *tokenizer;
    int64_t      train, test, seed, document, shard_tokens;
    hx_task_conf task;
} data_opts;
#define O(type, member, def, lo, hi, help)                                                         \
    {                                                                                              \
#member, type, offsetof(data_opts, member), def, lo, hi, help                              \
    }
#define K(member, help) { #member, HX_I64, offsetof(data_opts, task.member), "0", 0, 1e12, help }
static const hx_field data_fields[] = {
    O(HX_STR, out, "", 0, 0, "prepare, task: directory to make"),
    O(HX_STR, tokenizer, "bytes", 0, 0, "prepare: bytes, or a tokenizer.json (byte-level BPE)"),
    O(HX_I64, shard_tokens, "0", 0, 1e12, "prepare: tokens in a file; 0: 268435456"),
    O(HX_I64, train, "20000", 0, 1e9, "task: documents to train on"),
    O(HX_I64, test, "1000", 0, 1e9, "task: other documents to test on"),
    O(HX_I64, seed, "1", 0, 9e15, "task: of everything that is drawn"),
    O(HX_STR, lengths, "", 0, 0,
      "task: predictions a document (tokens less one), as 64 or 64,128,256: then a "
      "folder for each; unless given, the task's own"),
    K(distance, "task: tokens between what is told and the question; 0: as many as there are"),
    K(pairs, "task: facts told; 0: the task's own number"),
    K(keys, "task: different letters that facts are told of; 0: 26"),
    K(symbols, "task: different letters (digits); 0: the task's own number"),
    K(answer, "task: letters of an answer or of what is copied; 0: the task's own number"),
    K(cross, "task: documents 2i and 2i+1 exchange what follows so many tokens: a memory must change rows, "
      "too; 0: none does"),
    K(classes, "task: 1: the answer is a class, the number of the place as a digit; 0: its name"),
    O(HX_I64, document, "0", 0, 1e12, "info: which document is shown"),
    O(HX_STR, json, "", 0, 0, "info: write JSON to this file, - for stdout"),
    {0}};
#undef O
#undef K

static hx_result need_out(const hx_cli *c)
{
    const data_opts *o = c->opts;
    if (!o->out[0])
        return hx_fail(HX_E_USAGE, "data %s needs --out DIR [E-USAGE]", c->args[0]);
    return hx_file_exists(o->out)
               ? hx_fail(HX_E_USAGE,
                         "%s exists already; name another directory or remove it [E-EXISTS]",
                         o->out)
               : HX_OK;
}

// ---- prepare --------------------------------------------------------------------------------
// Bytes as they are, or the tokenizer's tokens.
static hx_result tokens_of(const hx_bpe *bpe, const uint8_t *s, int64_t n, hx_ids *ids)
{
    ids->n = 0;
    if (bpe)
        return hx_bpe_encode(bpe, s, n, ids);
    ids->v = malloc((size_t)n * 4);
    if (!ids->v)
        return hx_fail(HX_E_NOMEM, "no memory for %lld tokens [E-NOMEM]", (long long)n);
    for (; ids->n < n; ids->n++)
        ids->v[ids->n] = s[ids->n];
    return HX_OK;
}

// One document a file.
static hx_result put_files(const hx_text *t, const hx_bpe *bpe, hx_set *s, int64_t *tokens)
{
    for (int p = 0; p < t->n_part; p++) {
        int64_t at = t->part[p].at, n = (p + 1 < t->n_part ? t->part[p + 1].at : t->size) - at;
        hx_ids ids = { 0 };
        if (!n)
            continue;
        hx_result r = tokens_of(bpe, t->data + at, n, &ids);
        if (!r)
            r = hx_set_put(s, ids.v, NULL, ids.n, n);
        *tokens += ids.n;
        hx_ids_free(&ids);
        HX_TRY(r);
    }
    return HX_OK;
}

static hx_result prepare(hx_cli *c)
{
    const data_opts *o = c->opts;
    hx_strs in = { 0 };
    hx_text *t = NULL;
    hx_set *s = NULL;
    hx_bpe *bpe = NULL;
    int64_t tokens = 0;
    for (int i = 1; i < c->n_args; i++) {
        bool is;
        HX_TRY(hx_set_is(c->args[i], &is));
        if (is)
            return hx_fail(HX_E_USAGE, "%s is prepared already [E-USAGE]", c->args[i]);
        in.v[in.n++] = c->args[i];
    }
    if (!in.n)
        return hx_fail(HX_E_USAGE, "data prepare needs at least one file or directory [E-USAGE]");
    HX_TRY(need_out(c));
    if (strcmp(o->tokenizer, "bytes"))
        HX_TRY(hx_bpe_read(o->tokenizer, &bpe));
    hx_set_facts f = {.num_tokens = bpe ? hx_bpe_num_tokens(bpe) : 256,
                      .tokenizer = bpe ? o->tokenizer : NULL};
    hx_result r = hx_text_read(&in, 0, &t);
    if (!r)
        r = hx_set_begin(o->out, &f, o->shard_tokens, &s);
    if (!r)
        r = put_files(t, bpe, s, &tokens);
    if (!r)
        r = hx_set_end(&s);
    if (!r)
        printf("%s: %lld tokens of %lld from %lld bytes in %d files\n", o->out, (long long)tokens,
               (long long)f.num_tokens, (long long)t->size, t->n_part);
    hx_set_drop(&s);
    hx_bpe_free(&bpe);
    hx_text_free(&t);
    return r;
}

// ---- task -----------------------------------------------------------------------------------
static hx_result read_lengths(const char *text, int64_t *out, int *n)
{
    *n = 0;
    for (const char *s = text; *s && *n < HX_MAX_LIST; s++) {
        char *end;
        out[(*n)++] = strtoll(s, &end, 10);
        if (end == s || out[*n - 1] < 1 || (*end && *end != ',') || (*end && !end[1]))
            break;
        if (!*end)
            return HX_OK;
        s = end;
    }
    return text[0]
               ? hx_fail(
                     HX_E_USAGE,
                     "--lengths %s: numbers from 1 up with commas between, at most %d [E-USAGE]",
                     text, HX_MAX_LIST)
               : HX_OK;
}

static hx_result write_parts(hx_cli *c, const hx_task *t, const hx_task_conf *k, const char *dir)
{
    static const char *const names[2] = { "train", "test" };
    const data_opts *o = c->opts;
    const int64_t count[2] = { o->train, o->test };
    for (uint32_t p = 0; p < 2; p++) {
        const char *to = hx_path_join(c->arena, dir, names[p]);
        if (!to)
            return HX_E_NOMEM;
        if (!count[p])
            continue;
        HX_TRY(hx_task_write(t, k, (uint64_t)o->seed, p, count[p], to));
    }
    return HX_OK;
}

// All sets beside `out`, which then appears whole.
static hx_result write_task(hx_cli *c, const hx_task *t, const hx_task_conf *k, int n,
                            const char *stage)
{
    for (int i = 0; i < n; i++) {
        const char *dir =
            n > 1 ? hx_sprintf(c->arena, "%s/%lld", stage, (long long)k[i].length) : stage;
        if (!dir)
            return HX_E_NOMEM;
        HX_TRY(hx_dir_make_all(dir, 0777));
        HX_TRY(write_parts(c, t, &k[i], dir));
    }
    return HX_OK;
}

static hx_result find_task(const hx_cli *c, const hx_task **t)
{
    const char *names[64];
    for (int i = 0; i < hx_n_tasks; i++)
        names[i] = hx_tasks[i]->name;
    if (c->n_args != 2)
        return hx_fail(HX_E_USAGE,
                       "data task needs the name of one task; see `htxvk data --help` [E-USAGE]");
    *t = hx_task_find(c->args[1]);
    if (*t)
        return HX_OK;
    const char *near = hx_nearest(c->args[1], names, hx_n_tasks);
    return hx_fail(HX_E_USAGE, "there is no task '%s'; %s '%s' [E-USAGE]", c->args[1],
                   near ? "did you mean" : "one that exists is", near ? near : names[0]);
}

static hx_result task(hx_cli *c)
{
    const data_opts *o = c->opts;
    const hx_task *t;
    int64_t length[HX_MAX_LIST] = { 0 };
    hx_task_conf k[HX_MAX_LIST];
    int n = 0;
    HX_TRY(find_task(c, &t));
    HX_TRY(need_out(c));
    HX_TRY(read_lengths(o->lengths, length, &n));
    n = n ? n : 1;
    for (int i = 0; i < n; i++) {
        k[i] = o->task;
        k[i].length = length[i];
        HX_TRY(hx_task_resolve(t, &k[i]));
        for (int j = 0; j < i; j++)
            if (k[j].length == k[i].length)
                return hx_fail(HX_E_USAGE, "--lengths has %lld twice [E-USAGE]",
                               (long long)k[i].length);
    }
    char *stage = hx_sprintf(c->arena, "%.*s.tmp",
                             (int)(strlen(o->out) - (o->out[strlen(o->out) - 1] == '/')), o->out);
    if (!stage)
        return HX_E_NOMEM;
    if (hx_file_exists(stage))
        HX_TRY(hx_dir_remove(stage));
    hx_result r = write_task(c, t, k, n, stage);
    if (!r)
        r = hx_rename(stage, o->out);
    if (r) {
        char why[1024];
        snprintf(why, sizeof why, "%s", hx_last_message());
        if (hx_file_exists(stage))
            hx_dir_remove(stage);
        return hx_fail(r, "%s", why);
    }
    for (int i = 0; i < n; i++) {
        const char *sub = n > 1 ? hx_sprintf(c->arena, "/%lld", (long long)k[i].length) : "";
        printf("%s%s: train.seq_len %lld, %lld documents in train, %lld in test\n", o->out,
               sub ? sub : "", (long long)k[i].length, (long long)o->train, (long long)o->test);
    }
    return HX_OK;
}

// ---- info -----------------------------------------------------------------------------------
typedef struct lengths { int64_t n, least, most; double mean, masked; } lengths;

static int64_t document_at(const hx_text *t, int64_t i)
{
    return t->doc_tokens ? i * t->doc_tokens : t->doc ? t->doc[i] : t->part[i].at;
}

static int64_t documents(const hx_text *t)
{
    return t->doc_tokens ? t->size / t->doc_tokens : t->doc ? t->n_doc : t->n_part;
}

static lengths measure(const hx_text *t)
{
    lengths l = { .n = documents(t), .least = INT64_MAX };
    for (int64_t i = 0; i < l.n; i++) {
        int64_t n = (i + 1 < l.n ? document_at(t, i + 1) : t->size) - document_at(t, i);
        l.least = hx_min(l.least, n);
        l.most = hx_max(l.most, n);
    }
    l.mean = (double)t->size / (double)l.n;
    for (int64_t i = 0; t->mask && i < t->size; i++)
        l.masked += t->mask[i];
    return l;
}

// The first characters of a document; labels that count stand in brackets.
static void print_document(const hx_text *t, int64_t i)
{
    enum { SHOWN = 2000 };
    int64_t at = document_at(t, i), end = i + 1 < documents(t) ? document_at(t, i + 1) : t->size;
    bool in = false;
    for (int64_t p = at; p < hx_min(end, at + SHOWN); p++) {
        int32_t id = hx_text_token(t, p);
        if (t->mask && in != t->mask[p])
            putchar((in = t->mask[p]) ? '[' : ']');
        if (t->num_tokens > 256)
            printf("%d ", id);
        else if (id >= ' ' && id < 127)
            putchar(id);
        else
            printf(id == '\n' ? "\\n" : "\\x%02x", (unsigned)id);
    }
    printf("%s%s\n", in ? "]" : "", end - at > SHOWN ? " ..." : "");
}

static hx_result info(hx_cli *c)
{
    const data_opts *o = c->opts;
    hx_strs in = { 0 };
    hx_text *t = NULL;
    hx_set_facts f = { .made = "{}" };
    for (int i = 1; i < c->n_args; i++)
        in.v[in.n++] = c->args[i];
    if (!in.n)
        return hx_fail(HX_E_USAGE, "data info needs a file, a directory or a set [E-USAGE]");
    bool set;
    HX_TRY(hx_set_is(in.v[0], &set));
    if (set)
        HX_TRY(hx_set_facts_read(c->arena, in.v[0], &f));
    HX_TRY(hx_text_read(&in, 0, &t));
    lengths l = measure(t);
    hx_result r = HX_OK;
    if (o->document >= l.n)
        r = hx_fail(HX_E_USAGE, "--document %lld: there are %lld, counted from 0 [E-USAGE]",
                    (long long)o->document, (long long)l.n);
    if (!r && o->json[0]) {
        json_t *made = json_loads(f.made, 0, NULL);
        json_t *j =
            json_pack("{ss sI sI sI sI sI sI sf so}", "kind", set ? "set" : "text", "tokens",
                      (json_int_t)t->size, "num_tokens", (json_int_t)t->num_tokens, "documents",
                      (json_int_t)l.n, "shortest", (json_int_t)l.least, "longest",
                      (json_int_t)l.most, "source_bytes", (json_int_t)t->source_bytes, "labels",
                      l.masked, "made", made ? made : json_object());
        r = hx_cli_json(j, o->json);
        json_decref(j);
    } else if (!r) {
        printf("%-12s %s\n", "kind", set ? "prepared set, sizes and hashes right" : "text");
        printf("%-12s %lld of %d bytes, ids below %lld, from %lld bytes\n", "tokens",
               (long long)t->size, t->width, (long long)t->num_tokens, (long long)t->source_bytes);
        printf("%-12s %lld of %lld to %lld tokens, %.1f on average\n", "documents", (long long)l.n,
               (long long)l.least, (long long)l.most, l.mean);
        if (t->mask)
            printf("%-12s %.0f labels are trained on, %.1f a document\n", "mask", l.masked,
                   l.masked / (double)l.n);
        if (set)
            printf("%-12s %s\n", "made", f.made);
        printf("%-12s ", "document");
        print_document(t, o->document);
    }
    hx_text_free(&t);
    return r;
}

static hx_result list_tasks(hx_cli *c)
{
    (void)c;
    for (int i = 0; i < hx_n_tasks; i++) {
        const hx_task *t = hx_tasks[i];
        printf("%-16s %s\n%-16s --lengths %lld", t->name, t->help, "", (long long)t->def.length);
        if (t->def.pairs)
            printf(" --pairs %lld (at most %lld)", (long long)t->def.pairs,
                   (long long)t->max_pairs);
        if (t->def.symbols)
            printf(" --symbols %lld (at most %lld)", (long long)t->def.symbols,
                   (long long)t->max_symbols);
        printf("%s%s%s%s; %s\n", t->def.keys ? " --keys" : "", t->def.answer ? " --answer" : "",
               t->def.distance ? " --distance" : "",
               t->def.classes ? " --classes" : "", t->source);
    }
    return HX_OK;
}

static hx_result run(hx_cli *c)
{
    static const struct { const char *name; hx_result (*run)(hx_cli *); } verbs[] = {
        { "prepare", prepare }, { "task", task }, { "tasks", list_tasks }, { "info", info } };
    for (int i = 0; i < HX_COUNT(verbs); i++)
        if (!strcmp(c->args[0], verbs[i].name))
            return verbs[i].run(c);
    return hx_fail(HX_E_USAGE, "data %s: it is prepare, task, tasks or info [E-USAGE]", c->args[0]);
}

HX_CMD(data, .args = "prepare INPUT... --out DIR | task NAME --out DIR | tasks | info PATH...",
       .help = "sets to train on: text tokenised once, generated tasks", .opts = data_fields,
       .opts_size = sizeof(data_opts), .min_args = 1, .max_args = HX_MAX_LIST, .run = run,
       .more =
           "A task's answers alone are trained on and scored; `htxvk data tasks` lists the tasks.\n"
           "example: htxvk data task recall --out recall --lengths 256 --distance 200 --seed 7\n"
           "         htxvk train examples/recall.yaml\n");
