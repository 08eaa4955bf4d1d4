// test_around.c - a recurrent memory around other models: without slots a segment is the other model alone, what
// cannot be wrapped is refused, its configuration reads back.
#include "../src/core/case.h"
#include "../src/train/conf_run.h"
#include "../src/train/pass.h"
#include "runs.h"

enum { B = 2, T = 12, V = 40 };
static const char *const backbones[] = {
    "\"hourglass\", \"num_tokens\": 40, \"dim\": 32, \"max_seq_len\": 16, \"depth\": [1, 1, 1], \"shorten_factor\": 3,"
    " \"heads\": 2, \"dim_head\": 8",
    "\"hierarchical\", \"num_tokens\": 40, \"dim\": [32, 24], \"depth\": 2, \"dim_head\": 8, \"heads\": 2, \"seq_len\": 16,"
    " \"hierarchies\": [1, 2], \"window_sizes\": [4, null], \"recon_loss_weight\": 0, \"hierarchical_ar_loss_weight\": 0",
    "\"block_recurrent\", \"num_tokens\": 40, \"dim\": 32, \"depth\": 3, \"dim_head\": 8, \"heads\": 2, \"max_seq_len\": 15,"
    " \"block_width\": 5, \"live_states\": true, \"live_memories\": true",
    "\"infini\", \"num_tokens\": 40, \"dim\": 32, \"depth\": 2, \"dim_head\": 8, \"heads\": 2, \"segment_length\": 5,"
    " \"detach_every\": 4",
    "\"compressive\", \"num_tokens\": 40, \"dim\": 32, \"depth\": 2, \"heads\": 2, \"seq_len\": 12",
};

// The loss and all gradients, in the order of parameters, of this case over T tokens.
static float *result(const char *text, float *loss, int64_t *n)
{
    hx_case c;
    hx_net net;
    hx_dev *d;
    hx_pass *p = NULL;
    int32_t ids[B * (T + 1)];
    for (int i = 0; i < B * (T + 1); i++) ids[i] = (i * 7 + i * i % 11) % (V - 1) + 1;
    ck_ok(hx_case_parse(arena, "test", text, (int64_t)strlen(text), &c));
    ck_ok(hx_net_init(&net, c.model, c.conf));
    ck_ok(hx_dev_open(&(hx_dev_params){ .select = "host" }, &d));
    float *init = hx_alloc(arena, (size_t)net.params->bytes), *grads = hx_alloc(arena, (size_t)net.params->bytes);
    for (int i = 0; i < net.params->n; i++)
        if (!net.params->list[i].table && !net.params->list[i].same)
            hx_param_init(&net.params->list[i], 5, init + net.params->list[i].at / 4);
    ck_ok(hx_pass_new(d, &net, HX_FOR_LOSS, B, T + 1, HX_PASS_WRITE_GRADS, &p));
    ck_ok(hx_pass_bind(p, (hx_memory *[HX_N_PLACES]){ 0 }));
    ck_ok(hx_memory_write(p->mem[HX_PARAM], 0, init, net.params->bytes));
    ck_ok(hx_pass_write(p, ids, 0));
    ck_ok(hx_pass_run(p));
    ck_ok(hx_pass_read(p, hx_pass_find(p, "loss"), loss));
    ck_ok(hx_memory_read(p->mem[HX_GRAD], 0, grads, net.params->bytes));
    *n = net.params->trained / 4;
    hx_pass_free(&p);
    hx_dev_close(&d);
    hx_net_done(&net);
    return grads;
}

static const char *around(const char *backbone, int slots, int segment)
{
    return hx_sprintf(arena, "{\"model\": \"rmt\", \"num_mem_tokens\": %d, \"segment_size\": %d, \"backbone\": {\"arch\": %s}}",
                      slots, segment, backbone);
}

// Two segments, or slots that are read and written, are something else.
START_TEST(alone)
{
    for (int i = 0; i < HX_COUNT(backbones); i++) {
        float own, one, two, slots;
        int64_t n[4];
        float *want = result(hx_sprintf(arena, "{\"model\": %s}", backbones[i]), &own, &n[0]);
        float *got = result(around(backbones[i], 0, T), &one, &n[1]);
        result(around(backbones[i], 0, T / 2), &two, &n[2]);
        if (i != 4)
            result(around(backbones[i], 1, T), &slots, &n[3]);
        else
            slots = two, n[3] = n[0] + 1;
        ck_assert_msg(fabsf(own - one) < 1e-6f && n[0] == n[1], "%s: losses %.8g, %.8g", backbones[i], own, one);
        ck_assert(fabsf(own - two) > 1e-5f && fabsf(own - slots) > 1e-5f && n[2] == n[0] && n[3] > n[0]);
        double e = 0, all = 0;
        for (int64_t k = 0; k < n[0]; k++) {
            e += pow(want[k] - got[k], 2);
            all += pow(want[k], 2);
        }
        ck_assert_msg(sqrt(e / all) < 1e-5, "%s: gradients differ by %.1e", backbones[i], sqrt(e / all));
    }
}
END_TEST

