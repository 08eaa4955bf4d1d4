// plan.c - `htxvk plan`: what a training would take, counted on the null device.
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/clock.h"
#include "../train/curriculum.h"
#include "../train/rig.h"
#include "preset.h"

typedef struct plan_opts {
    hx_strs set, data;
    const char *fit;
    bool json, dump, time, peak;
} plan_opts;
#define O(type, member, def, help) { #member, type, offsetof(plan_opts, member), def, 0, 0, help }
static const hx_field plan_fields[] = {
    O(HX_STRS, set, "[]", "replace one value of the configuration, key=value; may be repeated"),
    O(HX_STRS, data, "[]", "text to train on, instead of data.train; may be repeated"),
    O(HX_STR, fit, "", "also the largest train.batch that fits into this much, as 24GiB or 800MiB; "
      "`device`: into what --device has"),
    O(HX_BOOL, time, "false", "with --device: also three steps on it, and how long the training would take"),
    O(HX_BOOL, json, "false", "one JSON document on stdout"),
    O(HX_BOOL, peak, "false", "also what is in memory where activations take most, by operator"),
    O(HX_BOOL, dump, "false", "also every step of the plans: kernel, shape, memory"),
    {0}
};
#undef O

typedef struct row { const char *name, *what; int64_t bytes; } row;

static json_t *as_json(const hx_run_conf *k, const hx_rig *rig, const hx_engine_facts *f,
                       const row *rows, int n, int64_t peak)
{
    json_t *memory = json_object();
    for (int i = 0; i < n; i++)
        json_object_set_new(memory, rows[i].name, json_integer(rows[i].bytes));
    json_t *stages = json_array();
    for (int i = 0; i < hx_stages(k); i++)
        json_array_append_new(stages, json_integer(hx_stage_len(k, i)));
    return json_pack("{ss so sI sI sf sI sI sI sI sI sI sI so}", "model", k->model->name, "stages", stages,
        "parameters", (json_int_t)hx_params_count(rig->net.params),
        "tokens_per_step", (json_int_t)k->train.batch * k->train.seq_len * k->train.accumulate,
        "flops_per_step", f->flops, "bytes_per_step", (json_int_t)f->traffic,
        "peak_bytes", (json_int_t)peak, "activation_bound_bytes", (json_int_t)f->bound_bytes,
        "dispatches", (json_int_t)f->dispatches, "levels", (json_int_t)f->levels,
        "submits", (json_int_t)f->submits, "host_copy_bytes", (json_int_t)f->copy_bytes,
        "memory", memory);
}

static void as_text(hx_arena *a, const hx_run_conf *k, const hx_rig *rig, const hx_engine_facts *f,
                    const row *rows, int n, int64_t peak)
{
    int64_t tokens = (int64_t)k->train.batch * k->train.seq_len * k->train.accumulate;
    printf("model         %s, %lld parameters\n", k->model->name,
           (long long)hx_params_count(rig->net.params));
    for (int i = 0; i < hx_stages(k) - 1; i++)
        printf("%-14s%d tokens, %d steps\n", i ? "" : "curriculum", k->train.curriculum.v[i],
               k->train.curriculum_steps.v[i]);
    if (k->train.curriculum.n)
        printf("              %d tokens to the end: what follows is of this stage\n", k->train.seq_len);
    printf("one step      %d x %d x %d = %lld tokens\n", k->train.accumulate, k->train.batch,
           k->train.seq_len, (long long)tokens);
    printf("              %sFLOP, %s read and written\n", hx_cli_count(a, f->flops),
           hx_cli_bytes(a, (double)f->traffic));
    printf("              %lld dispatches in %lld levels, %lld submit\n", (long long)f->dispatches,
           (long long)f->levels, (long long)f->submits);
    printf("device memory %s (%lld bytes)\n", hx_cli_bytes(a, (double)peak), (long long)peak);
    for (int i = 0; i < n; i++)
        printf("  %-12s%12s  %s\n", rows[i].name, hx_cli_bytes(a, (double)rows[i].bytes),
               rows[i].what);
    printf("host memory   %s  copy that checkpoints are written from, beside training\n",
           hx_cli_bytes(a, (double)f->copy_bytes));
}

// ---- what fits -----------------------------------------------------------------------------

