// test_leak.c - no model knows what comes: the loss of one label has the same bits whatever the tokens behind the one
// that predicts it are, and the other rows of the batch; it hears of the token that predicts it. Also where
// models give no logits of a text: Memformer's decoder reads the segment that it predicts.
#include "../src/core/case.h"
#include "../src/train/pass.h"
#include "scratch.h"

enum { B = 2, T = 23, V = 40 };
static const struct { const char *model, *conf; int first; } cases[] = {   // first: token that is predicted from
    { "hierarchical", "\"num_tokens\": 40, \"dim\": [16, 12], \"depth\": 2, \"dim_head\": 8, \"heads\": 2, \"seq_len\": 32,"
      " \"hierarchies\": [1, 4], \"window_sizes\": [3, null], \"ignore_index\": -100" },
    { "hierarchical", "\"num_tokens\": 40, \"dim\": [12, 10, 16], \"depth\": 2, \"dim_head\": 8, \"heads\": 1, \"seq_len\": 48,"
      " \"hierarchies\": [1, 2, 8], \"hierarchical_stride\": [1, 2, 4], \"window_sizes\": [2, 0, 1],"
      " \"hierarchy_merge_all\": true, \"predict_use_all_hierarchy\": true, \"ignore_index\": -100" },
    { "hourglass", "\"num_tokens\": 40, \"dim\": 16, \"max_seq_len\": 32, \"depth\": [1, [1, 1, 1], 1], \"shorten_factor\": [2, 3],"
      " \"heads\": 2, \"dim_head\": 8, \"ignore_index\": -100" },
    { "hourglass", "\"num_tokens\": 40, \"dim\": 16, \"max_seq_len\": 32, \"depth\": [1, 1, 1], \"shorten_factor\": 5,"
      " \"updown_sample_type\": \"linear\", \"heads\": 2, \"dim_head\": 8, \"ignore_index\": -100" },
    { "block_recurrent", "\"num_tokens\": 40, \"dim\": 16, \"depth\": 3, \"dim_head\": 8, \"heads\": 2, \"max_seq_len\": 12,"
      " \"block_width\": 6, \"use_compressed_mem\": true, \"compressed_mem_factor\": 2, \"ignore_index\": -100" },
    { "block_recurrent", "\"num_tokens\": 40, \"dim\": 16, \"depth\": 2, \"dim_head\": 8, \"heads\": 2, \"max_seq_len\": 8,"
      " \"block_width\": 4, \"state_gate\": \"lstm\", \"state_cell\": \"dual\", \"live_states\": true, \"ignore_index\": -100" },
    { "transformer_xl", "\"n_token\": 40, \"n_layer\": 2, \"n_head\": 2, \"d_model\": 16, \"d_head\": 8, \"d_inner\": 24,"
      " \"tgt_len\": 6, \"mem_len\": 8, \"cutoffs\": [12, 30], \"div_val\": 2" },
    { "transformer_xl", "\"n_token\": 40, \"n_layer\": 2, \"n_head\": 2, \"d_model\": 16, \"d_head\": 8, \"d_inner\": 24,"
      " \"tgt_len\": 6, \"mem_len\": 5, \"same_length\": true, \"clamp_len\": 4, \"pre_lnorm\": true" },
    { "rmt_transformer_xl", "\"n_token\": 40, \"n_layer\": 2, \"n_head\": 2, \"d_model\": 16, \"d_head\": 8, \"d_inner\": 24,"
      " \"tgt_len\": 6, \"mem_len\": 7, \"num_mem_tokens\": 3, \"read_mem_from_cache\": true" },
    { "rmt_lucidrains", "\"num_tokens\": 40, \"dim\": 16, \"depth\": 2, \"dim_head\": 8, \"heads\": 2, \"seq_len\": 7,"
      " \"num_memory_tokens\": 2, \"carry_xl\": true, \"ignore_index\": -100" },
    { "rmt_lucidrains", "\"num_tokens\": 40, \"dim\": 16, \"depth\": 2, \"dim_head\": 8, \"heads\": 2, \"seq_len\": 7,"
      " \"num_memory_tokens\": 2, \"memory_not_causal\": false, \"rotary_pos_emb\": true, \"ignore_index\": -100" },
    { "rmt_lucidrains", "\"num_tokens\": 40, \"dim\": 16, \"depth\": 2, \"dim_head\": 8, \"heads\": 2, \"seq_len\": 7,"
      " \"num_memory_tokens\": 2, \"memory_not_causal\": false, \"use_flash_attn\": true, \"xl_mem_len\": 5,"
      " \"carry_xl\": true, \"ignore_index\": -100" },
    { "rmt_wrapper", "\"num_tokens\": 40, \"dim\": 16, \"depth\": 2, \"heads\": 2, \"num_mem_tokens\": 2, \"segment_size\": 7" },
    { "rmt", "\"num_mem_tokens\": 2, \"segment_size\": 7, \"backbone\": {\"arch\": \"hourglass\", \"num_tokens\": 40, \"dim\": 16,"
      " \"max_seq_len\": 11, \"depth\": [1, 1, 1], \"shorten_factor\": 3, \"heads\": 2, \"dim_head\": 8, \"ignore_index\": -100}" },
    { "rmt", "\"num_mem_tokens\": 2, \"segment_size\": 7, \"backbone\": {\"arch\": \"block_recurrent\", \"num_tokens\": 40,"
      " \"dim\": 16, \"depth\": 2, \"dim_head\": 8, \"heads\": 2, \"max_seq_len\": 12, \"block_width\": 4, \"ignore_index\": -100}" },
    { "infini", "\"num_tokens\": 40, \"dim\": 16, \"depth\": 2, \"dim_head\": 8, \"heads\": 2, \"segment_length\": 6,"
      " \"detach_every\": 9, \"use_mem_delta_rule\": true, \"ignore_index\": -100" },
    { "compressive", "\"num_tokens\": 40, \"dim\": 16, \"depth\": 2, \"heads\": 2, \"seq_len\": 6, \"mem_len\": 6, \"cmem_len\": 3,"
      " \"cmem_ratio\": 2, \"ignore_index\": -100" },
    // its first segment is only read
    { "memformer", "\"dim\": 16, \"num_memory_slots\": 3, \"mem_update_attn_heads\": 2, \"enc_num_tokens\": 40,"
      " \"enc_max_seq_len\": 6, \"enc_depth\": 2, \"enc_heads\": 2, \"dec_num_tokens\": 40, \"dec_max_seq_len\": 6,"
      " \"dec_depth\": 2, \"dec_heads\": 2", 6 },
};
// Encodes all of a text and names one class behind its end: there is nothing to come.
static const char *const not_causal[] = { "rmt_encoder" };
static const char *const devices[] = { "host", "name:llvmpipe" };

