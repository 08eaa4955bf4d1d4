// test_train.c - training: the loss falls, accumulation means what it says, a resumed run and a
// second run have the same bits, one submit a step, what must stop a run stops it.
#include "../src/train/evaluate.h"
#include "runs.h"

START_TEST(loss_falls)
{
    make_text();
    hx_dev *d = open_dev("host", 2);
    seen s = {0};
    ck_ok(train_in("run", CONF("train.steps=40"), d, &s));
    ck_assert(s.loss[1] > 4.5 && s.loss[1] < 6.5);
    ck_assert_msg(s.loss[40] < s.loss[1] - 1.5, "from %g to %g", s.loss[1], s.loss[40]);
    ck_assert_int_eq(s.rows, 40);
    ck_assert_int_eq(s.samples, 7);
    const char *dir = NULL;
    ck_ok(hx_ckpt_find(arena, at("run"), &dir));
    hx_ckpt_state state;
    ck_ok(hx_ckpt_state_read(dir, &state));
    ck_assert_int_eq(state.step, 40);
    ck_assert_int_eq(state.tokens, 40 * 4 * 48);
    ck_assert(hx_file_exists(at("run/samples/step-00000040.txt")));
    hx_dev_close(&d);
}
END_TEST

// As many bits with another number of threads, or after a stop and a restart in the middle.
START_TEST(same_bits)
{
    make_text();
    hx_run_conf *c = CONF("train.accumulate=2");
    hx_dev *one = open_dev("host", 1), *two = open_dev("host", 2);
    seen a = {0}, b = {0}, half = { .stop_at = 7 }, rest = {0};
    ck_ok(train_in("a", c, one, &a));
    ck_ok(train_in("b", c, two, &b));
    ck_assert_int_eq(train_in("c", c, two, &half), HX_E_STOPPED);
    ck_says("stopped at step");
    ck_ok(train_in("c", c, two, &rest));
    check_same_run("a", "b", 12);
    check_same_run("a", "c", 12);
    ck_assert(rest.loss[1] == 0 && rest.loss[12] == a.loss[12]);
    // a finished run has nothing left to do
    ck_ok(train_in("c", c, two, &rest));
    hx_dev_close(&one);
    hx_dev_close(&two);
}
END_TEST

// Every Vulkan device learns what the host learns, twice with the same bits, also when interrupted.
START_TEST(vulkan)
{
    make_text();
    hx_run_conf *c = CONF("train.steps=4", "train.accumulate=2", "save.every=4", "eval.every=0",
                          "sample.every=0");
    hx_dev_info list[8];
    int n = 0;
    const char *note;
    ck_ok(hx_dev_list(list, HX_COUNT(list), &n, &note));
    hx_dev *host = open_dev("host", 2);
    seen expected = {0};
    ck_ok(train_in("host", c, host, &expected));
    for (int i = 1; i < n; i++) {
        if (*list[i].why_not)
            continue;
        hx_dev *d = open_dev(list[i].selector, 0);
        const char *a = hx_sprintf(arena, "a%d", i), *b = hx_sprintf(arena, "b%d", i);
        seen first = {0}, half = { .stop_at = 2 }, rest = {0};
        ck_ok(train_in(a, c, d, &first));
        for (int k = 1; k <= 4; k++)
            ck_assert_msg(fabs(first.loss[k] - expected.loss[k]) < 1e-4,
                          "step %d on %s: %.9g, host %.9g", k, list[i].caps.name, first.loss[k],
                          expected.loss[k]);
        ck_assert_int_eq(train_in(b, c, d, &half), HX_E_STOPPED);
        ck_ok(train_in(b, c, d, &rest));
        check_same_run(a, b, 4);
        hx_dev_close(&d);
    }
    hx_dev_close(&host);
}
END_TEST

static int count_lines(const char *file, const char *word)
{
    hx_blob x = {0};
    int n = 0;
    ck_ok(hx_file_read(at(file), 1 << 26, 0, &x));
    for (const char *p = (const char *)x.data; (p = strstr(p, word)); p++)
        n++;
    hx_blob_free(&x);
    return n;
}