START_TEST(cannot_be)
{
    static const struct { const char *backbone, *what; } bad[] = {
        { "\"rmt_wrapper\"", "a memory cannot be put around rmt_wrapper: it has a recurrent memory; it can around" },
        { "\"rmt\", \"backbone\": {\"arch\": \"rmt\"}", "cannot be put around rmt: it has a recurrent memory" },
        { "\"transformer_xl\"", "cannot be put around transformer_xl: this is rmt_transformer_xl" },
        { "\"memformer\"", "cannot be put around memformer" },
        { "\"hourglas\"", "no model is called 'hourglas'; did you mean 'hourglass'?" },
        { "\"hourglass\", \"dimm\": 4", "unknown key 'dimm'; did you mean 'dim'?" },
        { "\"hourglass\", \"num_tokens\": 9, \"dim\": 8, \"max_seq_len\": 9, \"depth\": 1",
          "model.backbone.max_seq_len: 9, and 10 rows are a segment with its slots" },
        { "\"hourglass\", \"num_tokens\": 9, \"dim\": 8, \"max_seq_len\": 10, \"depth\": 1, \"causal\": false",
          "model.backbone.causal: false lets tokens see later ones" },
        { "\"hierarchical\", \"num_tokens\": 9, \"dim\": [8, 6], \"depth\": 1, \"hierarchies\": [1, 2]",
          "hierarchical_ar_loss_weight must be 0" },
        { "\"hierarchical\", \"num_tokens\": 9, \"dim\": [6, 8], \"depth\": 1, \"hierarchies\": [1, 2]",
          "must be as wide as the widest, 8" },
        { "\"hierarchical\", \"num_tokens\": 9, \"dim\": 8, \"depth\": 1, \"seq_len\": 9", "seq_len: 9, and 10 rows" },
        { "\"block_recurrent\", \"num_tokens\": 9, \"dim\": 8, \"depth\": 2, \"max_seq_len\": 8, \"block_width\": 4",
          "max_seq_len: gradients end after 8 rows" },
        { "\"infini\", \"num_tokens\": 9, \"dim\": 8, \"depth\": 2, \"segment_length\": 3", "gradients of its own memory end after 6 rows" },
        { "\"compressive\", \"num_tokens\": 9, \"dim\": 8, \"depth\": 2, \"seq_len\": 9", "seq_len: 9, and 10 rows" },
    };
    hx_case c;
    for (int i = 0; i < HX_COUNT(bad); i++) {
        const char *text = around(bad[i].backbone, 2, 6);
        ck_assert_int_eq(hx_case_parse(arena, "test", text, (int64_t)strlen(text), &c), HX_E_INPUT);
        ck_says(bad[i].what);
    }
    static const char *const none[] = { "", ", \"backbone\": {}", ", \"backbone\": {\"dim\": 4}" };
    for (int i = 0; i < HX_COUNT(none); i++) {
        const char *text = hx_sprintf(arena, "{\"model\": \"rmt\", \"num_mem_tokens\": 2, \"segment_size\": 4%s}", none[i]);
        ck_assert_int_eq(hx_case_parse(arena, "test", text, (int64_t)strlen(text), &c), HX_E_INPUT);
        ck_says("model.backbone: {arch: NAME, ...} is needed; NAME is one of block_recurrent, compressive, hierarchical");
    }
    const char *text = "{\"model\": \"rmt\", \"num_mem_tokens\": 2, \"segment_size\": 4, \"backbone\": 7}";
    ck_assert_int_eq(hx_case_parse(arena, "test", text, (int64_t)strlen(text), &c), HX_E_INPUT);
    ck_says("backbone: a map of keys and values is needed");
}
END_TEST

