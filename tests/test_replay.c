// test_replay.c - segments made again in the backward pass: the gradient of those that were kept, in
// memory that hardly grows with their number.
#include "../src/core/case.h"
#include "../src/train/pass.h"
#include "runs.h"

enum { L = 8, B = 2 };
static const char *const models[] = {
    "{\"model\": \"rmt_wrapper\", \"num_tokens\": 40, \"dim\": 32, \"depth\": 3, \"heads\": 2,"
    " \"num_mem_tokens\": 2, \"segment_size\": 8}",
    "{\"model\": \"rmt_lucidrains\", \"num_tokens\": 40, \"dim\": 32, \"depth\": 3, \"dim_head\": 8,"
    " \"heads\": 2, \"seq_len\": 8, \"num_memory_tokens\": 2, \"rotary_pos_emb\": true,"
    " \"add_write_to_next_write_mem\": true, \"next_write_mem_stop_grad\": false}",
    "{\"model\": \"rmt_lucidrains\", \"num_tokens\": 40, \"dim\": 32, \"depth\": 2, \"dim_head\": 8,"
    " \"heads\": 2, \"seq_len\": 8, \"num_memory_tokens\": 2, \"xl_mem_len\": 4,"
    " \"num_residual_streams\": 1, \"carry_xl\": true}",
    "{\"model\": \"rmt_transformer_xl\", \"n_token\": 40, \"d_model\": 32, \"n_layer\": 3, \"d_head\": 8,"
    " \"n_head\": 2, \"d_inner\": 40, \"tgt_len\": 8, \"num_mem_tokens\": 2}",
    "{\"model\": \"rmt_transformer_xl\", \"n_token\": 40, \"d_model\": 32, \"n_layer\": 2, \"d_head\": 8,"
    " \"n_head\": 2, \"d_inner\": 40, \"tgt_len\": 8, \"mem_len\": 5, \"num_mem_tokens\": 2}",
    "{\"model\": \"infini\", \"num_tokens\": 40, \"dim\": 32, \"depth\": 3, \"dim_head\": 8, \"heads\": 2,"
    " \"segment_length\": 8, \"detach_every\": 100, \"use_mem_delta_rule\": true}",
    "{\"model\": \"rmt_encoder\", \"vocab_size\": 40, \"hidden_size\": 32, \"num_hidden_layers\": 3,"
    " \"num_attention_heads\": 2, \"intermediate_size\": 40, \"max_position_embeddings\": 16,"
    " \"num_labels\": 40, \"num_mem_tokens\": 2, \"input_size\": 13}",
    "{\"model\": \"rmt\", \"num_mem_tokens\": 2, \"segment_size\": 8, \"backbone\": {\"arch\": \"hourglass\", \"num_tokens\": 40, \"dim\": 32, \"max_seq_len\": 12,"
    " \"depth\": [1, 1, 1], \"shorten_factor\": 2, \"heads\": 2, \"dim_head\": 8, \"ignore_index\": -100}}",
    "{\"model\": \"rmt\", \"num_mem_tokens\": 2, \"segment_size\": 8, \"backbone\": {\"arch\": \"block_recurrent\", \"num_tokens\": 40, \"dim\": 32, \"depth\": 3,"
    " \"dim_head\": 8, \"heads\": 2, \"max_seq_len\": 12, \"block_width\": 6, \"ignore_index\": -100}}",
    "{\"model\": \"rmt\", \"num_mem_tokens\": 2, \"segment_size\": 8, \"backbone\": {\"arch\": \"infini\", \"num_tokens\": 40, \"dim\": 32, \"depth\": 3,"
    " \"dim_head\": 8, \"heads\": 2, \"segment_length\": 5, \"detach_every\": 3, \"ignore_index\": -100}}",
    "{\"model\": \"rmt\", \"num_mem_tokens\": 2, \"segment_size\": 8, \"backbone\": {\"arch\": \"compressive\", \"num_tokens\": 40, \"dim\": 32, \"depth\": 2,"
    " \"heads\": 2, \"seq_len\": 12, \"ignore_index\": -100}}",
    "{\"model\": \"rmt\", \"num_mem_tokens\": 2, \"segment_size\": 8, \"backbone\": {\"arch\": \"hierarchical\", \"num_tokens\": 40, \"dim\": [32, 24], \"depth\": 2,"
    " \"dim_head\": 8, \"heads\": 2, \"seq_len\": 12, \"hierarchies\": [1, 2], \"window_sizes\": [4, null],"
    " \"recon_loss_weight\": 0, \"hierarchical_ar_loss_weight\": 0, \"ignore_index\": -100}}",
};
static const char *const devices[] = { "host", "name:llvmpipe" };

typedef struct world { hx_dev *dev; hx_case c; hx_net net; float *params; } world;

