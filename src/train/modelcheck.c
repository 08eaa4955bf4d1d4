// modelcheck.c - the graph that `htxvk forward --grad` runs, on the device and by the interpreter.
#include "../../runtime/clock.h"
#include "modelcheck.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/interp.h"

enum { MAX_GIVEN = 4 };
#define NUDGE 0x1p-20

typedef struct work {
    hx_arena       *arena;
    hx_dev         *dev;
    hx_net          net;
    hx_pass        *pass;
    hx_interp      *interp, *moved;        // the reference; with parameters off by NUDGE, see moves()
    int64_t         batch, tokens;
    int32_t        *ids;
    hx_given        given[MAX_GIVEN];      // inputs beside ids: [batch, n] of int32
    int32_t        *value[MAX_GIVEN];
    int             n_given;
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

// "tgt:12": an input beside ids.
static hx_result add_given(work *w, char *word)
{
    char *colon = strchr(word, ':');
    if (!colon || w->n_given == MAX_GIVEN)
        return hx_fail(HX_E_USAGE, "'%s' in a sample is no KEY=VALUE and no INPUT:TOKENS [E-SAMPLE]",
                       word);
    *colon = 0;
    w->given[w->n_given++] = (hx_given){ word, true, 2, { 0, strtoll(colon + 1, NULL, 10) } };
    return HX_OK;
}

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
        if (eq)
            *eq = 0;
        if (!eq)
            HX_TRY(add_given(w, word));
        else if (!strcmp(word, "B"))
            w->batch = strtoll(eq + 1, NULL, 10);
        else if (!strcmp(word, "N"))
            w->tokens = strtoll(eq + 1, NULL, 10);
        else
            HX_TRY(hx_field_set(m->fields, conf, word, eq + 1, w->arena));
    }
    for (int k = 0; k < w->n_given; k++)
        w->given[k].shape[0] = w->batch;
    if (m->open)
        HX_TRY(m->open(w->arena, conf));
    return m->check(conf);
}

// n tokens below V.
static int32_t *draw_tokens(work *w, uint64_t seed, int64_t n, int64_t V)
{
    int32_t *v = hx_new(w->arena, int32_t, n);
    uint32_t x = (uint32_t)seed * 2654435761u + 1;
    for (int64_t i = 0; v && i < n; i++) {
        x = x * 1664525u + 1013904223u;
        v[i] = (int32_t)((x >> 8) % (uint32_t)V);
    }
    return v;
}

// Tokens where the model knows of how many kinds, else a mask that hides one of four.
static hx_result draw_given(work *w, uint64_t seed)
{
    for (int k = 0; k < w->n_given; k++) {
        const hx_given *g = &w->given[k];
        const char *stem = hx_sprintf(w->arena, "%.*s", (int)strcspn(g->name, "."), g->name);
        int64_t V = stem ? w->net.model->size(w->net.conf, stem) : 0, n = w->batch * g->shape[1];
        w->value[k] = draw_tokens(w, seed + 77 * (uint64_t)(k + 1), n, V > 0 ? V : 4);
        if (!w->value[k])
            return HX_E_NOMEM;
        for (int64_t i = 0; i < n && V <= 0; i += g->shape[1])
            w->value[k][i] = 1;            // a row is never hidden whole
    }
    w->net.given = w->given;
    w->net.n_given = w->n_given;
    return HX_OK;
}

static hx_result draw_values(work *w, uint64_t seed)
{
    const hx_params *ps = w->net.params;
    int64_t V = w->net.model->size(w->net.conf, "num_tokens");
    w->ids = draw_tokens(w, seed, w->batch * w->tokens, V);
    w->params = hx_alloc(w->arena, (size_t)ps->bytes);
    w->grads = hx_alloc(w->arena, (size_t)ps->bytes);
    w->again = hx_alloc(w->arena, (size_t)ps->bytes);
    if (!w->ids || !w->params || !w->grads || !w->again)
        return HX_E_NOMEM;
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
    return draw_given(w, seed);
}

// ---- the reference ------------------------------------------------------------------------

static void set_tokens(hx_interp *in, hx_t x, const int32_t *tokens, real *v)
{
    for (int64_t i = 0; i < hx_elems(x); i++)
        v[i] = tokens[i];
    hx_interp_set(in, x, v);
}

// nudge: so much of itself may be added to or taken from each parameter
static hx_result run_reference(work *w, double nudge, hx_interp **in)
{
    const hx_graph *g = w->pass->graph;
    const hx_params *ps = w->net.params;
    int64_t most = w->batch * w->tokens;
    for (int i = 0; i < ps->n; i++)
        most = hx_max(most, ps->list[i].elems);
    for (int k = 0; k < w->n_given; k++)
        most = hx_max(most, w->batch * w->given[k].shape[1]);
    real *v = hx_new(w->arena, real, most);
    *in = hx_interp_new(g->tape);
    if (!v || !*in)
        return HX_E_NOMEM;
    set_tokens(*in, g->ids, w->ids, v);
    for (int k = 0; k < w->n_given; k++)
        if (hx_is(g->given_t[k]))
            set_tokens(*in, g->given_t[k], w->value[k], v);
    for (int i = 0; i < ps->n; i++) {
        if (ps->list[i].buffer || !hx_is(g->param[i]))
            continue;
        for (int64_t k = 0; k < ps->list[i].elems; k++)
            v[k] = ((const float *)(w->params + ps->list[i].at))[k] *
                   (1 + nudge * sin((double)(29 * k + 5 * i + 1)));
        hx_interp_set(*in, g->param[i], v);
    }
    return hx_interp_run(*in);
}

// ---- the comparison -----------------------------------------------------------------------

// How far x goes, root of the sum of squares, when parameters are off by NUDGE of themselves, sixteen units of
// their last place: what cancels, as the gradient of a number that scales everything, is no better known.
static hx_result moves(work *w, hx_t x, const real *v, double *by)
{
    int64_t n = hx_elems(x);
    real *u = hx_new(w->arena, real, n);
    if (!u)
        return HX_E_NOMEM;
    if (!w->moved)
        HX_TRY(run_reference(w, NUDGE, &w->moved));
    hx_interp_get(w->moved, x, u);
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (u[i] - v[i]) * (u[i] - v[i]);
    *by = sqrt(sum);
    return HX_OK;
}

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
    // fp64 leaves a rest of what is zero by the equations, as the gradient of a bias of keys is
    bool zero = sqrt(size / (double)hx_max(n, 1)) < 1e-14;
    double e = zero ? sqrt(error) : sqrt(error / size), most = zero ? 1e-6 : limit;
    if (!zero && !(e <= most)) {
        double by = 0;
        HX_TRY(moves(w, ref, v, &by));
        most = fmax(most, by / sqrt(size));
    }
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
    HX_TRY(run_reference(w, 0, &w->interp));
    HX_TRY(hx_pass_bind(w->pass, NULL));
    HX_TRY(hx_memory_write(w->pass->mem[HX_PARAM], 0, w->params, w->net.params->bytes));
    HX_TRY(hx_pass_write(w->pass, w->ids, 0));
    for (int k = 0; k < w->n_given; k++)
        HX_TRY(hx_pass_write_given(w->pass, k, w->value[k]));
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
    hx_interp_free(&w.moved);
    hx_pass_free(&w.pass);
    hx_net_done(&w.net);
    hx_arena_free(&w.arena);
    return r;
}