// A run's copy of its configuration and a checkpoint's say the same again; --set reaches into the map.
START_TEST(reads_back)
{
    static const char conf[] =
        "model:\n  arch: rmt\n  num_mem_tokens: 2\n  segment_size: 6\n  backbone:\n    arch: hourglass\n"
        "    num_tokens: 40\n    dim: 16\n    max_seq_len: 10\n    depth: [1, [1, 1, 1], 1]\n    shorten_factor: [2, null]\n"
        "    updown_sample_type: \"linear\"\n    causal: true\ndata: {train: [text.txt], split: [0.8, 0.1, 0.1]}\n";
    hx_run_conf *c, *again;
    put("text.txt", "abc", 3);
    ck_assert_int_eq(hx_run_conf_parse(arena, "t.yaml", conf, scratch, NULL, 0, &c), HX_E_INPUT);
    ck_says("model.shorten_factor: value 2 cannot be null");
    const char *const set[] = { "model.backbone.shorten_factor=[2, 3]", "model.backbone.dim=24" };
    ck_ok(hx_run_conf_parse(arena, "t.yaml", conf, scratch, set, 2, &c));
    hx_out b = { 0 }, json = { 0 }, json2 = { 0 };
    hx_run_conf_put(&b, c);
    ck_assert_msg(strstr(b.data, "backbone: {\"arch\": \"hourglass\", \"num_tokens\": 40, \"dim\": 24, \"max_seq_len\": 10, "
                         "\"depth\": [1, [1, 1, 1], 1], \"shorten_factor\": [2, 3], \"updown_sample_type\": \"linear\", "
                         "\"causal\": true}\n"), "%s", b.data);
    ck_ok(hx_run_conf_parse(arena, "again.yaml", b.data, scratch, NULL, 0, &again));
    hx_case_put(&json, c->model, c->model_conf);
    hx_case_put(&json2, again->model, again->model_conf);
    ck_assert_str_eq(json.data, json2.data);
    hx_case k;
    ck_ok(hx_case_parse(arena, "config.json", json.data, json.size, &k));
    ck_assert(k.model == c->model && k.model->size(k.conf, "num_tokens") == 40 && k.model->size(k.conf, "segment") == 6);
    hx_out_free(&b);
    hx_out_free(&json);
    hx_out_free(&json2);
}
END_TEST

// Slots put around a model that has learnt: its weights are read, the slots are drawn; only where that is asked for.
START_TEST(begins_with_a_model)
{
    static const char glass[] = "arch: hourglass, num_tokens: 128, dim: 16, max_seq_len: 24, depth: [1, 1, 1], shorten_factor: 2, "
                                "heads: 2, dim_head: 8";
    const char *const run = "run: {seed: 3}\nmodel: {%s}\ndata: {train: [text.txt], split: [0.8, 0.1, 0.1]}\n"
        "train: {steps: 3, batch: 4, seq_len: 16%s}\noptim: {lr: 1e-2}\neval: {every: 0}\nsample: {every: 0}\nsave: {every: 0}\n"
        "log: {every: 1}\n";
    static const char *const how[] = { "", ", init: learnt", ", init: learnt", ", init: learnt, init_new: true", ", init: learnt" };
    seen s[HX_COUNT(how)] = { 0 };
    make_text();
    hx_dev *d = open_dev("host", 1);
    for (int i = 0; i < HX_COUNT(how); i++) {
        hx_run_conf *c = NULL;
        const char *model = i < 2 ? glass : hx_sprintf(arena, "arch: rmt, num_mem_tokens: %d, segment_size: 16, backbone: {%s}",
                                                       i == 2 ? 0 : 2, glass);
        ck_ok(hx_run_conf_parse(arena, "t.yaml", hx_sprintf(arena, run, model, how[i]), scratch, NULL, 0, &c));
        if (c->train.init[0])
            c->train.init = at("learnt");
        const char *to = i ? hx_sprintf(arena, "run%d", i) : "learnt";
        hx_result r = train_in(to, c, d, &s[i]);
        ck_assert_msg(r == (i == 4 ? HX_E_INPUT : HX_OK), "%d: %s", i, hx_last_message());
    }
    ck_says("does not fit the model: 1 missing (mem_tokens)");
    ck_assert_msg(fabs(s[1].loss[1] - s[2].loss[1]) < 1e-5, "%.9g, without slots %.9g", s[1].loss[1], s[2].loss[1]);
    // slots that it has not learnt to read disturb it less than forgetting all
    ck_assert_msg(s[3].loss[1] < s[0].loss[1] && s[3].loss[1] != s[1].loss[1], "%.9g, %.9g at first", s[3].loss[1], s[0].loss[1]);
    hx_dev_close(&d);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { alone, cannot_be, reads_back, begins_with_a_model };
    return run_suite("around", setup, teardown, tests, HX_COUNT(tests));
}
