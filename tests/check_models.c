// check_models.c - what every model must satisfy, in fp64 through the references:
//   gradient  of the total loss, for every parameter, against central differences
//   reach     changing token i changes exactly the logits that an independent enumeration names
//   device    the same reach, and the same bits in every run, on the host and each Vulkan device in fp32
//   counts    the published configurations have as many parameters as the reference class
#include "src/core/interp.h"
#include "src/core/model.h"
#include "src/train/pass.h"
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ok(e) ck_assert_msg((e) == HX_OK, "%s", hx_last_message())

// Small configurations; tokens is the length of ids, labels included.
typedef struct { const char *model, *conf; int64_t batch, tokens; } small;
static const small cases[] = {
    { "hierarchical", "num_tokens=11 dim=6 depth=1 dim_head=4 heads=2 seq_len=16", 2, 8 },
    { "hierarchical", "num_tokens=11 dim=6 depth=2 dim_head=4 heads=2 seq_len=16 window_sizes=3 ignore_index=-1", 1, 12 },
    { "hierarchical", "num_tokens=9 dim=[6,8] depth=2 dim_head=4 heads=[2,1] seq_len=32 hierarchies=[1,4] "
                      "window_sizes=[3,null] ff_mult=[2,1.5]", 2, 14 },
    { "hierarchical", "num_tokens=9 dim=[6,5,4] depth=2 dim_head=4 heads=1 seq_len=32 hierarchies=[1,2,8] "
                      "hierarchical_stride=[1,2,4] window_sizes=[2,0,1] ignore_index=3", 2, 24 },
    { "hierarchical", "num_tokens=9 dim=[5,4] depth=2 dim_head=4 heads=1 seq_len=32 hierarchies=[1,4] "
                      "hierarchical_stride=[1,4] window_sizes=[4,null] hierarchy_merge_all=true "
                      "predict_use_all_hierarchy=true", 1, 20 },
    { "hierarchical", "num_tokens=9 dim=4 depth=1 dim_head=4 heads=1 seq_len=32 hierarchies=[2,4] "
                      "hierarchical_stride=[2,4] window_sizes=[2,1] hierarchy_merge_all=true "
                      "predict_use_all_hierarchy=true recon_loss_weight=0", 1, 16 },
    { "hierarchical", "num_tokens=9 dim=[4,6] depth=1 dim_head=2 heads=2 seq_len=32 hierarchies=[4,2] "
                      "hierarchical_stride=[2,1] window_sizes=[2,3] predict_hierarchy=2", 2, 13 },
};

typedef struct {
    const hx_model *model; void *conf, *self; hx_arena *arena;
    hx_params *params; hx_graph g; hx_interp *in; real *value;       // value: all parameters, by byte / 4
} subject;

static void set_conf(subject *s, const char *text)
{
    char copy[1024], *save;
    snprintf(copy, sizeof copy, "%s", text);
    ok(hx_fields_default(s->model->fields, s->conf));
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(w, '=');
        *eq = 0;
        ok(hx_field_set(s->model->fields, s->conf, w, eq + 1, s->arena));
    }
    ok(s->model->check(s->conf));
}

static void open_model(subject *s, const char *model, const char *conf)
{
    *s = (subject){ .model = hx_model_find(model), .arena = hx_arena_new(), .params = hx_params_new() };
    ck_assert_msg(s->model, "no model is called %s", model);
    s->conf = hx_alloc(s->arena, s->model->conf_size);
    set_conf(s, conf);
    s->self = s->model->declare(s->conf, s->params);
    ok(s->params->err);
}

static void open_graph(subject *s, const small *c, hx_purpose purpose, bool frugal)
{
    s->g = (hx_graph){ .tape = hx_tape_new(), .params = s->params, .purpose = purpose,
                       .param = hx_new(s->arena, hx_t, s->params->n), .batch = c->batch, .tokens = c->tokens };
    s->g.tape->frugal = frugal;
    s->g.ids = hx_external(s->g.tape, HX_INPUT, 0, true, 2, (int64_t[]){ c->batch, c->tokens });
    s->model->build(s->conf, s->self, &s->g);
    ok(hx_tape_error(s->g.tape));
}

static void set_params(subject *s)
{
    for (int i = 0; i < s->params->n; i++)
        if (!s->params->list[i].buffer && hx_is(s->g.param[i]))
            hx_interp_set(s->in, s->g.param[i], s->value + s->params->list[i].at / 4);
}