static hx_dev *dev;
static hx_net net;
static hx_pass *pass;
static int output;

static bool open_case(const char *model, const char *conf, const char *device)
{
    hx_case c;
    if (hx_dev_open(&(hx_dev_params){ .select = device, .threads = 1 }, &dev))
        return false;                      // this machine has no such device
    const char *text = hx_sprintf(arena, "{\"model\": \"%s\", %s}", model, conf);
    ck_ok(hx_case_parse(arena, "test", text, (int64_t)strlen(text), &c));
    ck_ok(hx_net_init(&net, c.model, c.conf));
    net.masked = true;
    float *p = hx_alloc(arena, (size_t)net.params->bytes);
    for (int i = 0; i < net.params->n; i++) {
        const hx_param *q = &net.params->list[i];
        if (q->table || q->same)
            continue;
        hx_param_init(q, 5, p + q->at / 4);
        // what begins as zeros, ones or all but closed would hide something
        if (strstr(q->name, "head_gates"))
            memset(p + q->at / 4, 0, (size_t)q->elems * sizeof *p);
        for (int64_t k = 0; k < q->elems; k++)
            p[q->at / 4 + k] += 0.05f * (float)((7 * k + 3 * i) % 11 - 5);
    }
    ck_ok(hx_pass_new(dev, &net, HX_FOR_LOSS, B, T + 1, HX_PASS_FORWARD, &pass));
    ck_ok(hx_pass_bind(pass, (hx_memory *[HX_N_PLACES]){ 0 }));
    ck_ok(hx_memory_write(pass->mem[HX_PARAM], 0, p, net.params->bytes));
    output = hx_pass_find(pass, "ce_loss");
    output = output >= 0 ? output : hx_pass_find(pass, "loss");
    return true;
}