// A killed run begins again at its last checkpoint, and says every step once.
START_TEST(metrics_after_a_crash)
{
    make_text();
    hx_run_conf *c = CONF("save.every=5");
    hx_dev *d = open_dev("host", 2);
    seen s = {0};
    ck_ok(train_in("run", c, d, &s));
    hx_dir_remove(at("run/ckpt/step-00000012"));
    hx_file_append(at("run/metrics.jsonl"), "{\"type\": \"tra", 13);
    ck_ok(train_in("run", c, d, &s));
    ck_assert_int_eq(count_lines("run/metrics.jsonl", "\"type\": \"train\""), 12);
    ck_assert_int_eq(count_lines("run/metrics.jsonl", "\"type\": \"eval\""), 3);
    ck_assert_int_eq(count_lines("run/metrics.jsonl", "\"type\": \"start\""), 2);
    ck_assert_int_eq(count_lines("run/metrics.jsonl", "null"), 0);
    hx_dev_close(&d);
}
END_TEST

// A stop in the middle of what follows a step: the row is made when the run goes on.
START_TEST(stopped_before_the_evaluation)
{
    make_text();
    hx_run_conf *c = CONF("train.steps=6");
    hx_dev *d = open_dev("host", 2);
    seen s = { .stop_at = 6 }, rest = {0};
    ck_assert_int_eq(train_in("run", c, d, &s), HX_E_STOPPED);
    ck_assert(hx_file_exists(at("run/ckpt/step-00000006")));
    ck_assert_int_eq(count_lines("run/metrics.jsonl", "\"type\": \"eval\""), 1);
    for (int i = 0; i < 2; i++) {
        ck_ok(train_in("run", c, d, &rest));
        ck_assert_int_eq(count_lines("run/metrics.jsonl", "\"type\": \"eval\""), 2);
        ck_assert_int_eq(count_lines("run/metrics.jsonl", "\"type\": \"sample\""), 1);
    }
    hx_dev_close(&d);
}
END_TEST

// A disk that is full once costs one checkpoint, not the run.
START_TEST(a_save_fails)
{
    make_text();
    hx_run_conf *c = CONF("eval.every=0", "sample.every=0");
    hx_dev *d = open_dev("host", 2);
    seen s = { .fail_at = 5 };
    ck_ok(train_in("run", c, d, &s));
#ifdef HX_FAULTS
    ck_assert_int_eq(s.warnings, 1);
    ck_assert(!hx_file_exists(at("run/ckpt/step-00000005")));
#endif
    ck_assert(hx_file_exists(at("run/ckpt/step-00000010")) &&
              hx_file_exists(at("run/ckpt/step-00000012")));
    hx_dev_close(&d);
}
END_TEST

#ifdef HX_FAULTS
// What a run with a slow disk said, in order.
typedef struct slow_run { seen s; int64_t trained, trained_at_save; int waits, saves; } slow_run;

static void look_at_saves(void *user, const hx_event *e)
{
    slow_run *r = user;
    look(&r->s, e);
    if (e->kind == HX_EVENT_STEP)
        r->trained = e->step;
    if (e->kind == HX_EVENT_STEP && e->step == 3)
        hx_fault_set("io:fsync:1:SLOW;io:fsync:2:SLOW;io:fsync:3:SLOW");
    r->waits += e->kind == HX_EVENT_NOTE && strstr(e->line, "  waits: the checkpoint of step ");
    if (e->kind != HX_EVENT_NOTE || !strstr(e->line, "  saved "))
        return;
    r->trained_at_save = r->saves++ ? r->trained_at_save : r->trained;
}

static slow_run train_slowly(const char *name, const hx_run_conf *c)
{
    slow_run r = {0};
    hx_dev *d = open_dev("host", 2);
    hx_trainer *t = NULL;
    hx_run *run = NULL;
    ck_ok(hx_trainer_new(c, d, &t));
    ck_ok(hx_run_create(at(name), c, &run));
    ck_ok(hx_trainer_run(t, &(hx_train_params){ .run = run, .event = look_at_saves, .user = &r }));
    hx_trainer_free(&t);
    hx_run_close(&run);
    hx_dev_close(&d);
    hx_fault_set(NULL);
    return r;
}