// "24GiB": bytes.
static hx_result read_bytes(const char *s, double *out)
{
    static const struct { const char *name; double size; } units[] = {
        { "", 1 }, { "KiB", 1024.0 }, { "MiB", 1048576.0 }, { "GiB", 1073741824.0 },
        { "TiB", 1099511627776.0 } };
    struct { double v; } n;
    const hx_field f[] = { { "fit", HX_F64, 0, "0", 0, 0, "" }, { 0 } };
    size_t digits = strspn(s, "0123456789.");
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)hx_min((int64_t)digits, 31), s);
    for (int i = 0; digits && i < HX_COUNT(units); i++)
        if (!strcmp(s + digits, units[i].name) && !hx_field_set(f, &n, "fit", text, NULL)) {
            *out = n.v * units[i].size;
            return HX_OK;
        }
    return hx_fail(HX_E_USAGE, "--fit %s: a number and KiB, MiB, GiB or TiB is needed, or `device` "
                   "[E-USAGE]", s);
}

// Memory that a training takes with this batch; the null device counts it. 0: it cannot be planned.
static int64_t peak_of(const hx_run_conf *k, int32_t batch)
{
    hx_run_conf other = *k;
    hx_dev *null = NULL;
    hx_rig rig = {0};
    other.train.batch = batch;
    if (hx_dev_open(&(hx_dev_params){ .select = "null" }, &null))
        return 0;
    int64_t peak = hx_rig_new(null, &other, false, &rig) ? 0 : hx_dev_get_stats(null).bytes_peak;
    hx_rig_done(&rig);
    hx_dev_close(&null);
    return peak;
}

// The largest batch that fits, 0 for none: doubled until it does not, then in between.
static int32_t largest_batch(const hx_run_conf *k, double bytes)
{
    int32_t good = 0, bad = 1;
    while (bad <= 32768) {
        int64_t peak = peak_of(k, bad);
        if (!peak || (double)peak > bytes)
            break;
        good = bad;
        bad *= 2;
    }
    while (bad - good > 1) {
        int32_t mid = good + (bad - good) / 2;
        int64_t peak = peak_of(k, mid);
        *(peak && (double)peak <= bytes ? &good : &bad) = mid;
    }
    return good;
}

// The fastest of three steps on made-up tokens, in seconds.
static hx_result time_step(const hx_run_conf *k, hx_engine *e, double *out)
{
    int64_t n = (int64_t)k->train.accumulate * k->train.batch * (k->train.seq_len + 1);
    int64_t V = k->model->size(k->model_conf, "num_tokens");
    int32_t *ids = calloc((size_t)n, sizeof *ids);
    hx_losses l;
    if (!ids)
        return hx_fail(HX_E_NOMEM, "no memory for a batch [E-NOMEM]");
    for (int64_t i = 0; i < n; i++)
        ids[i] = (int32_t)((uint32_t)i * 2654435761u % (uint32_t)V);
    hx_result r = hx_engine_init(e, 1);
    *out = INFINITY;
    for (int i = 1; i <= 3 && !r; i++) {
        double start = hx_now();
        r = hx_engine_step(e, i, 0, ids);
        r = r ? r : hx_engine_result(e, &l);
        *out = fmin(*out, hx_now() - start);
    }
    free(ids);
    return r;
}

static hx_result decide(hx_cli *c, const hx_run_conf *k, const hx_dev *dev, hx_engine *e, json_t *doc)
{
    const plan_opts *o = c->opts;
    double bytes = 0, seconds = 0;
    bool counted = !strcmp(hx_dev_get_caps(dev)->kind, "null");
    if (!strcmp(o->fit, "device"))
        bytes = counted ? 0 : (double)hx_dev_get_caps(dev)->memory_bytes;
    else if (o->fit[0])
        HX_TRY(read_bytes(o->fit, &bytes));
    if (o->fit[0] && !(bytes > 0))
        return hx_fail(HX_E_USAGE, "--fit %s: say how much, or name a device with --device [E-USAGE]",
                       o->fit);
    if (o->fit[0]) {
        int32_t batch = largest_batch(k, bytes);
        json_object_set_new(doc, "largest_batch", json_integer(batch));
        if (!o->json)
            printf("largest batch %d fits into %s\n", batch, hx_cli_bytes(c->arena, bytes));
    }
    if (!o->time)
        return HX_OK;
    if (counted)
        return hx_fail(HX_E_USAGE, "--time needs a --device to measure on [E-USAGE]");
    HX_TRY(time_step(k, e, &seconds));
    json_object_set_new(doc, "seconds_per_step", json_real(seconds));
    json_object_set_new(doc, "seconds", json_real(seconds * (double)k->train.steps));
    if (!o->json)
        printf("time          %.3g s a step on %s, %s for %lld steps without evaluations\n", seconds,
               hx_dev_get_caps(dev)->name, hx_cli_time(c->arena, seconds * (double)k->train.steps),
               (long long)k->train.steps);
    return HX_OK;
}