static void close_case(void)
{
    hx_pass_free(&pass);
    hx_net_done(&net);
    hx_dev_close(&dev);
}

// The loss of row 0's label behind token p. Row 0's tokens from `from` to before `to` are others, and all of row 1's
// if it is `other`.
static float loss_behind(int p, int from, int to, bool other)
{
    int32_t ids[2 * B * (T + 1)], *labels = ids + B * (T + 1);
    for (int i = 0; i < B * (T + 1); i++) {
        int b = i / (T + 1), t = i % (T + 1), own = (t * 7 + t * t % 11 + 13 * b) % V;
        bool changed = b ? other : t >= from && t < to;
        ids[i] = changed ? (own + 1 + t % 17) % V : own;
        labels[i] = !b && t == p + 1 ? own : -100;
    }
    float v;
    ck_ok(hx_pass_write(pass, ids, 0));
    ck_ok(hx_pass_run(pass));
    ck_ok(hx_pass_read(pass, output, &v));
    return v;
}

START_TEST(nothing_of_what_comes)
{
    const char *model = cases[_i / 2].model;
    if (!open_case(model, cases[_i / 2].conf, devices[_i % 2]))
        return;
    for (int p = cases[_i / 2].first; p < T; p++) {
        float as_is = loss_behind(p, 0, 0, false);
        ck_assert_msg(as_is > 0, "%s: nothing is predicted behind token %d", model, p);
        ck_assert_msg(loss_behind(p, p + 1, T + 1, true) == as_is, "%s on %s: what is predicted behind token %d knows of "
                      "tokens that come, or of another row", model, devices[_i % 2], p);
        ck_assert_msg(loss_behind(p, p, p + 1, false) != as_is, "%s: token %d is not heard of", model, p);
        if (p > cases[_i / 2].first)
            ck_assert_msg(loss_behind(p, 0, p, false) != as_is, "%s: nothing before token %d is heard of", model, p);
    }
    close_case();
}
END_TEST

// A model that is not above would go untested.
START_TEST(every_model)
{
    for (int m = 0; m < hx_n_models; m++) {
        int there = 0;
        for (int i = 0; i < HX_COUNT(cases); i++) there += !strcmp(cases[i].model, hx_models[m]->name);
        for (int i = 0; i < HX_COUNT(not_causal); i++) there += !strcmp(not_causal[i], hx_models[m]->name);
        ck_assert_msg(there, "%s has no configuration here", hx_models[m]->name);
    }
}
END_TEST

// What the test must notice: a model that sees what comes.
START_TEST(notices)
{
    ck_assert(open_case("hourglass", "\"num_tokens\": 40, \"dim\": 16, \"max_seq_len\": 32, \"depth\": [1, 1, 1], \"shorten_factor\": 3,"
                        " \"heads\": 2, \"dim_head\": 8, \"causal\": false, \"ignore_index\": -100", "host"));
    for (int p = 0; p + 1 < T; p++)
        ck_assert(loss_behind(p, p + 1, T + 1, false) != loss_behind(p, 0, 0, false));
    close_case();
}
END_TEST

int main(void)
{
    Suite *s;
    TCase *c = only_case(&s, "leak", setup, teardown, 300);
    tcase_add_loop_test(c, nothing_of_what_comes, 0, 2 * HX_COUNT(cases));
    tcase_add_test(c, every_model);
    tcase_add_test(c, notices);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