// A disk that takes a second holds up no step, unless the next checkpoint is due before it is done; and
// what it writes is what the parameters were when it began.
START_TEST(saved_beside_training)
{
    make_text();
    const char *calm[] = { "eval.every=0", "sample.every=0", "save.keep=9", "save.every=3", "train.steps=8" };
    hx_run_conf *c = conf_with(calm, HX_COUNT(calm));
    hx_dev *d = open_dev("host", 2);
    seen s = {0};
    ck_ok(train_in("calm", c, d, &s));
    hx_dev_close(&d);
    slow_run r = train_slowly("slow", c);
    ck_assert_int_eq(r.s.warnings, 0);
    ck_assert_int_eq(r.saves, 3);
    ck_assert_msg(r.trained_at_save > 3, "no step was trained while the first checkpoint was written");
    ck_assert_int_eq(r.waits, 1);
    for (int step = 3; step <= 6; step += 3)
        check_same_run("calm", "slow", step);
}
END_TEST
#endif

// Two micro-batches of two are one batch of four, up to rounding.
START_TEST(accumulation)
{
    make_text();
    hx_dev *d = open_dev("host", 2);
    seen whole = {0}, halves = {0};
    ck_ok(train_in("whole", CONF("train.steps=6"), d, &whole));
    ck_ok(train_in("halves", CONF("train.steps=6", "train.batch=2", "train.accumulate=2"), d,
                   &halves));
    for (int i = 1; i <= 6; i++)
        ck_assert_msg(fabs(whole.loss[i] - halves.loss[i]) < 2e-5 * i, "step %d: %.9g and %.9g", i,
                      whole.loss[i], halves.loss[i]);
    hx_dev_close(&d);
}
END_TEST

START_TEST(not_finite)
{
    make_text();
    hx_dev *d = open_dev("host", 2);
    seen s = {0};
    hx_run_conf *c =
        CONF("optim.lr=1", "schedule.warmup=0", "save.every=1", "eval.every=0", "sample.every=0");
    c->optim.lr = 1e38f;
    ck_assert_int_eq(train_in("run", c, d, &s), HX_E_NUMERIC);
    ck_says("is not finite at step 2");
    ck_says("first bad tensor: ");
    ck_says("step-00000001");
    ck_assert_int_eq(hx_result_exit(HX_E_NUMERIC), 5);
    hx_dev_close(&d);
}
END_TEST

static void random_ids(int32_t *ids, int64_t n)
{
    uint32_t s = 7;
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)((s = s * 1664525u + 1013904223u) >> 25);
}

// One submit a step, two steps under way at most, and the null device foretells the memory.
START_TEST(steps_and_memory)
{
    hx_run_conf *c = CONF("train.accumulate=3");
    hx_dev *host = open_dev("host", 2), *null = open_dev("null", 0);
    hx_rig rig = {0}, planned = {0};
    ck_ok(hx_rig_new(host, c, false, &rig));
    ck_ok(hx_rig_new(null, c, false, &planned));
    ck_assert_int_eq(hx_dev_get_stats(host).bytes_peak, hx_dev_get_stats(null).bytes_peak);

    int64_t n = 3 * 4 * 49;
    int32_t *ids = hx_new(arena, int32_t, n);
    hx_losses l;
    random_ids(ids, n);
    ck_ok(hx_engine_init(rig.engine, 1));
    int64_t before = hx_dev_get_stats(host).submits;
    ck_ok(hx_engine_step(rig.engine, 1, 1e-3, ids));
    ck_assert_int_eq(hx_dev_get_stats(host).submits - before, 1);
    ck_ok(hx_engine_step(rig.engine, 2, 1e-3, ids));
    ck_assert_int_eq(hx_engine_step(rig.engine, 3, 1e-3, ids), HX_E_INTERNAL);
    ck_assert_int_eq(hx_engine_eval(rig.engine, ids, NULL, &l), HX_E_INTERNAL);
    ck_ok(hx_engine_result(rig.engine, &l));
    ck_assert_int_eq(l.step, 1);
    double first = l.loss;
    ck_ok(hx_engine_result(rig.engine, &l));
    ck_assert_int_eq(l.step, 2);
    ck_assert_msg(l.loss < first, "%g after %g on the same batch", l.loss, first);
    ck_assert_int_eq(hx_engine_result(rig.engine, &l), HX_E_INTERNAL);
    hx_engine_facts f = hx_engine_get_facts(rig.engine);
    ck_assert_msg((double)f.bytes[HX_TEMP] <= 1.05 * (double)f.bound_bytes,
                  "activations %lld, bound %lld", (long long)f.bytes[HX_TEMP],
                  (long long)f.bound_bytes);
    hx_rig_done(&planned);
    hx_rig_done(&rig);
    hx_dev_close(&host);
    hx_dev_close(&null);
}
END_TEST

