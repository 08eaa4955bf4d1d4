// test_curriculum.c - runs whose sequences grow: the stages, their texts, resuming with the same bits.
#include "../src/data/task.h"
#include "../src/train/curriculum.h"
#include "runs.h"
#include <sys/stat.h>

static const char *const streaming =
    "run: {seed: 3}\n"
    "model: {arch: rmt_lucidrains, num_tokens: 128, dim: 16, depth: 1, dim_head: 8, heads: 2, seq_len: 8,\n"
    "  num_memory_tokens: 2, num_residual_streams: 1, use_xl_memories: false}\n"
    "data: {train: [text.txt], split: [0.8, 0.1, 0.1], order: stream, separator: \"7. sheep\"}\n"
    "train: {steps: 12, batch: 3, accumulate: 2, curriculum: [1, 2, 4], curriculum_unit: segments,\n"
    "  curriculum_steps: [3, 5]}\n"
    "optim: {lr: 3e-3}\n"
    "eval: {every: 6, batches: 2}\n"
    "sample: {every: 0}\n"
    "save: {every: 5, keep: 9}\n"
    "log: {every: 1}\n";

static hx_run_conf *conf_of(const char *text, const char *const *set, int n, hx_result want)
{
    hx_run_conf *c = NULL;
    hx_result r = hx_run_conf_parse(arena, "test.yaml", text, scratch, set, n, &c);
    ck_assert_msg(r == want, "%s: %s", n ? set[0] : "", r ? hx_last_message() : "no failure");
    return c;
}

START_TEST(stages)
{
    hx_run_conf *c = conf_of(streaming, NULL, 0, HX_OK);
    static const int want[12] = { 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2 };
    static const int len[3] = { 8, 16, 32 };
    ck_assert_int_eq(c->train.seq_len, 32);
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(hx_stage_at(c, i), want[i]);
        ck_assert_int_eq(hx_stage_len(c, want[i]), len[want[i]]);
        ck_assert(hx_stage_begins(c, i) == (i == 3 || i == 8));
    }
    // equal shares; and the copy in a run directory reads back to the same
    c = CONF("train.curriculum=[8, 24, 48]", "train.steps=11");
    ck_assert(c->train.curriculum_steps.v[0] == 3 && c->train.curriculum_steps.v[1] == 4);
    hx_out b = { 0 };
    hx_run_conf_put(&b, c);
    hx_run_conf *again = conf_of(b.data, (const char *[]){ "train.steps=99" }, 1, HX_OK);
    hx_out_free(&b);
    ck_assert(again->train.curriculum_steps.v[0] == 3 && again->train.curriculum_steps.v[1] == 4);
    // without one there is one stage
    c = CONF("train.steps=11");
    ck_assert(hx_stages(c) == 1 && hx_stage_len(c, 0) == 48 && !hx_stage_begins(c, 5));
}
END_TEST

START_TEST(what_is_refused)
{
    static const struct { const char *set, *says; bool in_file; } bad[] = {
        { "train.curriculum=[8, 8, 16]", "stage 2 has no more tokens than the one before" },
        { "train.curriculum=[16, 8]", "lengths grow" },
        { "train.curriculum_steps=[3]", "1 numbers, train.curriculum has 3 lengths" },
        { "train.curriculum_steps=[3, 4, 5]", "3 numbers, train.curriculum has 3 lengths" },
        { "train.curriculum=[]", "there is no train.curriculum", true },
        { "train.curriculum_unit=words", "neither tokens nor segments" },
        { "train.curriculum_unit=tokens", "train.curriculum: 1 is no multiple of the model's segment of 8", true },
        { "train.seq_len=64", "train.seq_len: 64 is not the last length of train.curriculum, 32" },
    };
    for (int i = 0; i < HX_COUNT(bad); i++) {
        conf_of(streaming, &bad[i].set, 1, bad[i].in_file ? HX_E_INPUT : HX_E_USAGE);
        ck_says(bad[i].says);
    }
}
END_TEST

// As long as the first stage lasts, training is that of a run which knows only its length.
START_TEST(the_first_stage_is_a_run_of_its_length)
{
    make_text();
    hx_dev *dev = open_dev("host", 2);
    seen a = { 0 }, b = { 0 };
    ck_ok(train_in("grows", CONF("train.curriculum=[16, 48]", "train.curriculum_steps=[4]"), dev, &a));
    ck_ok(train_in("short", CONF("train.seq_len=16"), dev, &b));
    for (int i = 1; i <= 4; i++)
        ck_assert_msg(a.loss[i] == b.loss[i], "step %d: %.9g, alone %.9g", i, a.loss[i], b.loss[i]);
    ck_assert(a.loss[5] != b.loss[5]);
    hx_blob rows = { 0 };
    ck_ok(hx_file_read(at("grows/metrics.jsonl"), 1 << 26, 0, &rows));
    char *text = hx_sprintf(arena, "%.*s", (int)rows.size, (const char *)rows.data);
    ck_assert_ptr_nonnull(strstr(text, "\"seq_len\": 16"));
    ck_assert_ptr_nonnull(strstr(text, "\"seq_len\": 48"));
    hx_blob_free(&rows);
    hx_ckpt_state s;
    ck_ok(hx_ckpt_state_read(hx_sprintf(arena, "%s/grows/ckpt/step-00000012", scratch), &s));
    ck_assert_int_eq(s.tokens, 4 * (4 * 16 + 8 * 48));
    hx_dev_close(&dev);
}
END_TEST