static void start(subject *s, const real *ids)
{
    ck_assert(s->in = hx_interp_new(s->g.tape));
    s->value = calloc((size_t)s->params->bytes / 4 + 1, sizeof(real));
    float *init = malloc((size_t)s->params->bytes + 4);
    for (int i = 0; i < s->params->n; i++) {
        const hx_param *p = &s->params->list[i];
        hx_param_init(p, 7, init);
        // ones and zeros would hide mistakes: move every parameter off its special value
        for (int64_t k = 0; k < p->elems && !p->buffer; k++)
            s->value[p->at / 4 + k] = init[k] + 0.1 * sin((double)(17 * k + 3 * i));
    }
    free(init);
    set_params(s);
    hx_interp_set(s->in, s->g.ids, ids);
}

static void close_model(subject *s)
{
    hx_interp_free(&s->in);
    hx_tape_free(&s->g.tape);
    hx_params_free(&s->params);
    hx_arena_free(&s->arena);
    free(s->value);
}

static void draw_ids(const small *c, int64_t vocabulary, real *ids)
{
    uint32_t x = 12345;
    for (int64_t i = 0; i < c->batch * c->tokens; i++) {
        x = x * 1664525 + 1013904223;
        ids[i] = (real)((x >> 16) % (uint32_t)vocabulary);
    }
}

static real loss_of(subject *s)
{
    real l;
    ok(hx_interp_run(s->in));
    hx_interp_get(s->in, s->g.loss, &l);
    return l;
}

// every case twice: activations kept, and cheap ones made again
START_TEST(gradient)
{
    const small *c = &cases[_i / 2];
    subject s;
    real ids[256], worst = 0;
    open_model(&s, c->model, c->conf);
    open_graph(&s, c, HX_FOR_LOSS, _i % 2);
    hx_backward(s.g.loss);
    ok(hx_tape_error(s.g.tape));
    draw_ids(c, s.model->size(s.conf, "num_tokens"), ids);
    start(&s, ids);
    ck_assert(isfinite(loss_of(&s)));
    real **grad = hx_new(s.arena, real *, s.params->n);
    for (int i = 0; i < s.params->n; i++) {
        hx_t d = hx_is(s.g.param[i]) ? hx_grad(s.g.param[i]) : HX_NONE;
        ck_assert_msg(s.params->list[i].buffer || hx_is(d), "no gradient reaches %s", s.params->list[i].name);
        grad[i] = hx_new(s.arena, real, s.params->list[i].elems);
        if (hx_is(d))
            hx_interp_get(s.in, d, grad[i]);
    }
    // gradients in the order of the tape would be computed again for every difference: a second,
    // forward-only tape gives the losses
    subject f;
    open_model(&f, c->model, c->conf);
    open_graph(&f, c, HX_FOR_LOSS, false);
    start(&f, ids);
    for (int i = 0; i < f.params->n; i++) {
        const hx_param *p = &f.params->list[i];
        if (p->buffer)
            continue;
        for (int64_t k = 0; k < p->elems; k += p->elems / 4 + 1) {
            real *x = &f.value[p->at / 4 + k], keep = *x, l[4], h = 2e-4;
            for (int e = 0; e < 4; e++) {
                *x = keep + h * (real[]){ -2, -1, 1, 2 }[e];
                hx_interp_set(f.in, f.g.param[i], f.value + p->at / 4);
                l[e] = loss_of(&f);
            }
            *x = keep;
            hx_interp_set(f.in, f.g.param[i], f.value + p->at / 4);
            real fd = (l[0] - 8 * l[1] + 8 * l[2] - l[3]) / (12 * h), e = fabs(fd - grad[i][k]) / fmax(1, fabs(fd));
            worst = fmax(worst, e);
            ck_assert_msg(e < 1e-7, "%s [%s]: gradient of %s[%lld] is %.12g, differences say %.12g", c->model,
                c->conf, p->name, (long long)k, grad[i][k], fd);
        }
    }
    printf("  gradient %s case %d: worst %.1e over %d parameters\n", c->model, _i, worst, f.params->n);
    close_model(&f);
    close_model(&s);
}
END_TEST

// ---- reach: which tokens can change which logits, by sets alone ---------------------------

enum { MAX_N = 32, MAX_K = 4 };
typedef uint32_t set;                      // of input tokens
typedef struct { int K, depth, c[MAX_K], s[MAX_K], w[MAX_K], predict; bool all, use_all; } shape;
static const shape shapes[] = {            // the cases above, in numbers; w: -1 full
    { 1, 1, { 1 }, { 1 }, { -1 }, 0, false, false },
    { 1, 2, { 1 }, { 1 }, { 3 }, 0, false, false },
    { 2, 2, { 1, 4 }, { 1, 1 }, { 3, -1 }, 0, false, false },
    { 3, 2, { 1, 2, 8 }, { 1, 2, 4 }, { 2, 0, 1 }, 0, false, false },
    { 2, 2, { 1, 4 }, { 1, 4 }, { 4, -1 }, 0, true, true },
    { 2, 1, { 2, 4 }, { 2, 4 }, { 2, 1 }, 0, true, true },
    { 2, 1, { 4, 2 }, { 2, 1 }, { 2, 3 }, 1, false, false },
};

