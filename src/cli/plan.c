// plan.c - `htxvk plan`: what a training would take, counted on the null device.
#include <jansson.h>
#include <string.h>

#include "../train/rig.h"
#include "cli.h"

typedef struct plan_opts { hx_strs set; bool json, dump; } plan_opts;
#define O(type, member, def, help) { #member, type, offsetof(plan_opts, member), def, 0, 0, help }
static const hx_field plan_fields[] = {
    O(HX_STRS, set, "[]", "replace one value of the configuration, key=value; may be repeated"),
    O(HX_BOOL, json, "false", "one JSON document on stdout"),
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
    return json_pack("{ss sI sI sf sI sI sI sI sI sI so}", "model", k->model->name,
        "parameters", (json_int_t)hx_params_count(rig->net.params),
        "tokens_per_step", (json_int_t)k->train.batch * k->train.seq_len * k->train.accumulate,
        "flops_per_step", f->flops, "bytes_per_step", (json_int_t)f->traffic,
        "peak_bytes", (json_int_t)peak, "activation_bound_bytes", (json_int_t)f->bound_bytes,
        "dispatches", (json_int_t)f->dispatches, "levels", (json_int_t)f->levels,
        "submits", (json_int_t)f->submits, "memory", memory);
}

static void as_text(hx_arena *a, const hx_run_conf *k, const hx_rig *rig, const hx_engine_facts *f,
                    const row *rows, int n, int64_t peak)
{
    int64_t tokens = (int64_t)k->train.batch * k->train.seq_len * k->train.accumulate;
    printf("model         %s, %lld parameters\n", k->model->name,
           (long long)hx_params_count(rig->net.params));
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
    if (o->json) {
        json_t *j = as_json(k, rig, &f, rows, n, peak);
        hx_result r = hx_cli_json(j, "-");
        json_decref(j);
        return r;
    }
    as_text(c->arena, k, rig, &f, rows, n, peak);
    return o->dump ? dump(c->arena, rig->engine) : HX_OK;
}

static hx_result run(hx_cli *c)
{
    const plan_opts *o = c->opts;
    hx_run_conf *k;
    hx_dev *dev = NULL;
    hx_rig rig = {0};
    HX_TRY(hx_run_conf_read(c->arena, c->args[0], o->set.v, o->set.n, &k));
    hx_result r = hx_cli_open(c, "null", NULL, &dev);
    if (!r)
        r = hx_rig_new(dev, k, false, &rig);
    if (!r)
        r = show(c, k, dev, &rig);
    hx_rig_done(&rig);
    return hx_cli_close(&dev, r);
}

HX_CMD(
    plan, .args = "CONFIG.yaml [--set key=value]...",
    .help = "parameters, FLOPs, memory and dispatches of a training, without a device",
    .opts = plan_fields, .opts_size = sizeof(plan_opts), .min_args = 1, .max_args = 1, .run = run,
    .more = "With --device the plan is made, and its memory allocated, for that device instead.\n");