static bool open_world_as(world *w, const char *device, hx_precision precision, const char *text)
{
    *w = (world){ 0 };
    if (hx_dev_open(&(hx_dev_params){ .select = device, .threads = 2, .precision = precision }, &w->dev))
        return false;
    ck_ok(hx_case_parse(arena, "test", text, (int64_t)strlen(text), &w->c));
    ck_ok(hx_net_init(&w->net, w->c.model, w->c.conf));
    w->params = calloc(1, (size_t)w->net.params->bytes);
    for (int i = 0; i < w->net.params->n; i++) {
        const hx_param *q = &w->net.params->list[i];
        if (!q->table && !q->same)
            hx_param_init(q, 5, w->params + q->at / 4);
        for (int64_t k = 0; !q->table && !q->same && k < q->elems; k++)
            w->params[q->at / 4 + k] += 0.05f * (float)sin((double)(17 * k + 3 * i));
    }
    return true;
}

static bool open_world(world *w, const char *device, const char *text)
{
    return open_world_as(w, device, HX_FP32, text);
}

static void close_world(world *w)
{
    free(w->params);
    hx_net_done(&w->net);
    hx_dev_close(&w->dev);
}

static hx_pass *new_pass(world *w, bool replays, int64_t segments)
{
    hx_pass *p = NULL;
    w->net.replays = replays;
    ck_ok(hx_pass_new(w->dev, &w->net, HX_FOR_LOSS, B, segments * L + 1, HX_PASS_WRITE_GRADS, &p));
    return p;
}

static float *gradient(world *w, bool replays, int64_t segments, float *loss)
{
    int32_t ids[B * (8 * L + 1)];
    for (int i = 0; i < B * (segments * L + 1); i++)
        ids[i] = (i * 7 + i * i % 11) % 40;
    hx_pass *p = new_pass(w, replays, segments);
    ck_ok(hx_pass_bind(p, (hx_memory *[HX_N_PLACES]){ 0 }));
    ck_ok(hx_memory_write(p->mem[HX_PARAM], 0, w->params, w->net.params->bytes));
    ck_ok(hx_pass_write(p, ids, 0));
    ck_ok(hx_pass_run(p));
    ck_ok(hx_pass_read(p, hx_pass_find(p, "loss"), loss));
    float *g = hx_alloc(arena, (size_t)w->net.params->bytes);
    ck_ok(hx_memory_read(p->mem[HX_GRAD], 0, g, w->net.params->bytes));
    hx_pass_free(&p);
    return g;
}

// The gradients of all parameters agree, to a share `near` of their size. Whether they have the same bits.
static bool agree(world *w, const char *model, const char *device, double near)
{
    float a, b, *kept = gradient(w, false, 5, &a), *again = gradient(w, true, 5, &b);
    ck_assert_msg(a == b, "%s: losses %.9g, %.9g", model, a, b);
    for (int k = 0; k < w->net.params->n; k++) {
        const hx_param *q = &w->net.params->list[k];
        double e = 0, size = 0;
        for (int64_t j = 0; j < q->elems && !q->table; j++) {
            float x = kept[q->at / 4 + j], y = again[q->at / 4 + j];
            e += (x - y) * (x - y);
            size += x * x;
        }
        bool zero = size < 1e-14;
        ck_assert_msg(zero ? sqrt(e) < 1e-7 : sqrt(e / size) < near, "%s on %s: the gradient of %s differs by %.1e of %.1e",
                      model, device, q->name, sqrt(e), sqrt(size));
    }
    return !memcmp(kept, again, (size_t)w->net.params->bytes);
}

// Sums of several shares may be taken in another order: 1e-6 of a gradient's size, most are equal.
START_TEST(the_same_gradient)
{
    int same = 0, all = 0;
    for (int i = 0; i < HX_COUNT(models) * HX_COUNT(devices); i++) {
        world w;
        if (!open_world(&w, devices[i % HX_COUNT(devices)], models[i / HX_COUNT(devices)]))
            continue;
        same += agree(&w, models[i / HX_COUNT(devices)], devices[i % HX_COUNT(devices)], 1e-6);
        all++;
        close_world(&w);
    }
    printf("  equal bits in %d of %d\n", same, all);
}
END_TEST

// In bf16 what is made again has been rounded as what was kept. Only devices that have matrix units.
START_TEST(the_same_gradient_in_bf16)
{
    hx_dev_info list[8];
    int n, same = 0, all = 0;
    const char *note;
    world w;
    ck_ok(hx_dev_list(list, HX_COUNT(list), &n, &note));
    for (int i = 0; i < n * HX_COUNT(models); i++) {
        const char *device = list[i % n].selector, *model = models[i / n];
        if (*list[i % n].why_not || !open_world_as(&w, device, HX_BF16, model))
            continue;
        same += agree(&w, model, device, 1e-6);
        all++;
        close_world(&w);
    }
    printf("  bf16: equal bits in %d of %d\n", same, all);
}
END_TEST

