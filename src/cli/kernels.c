// kernels.c - `htxvk kernels`: compiles every kernel for a device and shows what its compiler says.
#include <jansson.h>
#include <string.h>

#include "../../runtime/file.h"
#include "../core/opcheck.h"
#include "../core/plan.h"
#include "cli.h"

typedef struct kernels_opts { const char *json; } kernels_opts;
static const hx_field kernels_fields[] = {
    { "json", HX_STR, offsetof(kernels_opts, json), "", 0, 0, "write results to this file, - for stdout" },
    {0}
};

enum { MAX_FACTS = 64 };
// A kernel with its specialization constants, and the first sample that asked for it.
typedef struct seen {
    struct seen *next;
    hx_kernel    kernel;
    const char  *op, *sample;
} seen;
typedef struct walk { hx_cli *c; hx_dev *d; seen *first, **last; int n, failed; json_t *list; } walk;

static bool is_new(const walk *w, const hx_kernel *k)
{
    for (const seen *s = w->first; s; s = s->next)
        if (s->kernel.spirv == k->spirv && s->kernel.n_spec == k->n_spec &&
            !memcmp(s->kernel.spec, k->spec, (size_t)k->n_spec * sizeof *k->spec))
            return false;
    return true;
}

static const char *constants(hx_arena *a, const hx_kernel *k)
{
    const char *s = "";
    for (int i = 0; i < k->n_spec; i++)
        s = hx_sprintf(a, "%s%s%u", s, i ? "," : "", k->spec[i]);
    return s;
}

static hx_result put(walk *w, const char *op, const char *sample, const hx_kernel *k)
{
    hx_fact f[MAX_FACTS];
    int n = 0;
    json_t *facts = json_object();
    hx_result r = hx_dev_facts(w->d, k, f, MAX_FACTS, &n);
    const char *line = "";
    for (int i = 0; i < n; i++) {
        json_object_set_new(facts, f[i].name, json_real(f[i].value));
        line = hx_sprintf(w->c->arena, "%s  %s %.0f", line, f[i].name, f[i].value);
    }
    const char *spec = constants(w->c->arena, k);
    json_t *j = json_pack("{ss ss ss ss sb so}", "kernel", k->name, "constants", spec, "operator", op,
        "sample", sample, "compiles", !r, "facts", facts);
    if (r)
        json_object_set_new(j, "error", json_string(hx_last_message()));
    json_array_append_new(w->list, j);
    if (strcmp(((kernels_opts *)w->c->opts)->json, "-"))
        printf("%-28s %-16s%s\n", k->name, spec, r ? "  DOES NOT COMPILE" : line);
    w->n++;
    w->failed += r != HX_OK;
    return r == HX_E_LOST || r == HX_E_NOMEM ? r : HX_OK;
}

// The operator alone; its outputs are kept, so that nothing is left out. Nothing has memory here.
static hx_result apply(hx_tape *t, const hx_op *op, const hx_sample *s)
{
    const hx_sig *sig = hx_sig_of(op);
    hx_t x[HX_MAX_ARGS] = {0}, y[HX_MAX_ARGS] = {0};
    for (int k = 0; k < sig->n_in + sig->n_out; k++) {
        int64_t shape[HX_MAX_RANK];
        int rank = hx_sample_shape(op, s, k, shape);
        if (s->left_out >> k & 1)
            continue;
        if (k < sig->n_in)
            x[k] = hx_external(t, HX_INPUT, (int64_t)k << 36, sig->flags[k] & HX_ARG_INT,
                               rank, shape);
        else
            y[k - sig->n_in] = HX_WANT(t);
    }
    hx_apply(op, s->attrs, x, y);
    HX_TRY(hx_tape_error(t));
    for (int k = 0; k < sig->n_out; k++)
        if (hx_is(y[k])) {
            const hx_value *v = hx_value_of(y[k]);
            hx_deliver(y[k], hx_external(t, HX_OUTPUT, (int64_t)k << 36, v->is_int, v->rank,
                                         v->shape), false);
        }
    return hx_tape_error(t);
}

