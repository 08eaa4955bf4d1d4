// test_optim.c - optimizer tapes over ten steps against the textbook in fp64, on every device.
#include "src/core/plan.h"
#include "src/optim/optim.h"
#include "suite.h"
#include <math.h>

#define ok(e) ck_assert_msg((e) == HX_OK, "%s", hx_last_message())

enum { N = 10000, STEPS = 10, STEP_AT = 256, NORM_AT = 512 };

// Weights, gradients and moments: fp32 as a device has them, and fp64.
typedef struct { float p[N], g[N], m[N], v[N]; } arrays;
typedef struct { double p[N], m[N], v[N], norm; } exact;
typedef struct { const char *optim; hx_optim_conf conf; float lr, clip, scale; int64_t segment; } setup;

static const setup setups[] = {
    { "adamw", { 0.9f, 0.99f, 1e-8f, 0.01f }, 3e-4f, 0.5f, 0.25f, N },
    { "adamw", { 0.9f, 0.999f, 1e-8f, 0 }, 1e-2f, 0, 1, 4096 },
    { "adamw", { 0, 0.5f, 1e-3f, 0.1f }, 1e-1f, 1e6f, 1, 448 },
    { "adam", { 0.9f, 0.99f, 1e-8f, 0 }, 1e-4f, 0.5f, 0.125f, 8192 },
    { "adam", { 0.8f, 0.9f, 1e-6f, 0.1f }, 1e-2f, -1, 0.5f, N },
};

static float noise(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return (float)(*state >> 8) * 0x1p-23f - 1;
}

// One step as papers and PyTorch define it: scale, clip the global norm, decay, update.
static void textbook(const setup *s, int t, const float *g, exact *x)
{
    double sum = 0, b1 = s->conf.beta1, b2 = s->conf.beta2, wd = s->conf.weight_decay;
    for (int i = 0; i < N; i++)
        sum += (double)g[i] * s->scale * g[i] * s->scale;
    x->norm = sqrt(sum);
    double f = s->clip > 0 ? fmin(1, s->clip / (x->norm + 1e-6)) : 1;
    bool decoupled = !strcmp(s->optim, "adamw");
    for (int i = 0; i < N; i++) {
        double d = g[i] * (double)s->scale * f + (decoupled ? 0 : wd * x->p[i]);
        x->p[i] *= decoupled ? 1 - s->lr * wd : 1;
        x->m[i] = b1 * x->m[i] + (1 - b1) * d;
        x->v[i] = b2 * x->v[i] + (1 - b2) * d * d;
        double m_hat = x->m[i] / (1 - pow(b1, t)), v_hat = x->v[i] / (1 - pow(b2, t));
        x->p[i] -= s->lr * m_hat / (sqrt(v_hat) + s->conf.eps);
    }
}

// A plan over its memory, recorded once.
typedef struct { hx_tape *t; hx_plan *plan; hx_prog *prog; hx_memory mem[HX_N_PLACES]; } machine;

static void machine_start(machine *k, hx_dev *d, const setup *s)
{
    *k = (machine){ 0 };
    k->t = hx_optim_tape(hx_optim_find(s->optim), &s->conf, N, s->segment, STEP_AT, NORM_AT);
    ck_assert_ptr_nonnull(k->t);
    ok(hx_tape_error(k->t));
    ok(hx_plan_new(k->t, d, &k->plan));
    hx_memory *mem[HX_N_PLACES];
    for (int i = 0; i < HX_N_PLACES; i++) {
        int64_t bytes = i == HX_TEMP ? k->plan->temp_bytes : i == HX_CONST ? k->t->const_bytes :
            i == HX_INPUT || i == HX_OUTPUT ? 1024 : 4 * N;
        mem[i] = &k->mem[i];
        if (bytes)
            ok(hx_memory_new(d, bytes, HX_BUF_DEVICE, "optim", mem[i]));
    }
    ok(hx_plan_upload(k->plan, mem[HX_CONST]));
    ok(hx_prog_new(d, false, "optim", &k->prog));
    ok(hx_plan_record(k->plan, mem, (int64_t[HX_N_PLACES]){ 0 }, 0, k->prog));
    ok(hx_prog_end(k->prog));
}

static void machine_stop(machine *k)
{
    hx_prog_free(&k->prog);
    for (int i = 0; i < HX_N_PLACES; i++)
        hx_memory_free(&k->mem[i]);
    hx_plan_free(&k->plan);
    hx_tape_free(&k->t);
}