static void delay(const set *t, int m, int a, set *u)
{
    for (int j = 0; j < m; j++)
        u[j] = t[j] | (j >= a ? t[j - a] : 0);
}

static void block_reach(const shape *q, int h, set *t, int m)
{
    int a = q->c[h] / q->s[h];
    set u[MAX_N], y[MAX_N];
    delay(t, m, a, u);
    for (int j = 0; j < m && q->w[h]; j++) {
        y[j] = t[j];
        for (int k = 0; j - k * a >= 0 && (q->w[h] < 0 || k <= q->w[h]); k++)
            y[j] |= u[j - k * a];
    }
    if (q->w[h])
        memcpy(t, y, sizeof(set) * (size_t)m);
    delay(t, m, a, u);
    memcpy(t, u, sizeof(set) * (size_t)m);
}

static void logits_reach(const shape *q, int n, set *out)
{
    set t[MAX_K][MAX_N] = {0}, y[MAX_N];
    int m[MAX_K];
    for (int h = 0; h < q->K; h++) {
        m[h] = (n + q->s[h] - 1) / q->s[h];
        for (int j = 0; j < m[h]; j++)
            for (int i = j * q->s[h] - q->c[h] + 1; i <= j * q->s[h]; i++)
                t[h][j] |= i >= 0 ? 1u << i : 0;
    }
    for (int l = 0; l < q->depth; l++) {
        for (int h = 0; h < q->K; h++)
            block_reach(q, h, t[h], m[h]);
        for (int p = 0; p < n; p++) {
            y[p] = 0;
            for (int h = 0; h < q->K; h++)
                y[p] |= t[h][p / q->s[h]];
        }
        for (int h = 0; h < q->K && q->K > 1; h++)
            for (int j = 0; j < m[h] && (q->all || h == q->predict); j++)
                t[h][j] |= y[j * q->s[h]];
    }
    for (int p = 0; p < n; p++) {
        out[p] = q->use_all ? 0 : t[q->predict][p];
        for (int h = 0; h < q->K && q->use_all; h++)
            out[p] |= t[h][p / q->s[h]];
    }
}

START_TEST(reach)
{
    const small *c = &cases[_i];
    subject s;
    real ids[256];
    open_model(&s, c->model, c->conf);
    open_graph(&s, c, HX_FOR_PARITY, false);
    int64_t V = s.model->size(s.conf, "num_tokens"), n = c->tokens - 1, size = c->batch * n * V;
    draw_ids(c, V, ids);
    start(&s, ids);
    set want[MAX_N];
    logits_reach(&shapes[_i], (int)n, want);
    real *before = hx_new(s.arena, real, size), *after = hx_new(s.arena, real, size);
    ck_assert_str_eq(s.g.output[0].name, "logits");
    ok(hx_interp_run(s.in));
    hx_interp_get(s.in, s.g.output[0].t, before);
    for (int i = 0; i < n; i++) {
        real keep = ids[i];
        ids[i] = (real)(((int)keep + 1) % (int)V);
        hx_interp_set(s.in, s.g.ids, ids);
        ok(hx_interp_run(s.in));
        hx_interp_get(s.in, s.g.output[0].t, after);
        ids[i] = keep;
        for (int p = 0; p < c->batch * n; p++) {
            bool changed = memcmp(before + p * V, after + p * V, sizeof(real) * (size_t)V) != 0;
            bool may = p < n && (want[p] >> i & 1);
            ck_assert_msg(changed == may, "%s [%s]: token %d %s the logits of position %d of row %d", c->model, c->conf,
                i, changed ? "changes" : "does not change", (int)(p % n), (int)(p / n));
        }
    }
    close_model(&s);
}
END_TEST

// ---- devices -----------------------------------------------------------------------------

// The parameters of start(), in fp32.
static void write_params(subject *s, hx_memory *m)
{
    float *all = calloc((size_t)s->params->bytes / 4 + 1, sizeof *all), *init = malloc((size_t)s->params->bytes + 4);
    for (int i = 0; i < s->params->n; i++) {
        const hx_param *p = &s->params->list[i];
        hx_param_init(p, 7, init);
        for (int64_t k = 0; k < p->elems && !p->buffer; k++)
            all[p->at / 4 + k] = (float)(init[k] + 0.1 * sin((double)(17 * k + 3 * i)));
    }
    ok(hx_memory_write(m, 0, all, s->params->bytes));
    free(all);
    free(init);
}

