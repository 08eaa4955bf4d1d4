// test_cuts.c - a training that is stopped and gone on with at random steps ends with the bits of one that was left
// alone, for every model that exists. A few cuts on the host; HTXVK_CUTS=50 and HTXVK_CUTS_DEVICE make more of them
// elsewhere (tools/test --full).
#include "runs.h"

enum { STEPS = 60 };
typedef struct kind { const char *model, *conf; int seq_len; const char *order; } kind;
#define KIND(m, length, how, ...) { #m, #__VA_ARGS__, length, how }
static const kind kinds[] = {
    KIND(hierarchical, 32, "random", num_tokens: 128, dim: [16, 24], depth: 1, dim_head: 8, heads: 2,
         seq_len: 32, hierarchies: [1, 4], window_sizes: [8, null]),
    KIND(hourglass, 32, "sequential", num_tokens: 128, dim: 16, max_seq_len: 32, depth: [1, 1, 1],
         shorten_factor: 2, heads: 2, dim_head: 8, attn_dropout: 0.1, ff_dropout: 0.1),
    KIND(block_recurrent, 32, "stream", num_tokens: 128, dim: 16, depth: 2, dim_head: 8, heads: 2,
         max_seq_len: 16, block_width: 8, state_dropout: 0.2, xl_memories_dropout: 0.2),
    KIND(transformer_xl, 32, "stream", n_token: 128, n_layer: 2, n_head: 2, d_model: 16, d_head: 8, d_inner: 24,
         tgt_len: 16, mem_len: 16, dropout: 0.1, dropatt: 0.1),
    KIND(rmt_transformer_xl, 32, "stream", n_token: 128, n_layer: 2, n_head: 2, d_model: 16, d_head: 8,
         d_inner: 24, tgt_len: 16, mem_len: 16, num_mem_tokens: 2, dropout: 0.1, dropatt: 0.1),
    KIND(compressive, 32, "stream", num_tokens: 128, dim: 16, depth: 2, seq_len: 16, mem_len: 16, cmem_len: 4,
         cmem_ratio: 4, heads: 2, ff_dropout: 0.1, attn_dropout: 0.1, reconstruction_attn_dropout: 0.1),
    KIND(infini, 32, "stream", num_tokens: 128, dim: 16, depth: 2, dim_head: 8, heads: 2, segment_length: 16,
         attn_dropout: 0.1, ff_dropout: 0.1),
    KIND(rmt_lucidrains, 32, "stream", num_tokens: 128, dim: 16, depth: 2, dim_head: 8, heads: 2, seq_len: 16,
         num_memory_tokens: 2, carry_xl: true, attn_dropout: 0.1, ff_dropout: 0.1),
    KIND(rmt_wrapper, 32, "stream", num_tokens: 128, dim: 16, depth: 2, heads: 2, num_mem_tokens: 2,
         segment_size: 16, embd_pdrop: 0.1, resid_pdrop: 0.1, attn_pdrop: 0.1),
    KIND(rmt, 32, "stream", num_mem_tokens: 2, segment_size: 16, backbone: {arch: hourglass, num_tokens: 128, dim: 16,
         max_seq_len: 20, depth: [1, 1, 1], shorten_factor: 2, heads: 2, dim_head: 8}),
    KIND(rmt_encoder, 32, "random", vocab_size: 128, hidden_size: 16, num_hidden_layers: 2,
         num_attention_heads: 2, intermediate_size: 24, max_position_embeddings: 24, num_labels: 128,
         num_mem_tokens: 2, input_size: 21, hidden_dropout_prob: 0.1, attention_probs_dropout_prob: 0.1),
    KIND(memformer, 32, "random", dim: 16, num_memory_slots: 2, mem_update_attn_heads: 2, enc_num_tokens: 128,
         enc_max_seq_len: 16, enc_depth: 1, enc_heads: 2, dec_num_tokens: 128, dec_max_seq_len: 16, dec_depth: 1,
         dec_heads: 2),
};

