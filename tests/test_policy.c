// test_policy.c - what a run does beside plain steps: schedules, steps left out, mean weights,
// groups of weight decay, the best checkpoint, an early end; and all of it when interrupted.
#include "runs.h"
#include <unistd.h>

START_TEST(schedules)
{
    hx_run_conf *c = CONF("train.steps=100", "schedule.warmup=10", "optim.lr=1e-3",
                          "schedule.min_lr=1e-4", "schedule.name=wsd", "schedule.decay=0.2");
    ck_assert_double_eq_tol(hx_learning_rate(c, 5), 5e-4, 1e-9);
    ck_assert_double_eq_tol(hx_learning_rate(c, 10), 1e-3, 1e-9);
    ck_assert_double_eq_tol(hx_learning_rate(c, 80), 1e-3, 1e-9);
    ck_assert_double_eq_tol(hx_learning_rate(c, 90), 5.5e-4, 1e-9);
    ck_assert_double_eq_tol(hx_learning_rate(c, 100), 1e-4, 1e-9);
    c->schedule.name = "inv_sqrt";
    ck_assert_double_eq_tol(hx_learning_rate(c, 10), 1e-3, 1e-9);
    ck_assert_double_eq_tol(hx_learning_rate(c, 40), 5e-4, 1e-9);
    c->schedule.min_lr = 6e-4f;
    ck_assert_double_eq_tol(hx_learning_rate(c, 40), 6e-4, 1e-9);
}
END_TEST

// Parameters, moments or mean weights of a checkpoint, one after the other.
static float *tensors_of(const char *run, int step, const char *file, const hx_run_conf *c,
                         const hx_params **ps)
{
    hx_net *net = hx_new(arena, hx_net, 1);
    hx_st *st;
    ck_ok(hx_net_init(net, c->model, c->model_conf));
    float *v = hx_alloc(arena, (size_t)net->params->bytes);
    ck_ok(hx_st_open(at(hx_sprintf(arena, "%s/ckpt/step-%08d/%s", run, step, file)), &st));
    ck_ok(hx_params_read(st, net->params, "", v));
    hx_st_close(&st);
    *ps = net->params;
    return v;
}

// With weights that only decay (no gradient reaches them through a factor of almost 0), matrices
// shrink by 1 - lr wd a step, and norms and embeddings stay.
START_TEST(groups_of_decay)
{
    make_text();
    hx_dev *d = open_dev("host", 2);
    seen s = {0};
    hx_run_conf *c = CONF("train.steps=1", "optim.lr=1e-2", "optim.weight_decay=0.5", "optim.eps=1",
                          "train.clip_norm=1e-9", "schedule.name=constant", "schedule.warmup=0",
                          "optim.decay=matrices", "eval.every=0", "sample.every=0");
    ck_ok(train_in("run", c, d, &s));
    const hx_params *ps;
    const float *v = tensors_of("run", 1, "model.safetensors", c, &ps);
    int kept = 0, less = 0;
    for (int i = 0; i < ps->n; i++) {
        const hx_param *p = &ps->list[i];
        if (p->buffer)
            continue;
        float *first = hx_new(arena, float, p->elems);
        hx_param_init(p, 3, first);
        bool decays = p->rank > 1 && !strstr(p->name, "emb");
        decays ? less++ : kept++;
        for (int64_t k = 0; k < p->elems; k++) {
            double want = first[k] * (decays ? 1 - 5e-3 : 1);
            ck_assert_msg(fabs(v[p->at / 4 + k] - want) < 1e-7 * fmax(1, fabs(want)),
                          "%s[%lld] is %.9g, not %.9g", p->name, (long long)k, v[p->at / 4 + k],
                          want);
        }
    }
    ck_assert(kept > 5 && less > 5);
    hx_dev_close(&d);
}
END_TEST

// e = e + (1 - min(decay, (1+t)/(10+t))) (p - e), from the weights of every step.
START_TEST(mean_weights)
{
    make_text();
    hx_dev *d = open_dev("host", 2);
    seen s = {0};
    hx_run_conf *c = CONF("train.steps=4", "train.ema=0.25", "save.every=1", "save.keep=9",
                          "eval.every=0", "sample.every=0");
    ck_ok(train_in("run", c, d, &s));
    const hx_params *ps;
    double *e = NULL;
    for (int t = 1; t <= 4; t++) {
        const float *p = tensors_of("run", t, "model.safetensors", c, &ps);
        const float *mean = tensors_of("run", t, "ema.safetensors", c, &ps);
        if (!e) {
            e = hx_new(arena, double, ps->bytes / 4);
            for (int i = 0; i < ps->n; i++)
                if (!ps->list[i].table) {
                    float *v = hx_new(arena, float, ps->list[i].elems);
                    hx_param_init(&ps->list[i], 3, v);
                    for (int64_t k = 0; k < ps->list[i].elems; k++)
                        e[ps->list[i].at / 4 + k] = v[k];
                }
        }
        double rate = 1 - fmin(0.25, (1 + t) / (10.0 + t));
        for (int64_t i = 0; i < ps->trained / 4; i++) {
            e[i] += rate * (p[i] - e[i]);
            ck_assert_msg(fabs(e[i] - mean[i]) < 1e-6, "step %d, %lld: %.9g, not %.9g", t,
                          (long long)i, mean[i], e[i]);
        }
    }
    hx_dev_close(&d);
}
END_TEST

