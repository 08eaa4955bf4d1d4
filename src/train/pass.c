// pass.c - from a model to a recorded program.
#include "pass.h"

#include <stdlib.h>
#include <string.h>

hx_result hx_net_init(hx_net *n, const hx_model *model, const void *conf)
{
    *n = (hx_net){ .model = model, .conf = conf, .params = hx_params_new() };
    if (!n->params)
        return HX_E_NOMEM;
    n->self = model->declare(conf, n->params);
    hx_result r = n->params->err;
    if (!r && !n->self)
        r = HX_E_NOMEM;
    if (r)
        hx_net_done(n);
    return r;
}

void hx_net_done(hx_net *n)
{
    hx_params_free(&n->params);
    *n = (hx_net){0};
}

// An input of the graph at the next free place of the HX_INPUT arena.
static hx_t add_input(hx_graph *g, bool is_int, int rank, const int64_t *shape)
{
    int64_t elems = 1, bytes = 0, end = 0;
    for (int i = 0; i < rank; i++)
        if (!hx_mul(elems, shape[i], &elems))
            elems = INT64_MAX;
    hx_t x = HX_NONE;
    if (hx_mul(elems, 4, &bytes) && hx_sum(g->input_bytes, bytes + HX_PASS_ALIGN, &end)) {
        x = hx_external(g->tape, HX_INPUT, g->input_bytes, is_int, rank, shape);
        g->input_bytes = hx_align(g->input_bytes + bytes, HX_PASS_ALIGN);
    } else {
        hx_tape_fail(g->tape, HX_E_SHAPE, "a batch of %lld x %lld tokens is too large [E-SIZE]",
                     (long long)g->batch, (long long)g->tokens);
    }
    return x;
}

// Moves every output, and the loss where it is not among them, to the HX_OUTPUT arena.
static void deliver_outputs(hx_pass *p)
{
    hx_graph *g = p->graph;
    if (hx_is(g->loss) && hx_pass_find(p, "loss") < 0)
        hx_output(g, "loss", g->loss);
    for (int i = 0; i < g->n_output && !g->tape->err; i++) {
        hx_t y = g->output[i].t;
        const hx_value *v = hx_value_of(y);
        hx_t to = hx_external(g->tape, HX_OUTPUT, p->output_bytes, v->is_int, v->rank, v->shape);
        hx_deliver(y, to, false);
        p->output_at[i] = p->output_bytes;
        p->output_bytes = hx_align(p->output_bytes + 4 * hx_elems(y), HX_PASS_ALIGN);
    }
    if (hx_is(g->score) && !g->tape->err) {
        const hx_value *v = hx_value_of(g->score);
        hx_t to = hx_external(g->tape, HX_OUTPUT, p->output_bytes, true, v->rank, v->shape);
        hx_deliver(g->score, to, false);
        p->score_at = p->output_bytes;
        p->output_bytes = hx_align(p->output_bytes + 4 * hx_elems(g->score), HX_PASS_ALIGN);
    }
}

static void deliver_grads(hx_graph *g, const hx_net *net, bool add)
{
    const hx_params *ps = net->params;
    hx_t of = g->loss;
    for (int i = 0; net->of && i < g->n_output; i++)
        if (!strcmp(g->output[i].name, net->of))
            of = g->output[i].t;
    hx_backward(of);
    for (int i = 0; i < ps->n && !g->tape->err; i++) {
        const hx_param *w = &ps->list[i];
        // a parameter that this graph does not use has no tensor
        if (w->buffer || !hx_is(g->param[i]))
            continue;
        hx_t d = hx_grad(g->param[i]);
        if (hx_is(d))
            hx_deliver(d, hx_external(g->tape, HX_GRAD, w->at, false, w->rank, w->shape), add);
    }
}

