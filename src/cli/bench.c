// bench.c - `htxvk bench`: time of every operator, or of a whole training step.
#include <fnmatch.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../runtime/clock.h"
#include "../../runtime/file.h"
#include "../core/opcheck.h"
#include "../ops/t.h"
#include "../train/rig.h"
#include "cli.h"

typedef struct bench_opts {
    const char *config, *json, *sample;
    hx_strs set;
    int32_t reps;
    bool profile;
} bench_opts;
#define O(type, member, def, lo, hi, help) \
    { #member, type, offsetof(bench_opts, member), def, lo, hi, help }
static const hx_field bench_fields[] = {
    O(HX_STR, config, "", 0, 0,
      "time training steps of this configuration instead, on made-up text"),
    O(HX_STRS, set, "[]", 0, 0, "with --config: replace one value, key=value; may be repeated"),
    O(HX_STR, sample, "", 0, 0,
      "sizes to time operators at, such as \"R=64 C=8\", instead of their own"),
    O(HX_I32, reps, "5", 1, 100000,
      "runs to take the fastest of (operators), or the median of (steps)"),
    O(HX_BOOL, profile, "false", 0, 0, "with --config: what the time of a step goes to, by kernel"),
    O(HX_STR, json, "", 0, 0, "write results to this file, - for stdout"),
    {0}
};
#undef O

// One measured sample.
typedef struct result {
    const hx_op *op;
    char sample[128], row[64];
    double ms, gflops, gbs;
} result;

// ---- operators ----------------------------------------------------------------------------

typedef struct trial {
    hx_tape  *tape;
    hx_plan  *plan;
    hx_prog  *prog;
    hx_memory mem[HX_N_PLACES];
    int64_t   at[2];                       // bytes of inputs, of outputs
} trial;

static void trial_done(trial *t)
{
    hx_prog_free(&t->prog);
    for (int i = 0; i < HX_N_PLACES; i++)
        hx_memory_free(&t->mem[i]);
    hx_plan_free(&t->plan);
    hx_tape_free(&t->tape);
}

static hx_t place_value(trial *t, hx_place place, bool is_int, int rank, const int64_t *shape)
{
    int64_t *at = &t->at[place == HX_OUTPUT], n = 4;
    for (int i = 0; i < rank; i++)
        n *= shape[i];
    hx_t x = hx_external(t->tape, place, *at, is_int, rank, shape);
    *at = hx_align(*at + n, 256);
    return x;
}

// Does any way to run it take this argument in 16 bits?
static bool can_be_half(const hx_op *op, int arg)
{
    for (int i = 0; i < HX_MAX_ROWS && op->kernels[i].name; i++)
        if (op->kernels[i].half >> arg & 1 && strcmp(op->name, "narrow"))
            return true;
    return false;
}

// A tape with the operator alone: inputs and outputs outside, dense; inputs that may be are copied to
// 16 bits first, which is not timed.
static hx_result build_trial(hx_dev *d, trial *t, const hx_op *op, const hx_sample *s, hx_t *x)
{
    const hx_sig *sig = hx_sig_of(op);
    hx_t y[HX_MAX_ARGS] = {0};
    t->tape = hx_tape_new();
    if (!t->tape)
        return HX_E_NOMEM;
    t->tape->narrow = hx_dev_get_caps(d)->precision != HX_FP32;
    for (int k = 0; k < sig->n_in + sig->n_out; k++) {
        int64_t shape[HX_MAX_RANK];
        int rank = hx_sample_shape(op, s, k, shape);
        if (s->left_out >> k & 1)
            continue;
        if (k < sig->n_in)
            x[k] = place_value(t, HX_INPUT, sig->flags[k] & HX_ARG_INT, rank, shape);
        else
            y[k - sig->n_in] = HX_WANT(t->tape);
    }
    hx_t in[HX_MAX_ARGS];
    for (int k = 0; k < sig->n_in; k++)
        in[k] = can_be_half(op, k) ? t_narrow(x[k]) : x[k];
    hx_apply(op, s->attrs, in, y);
    HX_TRY(hx_tape_error(t->tape));
    for (int k = 0; k < sig->n_out; k++) {
        if (!hx_is(y[k]))
            continue;
        const hx_value *v = hx_value_of(y[k]);
        hx_deliver(y[k], place_value(t, HX_OUTPUT, v->is_int, v->rank, v->shape), false);
    }
    return hx_tape_error(t->tape);
}

// Numbers in [-1, 1), or what the operator's own filling says.
static hx_result fill_inputs(trial *t, const hx_op *op, const hx_sample *s, const hx_t *x)
{
    const hx_sig *sig = hx_sig_of(op);
    uint32_t state = 1;
    for (int k = 0; k < sig->n_in; k++) {
        if (!hx_is(x[k]))
            continue;
        int64_t n = hx_elems(x[k]);
        float *v = malloc(4 * (size_t)n);
        if (!v)
            return hx_fail(HX_E_NOMEM, "no memory for %lld inputs [E-NOMEM]", (long long)n);
        bool is_int = sig->flags[k] & HX_ARG_INT;
        for (int64_t i = 0; i < n; i++) {
            state = state * 1664525u + 1013904223u;
            double f = op->fill ? op->fill(k, i, state, s->dim, s->attrs) : NAN;
            f = !isnan(f) ? f : is_int ? 0 : (double)(state >> 8) / 8388608.0 - 1;
            if (is_int)
                memcpy(&v[i], &(int32_t){ (int32_t)f }, 4);
            else
                v[i] = (float)f;
        }
        const hx_storage *st = &t->tape->storage[hx_value_of(x[k])->storage];
        hx_result r = hx_memory_write(&t->mem[HX_INPUT], st->at, v, 4 * n);
        free(v);
        HX_TRY(r);
    }
    return HX_OK;
}

static hx_result allocate(hx_dev *d, trial *t)
{
    int64_t need[HX_N_PLACES] = {[HX_TEMP] = t->plan->temp_bytes,
                                 [HX_INPUT] = t->at[0],
                                 [HX_OUTPUT] = t->at[1],
                                 [HX_CONST] = t->tape->const_bytes};
    for (int i = 0; i < HX_N_PLACES; i++)
        if (need[i] > 0)
            HX_TRY(hx_memory_new(d, need[i], HX_BUF_DEVICE, "bench", &t->mem[i]));
    return need[HX_CONST] > 0 ? hx_plan_upload(t->plan, &t->mem[HX_CONST]) : HX_OK;
}

static hx_result record(hx_dev *d, trial *t)
{
    hx_memory *mem[HX_N_PLACES];
    for (int i = 0; i < HX_N_PLACES; i++)
        mem[i] = &t->mem[i];
    HX_TRY(hx_prog_new(d, true, "bench", &t->prog));
    HX_TRY(hx_plan_record(t->plan, mem, (int64_t[HX_N_PLACES]){0}, 0, t->prog));
    return hx_prog_end(t->prog);
}

// Is this step the operator's own, not one that gets its inputs ready?
static bool is_timed(const trial *t, int step)
{
    const hx_plan *p = t->plan;
    return p->n_step == 1 || strcmp(t->tape->node[p->step[step].node].op->name, "narrow");
}

// Milliseconds of the fastest of `reps` runs after one to warm up.
static hx_result fastest(hx_dev *d, trial *t, int reps, double *best)
{
    int cap = t->plan->n_step + 1;
    double *ms = calloc((size_t)cap, sizeof *ms);
    if (!ms)
        return HX_E_NOMEM;
    *best = INFINITY;
    hx_result r = HX_OK;
    for (int i = 0; i <= reps && !r; i++) {
        uint64_t ticket = 0;
        int n = 0;
        double sum = 0;
        r = hx_dev_submit(d, &t->prog, 1, false, &ticket);
        r = r ? r : hx_dev_wait(d, ticket, HX_WAIT_MS);
        r = r ? r : hx_prog_times(t->prog, ms, cap, &n);
        for (int k = 0; k < n; k++)
            sum += is_timed(t, k) ? ms[k] : 0;
        if (i > 0 && sum < *best)
            *best = sum;
    }
    free(ms);
    return r;
}

static hx_result measure(hx_dev *d, const hx_op *op, const hx_sample *s, int reps, result *out)
{
    trial t = {0};
    hx_t x[HX_MAX_ARGS] = {0};
    hx_result r = build_trial(d, &t, op, s, x);
    r = r ? r : hx_plan_new(t.tape, d, &t.plan);
    r = r ? r : allocate(d, &t);
    r = r ? r : fill_inputs(&t, op, s, x);
    r = r ? r : record(d, &t);
    r = r ? r : fastest(d, &t, reps, &out->ms);
    if (!r) {
        const hx_row *row = NULL;
        double flops = 0, bytes = 0;
        for (int i = 0; i < t.plan->n_step; i++)
            if (is_timed(&t, i)) {
                row = row ? row : t.plan->step[i].row;
                flops += t.plan->step[i].flops;
                bytes += (double)t.plan->step[i].bytes;
            }
        out->op = op;
        snprintf(out->row, sizeof out->row, "%s", row ? row->name : "host");
        snprintf(out->sample, sizeof out->sample, "%s", s->text + strspn(s->text, " "));
        out->gflops = out->ms > 0 ? flops / out->ms * 1e-6 : 0;
        out->gbs = out->ms > 0 ? bytes / out->ms * 1e-6 : 0;
    }
    trial_done(&t);
    return r;
}

// The best that this device showed: of products, and of moving bytes.
typedef struct ceiling { double gflops, gbs; } ceiling;

static hx_result find_ceiling(hx_dev *d, int reps, ceiling *out)
{
    static const struct { const char *op, *list; } probes[] = {
        { "linear", "R=1024 I=1024 O=1024 -b -r -h" }, { "add", "R=4096 C=1024" } };
    *out = (ceiling){0};
    for (int i = 0; i < HX_COUNT(probes); i++) {
        const hx_op *op = hx_op_find(probes[i].op);
        hx_sample s;
        result r = {0};
        if (!op)
            continue;
        HX_TRY(hx_sample_read(op, probes[i].list, 0, &s));
        HX_TRY(measure(d, op, &s, reps, &r));
        out->gflops = fmax(out->gflops, r.gflops);
        out->gbs = fmax(out->gbs, r.gbs);
    }
    return HX_OK;
}

static bool chosen(const hx_cli *c, const char *name)
{
    for (int i = 0; i < c->n_args; i++)
        if (!fnmatch(c->args[i], name, 0))
            return true;
    return !c->n_args;
}

static void put_one(const result *r, const ceiling *top, json_t *list, bool print)
{
    double flops = r->gflops / top->gflops, bytes = r->gbs / top->gbs;
    if (print)
        printf("%-22s %-36s %10.3f %9.2f %4.0f%% %8.2f %4.0f%%  %s\n", r->op->name, r->sample,
               r->ms, r->gflops, 100 * flops, r->gbs, 100 * bytes, r->row);
    json_array_append_new(list,
                          json_pack("{ss ss ss sf sf sf sf sf}", "op", r->op->name, "sample",
                                    r->sample, "row", r->row, "ms", r->ms, "gflops", r->gflops,
                                    "gbs", r->gbs, "flops_share", flops, "bytes_share", bytes));
}

// The sizes that an operator is timed at.
static const char *samples_of(const hx_cli *c, const hx_op *op)
{
    const bench_opts *o = c->opts;
    return o->sample[0] ? o->sample : op->bench;
}

static int count_samples(const hx_cli *c)
{
    int n = 0;
    for (int i = 0; i < hx_n_ops; i++)
        n += chosen(c, hx_ops[i]->name) ? hx_sample_count(samples_of(c, hx_ops[i])) : 0;
    return n;
}

static hx_result measure_all(const hx_cli *c, hx_dev *d, result *out)
{
    const bench_opts *o = c->opts;
    for (int i = 0; i < hx_n_ops; i++) {
        const hx_op *op = hx_ops[i];
        for (int k = 0; chosen(c, op->name) && k < hx_sample_count(samples_of(c, op)); k++) {
            hx_sample s;
            if (!c->quiet)
                fprintf(stderr, "%s\n", op->name);
            HX_TRY(hx_sample_read(op, samples_of(c, op), k, &s));
            HX_TRY(measure(d, op, &s, o->reps, out++));
        }
    }
    return HX_OK;
}

static hx_result bench_ops(hx_cli *c, hx_dev *d, json_t *list, bool print)
{
    const bench_opts *o = c->opts;
    int n = count_samples(c);
    result *r = hx_new(c->arena, result, n + 1);
    ceiling top;
    if (!n)
        return hx_fail(HX_E_USAGE, "there is no such operator; see `htxvk check` [E-USAGE]");
    if (!r)
        return HX_E_NOMEM;
    HX_TRY(find_ceiling(d, o->reps, &top));
    HX_TRY(measure_all(c, d, r));
    // what was reached here can be reached
    for (int i = 0; i < n; i++) {
        top.gflops = fmax(top.gflops, r[i].gflops);
        top.gbs = fmax(top.gbs, r[i].gbs);
    }
    if (print)
        printf("%s: at most %.1f GFLOP/s and %.1f GB/s\n%-22s %-36s %10s %9s %5s %8s %5s\n",
               hx_printable(c->arena, hx_dev_get_caps(d)->name), top.gflops, top.gbs, "operator",
               "sample", "ms", "GFLOP/s", "", "GB/s", "");
    for (int i = 0; i < n; i++)
        put_one(&r[i], &top, list, print);
    return HX_OK;
}

// ---- a training step ----------------------------------------------------------------------

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Milliseconds since this process began, to a hundredth of a second; negative where the system does
// not say.
static double process_age_ms(void)
{
    char text[1024];
    FILE *f = fopen("/proc/self/stat", "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = 0;
    const char *at = strrchr(text, ')');   // the name before may hold anything
    unsigned long long begin = 0;
    if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
                      "%*d %llu", &begin) != 1)
        return -1;
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec -
        1e3 * (double)begin / (double)sysconf(_SC_CLK_TCK);
}