static void logits_of(hx_pass *p, const small *c, const real *ids, float *out)
{
    int32_t id[256];
    for (int64_t i = 0; i < c->batch * c->tokens; i++)
        id[i] = (int32_t)ids[i];
    ok(hx_pass_write(p, id, 0));
    ok(hx_pass_run(p));
    ok(hx_pass_read(p, hx_pass_find(p, "logits"), out));
}

static void reach_on(const char *select, int which)
{
    const small *c = &cases[which];
    subject s;
    hx_dev *d;
    hx_pass *p;
    real ids[256];
    open_model(&s, c->model, c->conf);
    hx_net net = { s.model, s.conf, s.params, s.self };
    ok(hx_dev_open(&(hx_dev_params){ .select = select, .threads = 2 }, &d));
    ok(hx_pass_new(d, &net, HX_FOR_PARITY, c->batch, c->tokens, HX_PASS_FORWARD, &p));
    ok(hx_pass_bind(p, (hx_memory *[HX_N_PLACES]){0}));
    write_params(&s, p->mem[HX_PARAM]);
    int64_t V = s.model->size(s.conf, "num_tokens"), n = c->tokens - 1, size = c->batch * n * V;
    draw_ids(c, V, ids);
    set want[MAX_N];
    logits_reach(&shapes[which], (int)n, want);
    float *before = hx_new(s.arena, float, size), *after = hx_new(s.arena, float, size);
    logits_of(p, c, ids, before);
    logits_of(p, c, ids, after);
    ck_assert_msg(!memcmp(before, after, sizeof(float) * (size_t)size), "[%s] on %s: two runs differ", c->conf, select);
    for (int i = 0; i < n; i++) {
        real keep = ids[i];
        ids[i] = (real)(((int)keep + 1) % (int)V);
        logits_of(p, c, ids, after);
        ids[i] = keep;
        for (int q = 0; q < c->batch * n; q++) {
            bool changed = memcmp(before + q * V, after + q * V, sizeof(float) * (size_t)V) != 0;
            bool may = q < n && (want[q] >> i & 1);
            ck_assert_msg(changed == may, "[%s] on %s: token %d %s the logits of position %d of row %d", c->conf,
                select, i, changed ? "changes" : "does not change", (int)(q % n), (int)(q / n));
        }
    }
    hx_pass_free(&p);
    hx_dev_close(&d);
    close_model(&s);
}

START_TEST(device)
{
    hx_dev_info list[8];
    int n;
    const char *note;
    ok(hx_dev_list(list, HX_COUNT(list), &n, &note));
    for (int i = 0; i < n; i++)
        if (!*list[i].why_not)
            reach_on(list[i].selector, _i);
}
END_TEST

START_TEST(counts)
{
    static const struct { const char *conf; int64_t count; int entries; } known[] = {
        { "num_tokens=256 dim=1024 depth=8 seq_len=2048 hierarchies=[1,2] window_sizes=[32,64]", 232888320, 0 },
        { "num_tokens=20000 dim=512 depth=6 hierarchies=[1,2,8] window_sizes=[32,64,null]", 205248512, 202 },
        { "num_tokens=256 dim=[128,256,512,1024] depth=8 hierarchies=[1,2,4,16] hierarchical_stride=[1,1,1,8] "
          "window_sizes=[16,32,64,null] seq_len=1024 ff_mult=[2,2,4,4] dim_head=[16,32,64,64] heads=[2,4,8,8]",
          223393792, 336 },
    };
    for (int i = 0; i < HX_COUNT(known); i++) {
        subject s;
        open_model(&s, "hierarchical", known[i].conf);
        int64_t n = hx_params_count(s.params);
        printf("  counts   %lld parameters in %d entries\n", (long long)n, s.params->n);
        ck_assert_msg(!known[i].count || n == known[i].count, "[%s] has %lld parameters, not %lld", known[i].conf,
            (long long)n, (long long)known[i].count);
        ck_assert_msg(!known[i].entries || s.params->n == known[i].entries, "[%s] has %d entries, not %d",
            known[i].conf, s.params->n, known[i].entries);
        close_model(&s);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("models");
    TCase *c = tcase_create("fp64");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, gradient, 0, 2 * HX_COUNT(cases));
    tcase_add_loop_test(c, reach, 0, HX_COUNT(cases));
    tcase_add_loop_test(c, device, 0, HX_COUNT(cases));
    tcase_add_test(c, counts);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