// Training along streams with dropout: what is made again drops the same elements, and memories go on from step
// to step, so that the weights after eight steps are those of a training that keeps everything.
static const char *const streams[] = {
    "rmt_transformer_xl, n_token: 128, n_layer: 2, n_head: 2, d_model: 16, d_head: 8, d_inner: 24, tgt_len: 8, mem_len: 8,"
    " num_mem_tokens: 2, dropout: %s",
    "rmt_transformer_xl, n_token: 128, n_layer: 2, n_head: 2, d_model: 16, d_head: 8, d_inner: 24, tgt_len: 8,"
    " num_mem_tokens: 3, pre_lnorm: true, dropout: %s",
    "rmt, num_mem_tokens: 2, segment_size: 8, backbone: {arch: compressive, num_tokens: 128, dim: 16, depth: 2, heads: 2,"
    " seq_len: 12, ff_dropout: %s, attn_layer_dropout: 0.1}",
    "rmt_lucidrains, num_tokens: 128, dim: 16, depth: 2, dim_head: 8, heads: 2, seq_len: 8, num_memory_tokens: 2, carry_xl: true",
    "infini, num_tokens: 128, dim: 16, depth: 2, dim_head: 8, heads: 2, segment_length: 8, detach_every: 9",
};

static void stream(const char *name, int which, const char *p, bool replays, hx_dev *d, seen *s)
{
    hx_run_conf *c = NULL;
    const char *text = hx_sprintf(arena, "run: {seed: 3}\nmodel: {arch: %s}\ndata: {train: [text.txt], split: [0.8, 0.1, 0.1], "
        "order: stream}\ntrain: {steps: 8, batch: 4, seq_len: 32, accumulate: 2, replay: %s}\noptim: {lr: 1e-2}\n"
        "eval: {every: 0}\nsample: {every: 0}\nsave: {every: 0}\nlog: {every: 1}\n", streams[which], replays ? "true" : "false");
    // the share that is dropped
    char *at_p = strstr(text, "%s");
    const char *all = at_p ? hx_sprintf(arena, "%.*s%s%s", (int)(at_p - text), text, p, at_p + 2) : text;
    ck_ok(hx_run_conf_parse(arena, "test.yaml", all, scratch, NULL, 0, &c));
    *s = (seen){ 0 };
    ck_ok(train_in(name, c, d, s));
}

START_TEST(along_streams_with_dropout)
{
    make_text();
    hx_dev *d = NULL;
    int which = _i / HX_COUNT(devices);
    if (hx_dev_open(&(hx_dev_params){ .select = devices[_i % HX_COUNT(devices)], .threads = 2 }, &d))
        return;
    seen kept, again, none;
    stream("kept", which, "0.2", false, d, &kept);
    stream("again", which, "0.2", true, d, &again);
    check_same_run("kept", "again", 8);
    ck_assert(kept.loss[8] == again.loss[8] && kept.loss[8] != kept.loss[1]);
    if (strstr(streams[which], "%s")) {
        stream("none", which, "0", true, d, &none);
        ck_assert_msg(none.loss[1] != again.loss[1], "nothing was dropped");
    }
    hx_dev_close(&d);
}
END_TEST

// From 4 to 16 segments: the memories, and what else is of a few numbers a segment.
START_TEST(memory_of_one_segment)
{
    for (int i = 0; i < HX_COUNT(models); i++) {
        world w;
        ck_assert(open_world(&w, "host", models[i]));
        int64_t bytes[2][2];
        for (int e = 0; e < 4; e++) {
            hx_pass *p = new_pass(&w, e % 2, e / 2 ? 16 : 4);
            bytes[e % 2][e / 2] = p->plan->temp_bytes;
            hx_pass_free(&p);
        }
        int64_t kept = bytes[0][1] - bytes[0][0], again = bytes[1][1] - bytes[1][0];
        printf("  model %d: kept %lld -> %lld, replayed %lld -> %lld bytes\n", i, (long long)bytes[0][0],
               (long long)bytes[0][1], (long long)bytes[1][0], (long long)bytes[1][1]);
        ck_assert_msg(bytes[1][1] < bytes[0][1] / 3 && again < kept / 5, "%s: 12 more segments take %lld bytes, "
                      "replayed %lld", models[i], (long long)kept, (long long)again);
        close_world(&w);
    }
}
END_TEST

int main(void)
{
    Suite *s;
    TCase *c = only_case(&s, "replay", setup, teardown, 120);
    tcase_add_test(c, the_same_gradient);
    tcase_add_test(c, the_same_gradient_in_bf16);
    tcase_add_test(c, memory_of_one_segment);
    tcase_add_loop_test(c, along_streams_with_dropout, 0, HX_COUNT(devices) * HX_COUNT(streams));
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
