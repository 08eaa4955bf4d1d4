// modelcheck.c - the graph that `htxvk forward --grad` runs, on the device and by the interpreter.
#include "../../runtime/clock.h"
#include "modelcheck.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/interp.h"

typedef struct work {
    hx_arena       *arena;
    hx_dev         *dev;
    hx_net          net;
    hx_pass        *pass;
    hx_interp      *interp;
    int64_t         batch, tokens;
    int32_t        *ids;
    char           *params, *grads, *again;    // host arenas, params->bytes each
    hx_modelreport *report;
    double          nearest;               // largest error in parts of its limit
} work;

int hx_model_samples(const hx_model *m)
{
    int n = m->samples && *m->samples;
    for (const char *s = m->samples; s && *s; s++)
        n += *s == ';';
    return n;
}

// ---- the sample ---------------------------------------------------------------------------

static hx_result read_sample(work *w, const hx_model *m, int i, void *conf)
{
    const char *s = m->samples;
    for (; i > 0 && (s = strchr(s, ';')); i--)
        s++;
    if (!s)
        return hx_fail(HX_E_USAGE, "model %s has no such sample [E-SAMPLE]", m->name);
    s += strspn(s, " ");
    snprintf(w->report->text, sizeof w->report->text, "%.*s", (int)strcspn(s, ";"), s);
    HX_TRY(hx_fields_default(m->fields, conf));
    char *copy = hx_strdup(w->arena, w->report->text), *save = NULL;
    for (char *word = copy ? strtok_r(copy, " ", &save) : NULL; word;
         word = strtok_r(NULL, " ", &save)) {
        char *eq = strchr(word, '=');
        if (!eq)
            return hx_fail(HX_E_USAGE, "'%s' in a sample is no KEY=VALUE [E-SAMPLE]", word);
        *eq = 0;
        if (!strcmp(word, "B"))
            w->batch = strtoll(eq + 1, NULL, 10);
        else if (!strcmp(word, "N"))
            w->tokens = strtoll(eq + 1, NULL, 10);
        else
            HX_TRY(hx_field_set(m->fields, conf, word, eq + 1, w->arena));
    }
    return m->check(conf);
}

static hx_result draw_values(work *w, uint64_t seed)
{
    const hx_params *ps = w->net.params;
    int64_t n = w->batch * w->tokens, V = w->net.model->size(w->net.conf, "num_tokens");
    w->ids = hx_new(w->arena, int32_t, n);
    w->params = hx_alloc(w->arena, (size_t)ps->bytes);
    w->grads = hx_alloc(w->arena, (size_t)ps->bytes);
    w->again = hx_alloc(w->arena, (size_t)ps->bytes);
    if (!w->ids || !w->params || !w->grads || !w->again)
        return HX_E_NOMEM;
    uint32_t x = (uint32_t)seed * 2654435761u + 1;
    for (int64_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        w->ids[i] = (int32_t)((x >> 8) % (uint32_t)V);
    }
    for (int i = 0; i < ps->n; i++) {
        const hx_param *p = &ps->list[i];
        float *v = (float *)(w->params + p->at);
        if (p->buffer)
            continue;
        hx_param_init(p, seed, v);
        // ones and zeros hide mistakes
        for (int64_t k = 0; k < p->elems; k++)
            v[k] += 0.1f * (float)sin((double)(17 * k + 3 * i));
    }
    return HX_OK;
}

// ---- the reference ------------------------------------------------------------------------

static hx_result run_reference(work *w)
{
    const hx_graph *g = w->pass->graph;
    const hx_params *ps = w->net.params;
    int64_t most = w->batch * w->tokens;
    for (int i = 0; i < ps->n; i++)
        most = hx_max(most, ps->list[i].elems);
    real *v = hx_new(w->arena, real, most);
    w->interp = hx_interp_new(g->tape);
    if (!v || !w->interp)
        return HX_E_NOMEM;
    for (int64_t i = 0; i < w->batch * w->tokens; i++)
        v[i] = w->ids[i];
    hx_interp_set(w->interp, g->ids, v);
    for (int i = 0; i < ps->n; i++) {
        if (ps->list[i].buffer || !hx_is(g->param[i]))
            continue;
        for (int64_t k = 0; k < ps->list[i].elems; k++)
            v[k] = ((const float *)(w->params + ps->list[i].at))[k];
        hx_interp_set(w->interp, g->param[i], v);
    }
    return hx_interp_run(w->interp);
}

