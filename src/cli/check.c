// check.c - `htxvk check`: every operator, every derivative and whole models against the fp64
// references, on the devices of whoever runs it.
#include <fnmatch.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "../../runtime/file.h"
#include "../core/opcheck.h"
#include "../core/plan.h"
#include "../train/modelcheck.h"
#include "cli.h"

typedef struct check_opts { int32_t cases; int64_t seed; const char *json; } check_opts;
#define O(type, member, def, lo, hi, help) \
    { #member, type, offsetof(check_opts, member), def, lo, hi, help }
static const hx_field check_fields[] = {
    O(HX_I32, cases, "0", 0, 1000000,
      "samples per operator; beyond its list they are repeated with new numbers; 0: the list once"),
    O(HX_I64, seed, "1", 0, 9e15, "of the random inputs"),
    O(HX_STR, json, "", 0, 0, "write every result to this file, - for stdout"),
    {0}
};
#undef O

enum { MAX_DEVICES = 64 };

// What one operator did on one device.
typedef struct tally {
    int    cases, runs, failed;
    double worst, worst_l2, worst_gradient, ms;
    char   rows[160], why[512];
} tally;

typedef struct work {
    hx_cli           *c;
    const check_opts *o;
    json_t           *results;             // of the current device
    bool              print;
    int               failed;
} work;

static bool chosen(const work *w, const char *name)
{
    for (int i = 0; i < w->c->n_args; i++)
        if (!fnmatch(w->c->args[i], name, 0))
            return true;
    return !w->c->n_args;
}

static bool chosen_ops(const work *w)
{
    for (int i = 0; i < hx_n_ops; i++)
        if (chosen(w, hx_ops[i]->name))
            return true;
    return false;
}

// The operators, then the models.
static hx_result check_args(const work *w)
{
    int n = 0;
    const char **names = hx_new(w->c->arena, const char *, hx_n_ops + hx_n_models);
    if (!names)
        return HX_E_NOMEM;
    for (int i = 0; i < hx_n_ops; i++)
        names[n++] = hx_ops[i]->name;
    for (int i = 0; i < hx_n_models; i++)
        names[n++] = hx_models[i]->name;
    for (int k = 0; k < w->c->n_args; k++) {
        int hits = 0;
        for (int i = 0; i < n; i++)
            hits += !fnmatch(w->c->args[k], names[i], 0);
        const char *near = hits ? NULL : hx_nearest(w->c->args[k], names, n);
        if (!hits)
            return hx_fail(HX_E_USAGE, "there is no operator or model '%s'%s%s [E-USAGE]",
                           w->c->args[k], near ? "; did you mean " : "", near ? near : "");
    }
    return HX_OK;
}

static void note_failure(tally *t)
{
    if (!t->failed++)
        snprintf(t->why, sizeof t->why, "%s", hx_last_message());
}

static void add_row_name(tally *t, const char *row)
{
    size_t used = strlen(t->rows);
    if (!strstr(t->rows, row) && used + strlen(row) + 2 < sizeof t->rows)
        snprintf(t->rows + used, sizeof t->rows - used, "%s%s", used ? " " : "", row);
}

static void put_result(const work *w, const hx_op *op, const hx_sample *s, uint64_t seed,
                       const hx_opreport *r, hx_result res)
{
    json_t *j =
        json_pack("{ss ss sI ss sf sf sf sb}", "op", op->name, "sample",
                  s->text + strspn(s->text, " "), "seed", (json_int_t)seed, "row", r->row, "worst",
                  r->worst, "worst_l2", r->worst_l2, "ms", r->ms, "ok", res == HX_OK);
    if (j && res)
        json_object_set_new(j, "message", json_string(hx_last_message()));
    json_array_append_new(w->results, j ? j : json_null());
}

// Every kernel row that the device can run for this sample; the host has one way.
static hx_result check_rows(const work *w, hx_dev *d, const hx_op *op, const hx_sample *s,
                            uint64_t seed, tally *t)
{
    bool vulkan = !strcmp(hx_dev_get_caps(d)->kind, "vulkan");
    for (int row = 0; row < (vulkan ? HX_MAX_ROWS : 1); row++) {
        if (vulkan && !hx_row_usable(d, op, row, s->dim, s->attrs))
            continue;
        hx_opreport r = {0};
        hx_result res = hx_check_kernel(d, op, vulkan ? row : -1, s, seed, &r);
        if (res && res != HX_E_CHECK)
            return res;
        put_result(w, op, s, seed, &r, res);
        if (res)
            note_failure(t);
        add_row_name(t, r.row);
        t->worst = r.worst > t->worst ? r.worst : t->worst;
        t->worst_l2 = r.worst_l2 > t->worst_l2 ? r.worst_l2 : t->worst_l2;
        t->ms += r.ms;
        t->runs++;
    }
    return HX_OK;
}

static hx_result check_op(const work *w, hx_dev *d, const hx_op *op, bool gradients, tally *t)
{
    int n = hx_sample_count(op->check), cases = w->o->cases ? w->o->cases : n;
    for (int i = 0; i < cases && n > 0; i++) {
        hx_sample s;
        uint64_t seed = (uint64_t)w->o->seed + (uint64_t)i;
        HX_TRY(hx_sample_read(op, op->check, i % n, &s));
        HX_TRY(check_rows(w, d, op, &s, seed, t));
        double worst = 0;
        hx_result r = gradients ? hx_check_gradient(op, &s, seed, &worst) : HX_OK;
        if (r && r != HX_E_CHECK)
            return r;
        if (r)
            note_failure(t);
        t->worst_gradient = worst > t->worst_gradient ? worst : t->worst_gradient;
        t->cases++;
    }
    return HX_OK;
}

static void print_tally(const hx_op *op, const tally *t, bool gradients)
{
    char derivative[24] = "";
    if (gradients && op->vjp)
        snprintf(derivative, sizeof derivative, "%.0e", t->worst_gradient);
    printf("  %-24s %5d %5d %8.1f%% %8.1f%% %8s  %-6s %s\n", op->name, t->cases, t->runs,
           100 * t->worst, 100 * t->worst_l2, derivative,
           t->failed ? "FAILED" : t->runs ? "ok" : "-", t->rows);
    if (t->failed)
        printf("    %s\n", t->why);
    fflush(stdout);
}

static void print_model(const hx_model *m, const hx_modelreport *t, bool ok)
{
    printf("  %-24s %10.1e %10.1e  %-6s [%s]\n", m->name, t->outputs, t->grads,
           ok ? "ok" : "FAILED", t->text);
    if (!ok)
        printf("    %s\n", hx_last_message());
    fflush(stdout);
}

static hx_result check_models(work *w, hx_dev *d, int *failed)
{
    bool titled = !w->print;
    for (int k = 0; k < hx_n_models; k++) {
        const hx_model *m = hx_models[k];
        for (int i = 0; chosen(w, m->name) && i < hx_model_samples(m); i++) {
            hx_modelreport t;
            hx_result r = hx_check_model(d, m, i, (uint64_t)w->o->seed + (uint64_t)i, &t);
            if (r && r != HX_E_CHECK)
                return r;
            if (!titled)
                printf("  %-24s %10s %10s\n", "model", "outputs", "gradients");
            titled = true;
            if (w->print)
                print_model(m, &t, !r);
            json_t *j = json_pack("{ss ss sf sf ss sf sb}", "model", m->name, "sample", t.text,
                                  "outputs", t.outputs, "gradients", t.grads, "nearest", t.worst,
                                  "ms", t.ms, "ok", r == HX_OK);
            if (j && r)
                json_object_set_new(j, "message", json_string(hx_last_message()));
            json_array_append_new(w->results, j ? j : json_null());
            *failed += r != HX_OK;
        }
    }
    return HX_OK;
}

static hx_result check_device(work *w, hx_dev *d, bool gradients)
{
    if (w->print)
        printf("%s\n", hx_printable(w->c->arena, hx_dev_get_caps(d)->name));
    if (w->print && chosen_ops(w))
        printf("  %-24s %5s %5s %9s %9s %8s  %-6s %s\n", "operator", "cases", "runs", "worst", "L2",
               "d error", "", "kernels");
    int ops = 0, failed = 0;
    for (int i = 0; i < hx_n_ops; i++) {
        tally t = {0};
        if (!chosen(w, hx_ops[i]->name))
            continue;
        HX_TRY(check_op(w, d, hx_ops[i], gradients, &t));
        if (w->print)
            print_tally(hx_ops[i], &t, gradients);
        ops++;
        failed += t.failed > 0;
    }
    if (w->print && ops)
        printf("  %d operators, %d failed; worst and L2 in parts of the allowed error\n", ops,
               failed);
    HX_TRY(check_models(w, d, &failed));
    w->failed += failed;
    return HX_OK;
}

// Opens one device, checks it, and adds it to the document.
static hx_result check_selected(work *w, const char *selector, bool gradients, json_t *devices)
{
    hx_cli one = *w->c;
    hx_dev *d = NULL;
    one.device = selector;
    HX_TRY(hx_cli_open(&one, NULL, &d));
    const hx_dev_caps *k = hx_dev_get_caps(d);
    w->results = json_array();
    json_array_append_new(devices,
                          json_pack("{ss ss ss so}", "kind", k->kind, "name",
                                    hx_printable(w->c->arena, k->name), "driver",
                                    hx_printable(w->c->arena, k->driver), "results", w->results));
    hx_result r = check_device(w, d, gradients);
    return hx_cli_close(&d, r);
}

static hx_result check_all(work *w, json_t *devices)
{
    if (!w->c->device || strcmp(w->c->device, "all"))
        return check_selected(w, w->c->device, true, devices);
    hx_dev_info *list = hx_new(w->c->arena, hx_dev_info, MAX_DEVICES);
    if (!list)
        return HX_E_NOMEM;
    int n = 0;
    const char *note = NULL;
    bool first = true;
    HX_TRY(hx_dev_list(list, MAX_DEVICES, &n, &note));
    for (int i = 0; i < n; i++) {
        if (list[i].why_not[0])
            continue;
        HX_TRY(check_selected(w, list[i].selector, first, devices));
        first = false;
    }
    return HX_OK;
}

static hx_result run(hx_cli *c)
{
    work w = { .c = c, .o = c->opts };
    w.print = strcmp(w.o->json, "-") != 0;
    HX_TRY(check_args(&w));
    json_t *j = json_pack("{ss sI so}", "version", HX_VERSION, "seed", (json_int_t)w.o->seed,
                          "devices", json_array());
    hx_result r = check_all(&w, json_object_get(j, "devices"));
    if (!r)
        r = hx_cli_json(j, w.o->json);
    json_decref(j);
    if (!r && w.failed)
        r = hx_fail(HX_E_CHECK, "%d operators or models are wrong on this machine [E-CHECK]",
                    w.failed);
    return r;
}

HX_CMD(check, .args = "[OPERATOR|MODEL]... [--device SEL|all] [--json FILE]",
       .help = "compare every operator, derivative and model with fp64 references on your devices",
       .opts = check_fields, .opts_size = sizeof(check_opts), .max_args = 1000, .run = run,
       .more = "OPERATOR or MODEL may be a pattern such as 'attention*'. Exit code 0: all agree, "
               "8: something does not.\n");