// What a step takes: result to result, and of the host's processor, each in the order of steps.
typedef struct times { double *ms, *host_ms, first_ms; } times;

// `reps` steps, two under way at a time as in training, after two to warm up. first_ms: from the
// process's beginning to the end of the very first.
static hx_result time_steps(hx_engine *e, const int32_t *ids, int reps, times *t)
{
    hx_losses l;
    HX_TRY(hx_engine_step(e, 1, 1e-4, ids));
    HX_TRY(hx_engine_result(e, &l));
    t->first_ms = process_age_ms();
    HX_TRY(hx_engine_step(e, 2, 1e-4, ids));
    for (int i = 0; i < reps; i++) {
        double mark = hx_now_ms(), work = hx_thread_ms();
        HX_TRY(hx_engine_step(e, i + 3, 1e-4, ids));
        HX_TRY(hx_engine_result(e, &l));
        t->ms[i] = hx_now_ms() - mark;
        t->host_ms[i] = hx_thread_ms() - work;
    }
    return hx_engine_result(e, &l);
}

// Time, work and traffic of all dispatches of one kernel.
typedef struct share { const char *name; int n; double ms, flops, bytes; } share;
typedef struct profile { share row[256]; int n; double ms; } profile;

static void add_share(void *user, const hx_plan *p, const hx_step *s, double begin, double ms)
{
    (void)begin;
    profile *f = user;
    const char *name = s->row ? s->row->name : p->tape->node[s->node].op->name;
    int i = 0;
    while (i < f->n && strcmp(f->row[i].name, name))
        i++;
    if (i == HX_COUNT(f->row))
        return;
    if (i == f->n)
        f->row[f->n++] = (share){ .name = name };
    f->row[i].n++;
    f->row[i].ms += ms;
    f->row[i].flops += s->flops;
    f->row[i].bytes += (double)s->bytes;
    f->ms += ms;
}