static hx_run_conf *conf_of(const kind *k)
{
    hx_run_conf *c = NULL;
    const char *text = hx_sprintf(arena,
        "run: {seed: 7}\nmodel: {arch: %s, %s}\ndata: {train: [text.txt], split: [0.8, 0.1, 0.1], order: %s}\n"
        "train: {steps: %d, batch: 2, seq_len: %d, accumulate: 2, ema: 0.9, skip_zscore: 2, label_smoothing: 0.1}\n"
        "optim: {lr: 3e-3, decay: matrices}\nschedule: {name: wsd, warmup: 5}\neval: {every: 25, batches: 1}\n"
        "sample: {every: 0}\nsave: {every: 0, keep: 1, best: false}\nlog: {every: 20}\n",
        k->model, k->conf, k->order, STEPS, k->seq_len);
    ck_ok(hx_run_conf_parse(arena, k->model, text, scratch, NULL, 0, &c));
    return c;
}

static void same(const char *name)
{
    const char *a = hx_sprintf(arena, "whole/ckpt/step-%08d/%s.safetensors", STEPS, name);
    const char *b = hx_sprintf(arena, "cut/ckpt/step-%08d/%s.safetensors", STEPS, name);
    ck_assert_int_eq(hx_file_exists(at(a)), hx_file_exists(at(b)));
    if (hx_file_exists(at(a)))
        ck_assert_msg(same_file(a, b), "%s differ", name);
}

// Which of the steps 1 .. STEPS - 1 a run is stopped at: `n` of them, from Knuth's selection.
static int choose(int n, unsigned seed, bool *cut)
{
    int left = n;
    for (int s = 1; s < STEPS; s++) {
        seed = seed * 1664525u + 1013904223u;
        cut[s] = (double)seed / 4294967296.0 * (STEPS - s) < left;
        left -= cut[s];
    }
    return n - left;
}

START_TEST(cuts)
{
    const char *select = getenv("HTXVK_CUTS_DEVICE"), *count = getenv("HTXVK_CUTS");
    const kind *k = &kinds[_i];
    hx_dev *d = open_dev(select ? select : "host", 2);
    hx_run_conf *c = conf_of(k);
    bool cut[STEPS + 1] = {0};
    seen s = {0};
    make_text();
    ck_ok(train_in("whole", c, d, &s));
    int wanted = (int)hx_min(count ? atoi(count) : 4, STEPS - 1), n = choose(wanted, 17 + (unsigned)_i, cut);
    ck_assert_int_eq(n, wanted);
    int stops = 0;
    for (int step = 1; step < STEPS; step++) {
        if (!cut[step])
            continue;
        s = (seen){ .stop_at = step };
        hx_result r = train_in("cut", c, d, &s);
        ck_assert_msg(r == HX_E_STOPPED, "%s, step %d: %s", k->model, step, hx_last_message());
        stops++;
    }
    s = (seen){0};
    ck_ok(train_in("cut", c, d, &s));
    same("model");
    same("optimizer");
    same("ema");
    same("memory");
    printf("%s: %d stops on %s, the same bits\n", k->model, stops, select ? select : "host");
    hx_dev_close(&d);
}
END_TEST

// A model without a line above would go untested.
START_TEST(every_model)
{
    for (int m = 0; m < hx_n_models; m++) {
        bool there = false;
        for (int i = 0; i < HX_COUNT(kinds); i++)
            there |= !strcmp(kinds[i].model, hx_models[m]->name);
        ck_assert_msg(there, "%s has no configuration here", hx_models[m]->name);
    }
}
END_TEST

int main(void)
{
    Suite *s;
    TCase *c = only_case(&s, "cuts", setup, teardown, 120);
    tcase_add_test(c, every_model);
    tcase_add_loop_test(c, cuts, 0, HX_COUNT(kinds));
    return run_made(s, CK_NORMAL);
}