// Six steps on a device that claims to be a slow GPU: submits of each step, and the last loss.
static double cut_steps(double flops_guess, int64_t submits[6])
{
    hx_run_conf *c = CONF("train.accumulate=2");
    hx_dev *d = open_dev("host", 2);
    hx_rig rig = {0};
    d->caps.type = HX_DEV_DISCRETE;
    d->caps.flops_guess = flops_guess;
    ck_ok(hx_rig_new(d, c, false, &rig));
    int64_t n = 2 * 4 * 49, before = hx_dev_get_stats(d).submits;
    int32_t *ids = hx_new(arena, int32_t, n);
    hx_losses l;
    random_ids(ids, n);
    ck_ok(hx_engine_init(rig.engine, 1));
    for (int i = 0; i < 6; i++) {
        ck_ok(hx_engine_step(rig.engine, i + 1, 1e-3, ids));
        ck_ok(hx_engine_result(rig.engine, &l));
        submits[i] = hx_dev_get_stats(d).submits - before;
        before += submits[i];
    }
    hx_rig_done(&rig);
    hx_dev_close(&d);
    return l.loss;
}

// A long step is cut into pieces until it turns out to be short, and computes the same.
START_TEST(pieces)
{
    int64_t whole[6], cut[6];
    double a = cut_steps(1e15, whole), b = cut_steps(1e6, cut);
    ck_assert_msg(a == b, "%.9g in one piece, %.9g in several", a, b);
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(whole[i], 1);
        ck_assert_msg(i < 3 ? cut[i] > 3 : cut[i] == 1, "step %d took %lld submits", i + 1, (long long)cut[i]);
    }
}
END_TEST

START_TEST(schedule)
{
    hx_run_conf *c =
        CONF("train.steps=110", "schedule.warmup=10", "optim.lr=1e-3", "schedule.min_lr=1e-4");
    ck_assert_double_eq_tol(hx_learning_rate(c, 1), 1e-4, 1e-9);
    ck_assert_double_eq_tol(hx_learning_rate(c, 10), 1e-3, 1e-9);
    ck_assert_double_eq_tol(hx_learning_rate(c, 60), 5.5e-4, 1e-9);
    ck_assert_double_eq_tol(hx_learning_rate(c, 110), 1e-4, 1e-9);
    c->schedule.name = "constant";
    ck_assert_double_eq_tol(hx_learning_rate(c, 110), 1e-3, 1e-9);
}
END_TEST

START_TEST(sampling)
{
    const float logits[] = { 0, 2, 1, 2, -3 };
    double sum = 0, p[5], seen_p[5] = {0};
    hx_sampling s = { 0, 0, 1, 5 };
    ck_assert_int_eq(hx_sample_token(logits, 5, &s, 0), 1);
    s = (hx_sampling){ 1, 1, 1, 5 };
    ck_assert_int_eq(hx_sample_token(logits, 5, &s, 9), 1);
    s = (hx_sampling){ 1, 0, 0.3, 5 };
    ck_assert_int_eq(hx_sample_token(logits, 5, &s, 3), 1);
    s = (hx_sampling){ 0.5, 0, 1, 5 };
    for (int i = 0; i < 5; i++)
        sum += p[i] = exp(logits[i] / 0.5);
    enum { N = 20000 };
    for (int i = 0; i < N; i++)
        seen_p[hx_sample_token(logits, 5, &s, i)] += 1.0 / N;
    // four standard deviations
    for (int i = 0; i < 5; i++)
        ck_assert_double_eq_tol(seen_p[i], p[i] / sum, 4 * sqrt(p[i] / sum / N) + 1e-4);
    s = (hx_sampling){ 1, 2, 1, 5 };
    for (int i = 0; i < 200; i++)
        ck_assert_int_ne(hx_sample_token(logits, 5, &s, i) % 2, 0);
}
END_TEST