// ---- the comparison -----------------------------------------------------------------------

static hx_result compare(work *w, const char *name, hx_t ref, const float *got, double limit,
                         double *worst)
{
    int64_t n = hx_elems(ref);
    real *v = hx_new(w->arena, real, n);
    if (!v)
        return HX_E_NOMEM;
    hx_interp_get(w->interp, ref, v);
    double error = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        error += (got[i] - v[i]) * (got[i] - v[i]);
        size += v[i] * v[i];
    }
    double e = size > 0 ? sqrt(error / size) : sqrt(error), most = size > 0 ? limit : 1e-6;
    *worst = fmax(*worst, e);
    if (!(e / most <= w->nearest)) {
        w->nearest = e / most;
        snprintf(w->report->worst, sizeof w->report->worst, "%s", name);
    }
    return e <= most
               ? HX_OK
               : hx_fail(
                     HX_E_CHECK,
                     "model %s [%s]: %s is off by %.2g of its size, allowed %.2g [E-MODEL-VALUE]",
                     w->net.model->name, w->report->text, name, e, most);
}

static hx_result compare_outputs(work *w)
{
    const hx_graph *g = w->pass->graph;
    for (int i = 0; i < g->n_output; i++) {
        float *got = hx_new(w->arena, float, hx_elems(g->output[i].t));
        if (!got)
            return HX_E_NOMEM;
        HX_TRY(hx_pass_read(w->pass, i, got));
        HX_TRY(compare(w, g->output[i].name, g->output[i].t, got, 2e-5, &w->report->outputs));
    }
    return HX_OK;
}

static hx_result compare_grads(work *w)
{
    const hx_params *ps = w->net.params;
    HX_TRY(hx_memory_read(w->pass->mem[HX_GRAD], 0, w->grads, ps->bytes));
    for (int i = 0; i < ps->n; i++) {
        const hx_param *p = &ps->list[i];
        hx_t d = !p->buffer && hx_is(w->pass->graph->param[i]) ? hx_grad(w->pass->graph->param[i])
                                                               : HX_NONE;
        if (hx_is(d))
            HX_TRY(
                compare(w, p->name, d, (const float *)(w->grads + p->at), 1e-4, &w->report->grads));
    }
    // gradients depend on everything before them: equal bits there are equal bits everywhere
    HX_TRY(hx_pass_run(w->pass));
    HX_TRY(hx_memory_read(w->pass->mem[HX_GRAD], 0, w->again, ps->bytes));
    if (memcmp(w->grads, w->again, (size_t)ps->bytes))
        return hx_fail(HX_E_CHECK, "model %s [%s]: two runs gave different bits [E-MODEL-BITS]",
                       w->net.model->name, w->report->text);
    return HX_OK;
}

static hx_result check(work *w, const hx_model *m, int i, uint64_t seed)
{
    void *conf = hx_alloc(w->arena, m->conf_size);
    if (!conf)
        return HX_E_NOMEM;
    HX_TRY(read_sample(w, m, i, conf));
    HX_TRY(hx_net_init(&w->net, m, conf));
    HX_TRY(draw_values(w, seed));
    HX_TRY(hx_pass_new(w->dev, &w->net, HX_FOR_PARITY, w->batch, w->tokens, HX_PASS_WRITE_GRADS,
                       &w->pass));
    HX_TRY(run_reference(w));
    HX_TRY(hx_pass_bind(w->pass, NULL));
    HX_TRY(hx_memory_write(w->pass->mem[HX_PARAM], 0, w->params, w->net.params->bytes));
    HX_TRY(hx_pass_write(w->pass, w->ids, 0));
    double start = hx_now_ms();
    HX_TRY(hx_pass_run(w->pass));
    w->report->ms = hx_now_ms() - start;
    HX_TRY(compare_outputs(w));
    return compare_grads(w);
}

hx_result hx_check_model(hx_dev *dev, const hx_model *m, int i, uint64_t seed, hx_modelreport *out)
{
    *out = (hx_modelreport){0};
    work w = { .arena = hx_arena_new(), .dev = dev, .report = out, .nearest = -1 };
    if (!w.arena)
        return HX_E_NOMEM;
    hx_result r = check(&w, m, i, seed);
    hx_interp_free(&w.interp);
    hx_pass_free(&w.pass);
    hx_net_done(&w.net);
    hx_arena_free(&w.arena);
    return r;
}
