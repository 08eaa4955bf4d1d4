// test_dropout.c - what is dropped in training: the share that was asked for, the same on every device
// and after a resume, nothing in evaluations, other elements in every step and at every place.
#include "../src/ops/t.h"
#include "runs.h"

// Every model that has dropouts, %s where each of them has its chance. gpu: tried on lavapipe, too, so that each
// operator is.
typedef struct kind { const char *model, *conf, *order; bool gpu; } kind;
#define KIND(m, how, gpu, ...) { #m, #__VA_ARGS__, how, gpu }
static const kind kinds[] = {
    KIND(transformer_xl, "stream", true, n_token: 128, n_layer: 2, n_head: 2, d_model: 16, d_head: 8, d_inner: 24,
         tgt_len: 16, mem_len: 16, dropout: %s),
    KIND(transformer_xl, "stream", true, n_token: 128, n_layer: 2, n_head: 2, d_model: 16, d_head: 8, d_inner: 24,
         tgt_len: 16, mem_len: 16, dropatt: %s),
    KIND(rmt_transformer_xl, "stream", false, n_token: 128, n_layer: 2, n_head: 2, d_model: 16, d_head: 8,
         d_inner: 24, tgt_len: 16, mem_len: 16, num_mem_tokens: 2, dropatt: %s),
    KIND(compressive, "stream", true, num_tokens: 128, dim: 16, depth: 2, seq_len: 16, mem_len: 16, cmem_len: 4,
         cmem_ratio: 4, heads: 2, ff_dropout: %s, attn_layer_dropout: 0.1),
    KIND(compressive, "stream", false, num_tokens: 128, dim: 16, depth: 2, seq_len: 16, mem_len: 16, cmem_len: 4,
         cmem_ratio: 4, heads: 2, attn_dropout: %s, reconstruction_attn_dropout: 0.1),
    KIND(hourglass, "sequential", false, num_tokens: 128, dim: 16, max_seq_len: 32, depth: [1, 1, 1],
         shorten_factor: 2, heads: 2, dim_head: 8, attn_dropout: %s),
    KIND(hourglass, "sequential", false, num_tokens: 128, dim: 16, max_seq_len: 32, depth: [1, 1, 1],
         shorten_factor: 2, heads: 2, dim_head: 8, causal: false, ff_dropout: %s),
    KIND(infini, "stream", true, num_tokens: 128, dim: 16, depth: 2, dim_head: 8, heads: 2, segment_length: 16,
         attn_dropout: %s),
    KIND(infini, "stream", false, num_tokens: 128, dim: 16, depth: 2, dim_head: 8, heads: 2, segment_length: 16,
         ff_dropout: %s),
    KIND(rmt_lucidrains, "stream", true, num_tokens: 128, dim: 16, depth: 2, dim_head: 8, heads: 2, seq_len: 16,
         num_memory_tokens: 2, carry_xl: true, attn_dropout: %s),
    KIND(rmt_lucidrains, "random", false, num_tokens: 128, dim: 16, depth: 2, dim_head: 8, heads: 2, seq_len: 16,
         num_memory_tokens: 2, ff_dropout: %s),
    KIND(rmt_wrapper, "stream", false, num_tokens: 128, dim: 16, depth: 2, heads: 2, num_mem_tokens: 2,
         segment_size: 16, attn_pdrop: %s),
    KIND(rmt_wrapper, "stream", false, num_tokens: 128, dim: 16, depth: 2, heads: 2, num_mem_tokens: 2,
         segment_size: 16, resid_pdrop: %s, embd_pdrop: 0.1),
    KIND(rmt_encoder, "random", true, vocab_size: 128, hidden_size: 16, num_hidden_layers: 2,
         num_attention_heads: 2, intermediate_size: 24, max_position_embeddings: 24, num_labels: 128,
         num_mem_tokens: 2, input_size: 21, attention_probs_dropout_prob: %s),
    KIND(rmt_encoder, "random", false, vocab_size: 128, hidden_size: 16, num_hidden_layers: 2,
         num_attention_heads: 2, intermediate_size: 24, max_position_embeddings: 24, num_labels: 128,
         num_mem_tokens: 2, input_size: 21, hidden_dropout_prob: %s),
};