typedef struct text { int32_t ids[80]; int n; } text;
static bool keep(void *user, uint8_t byte)
{
    text *t = user;
    t->ids[t->n++] = byte;
    return true;
}

// What is generated greedily is what the whole-sequence graph finds most likely, at every length
// of context that was padded.
START_TEST(generation)
{
    hx_run_conf *c = CONF("sample.every=0");
    hx_dev *d = open_dev("host", 2);
    hx_rig rig = {0};
    hx_generator *g = NULL;
    hx_pass *p = NULL;
    ck_ok(hx_rig_new(d, c, false, &rig));
    ck_ok(hx_engine_init(rig.engine, 11));
    hx_memory *shared[HX_N_PLACES] = { [HX_PARAM] = hx_engine_memory(rig.engine, HX_PARAM) };
    ck_ok(hx_generator_new(d, &rig.net, shared, &g));
    text t = { { 'a', 'b', 'c' }, 3 };
    ck_ok(hx_generate(g, "abc", 3, 45, &(hx_sampling){ 0, 0, 1, 0 }, keep, &t));
    ck_assert_int_eq(t.n, 48);

    enum { V = 128 };
    float *logits = hx_new(arena, float, 48 * V);
    ck_ok(hx_pass_new(d, &rig.net, HX_FOR_PARITY, 1, 49, HX_PASS_FORWARD, &p));
    ck_ok(hx_pass_bind(p, shared));
    ck_ok(hx_pass_write(p, t.ids, 0));
    ck_ok(hx_pass_run(p));
    ck_ok(hx_pass_read(p, hx_pass_find(p, "logits"), logits));
    for (int i = 2; i < 47; i++) {
        float best = -INFINITY;
        for (int v = 0; v < V; v++)
            best = fmaxf(best, logits[i * V + v]);
        ck_assert_msg(logits[i * V + t.ids[i + 1]] >= best - 1e-5f,
                      "position %d: token %d has %g, the best %g", i, t.ids[i + 1],
                      logits[i * V + t.ids[i + 1]], best);
    }
    ck_assert_int_eq(hx_generate(g, "\xff", 1, 1, &(hx_sampling){ 0 }, keep, &t), HX_E_INPUT);
    ck_says("byte 255 at offset 0");
    hx_pass_free(&p);
    hx_generator_free(&g);
    hx_rig_done(&rig);
    hx_dev_close(&d);
}
END_TEST