// Interrupted within a stage, and where one ends and the next begins.
static void resumed(const char *text, const char *const *set, int n, const char *name, const int stops[2])
{
    static const char *const devices[] = { "host", "name:llvmpipe" };
    for (int d = 0; d < HX_COUNT(devices); d++) {
        hx_dev *dev = NULL;
        if (hx_dev_open(&(hx_dev_params){ .select = devices[d] }, &dev))
            continue;
        const hx_run_conf *c = conf_of(text, set, n, HX_OK);
        const char *a = hx_sprintf(arena, "%s-whole%d", name, d), *b = hx_sprintf(arena, "%s-parts%d", name, d);
        seen whole = { 0 }, parts = { 0 };
        ck_ok(train_in(a, c, dev, &whole));
        for (int i = 0; i < 2; i++) {
            parts.stop = 0;
            parts.stop_at = stops[i];
            ck_assert_int_eq(train_in(b, c, dev, &parts), HX_E_STOPPED);
        }
        parts.stop = 0;
        parts.stop_at = 0;
        ck_ok(train_in(b, c, dev, &parts));
        for (int i = 1; i <= 12; i++)
            ck_assert_msg(whole.loss[i] == parts.loss[i], "%s on %s, step %d: %.9g, resumed %.9g", name,
                          devices[d], i, whole.loss[i], parts.loss[i]);
        check_same_run(a, b, 12);
        ck_assert_int_eq(whole.warnings + parts.warnings, 0);
        hx_dev_close(&dev);
    }
}

START_TEST(resumed_with_the_same_bits)
{
    make_text();
    static const char *const set[] = { "train.curriculum=[16, 32, 48]", "train.accumulate=2" };
    resumed(small, set, HX_COUNT(set), "windows", (const int[]){ 4, 7 });
    resumed(streaming, NULL, 0, "streams", (const int[]){ 3, 9 });
}
END_TEST

// A set of documents for each stage.
static const char *const tasks[] = { "data.train=[task/8/train, task/16/train]", "data.valid=[task/16/test]",
    "train.curriculum=[8, 16]", "sample.every=0", "data.split=[1]" };

START_TEST(a_set_for_each_stage)
{
    make_text();
    mkdir(at("task"), 0777);
    for (int n = 8; n <= 16; n += 8) {
        hx_task_conf k = { .length = n, .symbols = 4 };
        mkdir(at(hx_sprintf(arena, "task/%d", n)), 0777);
        ck_ok(hx_task_resolve(&hx_task_recall, &k));
        for (uint32_t part = 0; part < 2; part++)
            ck_ok(hx_task_write(&hx_task_recall, &k, 7, part, 60,
                                at(hx_sprintf(arena, "task/%d/%s", n, part ? "test" : "train"))));
    }
    hx_run_conf *c = conf_of(small, tasks, HX_COUNT(tasks), HX_OK);
    ck_assert(c->data.staged && c->data.masked && c->train.seq_len == 16);
    resumed(small, tasks, HX_COUNT(tasks), "task", (const int[]){ 6, 8 });
    // documents of another length than their stage
    const char *other[HX_COUNT(tasks)];
    memcpy(other, tasks, sizeof tasks);
    other[2] = "train.curriculum=[7, 16]";
    hx_dev *dev = open_dev("host", 2);
    hx_trainer *t = NULL;
    ck_assert_int_eq(hx_trainer_new(conf_of(small, other, HX_COUNT(tasks), HX_OK), dev, &t), HX_E_INPUT);
    ck_says("documents of 9 tokens");
    hx_dev_close(&dev);
    other[2] = "train.curriculum=[8, 12, 16]";
    conf_of(small, other, HX_COUNT(tasks), HX_E_INPUT);
    ck_says("2 sets of documents of different lengths; train.curriculum has 3 stages");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { stages, what_is_refused, the_first_stage_is_a_run_of_its_length,
        resumed_with_the_same_bits, a_set_for_each_stage };
    return run_suite("curriculum", setup, teardown, tests, HX_COUNT(tests));
}