static void machine_step(machine *k, hx_dev *d, const setup *s, int t, arrays *a, float *norm)
{
    float block[HX_STEP_VALUES] = { 0 };
    block[HX_STEP_LR] = s->lr;
    block[HX_STEP_BIAS1] = (float)(1 - pow(s->conf.beta1, t));
    block[HX_STEP_BIAS2] = (float)(1 - pow(s->conf.beta2, t));
    block[HX_STEP_CLIP] = s->clip;
    block[HX_STEP_SCALE] = s->scale;
    ok(hx_memory_write(&k->mem[HX_INPUT], STEP_AT, block, sizeof block));
    ok(hx_memory_write(&k->mem[HX_GRAD], 0, a->g, sizeof a->g));
    uint64_t ticket;
    ok(hx_dev_submit(d, &k->prog, 1, false, &ticket));
    ok(hx_dev_wait(d, ticket, 60000));
    ok(hx_memory_read(&k->mem[HX_PARAM], 0, a->p, sizeof a->p));
    ok(hx_memory_read(&k->mem[HX_MOM1], 0, a->m, sizeof a->m));
    ok(hx_memory_read(&k->mem[HX_MOM2], 0, a->v, sizeof a->v));
    ok(hx_memory_read(&k->mem[HX_OUTPUT], NORM_AT, norm, sizeof *norm));
}

// The formula of op.h, with one term for each step.
static void near(const char *what, int t, const float *got, const double *want, int n)
{
    double most = 0;
    for (int i = 0; i < n; i++)
        most = fmax(most, fabs(want[i]));
    double allowed = 8 * 0x1p-24 * sqrt(t) * most;
    for (int i = 0; i < n; i++)
        ck_assert_msg(fabs(got[i] - want[i]) <= allowed, "step %d: %s[%d] is %.9g, should be %.9g",
                      t, what, i, got[i], want[i]);
}

static void ten_steps(hx_dev *d, const setup *s)
{
    arrays *a = calloc(1, sizeof *a);
    exact *x = calloc(1, sizeof *x);
    machine k;
    uint32_t state = 1;
    machine_start(&k, d, s);
    for (int i = 0; i < N; i++)
        x->p[i] = a->p[i] = noise(&state);
    ok(hx_memory_write(&k.mem[HX_PARAM], 0, a->p, sizeof a->p));
    for (int t = 1; t <= STEPS; t++) {
        float norm;
        for (int i = 0; i < N; i++)
            a->g[i] = noise(&state) * (t == 5 ? 1e-3f : 1);   // one step that is not clipped
        machine_step(&k, d, s, t, a, &norm);
        textbook(s, t, a->g, x);
        near("norm", t, &norm, &x->norm, 1);
        near("p", t, a->p, x->p, N);
        near("m", t, a->m, x->m, N);
        near("v", t, a->v, x->v, N);
    }
    machine_stop(&k);
    free(a);
    free(x);
}

START_TEST(textbook_in_fp64)
{
    hx_dev_info list[8];
    int n;
    const char *note;
    ok(hx_dev_list(list, HX_COUNT(list), &n, &note));
    for (int i = 0; i < n; i++) {
        hx_dev *d;
        if (*list[i].why_not)
            continue;
        ok(hx_dev_open(&(hx_dev_params){ .select = list[i].selector, .threads = 2 }, &d));
        for (int k = 0; k < HX_COUNT(setups); k++)
            ten_steps(d, &setups[k]);
        hx_dev_close(&d);
    }
}
END_TEST

// Gradients of any size move every weight by lr on the first step: m/b1 = g, v/b2 = g^2.
START_TEST(first_step_is_a_sign)
{
    setup s = setups[1];
    arrays *a = calloc(1, sizeof *a);
    machine k;
    hx_dev *d;
    float norm;
    ok(hx_dev_open(&(hx_dev_params){ .select = "host" }, &d));
    machine_start(&k, d, &s);
    for (int i = 0; i < N; i++)
        a->g[i] = (i % 2 ? -1.f : 1.f) * ldexpf(1, i % 40 - 20);
    machine_step(&k, d, &s, 1, a, &norm);
    for (int i = 0; i < N; i++)
        ck_assert_float_eq_tol(a->p[i], i % 2 ? s.lr : -s.lr, s.lr * 0.02f);
    machine_stop(&k);
    hx_dev_close(&d);
    free(a);
}
END_TEST

// No temporary copy of weights or moments: the tape needs room for partial sums alone.
START_TEST(updates_in_place)
{
    hx_dev *d;
    machine k;
    ok(hx_dev_open(&(hx_dev_params){ .select = "host" }, &d));
    machine_start(&k, d, &setups[2]);
    ck_assert_int_le(k.plan->temp_bytes, 256 * (hx_ceil_div(N, setups[2].segment) + 2));
    machine_stop(&k);
    hx_dev_close(&d);
}
END_TEST

START_TEST(nothing_to_optimize)
{
    const hx_optim *o = hx_optim_find("adamw");
    hx_tape *t = hx_optim_tape(o, &setups[0].conf, 0, 64, 0, 0);
    ck_assert_int_eq(hx_tape_error(t), HX_E_USAGE);
    ck_assert_ptr_nonnull(strstr(hx_last_message(), "0 parameters"));
    hx_tape_free(&t);
    ck_assert_ptr_null(hx_optim_find("adamax"));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { textbook_in_fp64, first_step_is_a_sign, updates_in_place,
                                   nothing_to_optimize };
    return run_suite("optim", NULL, NULL, tests, HX_COUNT(tests));
}
