// test_masks.c - labels under a mask, for every model: only they make up the loss, and the score
// counts exactly those that the logits meet.
#include "../src/ops/t.h"
#include "../src/train/pass.h"
#include "scratch.h"

#include <math.h>

enum { B = 3, T = 21 };                    // rows of T predictions
static const struct { const char *model, *conf;
} cases[] = {
    {"hierarchical",
     "num_tokens=13 dim=[16,12] depth=1 dim_head=8 heads=2 seq_len=32 hierarchies=[1,4] "
     "window_sizes=[3,null] ignore_index=-1"},
    {"hourglass",
     "num_tokens=13 dim=16 max_seq_len=32 depth=[1,1,1] shorten_factor=2 heads=2 dim_head=8 "
     "ignore_index=-1"},
    {"block_recurrent",
     "num_tokens=13 dim=16 depth=2 dim_head=8 heads=2 max_seq_len=8 block_width=4 "
     "recurrent_layers=[2]"},
    {"infini", "num_tokens=13 dim=16 depth=1 heads=2 dim_head=8 segment_length=8"},
    {"transformer_xl",
     "n_token=13 n_layer=2 n_head=2 d_model=16 d_head=8 d_inner=24 tgt_len=6 mem_len=9"},
    {"transformer_xl",
     "n_token=13 n_layer=1 n_head=2 d_model=16 d_head=8 d_inner=24 tgt_len=7 mem_len=0 "
     "cutoffs=[5,9] div_val=2"},
    {"rmt_transformer_xl", "n_token=13 n_layer=2 n_head=2 d_model=16 d_head=8 d_inner=24 tgt_len=6 "
                           "num_mem_tokens=3"},
    {"rmt_lucidrains",
     "dim=24 num_tokens=13 depth=2 num_memory_tokens=3 seq_len=9 heads=2 dim_head=8"},
    {"compressive", "num_tokens=13 dim=20 seq_len=8 depth=2 heads=2"},
};

static void *read_conf(const hx_model *m, const char *text)
{
    char copy[1024], *save;
    void *conf = hx_alloc(arena, m->conf_size);
    snprintf(copy, sizeof copy, "%s", text);
    ck_ok(hx_fields_default(m->fields, conf));
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(w, '=');
        *eq = 0;
        ck_ok(hx_field_set(m->fields, conf, w, eq + 1, arena));
    }
    ck_ok(m->check(conf));
    return conf;
}

typedef struct setting {
    hx_net net;
    hx_dev *dev;
    hx_memory params;
    int32_t ids[B * (T + 1)], ignore;
} setting;

static void open_setting(setting *s, int c, hx_dev *dev)
{
    const hx_model *m = hx_model_find(cases[c].model);
    *s = (setting){ .dev = dev };
    ck_ok(hx_net_init(&s->net, m, read_conf(m, cases[c].conf)));
    const hx_params *ps = s->net.params;
    char *host = hx_alloc(arena, (size_t)ps->bytes);
    for (int i = 0; i < ps->n; i++)
        if (!ps->list[i].table)
            hx_param_init(&ps->list[i], 5, (float *)(void *)(host + ps->list[i].at));
    ck_ok(hx_memory_new(dev, ps->bytes, HX_BUF_DEVICE, "parameters", &s->params));
    ck_ok(hx_memory_write(&s->params, 0, host, ps->bytes));
    for (int i = 0; i < B * (T + 1); i++)
        s->ids[i] = (i * 7 + i * i / 3) % 13;
    s->ignore = (int32_t)m->size(s->net.conf, "ignore_index");
}

static void close_setting(setting *s)
{
    hx_memory_free(&s->params);
    hx_net_done(&s->net);
}

// Cross entropy and score where mask[i] is set; mask NULL: a net without one.
static float run(setting *s, const uint8_t *mask, hx_score *score)
{
    int32_t in[2 * B * (T + 1)];
    hx_memory *shared[HX_N_PLACES] = { [HX_PARAM] = &s->params };
    hx_pass *p;
    float ce;
    s->net.masked = mask != NULL;
    memcpy(in, s->ids, sizeof s->ids);
    for (int i = 0; i < B * (T + 1); i++)
        in[B * (T + 1) + i] = mask && mask[i] ? s->ids[i] : s->ignore;
    ck_ok(hx_pass_new(s->dev, &s->net, HX_FOR_LOSS, B, T + 1, HX_PASS_FORWARD, &p));
    ck_ok(hx_pass_bind(p, shared));
    ck_ok(hx_pass_write(p, in, 0));
    ck_ok(hx_pass_run(p));
    int at = hx_pass_find(p, "ce_loss");
    ck_ok(hx_pass_read(p, at < 0 ? hx_pass_find(p, "loss") : at, &ce));
    *score = (hx_score){ 0 };
    ck_ok(hx_pass_score(p, score));
    hx_pass_free(&p);
    return ce;
}