static hx_result dump(hx_arena *a, const hx_engine *e)
{
    static const char *const titles[] = {"micro-batch", "micro-batch, adding", "optimizer",
                                         "evaluation"};
    for (int i = 0; i < HX_COUNT(titles); i++) {
        const hx_plan *p = hx_engine_plan(e, i);
        const char *text = p ? hx_plan_dump(p, a) : "";
        if (!text)
            return HX_E_NOMEM;
        if (p)
            printf("\n# %s\n%s", titles[i], text);
    }
    return HX_OK;
}

static hx_result show_peak(hx_arena *a, const hx_engine *e)
{
    const char *text = hx_plan_peak(hx_engine_plan(e, 0), a);
    if (!text)
        return HX_E_NOMEM;
    printf("\n# at the peak\n%s", text);
    return HX_OK;
}

static hx_result show(hx_cli *c, const hx_run_conf *k, const hx_dev *dev, const hx_rig *rig)
{
    const plan_opts *o = c->opts;
    hx_engine_facts f = hx_engine_get_facts(rig->engine);
    int64_t peak = hx_dev_get_stats(dev).bytes_peak, sum = 0;
    row rows[] = {
        {"parameters", "fp32", f.bytes[HX_PARAM]},
        {"gradients", "fp32", f.bytes[HX_GRAD]},
        {"optimizer", "two moments, fp32", f.bytes[HX_MOM1] + f.bytes[HX_MOM2]},
        {"activations", "kept for the backward pass, and work space", f.bytes[HX_TEMP]},
        {"states", "carried from step to step, two copies, and those of evaluations",
         f.bytes[HX_STATE] + f.bytes[HX_NEXT]},
        {"inputs", "tokens, step values, results, two steps",
         f.bytes[HX_INPUT] + f.bytes[HX_OUTPUT]},
        {"constants", "tables", f.bytes[HX_CONST]},
        {"samples", "generation during training", 0},
    };
    int n = HX_COUNT(rows);
    for (int i = 0; i < n; i++)
        sum += rows[i].bytes;
    rows[n - 1].bytes = peak - sum;
    json_t *j = as_json(k, rig, &f, rows, n, peak);
    if (!o->json)
        as_text(c->arena, k, rig, &f, rows, n, peak);
    hx_result r = decide(c, k, dev, rig->engine, j);
    if (!r && o->json)
        r = hx_cli_json(j, "-");
    json_decref(j);
    r = !r && o->peak ? show_peak(c->arena, rig->engine) : r;
    return !r && o->dump ? dump(c->arena, rig->engine) : r;
}

static hx_result run(hx_cli *c)
{
    const plan_opts *o = c->opts;
    hx_run_conf *k;
    hx_dev *dev = NULL;
    hx_rig rig = {0};
    HX_TRY(hx_cli_conf(c, c->args[0], &o->set, &o->data, &k));
    hx_result r = hx_cli_open(c, "null", NULL, &dev);
    if (!r)
        r = hx_rig_new(dev, k, false, &rig);
    if (!r)
        r = show(c, k, dev, &rig);
    hx_rig_done(&rig);
    return hx_cli_close(&dev, r);
}

HX_CMD(
    plan, .args = "CONFIG.yaml|preset:NAME [--set key=value]...",
    .help = "parameters, FLOPs, memory and dispatches of a training, without a device",
    .opts = plan_fields, .opts_size = sizeof(plan_opts), .min_args = 1, .max_args = 1, .run = run,
    .more = "With --device the plan is made, and its memory allocated, for that device instead.\n");