static hx_result build(hx_pass *p, const hx_net *net, hx_pass_kind kind)
{
    hx_graph *g = p->graph;
    g->param = hx_new(g->tape->arena, hx_t, net->params->n + 1);
    if (!g->param)
        return HX_E_NOMEM;
    g->ids = g->labels = add_input(g, true, 2, (int64_t[]){ g->batch, g->tokens });
    g->masked = net->masked && g->purpose == HX_FOR_LOSS;
    g->scored = g->masked && kind == HX_PASS_FORWARD;
    p->labels_at = g->input_bytes;
    if (g->masked)
        g->labels = add_input(g, true, 2, (int64_t[]){ g->batch, g->tokens });
    g->learns = kind != HX_PASS_FORWARD;
    g->replays = g->learns && net->replays;
    g->carries = (net->carries && g->purpose == HX_FOR_LOSS) || g->purpose == HX_FOR_TOKEN || g->purpose == HX_FOR_TURN;
    p->age_at = g->input_bytes;
    if (g->carries)
        g->age = add_input(g, true, 1, (int64_t[]){ g->batch });
    if (g->purpose == HX_FOR_LOGITS)
        g->position = add_input(g, true, 1, (int64_t[]){ 1 });
    for (int i = 0; i < g->n_given; i++) {
        p->given_at[i] = g->input_bytes;
        g->given_t[i] = add_input(g, g->given[i].is_int, g->given[i].rank, g->given[i].shape);
    }
    net->model->build(net->conf, net->self, g);
    for (int i = 0; i < g->n_carried; i++)
        if (!g->carried[i].passed_on)
            hx_tape_fail(g->tape, HX_E_INTERNAL, "'%s' is not passed on [E-CARRY]",
                         g->carried[i].name);
    HX_TRY(hx_tape_error(g->tape));
    deliver_outputs(p);
    HX_TRY(hx_tape_error(g->tape));
    if (kind != HX_PASS_FORWARD)
        deliver_grads(g, net, kind == HX_PASS_ADD_GRADS);
    HX_TRY(hx_tape_error(g->tape));
    return hx_plan_new(g->tape, p->dev, &p->plan);
}

hx_result hx_pass_new(hx_dev *dev, const hx_net *net, hx_purpose purpose, int64_t batch,
                      int64_t tokens, hx_pass_kind kind, hx_pass **out)
{
    *out = NULL;
    hx_tape *tape = hx_tape_new();
    hx_pass *p = tape ? hx_new(tape->arena, hx_pass, 1) : NULL;
    hx_graph *g = p ? hx_new(tape->arena, hx_graph, 1) : NULL;
    if (!g) {
        hx_tape_free(&tape);
        return HX_E_NOMEM;
    }
    *g = (hx_graph){ .tape = tape, .params = net->params, .purpose = purpose, .batch = batch,
                     .tokens = tokens, .given = net->given, .n_given = net->n_given };
    tape->frugal = net->frugal;
    tape->smooth = kind == HX_PASS_FORWARD ? 0 : net->smooth;
    tape->grads_within = kind == HX_PASS_MAKE_GRADS ? net->params->trained : 0;
    tape->narrow = hx_dev_get_caps(dev)->precision != HX_FP32;
    p->dev = dev;
    p->graph = g;
    hx_result r = build(p, net, kind);
    if (r)
        hx_pass_free(&p);
    *out = p;
    return r;
}

void hx_pass_free(hx_pass **p)
{
    if (!*p)
        return;
    hx_pass *q = *p;
    hx_tape *tape = q->graph->tape;
    for (int i = 0; i < 2; i++)
        hx_prog_free(&q->prog[i]);
    for (int i = 0; i < HX_N_PLACES; i++)
        hx_memory_free(&q->own[i]);
    hx_plan_free(&q->plan);
    // the pass itself lives in the tape's arena
    hx_tape_free(&tape);
    *p = NULL;
}

hx_result hx_pass_bind(hx_pass *p, hx_memory *const shared[HX_N_PLACES])
{
    static const hx_buf_kind kinds[HX_N_PLACES] = {
        [HX_INPUT] = HX_BUF_UP, [HX_OUTPUT] = HX_BUF_DOWN};
    static const char *const names[HX_N_PLACES] = {"activations",   "parameters",     "gradients",
                                                   "first moments", "second moments", "mean weights",
                                                   "inputs",        "constants",      "outputs",
                                                   "states",        "states"};
    const hx_params *ps = p->graph->params;
    int64_t need[HX_N_PLACES] = {[HX_TEMP] = p->plan->temp_bytes,
                                 [HX_PARAM] = ps->bytes,
                                 [HX_GRAD] = p->graph->tape->backward_from >= 0 ? ps->bytes : 0,
                                 [HX_INPUT] = p->graph->input_bytes,
                                 [HX_CONST] = p->graph->tape->const_bytes,
                                 [HX_OUTPUT] = p->output_bytes,
                                 [HX_STATE] = p->graph->state_bytes,
                                 [HX_NEXT] = p->graph->state_bytes};
    for (int i = 0; i < HX_N_PLACES; i++) {
        if (shared && shared[i] && shared[i]->bytes >= need[i]) {
            p->mem[i] = shared[i];
        } else if (need[i] > 0) {
            HX_TRY(hx_memory_new(p->dev, need[i], kinds[i], names[i], &p->own[i]));
            p->mem[i] = &p->own[i];
            if (i == HX_STATE || i == HX_NEXT)
                HX_TRY(hx_memory_zero(p->mem[i]));
        }
    }
    if (p->mem[HX_INPUT] && p->graph->carries) {
        int32_t *none = calloc((size_t)p->graph->batch, sizeof *none);
        hx_result r = none ? hx_pass_write_ages(p, none)
                           : hx_fail(HX_E_NOMEM, "no memory for ages [E-NOMEM]");
        free(none);
        HX_TRY(r);
    }
    return p->mem[HX_CONST] ? hx_plan_upload(p->plan, p->mem[HX_CONST]) : HX_OK;
}

