// runs.h - a small run for tests: its configuration, text, and what it says.
#pragma once
#include "../src/core/ckpt.h"
#include "../src/train/train.h"
#include "scratch.h"
#include <math.h>

static const char *const small =
    "run: {seed: 3}\n"
    "model: {arch: hierarchical, num_tokens: 128, dim: [16, 24], depth: 2, dim_head: 8, heads: 2,\n"
    "  seq_len: 48, hierarchies: [1, 4], window_sizes: [8, null]}\n"
    "data: {train: [text.txt], split: [0.8, 0.1, 0.1]}\n"
    "train: {steps: 12, batch: 4, accumulate: 1}\n"
    "optim: {name: adamw, lr: 3e-3}\n"
    "schedule: {name: cosine, warmup: 2, min_lr: 3e-4}\n"
    "eval: {every: 6, batches: 2}\n"
    "sample: {every: 6, prompt: \"the \", length: 8}\n"
    "save: {every: 5, keep: 2}\n"
    "log: {every: 1}\n";

// A text with something to learn: counted sentences.
static void make_text(void)
{
    hx_out b = {0};
    for (int i = 0; i < 400; i++)
        hx_out_add(&b, "the %d. sheep jumps over the fence, and the next one waits.\n", i);
    put("text.txt", b.data, (size_t)b.size);
    hx_out_free(&b);
}

static inline hx_run_conf *conf_with(const char *const *set, int n)
{
    hx_run_conf *c = NULL;
    ck_ok(hx_run_conf_parse(arena, "test.yaml", small, scratch, set, n, &c));
    return c;
}

// The configuration with some values replaced: CONF("train.steps=4", ...).
#define CONF(...) conf_with((const char *[]){ "run.seed=3", __VA_ARGS__ }, \
                            HX_COUNT(((const char *[]){ "run.seed=3", __VA_ARGS__ })))

static inline hx_dev *open_dev(const char *select, int threads)
{
    hx_dev *d = NULL;
    ck_ok(hx_dev_open(&(hx_dev_params){ .select = select, .threads = threads }, &d));
    return d;
}

// What a run said: losses by step, and when to stop it.
typedef struct seen {
    double  loss[64];
    int     rows, samples, warnings;
    volatile sig_atomic_t stop;
    int64_t stop_at, fail_at;              // steps; 0: never
} seen;

static void look(void *user, const hx_event *e)
{
    seen *s = user;
    if (e->kind == HX_EVENT_STEP && e->step < 64)
        s->loss[e->step] = e->loss;
    s->rows += e->kind == HX_EVENT_ROW;
    s->samples += e->kind == HX_EVENT_SAMPLE;
    s->warnings += e->kind == HX_EVENT_WARN;
    if (s->fail_at && e->kind == HX_EVENT_STEP && e->step == s->fail_at)
        hx_fault_set("io:fsync:1:ENOSPC");
    if (s->stop_at && e->step >= s->stop_at)
        s->stop = 1;
}

// Trains in the directory `name`, which is made or resumed.
static hx_result train_in(const char *name, const hx_run_conf *c, hx_dev *d, seen *s)
{
    hx_trainer *t = NULL;
    hx_run *run = NULL;
    bool there = hx_run_is(at(name));
    ck_ok(hx_trainer_new(c, d, &t));
    ck_ok(there ? hx_run_open(at(name), &run) : hx_run_create(at(name), c, &run));
    hx_result r = hx_trainer_run(
        t, &(hx_train_params){
               .run = run, .resume = there, .stop = &s->stop, .event = look, .user = s});
    hx_trainer_free(&t);
    hx_run_close(&run);
    return r;
}

static bool same_file(const char *a, const char *b)
{
    hx_blob x = {0}, y = {0};
    ck_ok(hx_file_read(at(a), 1 << 26, 0, &x));
    ck_ok(hx_file_read(at(b), 1 << 26, 0, &y));
    bool same = x.size == y.size && !memcmp(x.data, y.data, (size_t)x.size);
    hx_blob_free(&x);
    hx_blob_free(&y);
    return same;
}

static inline void check_same_run(const char *a, const char *b, int step)
{
    static const char *const files[] = { "model.safetensors", "optimizer.safetensors" };
    for (int i = 0; i < HX_COUNT(files); i++) {
        const char *x = hx_sprintf(arena, "%s/ckpt/step-%08d/%s", a, step, files[i]);
        const char *y = hx_sprintf(arena, "%s/ckpt/step-%08d/%s", b, step, files[i]);
        ck_assert_msg(same_file(x, y), "%s and %s differ", x, y);
    }
}