// A gradient that is not finite, or far larger than those before it, changes nothing but counters.
START_TEST(left_out)
{
    make_text();
    hx_run_conf *c = CONF("train.steps=1", "eval.every=0");
    static const char *const kinds[] = { "host", "name:llvmpipe" };
    for (int k = 0; k < HX_COUNT(kinds); k++) {
        hx_dev *d = NULL;
        if (hx_dev_open(&(hx_dev_params){ .select = kinds[k], .threads = 2 }, &d))
            continue;
        hx_rig rig = {0};
        ck_ok(hx_rig_new(d, c, false, &rig));
        int64_t n = rig.net.params->bytes, count = 4 * 49;
        char *before = hx_alloc(arena, (size_t)n), *after = hx_alloc(arena, (size_t)n);
        int32_t *ids = hx_new(arena, int32_t, count);
        for (int64_t i = 0; i < count; i++)
            ids[i] = (int32_t)(i * 37 % 100);
        hx_losses l;
        ck_ok(hx_engine_init(rig.engine, 1));
        for (int step = 1; step <= 3; step++) {
            hx_engine_limit(rig.engine, step == 2 ? 1e-6 : 0);
            ck_ok(hx_engine_read(rig.engine, HX_PARAM, before));
            ck_ok(hx_engine_step(rig.engine, step, 1e-3, ids));
            ck_ok(hx_engine_result(rig.engine, &l));
            ck_assert_int_eq(l.skipped, step == 2);
            ck_ok(hx_engine_read(rig.engine, HX_PARAM, after));
            ck_assert_int_eq(!memcmp(before, after, (size_t)n), step == 2);
        }
        // one weight that is not finite spoils the whole gradient, and is found
        const hx_param *p = hx_param_find(rig.net.params, "token_emb.weight");
        ck_assert_ptr_nonnull(p);
        *(float *)(after + p->at + 4 * 37) = INFINITY;
        ck_ok(hx_engine_write(rig.engine, HX_PARAM, after));
        ck_ok(hx_engine_read(rig.engine, HX_MOM2, before));
        ck_ok(hx_engine_step(rig.engine, 4, 1e-3, ids));
        ck_ok(hx_engine_result(rig.engine, &l));
        ck_assert(l.skipped && !isfinite(l.grad_norm));
        char *moment = hx_alloc(arena, (size_t)n), bad[64];
        ck_ok(hx_engine_read(rig.engine, HX_MOM2, moment));
        ck_assert(!memcmp(before, moment, (size_t)n));
        ck_ok(hx_engine_find_bad(rig.engine, ids, bad, sizeof bad));
        ck_assert_str_eq(bad, "token_emb.weight");
        hx_rig_done(&rig);
        hx_dev_close(&d);
    }
}
END_TEST

// Ten steps in a row that come to nothing stop a run that may skip.
START_TEST(too_many_left_out)
{
    make_text();
    hx_dev *d = open_dev("host", 2);
    seen s = {0};
    hx_run_conf *c = CONF("schedule.warmup=0", "save.every=1", "eval.every=0", "sample.every=0",
                          "train.non_finite=skip", "train.max_skips=3");
    c->optim.lr = 1e38f;
    ck_assert_int_eq(train_in("run", c, d, &s), HX_E_NUMERIC);
    ck_says("3 steps in a row were left out, the last one is 4");
    ck_says("first bad tensor: ");
    ck_assert_int_eq(s.warnings, 3);
    hx_dev_close(&d);
}
END_TEST

