// conf_run.c - sections of a run's configuration, their fields and rules.
#include "curriculum.h"
#include "../../runtime/file.h"
#include "../data/set.h"
#include "../optim/optim.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define F(s, member, type, def, min, max, help) \
    { #member, type, offsetof(hx_conf_##s, member), def, min, max, help }

static const hx_field run_fields[] = {
    F(run_sec, seed, HX_I64, "1", 0, 9e15, "seed of initial values, sample order and sampling"),
    F(run_sec, out, HX_STR, "", 0, 0, "run directory; empty: made from the name of this file"),
    F(run_sec, threads, HX_I32, "0", 0, 4096, "host threads; 0: one per core"),
    { 0 } };
static const hx_field device_fields[] = {
    F(device, select, HX_STR, "auto", 0, 0, "auto | host | N | name:TEXT | uuid:HEX"),
    F(device, precision, HX_STR, "auto", 0, 0, "auto | fp32 | bf16 | fp16"),
    { 0 } };
static const hx_field data_fields[] = {
    F(data, train, HX_STRS, NULL, 0, 0, "text files or directories, also .gz and .zst; or sets made by `htxvk data`"),
    F(data, valid, HX_STRS, "[]", 0, 0, "files to validate on; empty: the second share of split"),
    F(data, test, HX_STRS, "[]", 0, 0, "files to test on; empty: the third share of split"),
    F(data, split, HX_REALS, "[0.9, 0.05, 0.05]", 0, 1,
      "shares of the training text: train, valid, test"),
    F(data, tokenizer, HX_STR, "bytes", 0, 0, "bytes; prepared sets have their own"),
    F(data, order, HX_STR, "random", 0, 0, "random | sequential | stream"),
    F(data, separator, HX_STR, "", 0, 0, "text at the end of a document, for streams; empty: files are documents"),
    { 0 }
};
static const hx_field train_fields[] = {
    F(train, steps, HX_I64, "1000", 0, 1e12, "optimizer steps"),
    F(train, batch, HX_I32, "4", 1, 65536, "sequences at a time"),
    F(train, seq_len, HX_I32, "0", 0, 1 << 24, "tokens in a sequence; 0: the model's"),
    F(train, accumulate, HX_I32, "1", 1, 65536, "batches summed into one step"),
    F(train, recompute, HX_STR, "false", 0, 0,
      "true: norms and activations are made again in the backward pass, less memory; products: also what goes "
      "into activations; false: everything is kept"),
    F(train, replay, HX_BOOL, "false", 0, 0, "recurrent memories: segments are made again in the backward pass, memory is of one"),
    F(train, clip_norm, HX_F32, "0.5", 0, 1e9, "largest norm of the gradient; 0: not clipped"),
    F(train, init, HX_STR, "", 0, 0, "run or checkpoint whose weights training begins with; empty: drawn"),
    F(train, init_new, HX_BOOL, "false", 0, 0, "parameters that they lack are drawn: a memory put around a model that knows a text"),
    F(train, non_finite, HX_STR, "stop", 0, 0,
      "a gradient that is not finite: stop | skip (the step changes nothing)"),
    F(train, skip_zscore, HX_F32, "0", 0, 1000,
      "skip a step whose gradient's norm is so many deviations above the last ones; 0: none"),
    F(train, max_skips, HX_I32, "10", 1, 1000000, "steps skipped in a row before the run stops"),
    F(train, ema, HX_F32, "0", 0, 0.9999999,
      "decay of a moving mean of the weights, which is what is evaluated; 0: none"),
    F(train, label_smoothing, HX_F32, "0", 0, 0.9999999,
      "share of every label that is spread over all tokens, in training losses only"),
    F(train, curriculum, HX_INTS, "[]", 1, 1 << 24, "lengths of sequences, which grow; the last is seq_len"),
    F(train, curriculum_unit, HX_STR, "tokens", 0, 0, "tokens | segments (of the model)"),
    F(train, curriculum_steps, HX_INTS, "[]", 1, INT32_MAX,
      "steps of each of these lengths but the last; []: equal shares"),
    { 0 } };
static const hx_field optim_fields[] = {
    F(optim, name, HX_STR, "adamw", 0, 0, "optimizer"),
    F(optim, lr, HX_F32, "3e-4", 0, 1e3, "learning rate"),
    F(optim, betas, HX_REALS, "[0.9, 0.99]", 0, 0.9999999, "decay of the two moments"),
    F(optim, eps, HX_F32, "1e-8", 1e-30, 1, "added to the root of the second moment"),
    F(optim, weight_decay, HX_F32, "0.01", 0, 10,
      "share of a weight removed per step and unit of lr"),
    F(optim, decay, HX_STR, "all", 0, 0,
      "weight decay for: all | matrices (not for norms, biases and embeddings)"),
    { 0 }
};
static const hx_field schedule_fields[] = {
    F(schedule, name, HX_STR, "cosine", 0, 0, "constant | linear | cosine | wsd | inv_sqrt"),
    F(schedule, warmup, HX_I64, "0", 0, 1e12, "steps from 0 up to lr"),
    F(schedule, min_lr, HX_F32, "0", 0, 1e3, "learning rate of the last step"),
    F(schedule, decay, HX_F32, "0.2", 0, 1, "wsd: share of the steps, at the end, in which lr falls"),
    { 0 } };
static const hx_field eval_fields[] = {
    F(eval, every, HX_I64, "100", 0, 1e12, "steps between evaluations; 0: only first and last"),
    F(eval, batches, HX_I32, "20", 1, 1 << 24, "batches of an evaluation"),
    F(eval, patience, HX_I32, "0", 0, 1000000,
      "evaluations without a better loss after which training ends; 0: never"),
    { 0 } };
static const hx_field sample_fields[] = {
    F(sample, every, HX_I64, "500", 0, 1e12, "steps between samples; 0: none"),
    F(sample, prompt, HX_STR, "", 0, 0, "text to continue"),
    F(sample, length, HX_I32, "256", 1, 1 << 24, "tokens to generate"),
    F(sample, temp, HX_F32, "1", 0, 100, "temperature; 0: the likeliest token"),
    F(sample, top_k, HX_I32, "0", 0, 1 << 24, "choose among the k likeliest tokens; 0: all"),
    F(sample, top_p, HX_F32, "1", 0, 1, "choose among the likeliest with this probability in all"),
    F(sample, min_p, HX_F32, "0", 0, 1, "leave out what is less likely than this share of the likeliest"),
    { 0 } };
static const hx_field save_fields[] = {
    F(save, every, HX_STR, "10m", 0, 0,
      "steps (500) or time (30s, 10m, 2h) between checkpoints; 0: only the last"),
    F(save, keep, HX_I32, "3", 1, 1000000, "checkpoints kept"),
    F(save, best, HX_BOOL, "true", 0, 0, "also keep the one with the best validation loss"),
    { 0 }
};
static const hx_field log_fields[] = {
    F(log, every, HX_I64, "10", 1, 1e12, "steps between lines"),
    F(log, tensorboard, HX_BOOL, "false", 0, 0, "also write tb/events.out.tfevents... for TensorBoard"),
    { 0 } };

#define SECTION(s, help) { #s, s##_fields, offsetof(hx_run_conf, s), help }
const hx_section hx_sections[] = { SECTION(run, "the run as a whole"),
                                   SECTION(device, "where it computes"),
                                   SECTION(data, "what it reads"),
                                   SECTION(train, "steps and batches"),
                                   SECTION(optim, "the update rule"),
                                   SECTION(schedule, "the learning rate over time"),
                                   SECTION(eval, "evaluation on the validation text"),
                                   SECTION(sample, "text generated on the way"),
                                   SECTION(save, "checkpoints"),
                                   SECTION(log, "progress"),
                                   { 0 } };

// ---- rules --------------------------------------------------------------------------------
// Where a key was written; the document if it was not.
static const hx_conf *place(const hx_conf *root, const char *section, const char *key)
{
    const hx_conf *at = hx_conf_get(hx_conf_get(root, section), key);
    return at ? at : root;
}

// A word of a list; `words` ends with NULL.
static hx_result one_of(const hx_conf *root, const char *section, const char *key,
                        const char *value, const char *const *words)
{
    int n = 0;
    for (; words[n]; n++)
        if (!strcmp(value, words[n]))
            return HX_OK;
    const char *near = hx_nearest(value, words, n);
    return hx_conf_fail(place(root, section, key), "%s.%s: there is no '%.60s'; %s '%s' [E-WORD]", section,
                        key, value, near ? "did you mean" : "one that exists is",
                        near ? near : words[0]);
}

static hx_result check_optim(const hx_conf *root, const hx_run_conf *c)
{
    const char *words[64] = { 0 };
    int n = (int)hx_min(hx_n_optims, HX_COUNT(words) - 1);
    for (int i = 0; i < n; i++)
        words[i] = hx_optims[i]->name;
    HX_TRY(one_of(root, "optim", "name", c->optim.name, words));
    if (c->optim.betas.n != 2)
        return hx_conf_fail(place(root, "optim", "betas"), "optim.betas: %d values, two are needed [E-RANGE]",
                            c->optim.betas.n);
    if (c->schedule.min_lr > c->optim.lr)
        return hx_conf_fail(place(root, "schedule", "min_lr"), "schedule.min_lr: %g is above optim.lr, %g [E-RANGE]",
                            c->schedule.min_lr, c->optim.lr);
    return HX_OK;
}

static hx_result check_split(const hx_conf *root, const hx_run_conf *c)
{
    const hx_reals *s = &c->data.split;
    double sum = 0;
    for (int i = 0; i < s->n; i++)
        sum += s->v[i];
    if (s->n < 1 || s->n > 3 || s->v[0] <= 0 || sum > 1 + 1e-9)
        return hx_conf_fail(place(root, "data", "split"),
                            "data.split: one to three shares (train, valid, test) are needed, "
                            "the first above 0, their sum at most 1; it is %.9g [E-RANGE]",
                            sum);
    return HX_OK;
}

// "500" steps, or "90s", "10m", "2h".
static hx_result read_every(const hx_conf *root, hx_run_conf *c)
{
    const char *s = c->save.every;
    size_t n = strspn(s, "0123456789");
    int64_t v = n && n < 16 ? atoll(s) : -1;
    double unit = !strcmp(s + n, "s")   ? 1
                  : !strcmp(s + n, "m") ? 60
                  : !strcmp(s + n, "h") ? 3600
                                        : 0;
    if (v < 0 || (s[n] && !unit)) {
        return hx_conf_fail(place(root, "save", "every"),
                            "save.every: '%.60s' is neither a number of steps (500) nor a time "
                            "(30s, 10m, 2h) [E-TYPE]",
                            s);
    }
    c->save.every_steps = unit ? 0 : v;
    c->save.every_seconds = unit * (double)v;
    return HX_OK;
}

// A prompt that the model cannot take is found before training, not at the first sample.
static hx_result check_prompt(const hx_conf *root, const hx_run_conf *c)
{
    int64_t V = c->model->size(c->model_conf, "num_tokens");
    for (const char *s = c->sample.prompt; V > 0 && *s; s++)
        if ((unsigned char)*s >= V)
            return hx_conf_fail(place(root, "sample", "prompt"),
                                "sample.prompt: byte %d at offset %lld is no token: the model has "
                                "%lld (0 to %lld) [E-TOKEN-RANGE]",
                                (unsigned char)*s, (long long)(s - c->sample.prompt), (long long)V,
                                (long long)V - 1);
    return HX_OK;
}

// Relative paths become absolute, so that the copy inside the run directory means the same files.
static hx_result resolve(hx_arena *arena, const char *base, hx_run_conf *c)
{
    char *whole = realpath(base, NULL);
    const char *dir = hx_strdup(arena, whole ? whole : base);
    free(whole);
    hx_strs *lists[] = { &c->data.train, &c->data.valid, &c->data.test };
    for (int l = 0; l < HX_COUNT(lists); l++)
        for (int i = 0; i < lists[l]->n; i++)
            if (!dir || !(lists[l]->v[i] = hx_path_join(arena, dir, lists[l]->v[i])))
                return HX_E_NOMEM;
    if (c->run.out[0] && !(c->run.out = hx_path_join(arena, dir, c->run.out)))
        return HX_E_NOMEM;
    if (c->train.init[0] && !(c->train.init = hx_path_join(arena, dir, c->train.init)))
        return HX_E_NOMEM;
    // what is planned depends on it; a set that is not there is found missing when it is read
    bool is;
    HX_TRY(hx_set_is(c->data.train.v[0], &is));
    if (is) {
        hx_set_facts f;
        HX_TRY(hx_set_facts_read(arena, c->data.train.v[0], &f));
        c->data.masked = f.masked;
        c->data.tokenizer_file = f.tokenizer;
    }
    return hx_curriculum_sets(arena, c);
}

// A model that carries states on does so from whole segments.
static hx_result check_stream(const hx_conf *root, const hx_run_conf *c)
{
    int64_t L = c->model->size(c->model_conf, "segment");
    for (int i = 0; c->data.streams && L > 0 && i < hx_stages(c); i++) {
        int64_t T = hx_stage_len(c, i);
        const char *key = c->train.curriculum.n ? "curriculum" : "seq_len";
        if (T % L)
            return hx_conf_fail(place(root, "train", key), "train.%s: %lld is no multiple of the model's segment of "
                                "%lld tokens, as streams need; %lld is one [E-SEGMENT]", key, (long long)T,
                                (long long)L, (long long)(hx_ceil_div(T, L) * L));
    }
    return HX_OK;
}

// What the kernels of one micro-batch can count (embedding_bwd, valid_mean).
static hx_result check_tokens(const hx_run_conf *c)
{
    enum { MOST = 400000 };
    if ((int64_t)c->train.batch * c->train.seq_len <= MOST)
        return HX_OK;
    return hx_fail(HX_E_SHAPE, "train.batch %d x train.seq_len %d is more than the %d tokens that a "
        "micro-batch may have; choose a smaller train.batch and a larger train.accumulate [E-SIZE]",
        c->train.batch, c->train.seq_len, MOST);
}

static hx_result check(const hx_conf *root, hx_run_conf *c)
{
    static const char *const precisions[] = { "auto", "fp32", "bf16", "fp16", NULL };
    static const char *const orders[] = { "random", "sequential", "stream", NULL };
    static const char *const tokenizers[] = { "bytes", NULL };
    static const char *const schedules[] = { "constant", "linear", "cosine", "wsd", "inv_sqrt", NULL };
    static const char *const policies[] = { "stop", "skip", NULL };
    static const char *const decays[] = { "all", "matrices", NULL };
    HX_TRY(one_of(root, "train", "non_finite", c->train.non_finite, policies));
    HX_TRY(one_of(root, "optim", "decay", c->optim.decay, decays));
    HX_TRY(one_of(root, "device", "precision", c->device.precision, precisions));
    static const char *const recompute[] = { "false", "true", "products", NULL };
    HX_TRY(one_of(root, "train", "recompute", c->train.recompute, recompute));
    HX_TRY(one_of(root, "data", "order", c->data.order, orders));
    HX_TRY(one_of(root, "data", "tokenizer", c->data.tokenizer, tokenizers));
    HX_TRY(one_of(root, "schedule", "name", c->schedule.name, schedules));
    if (!c->data.train.n)
        return hx_conf_fail(root, "data.train: at least one text file is needed [E-CONF-MISSING]");
    HX_TRY(check_split(root, c));
    HX_TRY(check_optim(root, c));
    HX_TRY(read_every(root, c));
    HX_TRY(check_prompt(root, c));
    HX_TRY(hx_curriculum_check(root, c));
    int64_t len = c->model->size(c->model_conf, "seq_len");
    if (!c->train.seq_len && (len < 1 || len > INT32_MAX))
        return hx_conf_fail(
            root, "train.seq_len must be given: the model names no length [E-CONF-MISSING]");
    c->train.seq_len = c->train.seq_len ? c->train.seq_len : (int32_t)len;
    c->data.streams = !strcmp(c->data.order, "stream");
    HX_TRY(check_tokens(c));
    return check_stream(root, c);
}

// ---- reading and writing ------------------------------------------------------------------
static hx_result unknown_section(hx_arena *arena, const hx_conf *c)
{
    const char *words[HX_COUNT(hx_sections)];
    int n = 0;
    for (; hx_sections[n].name; n++)
        words[n] = hx_sections[n].name;
    words[n++] = "model";
    const char *near = hx_nearest(c->key, words, n), *shown = hx_printable(arena, c->key);
    return near ? hx_conf_fail(c, "unknown key '%s'; did you mean '%s'? [E-CONF-KEY]", shown, near)
                : hx_conf_fail(c, "unknown key '%s' [E-CONF-KEY]", shown);
}

static const hx_section *section(const char *name)
{
    for (const hx_section *s = hx_sections; s->name; s++)
        if (!strcmp(s->name, name))
            return s;
    return NULL;
}

static hx_result from_tree(hx_arena *arena, const hx_conf *root, const char *base, hx_run_conf *c)
{
    static const char *const skip[] = { "arch", NULL };
    if (root->kind != HX_NODE_MAP)
        return hx_conf_fail(root, "a map of sections is needed [E-TYPE]");
    for (const hx_conf *k = root->first; k; k = k->next)
        if (!section(k->key) && strcmp(k->key, "model"))
            return unknown_section(arena, k);
    // a section that is not there is an empty one, in messages of this file
    const hx_conf none = { .kind = HX_NODE_MAP, .file = root->file };
    for (const hx_section *s = hx_sections; s->name; s++) {
        const hx_conf *map = hx_conf_get(root, s->name);
        HX_TRY(hx_conf_fill(arena, map ? map : &none, s->name, s->fields, (char *)c + s->offset,
                            NULL));
    }
    const hx_conf *model = hx_conf_get(root, "model"), *arch = hx_conf_get(model, "arch");
    if (!arch)
        return hx_conf_fail(model ? model : root,
                            "'model.arch' must be given: the name of an architecture "
                            "[E-CONF-MISSING]");
    HX_TRY(hx_case_fill(arena, arch, model, "model", skip, &c->model, &c->model_conf));
    HX_TRY(check(root, c));
    return resolve(arena, base, c);
}

static hx_result finish(hx_arena *arena, hx_conf *root, const char *base, const char *const *set,
                        int n, hx_run_conf **out)
{
    for (int i = 0; i < n; i++)
        HX_TRY(hx_conf_set(arena, root, set[i]));
    hx_run_conf *c = hx_new(arena, hx_run_conf, 1);
    if (!c)
        return HX_E_NOMEM;
    HX_TRY(from_tree(arena, root, base, c));
    *out = c;
    return HX_OK;
}

hx_result hx_run_conf_parse(hx_arena *arena, const char *file, const char *text, const char *base,
                            const char *const *set, int n, hx_run_conf **out)
{
    hx_conf *root;
    HX_TRY(hx_conf_parse(arena, file, text, (int64_t)strlen(text), &root));
    return finish(arena, root, base, set, n, out);
}

hx_result hx_run_conf_read(hx_arena *arena, const char *path, const char *const *set, int n,
                           hx_run_conf **out)
{
    hx_conf *root;
    HX_TRY(hx_conf_read(arena, path, &root));
    const char *base = hx_path_dir(arena, path);
    return base ? finish(arena, root, base, set, n, out) : HX_E_NOMEM;
}

void hx_run_conf_put(hx_out *b, const hx_run_conf *c)
{
    for (const hx_section *s = hx_sections; s->name; s++) {
        if (!strcmp(s->name, "data")) {
            hx_out_add(b, "model:\n  arch: %s\n", c->model->name);
            hx_conf_put_yaml(b, c->model->fields, c->model_conf, 2);
        }
        hx_out_add(b, "%s:\n", s->name);
        hx_conf_put_yaml(b, s->fields, (const char *)c + s->offset, 2);
    }
}