hx_result hx_pass_write(hx_pass *p, const int32_t *ids, int32_t position)
{
    const hx_graph *g = p->graph;
    int64_t bytes = g->batch * g->tokens * 4;
    HX_TRY(hx_memory_write(p->mem[HX_INPUT], 0, ids, bytes));
    if (g->masked)
        HX_TRY(hx_memory_write(p->mem[HX_INPUT], p->labels_at, ids + bytes / 4, bytes));
    if (g->purpose == HX_FOR_LOGITS)
        HX_TRY(hx_memory_write(p->mem[HX_INPUT], hx_align(bytes, HX_PASS_ALIGN), &position, 4));
    return HX_OK;
}

hx_result hx_pass_write_given(hx_pass *p, int i, const void *values)
{
    return hx_memory_write(p->mem[HX_INPUT], p->given_at[i], values,
                           4 * hx_elems(p->graph->given_t[i]));
}

hx_result hx_pass_write_ages(hx_pass *p, const int32_t *ages)
{
    return p->graph->carries
               ? hx_memory_write(p->mem[HX_INPUT], p->age_at, ages, 4 * p->graph->batch) : HX_OK;
}

double hx_pass_cut(const hx_dev *dev, double flops)
{
    const hx_dev_caps *c = hx_dev_get_caps(dev);
    double piece = c->flops_guess * 1e-3 * HX_SUBMIT_MS;
    return c->type == HX_DEV_CPU || flops <= piece ? 0 : piece;
}

static hx_result record(hx_pass *p)
{
    hx_memory *mem[HX_N_PLACES];
    for (int i = 0; i < HX_N_PLACES; i++)
        mem[i] = p->mem[i];
    if (p->turn) {
        mem[HX_STATE] = p->mem[HX_NEXT];
        mem[HX_NEXT] = p->mem[HX_STATE];
    }
    double cut = hx_pass_cut(p->dev, p->plan->flops);
    p->by_piece = cut > 0;
    HX_TRY(hx_prog_new(p->dev, false, "pass", &p->prog[p->turn]));
    HX_TRY(hx_plan_record(p->plan, mem, (int64_t[HX_N_PLACES]){0}, cut, p->prog[p->turn]));
    return hx_prog_end(p->prog[p->turn]);
}

hx_result hx_pass_run(hx_pass *p)
{
    if (!p->prog[p->turn])
        HX_TRY(record(p));
    uint64_t ticket = 0;
    HX_TRY(hx_dev_submit(p->dev, &p->prog[p->turn], 1, p->by_piece, &ticket));
    if (p->graph->n_carried)
        p->turn = 1 - p->turn;
    return hx_dev_wait(p->dev, ticket, HX_WAIT_MS);
}

int hx_pass_find(const hx_pass *p, const char *name)
{
    for (int i = 0; i < p->graph->n_output; i++)
        if (!strcmp(p->graph->output[i].name, name))
            return i;
    return -1;
}

hx_result hx_pass_read(const hx_pass *p, int output, float *v)
{
    return hx_memory_read(p->mem[HX_OUTPUT], p->output_at[output], v,
                          4 * hx_elems(p->graph->output[output].t));
}

hx_result hx_pass_score(const hx_pass *p, hx_score *sum)
{
    const hx_graph *g = p->graph;
    if (!hx_is(g->score))
        return HX_OK;
    for (int64_t b = 0; b < g->batch; b++) {
        int32_t c[2];                      // met, missed
        HX_TRY(hx_memory_read(p->mem[HX_OUTPUT], p->score_at + b * 8, c, sizeof c));
        sum->labels += c[0] + c[1];
        sum->right += c[0];
        sum->rows += c[0] + c[1] > 0;
        sum->rows_right += c[0] > 0 && !c[1];
    }
    return HX_OK;
}