static void check_losses(setting *s, const char *name)
{
    uint8_t mask[B * (T + 1)];
    hx_score sum = { 0 }, one;
    double mean = 0;
    memset(mask, 1, sizeof mask);
    float all = run(s, mask, &one), plain = run(s, NULL, &sum);
    ck_assert_int_eq(sum.labels, 0);
    ck_assert_int_eq(one.labels, B * T);
    ck_assert_int_eq(one.rows, B);
    hx_score whole = one;
    ck_assert_msg(fabsf(all - plain) <= 2e-6f * plain, "%s: %g with all labels, %g without mask",
                  name, all, plain);
    // label by label: the losses are those of the whole, and so are the labels met
    for (int i = 0; i < B * (T + 1); i++) {
        memset(mask, 0, sizeof mask);
        mask[i] = 1;
        float ce = run(s, mask, &one);
        bool first = i % (T + 1) == 0;     // nothing comes before it
        ck_assert_int_eq(one.labels, !first);
        ck_assert_int_eq(one.rows_right, one.right);
        ck_assert_msg(first ? ce == 0 : ce > 0, "%s: label %d has %g", name, i, ce);
        mean += ce / (B * T);
        sum.right += one.right;
    }
    ck_assert_msg(fabs(mean - all) <= 2e-5 * all, "%s: %g label by label, %g together", name, mean,
                  all);
    ck_assert_int_eq(sum.right, whole.right);
    // nothing under the mask: no loss, no score
    memset(mask, 0, sizeof mask);
    ck_assert(run(s, mask, &one) == 0 && one.labels == 0 && one.rows == 0);
}

// Labels that are the likeliest tokens: all are met; one other in a row: that row is not right.
static void check_score(setting *s, const char *name)
{
    uint8_t mask[B * (T + 1)];
    int32_t ids[B * (T + 1)];
    hx_score score;
    memcpy(ids, s->ids, sizeof ids);
    // only the last token may be chosen freely: no prediction depends on it
    for (int b = 0; b < B; b++)
        for (int v = 0, found = 0; v < 13 && !found; v++) {
            memset(mask, 0, sizeof mask);
            mask[b * (T + 1) + T] = 1;
            s->ids[b * (T + 1) + T] = v;
            run(s, mask, &score);
            found = (int)score.right;
            ck_assert_msg(found || v < 12, "%s: no token is the likeliest in row %d", name, b);
        }
    memset(mask, 0, sizeof mask);
    for (int b = 0; b < B; b++)
        mask[b * (T + 1) + T] = 1;
    run(s, mask, &score);
    ck_assert(score.labels == B && score.right == B && score.rows == B && score.rows_right == B);
    int32_t *last = &s->ids[1 * (T + 1) + T];
    *last = (*last + 1) % 13;
    run(s, mask, &score);
    ck_assert(score.labels == B && score.right == B - 1 && score.rows_right == B - 1);
    mask[2 * (T + 1) + T] = 0;
    run(s, mask, &score);
    ck_assert(score.labels == 2 && score.right == 1 && score.rows == 2 && score.rows_right == 1);
    memcpy(s->ids, ids, sizeof ids);
}

static hx_dev *device(const char *select)
{
    hx_dev *d = NULL;
    return hx_dev_open(&(hx_dev_params){ .select = select, .threads = 2 }, &d) ? NULL : d;
}

START_TEST(host)
{
    hx_dev *d = device("host");
    setting s;
    ck_assert_ptr_nonnull(d);
    open_setting(&s, _i, d);
    check_losses(&s, cases[_i].model);
    check_score(&s, cases[_i].model);
    close_setting(&s);
    hx_dev_close(&d);
}
END_TEST

START_TEST(vulkan)
{
    hx_dev *d = device("name:llvmpipe");
    setting s;
    if (!d)                                // no such device here
        return;
    open_setting(&s, _i, d);
    check_score(&s, cases[_i].model);
    close_setting(&s);
    hx_dev_close(&d);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("masks");
    TCase *c = tcase_create("masks");
    tcase_set_timeout(c, 200);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, host, 0, HX_COUNT(cases));
    tcase_add_loop_test(c, vulkan, 0, HX_COUNT(cases));
    suite_add_tcase(s, c);
    return run_made(s, CK_NORMAL);
}