static int by_time(const void *a, const void *b)
{
    double x = ((const share *)a)->ms, y = ((const share *)b)->ms;
    return (x < y) - (x > y);
}

static hx_result put_profile(hx_engine *e, json_t *list, bool print)
{
    profile f = {0};
    HX_TRY(hx_engine_profile(e, add_share, &f));
    qsort(f.row, (size_t)f.n, sizeof *f.row, by_time);
    if (print)
        printf("%-26s %6s %10s %5s %10s %9s\n", "kernel", "times", "ms", "", "GFLOP/s", "GB/s");
    for (int i = 0; i < f.n; i++) {
        const share *r = &f.row[i];
        double ms = r->ms > 0 ? r->ms : 1e-9;
        if (print)
            printf("%-26s %6d %10.3f %4.0f%% %10.1f %9.1f\n", r->name, r->n, r->ms,
                   100 * r->ms / f.ms, r->flops / ms * 1e-6, r->bytes / ms * 1e-6);
        json_array_append_new(list, json_pack("{ss si sf sf sf}", "kernel", r->name, "times", r->n,
                                              "ms", r->ms, "gflops", r->flops / ms * 1e-6, "gbs",
                                              r->bytes / ms * 1e-6));
    }
    return HX_OK;
}

static hx_result run_steps(hx_cli *c, hx_dev *d, const hx_run_conf *k, const hx_rig *rig,
                           json_t *list, bool print)
{
    const bench_opts *o = c->opts;
    int64_t tokens = (int64_t)k->train.batch * k->train.seq_len * k->train.accumulate;
    int64_t n = (int64_t)k->train.batch * (k->train.seq_len + 1) * k->train.accumulate;
    int64_t V = hx_min(k->model->size(k->model_conf, "num_tokens"), 256);
    int32_t *ids = hx_new(c->arena, int32_t, n);
    times t = { hx_new(c->arena, double, o->reps + 1), hx_new(c->arena, double, o->reps + 1), 0 };
    if (!ids || !t.ms || !t.host_ms)
        return HX_E_NOMEM;
    uint32_t state = 1;
    for (int64_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        ids[i] = (int32_t)((state >> 8) % V);
    }
    HX_TRY(hx_engine_init(rig->engine, 1));
    HX_TRY(time_steps(rig->engine, ids, o->reps, &t));
    qsort(t.ms, (size_t)o->reps, sizeof *t.ms, by_value);
    qsort(t.host_ms, (size_t)o->reps, sizeof *t.host_ms, by_value);
    double median = t.ms[o->reps / 2], host = t.host_ms[o->reps / 2];
    hx_engine_facts f = hx_engine_get_facts(rig->engine);
    if (print)
        printf("%s, %s\nstep %.2f ms (fastest %.2f), %.0f tokens/s, %.2f GFLOP/s, %.2f GB/s, %lld "
               "dispatches in %lld levels\n%.0f us of the calling thread a step, first step done %.2f s after the start\n",
               hx_printable(c->arena, hx_dev_get_caps(d)->name),
               hx_precision_names[hx_dev_get_caps(d)->precision], median, t.ms[0],
               1e3 * (double)tokens / median, f.flops / median * 1e-6,
               (double)f.traffic / median * 1e-6, (long long)f.dispatches, (long long)f.levels,
               1e3 * host, 1e-3 * t.first_ms);
    json_array_append_new(
        list, json_pack("{sf sf sf sf sf sf sf sI sI sI}", "step_ms", median, "fastest_ms", t.ms[0],
                        "host_us", 1e3 * host, "first_step_s", 1e-3 * t.first_ms,
                        "tok_s", 1e3 * (double)tokens / median, "gflops", f.flops / median * 1e-6,
                        "gbs", (double)f.traffic / median * 1e-6, "dispatches",
                        (json_int_t)f.dispatches, "levels", (json_int_t)f.levels, "peak_bytes",
                        (json_int_t)hx_dev_get_stats(d).bytes_peak));
    return o->profile ? put_profile(rig->engine, list, print) : HX_OK;
}