// Every byte but the first counts once, however windows are batched.
START_TEST(evaluation)
{
    make_text();
    hx_run_conf *c = CONF("sample.every=0");
    hx_dev *d = open_dev("host", 2);
    hx_rig rig = {0};
    hx_text *x = NULL;
    hx_evaluation a, b;
    ck_ok(hx_rig_new(d, c, false, &rig));
    ck_ok(hx_engine_init(rig.engine, 11));
    ck_ok(hx_text_read(&(hx_strs){ 1, { at("text.txt") } }, 0, &x));
    hx_memory *params = hx_engine_memory(rig.engine, HX_PARAM);
    hx_span span = { 10, 48 * 7 + 5 };
    ck_ok(hx_evaluate(d, &rig.net, params, x, span, &(hx_protocol){ 48 }, 3, NULL, NULL, &a));
    ck_ok(hx_evaluate(d, &rig.net, params, x, span, &(hx_protocol){ 48 }, 1, NULL, NULL, &b));
    ck_assert_int_eq(a.tokens, 48 * 7 + 4);
    ck_assert_int_eq(a.windows, 8);
    ck_assert_int_eq(b.windows, 8);
    ck_assert_double_eq_tol(a.ce, b.ce, 1e-6);
    ck_assert(a.ce > 4 && a.ce < 6);
    // parts of the window together are the whole
    double sum = 0;
    for (int i = 0; i < 3; i++) {
        hx_protocol part = { 48, .from = 16 * i, .to = 16 * i + 16 };
        ck_ok(hx_evaluate(d, &rig.net, params, x, (hx_span){ 10, 48 * 7 + 1 }, &part, 2, NULL, NULL, &b));
        ck_assert_int_eq(b.tokens, 16 * 7);
        sum += b.ce / 3;
    }
    ck_ok(hx_evaluate(d, &rig.net, params, x, (hx_span){ 10, 48 * 7 + 1 }, &(hx_protocol){ 48 }, 2, NULL, NULL, &a));
    ck_assert_double_eq_tol(a.ce, sum, 1e-6);
    // windows every 20 tokens: one whole, the last 20 of the next, the last 7 of one that ends with the text
    double want = 0;
    const struct { int at, from; } window[] = { { 0, 0 }, { 20, 28 }, { 27, 41 } };
    for (int i = 0; i < 3; i++) {
        hx_protocol part = { 48, .from = window[i].from, .to = 48 };
        ck_ok(hx_evaluate(d, &rig.net, params, x, (hx_span){ 10 + window[i].at, 49 }, &part, 1, NULL, NULL, &b));
        want += b.ce * (double)b.tokens / 75;
    }
    ck_ok(hx_evaluate(d, &rig.net, params, x, (hx_span){ 10, 76 }, &(hx_protocol){ 48, .stride = 20 }, 2, NULL,
                      NULL, &a));
    ck_assert_int_eq(a.tokens, 75);
    ck_assert_int_eq(a.windows, 3);
    ck_assert_double_eq_tol(a.ce, want, 1e-6);
    ck_assert_int_eq(hx_evaluate(d, &rig.net, params, x, span, &(hx_protocol){ 48, .stride = 49 }, 1, NULL, NULL, &a),
                     HX_E_USAGE);
    ck_assert_int_eq(hx_evaluate(d, &rig.net, params, x, (hx_span){0, 1}, &(hx_protocol){ 48 }, 1, NULL, NULL, &a),
                     HX_E_INPUT);
    hx_text_free(&x);
    hx_rig_done(&rig);
    hx_dev_close(&d);
}
END_TEST

START_TEST(one_process_a_run)
{
    make_text();
    hx_run_conf *c = CONF("train.steps=1");
    hx_run *a = NULL, *b = NULL;
    ck_ok(hx_run_create(at("run/"), c, &a));
    ck_assert_int_eq(hx_run_open(at("run"), &b), HX_E_IO);
    ck_assert_ptr_null(b);
    ck_assert_int_eq(hx_run_create(at("run"), c, &b), HX_E_USAGE);
    ck_says("exists already");
    hx_run_close(&a);
    ck_ok(hx_run_open(at("run"), &b));
    hx_run_close(&b);
    // the resolved configuration reads back to the same
    hx_run_conf *again = NULL;
    hx_out x = {0}, y = {0};
    ck_ok(hx_run_conf_read(arena, at("run/config.yaml"), NULL, 0, &again));
    hx_run_conf_put(&x, c);
    hx_run_conf_put(&y, again);
    ck_assert_str_eq(x.data, y.data);
    hx_out_free(&x);
    hx_out_free(&y);
}
END_TEST

int main(void)
{
    const TTest *tests[] = {loss_falls,
                            same_bits,
                            vulkan,
                            metrics_after_a_crash,
                            stopped_before_the_evaluation,
                            a_save_fails,
#ifdef HX_FAULTS
                            saved_beside_training,
#endif
                            accumulation,
                            not_finite,
                            steps_and_memory,
                            pieces,
                            schedule,
                            sampling,
                            generation,
                            evaluation,
                            one_process_a_run};
    return run_suite("train", setup, teardown, tests, HX_COUNT(tests));
}