static hx_run_conf *conf_of(int model, const char *p)
{
    const kind *k = &kinds[model];
    hx_run_conf *c = NULL;
    const char *text = hx_sprintf(arena,
        "run: {seed: 3}\nmodel: {arch: %s, %s}\ndata: {train: [text.txt], split: [0.8, 0.1, 0.1], order: %s}\n"
        "train: {steps: 8, batch: 4, seq_len: 32, accumulate: 2}\n"
        "eval: {every: 4, batches: 2}\nsample: {every: 0}\nsave: {every: 0}\nlog: {every: 1}\n",
        k->model, hx_sprintf(arena, k->conf, p), k->order);
    ck_ok(hx_run_conf_parse(arena, "test.yaml", text, scratch, NULL, 0, &c));
    return c;
}

START_TEST(same_bits)
{
    make_text();
    hx_run_conf *c = conf_of(_i, "0.2");
    hx_dev *one = open_dev("host", 1), *two = open_dev("host", 2);
    seen a = {0}, b = {0}, half = { .stop_at = 3 }, rest = {0}, none = {0};
    ck_ok(train_in("a", c, one, &a));
    ck_ok(train_in("b", c, two, &b));
    ck_assert_int_eq(train_in("c", c, two, &half), HX_E_STOPPED);
    ck_ok(train_in("c", c, two, &rest));
    check_same_run("a", "b", 8);
    check_same_run("a", "c", 8);
    // other losses than without, not by much
    ck_ok(train_in("none", conf_of(_i, "0"), two, &none));
    ck_assert(a.loss[1] != none.loss[1] && fabs(a.loss[1] - none.loss[1]) < 0.5);
    hx_dev_close(&one);
    hx_dev_close(&two);
}
END_TEST

START_TEST(same_masks_on_vulkan)
{
    if (!kinds[_i].gpu)
        return;
    make_text();
    hx_dev *host = open_dev("host", 2), *gpu = NULL;
    if (hx_dev_open(&(hx_dev_params){ .select = "name:llvmpipe" }, &gpu)) {
        hx_dev_close(&host);
        return;
    }
    hx_run_conf *c = conf_of(_i, "0.2");
    c->train.steps = 3;
    seen a = {0}, b = {0};
    ck_ok(train_in("a", c, host, &a));
    ck_ok(train_in("b", c, gpu, &b));
    // other masks would differ by some hundredths
    for (int k = 1; k <= 3; k++)
        ck_assert_msg(fabs(a.loss[k] - b.loss[k]) < 1e-4, "step %d: %.9g, host %.9g", k, b.loss[k], a.loss[k]);
    hx_dev_close(&host);
    hx_dev_close(&gpu);
}
END_TEST

// The first evaluation comes before the first step: with the same weights it must not depend on p.
START_TEST(evaluations_drop_nothing)
{
    make_text();
    hx_dev *d = open_dev("host", 2);
    const char *first[2], *p[] = { "0", "0.5" };
    for (int i = 0; i < 2; i++) {
        seen s = {0};
        hx_blob rows = {0};
        hx_run_conf *c = conf_of(_i, p[i]);
        c->train.steps = 1;
        ck_ok(train_in(p[i], c, d, &s));
        ck_ok(hx_file_read(at(hx_sprintf(arena, "%s/metrics.jsonl", p[i])), 1 << 20, 0, &rows));
        char *row = strstr((char *)rows.data, "\"type\": \"eval\", \"step\": 0"), *end;
        ck_assert_ptr_nonnull(row);
        row = strstr(row, "\"loss\": ");
        end = strchr(row, ',');
        first[i] = hx_sprintf(arena, "%.*s", (int)(end - row), row);
        hx_blob_free(&rows);
    }
    ck_assert_str_eq(first[0], first[1]);
    hx_dev_close(&d);
}
END_TEST