static hx_result bench_steps(hx_cli *c, hx_dev *d, const hx_run_conf *k, json_t *list, bool print)
{
    const bench_opts *o = c->opts;
    hx_rig rig = {0};
    hx_result r = hx_rig_new(d, k, o->profile, &rig);
    if (!r)
        r = run_steps(c, d, k, &rig, list, print);
    hx_rig_done(&rig);
    return r;
}

static hx_result run(hx_cli *c)
{
    const bench_opts *o = c->opts;
    if (o->config[0] && c->n_args)
        return hx_fail(HX_E_USAGE, "bench: operators or --config, not both [E-USAGE]");
    hx_dev *d = NULL;
    hx_run_conf *steps = NULL;
    if (o->config[0])
        HX_TRY(hx_run_conf_read(c->arena, o->config, o->set.v, o->set.n, &steps));
    HX_TRY(hx_cli_open(c, NULL, steps ? steps->device.precision : NULL, &d));
    bool print = strcmp(o->json, "-") != 0;
    const hx_dev_caps *k = hx_dev_get_caps(d);
    json_t *list = json_array();
    json_t *j =
        json_pack("{ss ss ss ss so}", "version", HX_VERSION, "device",
                  hx_printable(c->arena, k->name), "driver", hx_printable(c->arena, k->driver),
                  "precision", hx_precision_names[k->precision], "results", list);
    hx_result r = steps ? bench_steps(c, d, steps, list, print) : bench_ops(c, d, list, print);
    if (!r)
        r = hx_cli_json(j, o->json);
    json_decref(j);
    return hx_cli_close(&d, r);
}

HX_CMD(bench, .args = "[OPERATOR]... | --config CONFIG.yaml",
       .help = "time operators, or the training step of a configuration", .opts = bench_fields,
       .opts_size = sizeof(bench_opts), .max_args = 1000, .run = run,
       .more = "Shares are of the most that this device reached in all that was measured, a 1024 x "
               "1024 x 1024 product\n"
               "and the sum of two arrays among it.\n");