static hx_result compile(walk *w, const hx_op *op, const hx_sample *s, const hx_plan *plan)
{
    for (int i = 0; i < plan->n_step; i++) {
        const hx_kernel *k = &plan->step[i].kernel;
        if (!is_new(w, k))
            continue;
        seen *new = hx_new(w->c->arena, seen, 1);
        if (!new)
            return HX_E_NOMEM;
        *new = (seen){ NULL, *k, op->name, hx_sprintf(w->c->arena, "%s", s->text) };
        *w->last = new;
        w->last = &new->next;
        HX_TRY(put(w, op->name, new->sample, k));
    }
    return HX_OK;
}

static hx_result steps(walk *w, const hx_op *op, const hx_sample *s, int row)
{
    hx_plan *plan = NULL;
    hx_tape *t = hx_tape_new();
    if (!t)
        return HX_E_NOMEM;
    t->force_row = row;
    hx_result r = apply(t, op, s);
    if (!r)
        r = hx_plan_new(t, w->d, &plan);
    if (!r)
        r = compile(w, op, s, plan);
    hx_plan_free(&plan);
    hx_tape_free(&t);
    return r;
}

static hx_result samples(walk *w, const hx_op *op, const char *list)
{
    for (int i = 0; list && i < hx_sample_count(list); i++) {
        hx_sample s;
        HX_TRY(hx_sample_read(op, list, i, &s));
        for (int row = 0; row < HX_MAX_ROWS; row++)
            if (hx_row_usable(w->d, op, row, s.dim, s.attrs))
                HX_TRY(steps(w, op, &s, row));
    }
    return HX_OK;
}

static bool wanted(const hx_cli *c, const char *name)
{
    for (int i = 0; i < c->n_args; i++)
        if (!strcmp(c->args[i], name))
            return true;
    return !c->n_args;
}

static hx_result all(walk *w)
{
    for (int i = 0; i < hx_n_ops; i++)
        if (wanted(w->c, hx_ops[i]->name)) {
            HX_TRY(samples(w, hx_ops[i], hx_ops[i]->check));
            HX_TRY(samples(w, hx_ops[i], hx_ops[i]->bench));
        }
    return HX_OK;
}

// Nothing runs here, so a device cannot be asked where it keeps the elements of its matrices: as
// RDNA 3 does it, lane % 16 the column, in every case.
static void suppose_places(hx_dev *d)
{
    static const uint32_t places[4] = { 0x80402010, 0x0201, 0x080402, 1 };
    hx_precision p = hx_dev_get_caps(d)->precision;
    if (p)
        hx_dev_note_places(d, p, places);
}

static hx_result run(hx_cli *c)
{
    const kernels_opts *o = c->opts;
    hx_dev *d = NULL;
    c->compile_only = true;
    HX_TRY(hx_cli_open(c, NULL, NULL, &d));
    const hx_dev_caps *caps = hx_dev_get_caps(d);
    hx_result r = HX_OK;
    if (strcmp(caps->kind, "vulkan"))
        r = hx_fail(HX_E_USAGE, "kernels: device %s has no compiler for shaders; choose a Vulkan "
            "device with --device, see `htxvk devices` [E-USAGE]", caps->name);
    suppose_places(d);
    walk w = { .c = c, .d = d, .list = json_array() };
    w.last = &w.first;
    if (!r)
        r = all(&w);
    json_t *j = json_pack("{ss ss ss si si sO}", "version", HX_VERSION, "device",
        hx_printable(c->arena, caps->name), "driver", hx_printable(c->arena, caps->driver),
        "kernels", w.n, "failed", w.failed, "results", w.list);
    if (!r)
        r = hx_cli_json(j, o->json);
    json_decref(j);
    json_decref(w.list);
    if (!r && !w.n)
        r = hx_fail(HX_E_USAGE, "kernels: there is no such operator; see `htxvk check` [E-USAGE]");
    if (!r && w.failed)
        r = hx_fail(HX_E_CHECK, "%d of %d kernels do not compile on %s [E-CHECK]", w.failed, w.n,
            caps->name);
    return hx_cli_close(&d, r);
}

HX_CMD(kernels,
    .args = "[OPERATOR]...",
    .help = "compile every kernel for a device and show what its compiler says; nothing runs",
    .more = "Every row that the device's capabilities allow, with the specialization constants that the\n"
            "operators' own samples lead to. What a driver tells (registers, spills, occupancy) is shown in\n"
            "its words; many tell nothing. Exit code 0: everything compiles, 8: not.",
    .opts = kernels_fields, .opts_size = sizeof(kernels_opts), .max_args = 1000, .run = run);