// Everything at once, stopped in the middle, has the bits of the run that was not.
static void same_after_a_stop(const char *select)
{
    hx_dev *d = NULL;
    if (hx_dev_open(&(hx_dev_params){ .select = select, .threads = 2 }, &d))
        return;
    hx_run_conf *c = CONF("train.steps=30", "train.ema=0.9", "train.skip_zscore=0.2", "optim.lr=1e-5", "schedule.min_lr=0",
                          "train.non_finite=skip", "optim.decay=matrices", "schedule.name=wsd",
                          "eval.every=5", "sample.every=0", "save.every=7", "train.max_skips=30",
                          "train.label_smoothing=0.1");
    static const char *const files[] = { "model", "optimizer", "ema" };
    seen a = {0}, half = { .stop_at = 23 }, rest = {0};
    ck_ok(train_in("a", c, d, &a));
    ck_assert_msg(a.warnings > 0, "no step was left out");
    ck_assert_int_eq(train_in("b", c, d, &half), HX_E_STOPPED);
    ck_ok(train_in("b", c, d, &rest));
    for (int i = 0; i < HX_COUNT(files); i++) {
        const char *name = hx_sprintf(arena, "ckpt/step-00000030/%s.safetensors", files[i]);
        ck_assert_msg(same_file(hx_sprintf(arena, "a/%s", name), hx_sprintf(arena, "b/%s", name)),
                      "%s: %s differs", select, name);
    }
    hx_dir_remove(at("a"));
    hx_dir_remove(at("b"));
    hx_dev_close(&d);
}

START_TEST(resumed_with_everything)
{
    make_text();
    same_after_a_stop("host");
    same_after_a_stop("name:llvmpipe");
}
END_TEST

// A rate that destroys: the loss gets worse, the run ends early, the best checkpoint stays.
START_TEST(ends_early)
{
    make_text();
    hx_dev *d = open_dev("host", 2);
    seen s = {0}, again = {0};
    hx_run_conf *c = CONF("train.steps=60", "eval.every=2", "eval.patience=3", "sample.every=0",
                          "save.every=1", "save.keep=1", "optim.lr=0.3", "schedule.warmup=0",
                          "schedule.name=constant");
    ck_ok(train_in("run", c, d, &s));
    ck_assert_double_eq(s.loss[59], 0);
    char best[64] = "";
    ck_assert_int_gt(readlink(at("run/ckpt/best"), best, sizeof best - 1), 0);
    hx_ckpt_state state;
    const char *dir;
    ck_ok(hx_ckpt_find(arena, at("run"), &dir));
    ck_ok(hx_ckpt_state_read(dir, &state));
    ck_assert_int_eq(state.stale, 3);
    ck_assert_str_eq(best, hx_sprintf(arena, "step-%08d", (int)state.best_step));
    ck_ok(hx_ckpt_verify(at("run/ckpt/best")));
    ck_assert_int_eq(state.step, state.best_step + 6);
    // nothing is left to do
    ck_ok(train_in("run", c, d, &again));
    ck_ok(hx_ckpt_find(arena, at("run"), &dir));
    ck_assert_ptr_nonnull(strstr(dir, hx_sprintf(arena, "%08d", (int)state.step)));
    hx_dev_close(&d);
}
END_TEST

static seen *asked;
static void ask(void *user, const hx_event *e)
{
    look(user, e);
    if (e->kind == HX_EVENT_STEP && e->step == 3)
        asked->stop = 1;
}

START_TEST(saved_when_asked)
{
    make_text();
    hx_dev *d = open_dev("host", 2);
    seen s = {0};
    hx_run_conf *c = CONF("save.every=0", "save.keep=5", "eval.every=0", "sample.every=0");
    hx_trainer *t;
    hx_run *run;
    asked = &s;
    ck_ok(hx_trainer_new(c, d, &t));
    ck_ok(hx_run_create(at("run"), c, &run));
    ck_ok(hx_trainer_run(t, &(hx_train_params){ .run = run, .save = &s.stop, .event = ask,
                                                .user = &s }));
    ck_assert_int_eq(s.stop, 0);
    ck_assert(hx_file_exists(at("run/ckpt/step-00000004")) ||
              hx_file_exists(at("run/ckpt/step-00000003")));
    hx_trainer_free(&t);
    hx_run_close(&run);
    hx_dev_close(&d);
}
END_TEST

START_TEST(least_share)
{
    const float logits[] = { 0, 1, 2, -4 };
    // e^-1 = 0.37 of the likeliest stays, e^-2 = 0.14 does not
    hx_sampling s = { 1, 0, 1, 5, 0.2 };
    int count[4] = {0};
    for (int i = 0; i < 400; i++)
        count[hx_sample_token(logits, 4, &s, i)]++;
    ck_assert(count[2] > 200 && count[1] > 50 && count[0] == 0 && count[3] == 0);
    s.temp = 2;                            // e^-1 again for the third
    for (int i = 0; i < 400; i++)
        count[hx_sample_token(logits, 4, &s, i)]++;
    ck_assert(count[0] > 20 && count[3] == 0);
}
END_TEST

int main(void)
{
    const TTest *tests[] = { schedules, groups_of_decay, mean_weights, left_out, too_many_left_out,
                             resumed_with_everything, ends_early, saved_when_asked, least_share };
    return run_suite("policy", setup, teardown, tests, HX_COUNT(tests));
}