// Shares, and how often two drawings agree, over a million elements.
START_TEST(shares)
{
    enum { N = 1 << 20 };
    static float x[N], y[2][N];
    static const struct { int32_t dice[2][4]; int place[2]; const char *what; } pairs[] = {
        { { { 1, 0, 5, 0 }, { 1, 0, 6, 0 } }, { 0, 0 }, "steps" },
        { { { 1, 0, 5, 0 }, { 1, 0, 5, 1 } }, { 0, 0 }, "micro-batches" },
        { { { 1, 0, 5, 0 }, { 1, 0, 5, 0 } }, { 0, 1 }, "places" },
        { { { 1, 0, 5, 0 }, { 2, 0, 5, 0 } }, { 0, 0 }, "seeds" },
    };
    for (int i = 0; i < N; i++)
        x[i] = 1;
    hx_pool *pool = hx_pool_new(2);
    const hx_op *op = hx_op_find("dropout");
    struct { float p, scale; int32_t place; } attrs = { 0.3f, 2, 0 };
    for (int k = 0; k < HX_COUNT(pairs); k++) {
        int64_t stay = 0, both = 0;
        for (int i = 0; i < 2; i++) {
            attrs.place = pairs[k].place[i];
            hx_call c = { .op = op, .sig = hx_sig_of(op), .dim = { N / 512, 512 }, .attrs = &attrs,
                          .a = { x, (void *)pairs[k].dice[i], y[i] }, .ld = { 512, 4, 512 }, .pool = pool };
            op->host(&c);
        }
        for (int i = 0; i < N; i++) {
            ck_assert(y[0][i] == 0 || y[0][i] == 2);
            stay += y[0][i] > 0;
            both += y[0][i] > 0 && y[1][i] > 0;
        }
        // five standard deviations of the share are 0.0023
        ck_assert_msg(fabs((double)stay / N - 0.7) < 0.0023, "%lld of %d stay", (long long)stay, N);
        ck_assert_msg(fabs((double)both / N - 0.49) < 0.0025, "%s: %lld of %d stay in both", pairs[k].what,
                      (long long)both, N);
    }
    hx_pool_free(&pool);
}
END_TEST

// With equal queries all weights of a row are alike: what is left of one-hot values shows each of them.
START_TEST(weights)
{
    enum { N = 128, M = 192, H = 2 };
    static float q[N * H * M], k[M * H * M], v[M * H * M], y[2][N * H * M], l[N * H];
    static const struct { int32_t dice[2][4]; int spot[2]; const char *what; } pairs[] = {
        { { { 1, 0, 5, 0 }, { 1, 0, 6, 0 } }, { 0, 0 }, "steps" },
        { { { 1, 0, 5, 0 }, { 1, 0, 5, 1 } }, { 0, 0 }, "micro-batches" },
        { { { 1, 0, 5, 0 }, { 1, 0, 5, 0 } }, { 0, 1 }, "places" },
        { { { 1, 0, 5, 0 }, { 2, 0, 5, 0 } }, { 0, 0 }, "seeds" },
    };
    for (int j = 0; j < M; j++)
        for (int h = 0; h < H; h++)
            v[(j * H + h) * M + j] = M;
    hx_pool *pool = hx_pool_new(2);
    const hx_op *op = hx_op_find("attn_full_drop");
    struct { int32_t heads, axial, w, share, parts; float drop, stays; int32_t spot; } attrs =
        { H, 1, 0, 1, 1, 0.3f, 2, 0 };
    for (int i = 0; i < HX_COUNT(pairs); i++) {
        int64_t stay = 0, both = 0, heads = 0;
        for (int s = 0; s < 2; s++) {
            attrs.spot = pairs[i].spot[s];
            hx_call c = { .op = op, .sig = hx_sig_of(op), .dim = { 1, N, H * M, M }, .attrs = &attrs,
                          .a = { q, k, v, NULL, (void *)pairs[i].dice[s], y[s], l },
                          .ld = { H * M, H * M, H * M, 1, 4, H * M, N }, .pool = pool };
            op->host(&c);
        }
        for (int e = 0; e < N * H * M; e++) {
            ck_assert(y[0][e] == 0 || fabsf(y[0][e] - 2) < 1e-3f);
            stay += y[0][e] > 0;
            both += y[0][e] > 0 && y[1][e] > 0;
            heads += e / M % H == 0 && y[0][e] > 0 && y[0][e + M] > 0;
        }
        // five standard deviations of the share are 0.0103; of the heads, half as many, 0.0159
        ck_assert_msg(fabs((double)stay / (N * H * M) - 0.7) < 0.0103, "%lld stay", (long long)stay);
        ck_assert_msg(fabs((double)both / (N * H * M) - 0.49) < 0.0113, "%s: %lld stay in both", pairs[i].what,
                      (long long)both);
        ck_assert_msg(fabs((double)heads / (N * M) - 0.49) < 0.0159, "heads: %lld stay in both", (long long)heads);
    }
    hx_pool_free(&pool);
}
END_TEST

int main(void)
{
    Suite *s;
    TCase *c = only_case(&s, "dropout", setup, teardown, 120);
    tcase_add_loop_test(c, same_bits, 0, HX_COUNT(kinds));
    tcase_add_loop_test(c, same_masks_on_vulkan, 0, HX_COUNT(kinds));
    tcase_add_loop_test(c, evaluations_drop_nothing, 0, HX_COUNT(kinds));
    tcase_add_test(c, shares);
    tcase_add_test(c, weights);
    return run_made(s, CK_NORMAL);
}
