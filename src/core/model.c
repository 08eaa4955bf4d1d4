#include "model.h"
#include <string.h>

hx_t hx_use(hx_graph *g, hx_p p)
{
    if (!p)
        return HX_NONE;
    hx_t *t = &g->param[p - 1];
    const hx_param *q = &g->params->list[p - 1];
    if (!hx_is(*t)) {
        *t = hx_external(g->tape, HX_PARAM, q->at, false, q->rank, q->shape);
        g->tape->value[t->id].wants_grad &= !q->buffer;
    }
    return *t;
}

hx_t hx_input(hx_graph *g, const char *name, bool is_int, int rank, const int64_t *shape)
{
    for (int i = 0; i < g->n_given; i++) {
        const hx_given *v = &g->given[i];
        if (strcmp(v->name, name))
            continue;
        bool fits = v->is_int == is_int && v->rank == rank
                    && !memcmp(v->shape, shape, sizeof *shape * (size_t)rank);
        if (!fits)
            hx_tape_fail(g->tape, HX_E_SHAPE, "'%s' has %d dimensions from %lld on; %s [%lld, ...] "
                         "of rank %d is needed [E-SHAPE]", name, v->rank, (long long)v->shape[0],
                         is_int ? "integers" : "numbers", (long long)shape[0], rank);
        return fits ? g->given_t[i] : HX_NONE;
    }
    return HX_NONE;
}

hx_t hx_hand_on(hx_graph *g, hx_t x) { return g->replays && hx_is(x) ? hx_keep(x) : x; }

void hx_segment_done(hx_graph *g)
{
    if (g->replays)
        hx_replay(g->tape, g->segment_from);
    g->segment_from = g->tape->n_value;
}

hx_t hx_carry(hx_graph *g, const char *name, int rank, const int64_t *shape)
{
    if (!g->carries)
        return HX_NONE;
    hx_carried *c = &g->carried[g->n_carried];
    const char *own = hx_strdup(g->tape->arena, name);
    if (g->n_carried == HX_MAX_CARRIED || !own) {
        hx_tape_fail(g->tape, own ? HX_E_INTERNAL : HX_E_NOMEM, "more than %d states are carried "
                     "[E-CARRY]", HX_MAX_CARRIED);
        return (hx_t){ g->tape, 0 };
    }
    *c = (hx_carried){ .name = own, .rank = rank, .at = g->state_bytes, .bytes = 4 };
    bool fits = true;
    for (int i = 0; i < rank; i++) {
        c->shape[i] = shape[i];
        fits = fits && hx_mul(c->bytes, shape[i], &c->bytes);
    }
    if (!fits || !hx_sum(g->state_bytes, c->bytes + 256, &g->state_bytes)) {
        hx_tape_fail(g->tape, HX_E_SHAPE, "the state '%s' is too large [E-SIZE]", own);
        return (hx_t){ g->tape, 0 };
    }
    g->state_bytes = hx_align(c->at + c->bytes, 256);
    c->old = hx_external(g->tape, HX_STATE, c->at, false, rank, shape);
    g->n_carried++;
    return c->old;
}

void hx_carry_out(hx_graph *g, const char *name, hx_t next)
{
    if (!g->carries || g->tape->err)
        return;
    for (int i = 0; i < g->n_carried; i++) {
        hx_carried *c = &g->carried[i];
        if (strcmp(c->name, name))
            continue;
        hx_deliver(next, hx_external(g->tape, HX_NEXT, c->at, false, c->rank, c->shape), false);
        c->passed_on = true;
        return;
    }
    hx_tape_fail(g->tape, HX_E_INTERNAL, "'%s' is passed on but was never carried [E-CARRY]", name);
}

hx_t hx_chance(hx_graph *g, double p, const char *name)
{
    if (!g->learns || p <= 0)
        return HX_NONE;
    const char *own = hx_strdup(g->tape->arena, name);
    if (g->n_chance == HX_MAX_CHANCES || !own) {
        hx_tape_fail(g->tape, own ? HX_E_INTERNAL : HX_E_NOMEM, "more than %d chances [E-CHANCE]",
                     HX_MAX_CHANCES);
        return (hx_t){ g->tape, 0 };
    }
    int64_t at = g->input_bytes;
    g->chance[g->n_chance].name = own;
    g->chance[g->n_chance].p = p;
    g->chance[g->n_chance].t = hx_external(g->tape, HX_INPUT, at, true, 1, (int64_t[]){ g->batch });
    g->input_bytes = hx_align(at + 4 * g->batch, 256);
    return g->chance[g->n_chance++].t;
}

hx_t hx_dice(hx_graph *g, double p, int *place)
{
    *place = g->n_dice;
    if (!g->learns || p <= 0)
        return HX_NONE;
    if (!g->n_dice++) {
        g->dice = hx_external(g->tape, HX_INPUT, g->input_bytes, true, 1, (int64_t[]){ 4 });
        g->input_bytes = hx_align(g->input_bytes + 16, 256);
    }
    return g->dice;
}

void hx_output(hx_graph *g, const char *name, hx_t t)
{
    if (g->n_output == HX_MAX_OUTPUTS) {
        hx_tape_fail(g->tape, HX_E_INTERNAL, "more than %d outputs [E-OUTPUTS]", HX_MAX_OUTPUTS);
        return;
    }
    g->output[g->n_output].name = name;
    g->output[g->n_output++].t = t;
}

const hx_model *hx_model_find(const char *name)
{
    for (int i = 0; i < hx_n_models; i++)
        if (!strcmp(hx_models[i]->name, name))
            return hx_models[i];
    return NULL;
}
