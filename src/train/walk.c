// walk.c - two passes that hand the same states to each other: one takes a token, the other turns to
// the next block.
#include "walk.h"

#include <stdlib.h>

struct hx_walk {
    hx_pass *token, *turn;                 // turn: NULL where the model has none
    int64_t  every;                        // tokens from turn to turn
    int64_t  n;                            // tokens taken
    int      flip;                         // which of the two states is the newest
    int32_t *ages;
};

bool hx_can_walk(const hx_net *net) { return net->model->size(net->conf, "turn") != 0; }

// The states of both are the same.
static hx_result check_alike(const hx_walk *w)
{
    const hx_graph *a = w->token->graph, *b = w->turn->graph;
    if (a->state_bytes == b->state_bytes && a->n_carried == b->n_carried)
        return HX_OK;
    return hx_fail(HX_E_INTERNAL, "a token carries %d states, a turn %d [E-INTERNAL]", a->n_carried,
                   b->n_carried);
}

static hx_result build(hx_walk *w, hx_dev *dev, const hx_net *net, int64_t batch,
                       hx_memory *const shared[HX_N_PLACES])
{
    w->every = net->model->size(net->conf, "turn");
    HX_TRY(hx_pass_new(dev, net, HX_FOR_TOKEN, batch, 1, HX_PASS_FORWARD, &w->token));
    if (w->every > 0)
        HX_TRY(hx_pass_new(dev, net, HX_FOR_TURN, batch, 1, HX_PASS_FORWARD, &w->turn));
    HX_TRY(hx_pass_bind(w->token, shared));
    if (!w->turn)
        return HX_OK;
    HX_TRY(check_alike(w));
    hx_memory *own[HX_N_PLACES] = { [HX_PARAM] = w->token->mem[HX_PARAM], [HX_TEMP] = w->token->mem[HX_TEMP],
        [HX_STATE] = w->token->mem[HX_STATE], [HX_NEXT] = w->token->mem[HX_NEXT] };
    return hx_pass_bind(w->turn, own);
}

hx_result hx_walk_new(hx_dev *dev, const hx_net *net, int64_t batch, hx_memory *const shared[HX_N_PLACES],
                      hx_walk **out)
{
    *out = NULL;
    hx_walk *w = calloc(1, sizeof *w);
    if (w)
        w->ages = calloc((size_t)hx_max(batch, 1), sizeof *w->ages);
    hx_result r = w && w->ages ? build(w, dev, net, batch, shared)
                               : hx_fail(HX_E_NOMEM, "no memory to go on token by token [E-NOMEM]");
    if (r)
        hx_walk_free(&w);
    *out = w;
    return r;
}

void hx_walk_free(hx_walk **w)
{
    if (!*w)
        return;
    hx_pass_free(&(*w)->turn);
    hx_pass_free(&(*w)->token);
    free((*w)->ages);
    free(*w);
    *w = NULL;
}

void hx_walk_restart(hx_walk *w) { w->n = 0; }
int64_t hx_walk_tokens(const hx_walk *w) { return w->n; }
int64_t hx_walk_state_bytes(const hx_walk *w) { return 2 * w->token->graph->state_bytes; }

// Runs a pass on the newest states.
static hx_result run(hx_walk *w, hx_pass *p)
{
    // of whole turns only the last one counts
    int64_t age = w->turn && w->n >= w->every ? w->every + w->n % w->every : hx_min(w->n, 1 << 30);
    for (int64_t b = 0; b < p->graph->batch; b++)
        w->ages[b] = (int32_t)age;
    HX_TRY(hx_pass_write_ages(p, w->ages));
    p->turn = w->flip;
    HX_TRY(hx_pass_run(p));
    w->flip = 1 - w->flip;
    return HX_OK;
}

hx_result hx_walk_step(hx_walk *w, const int32_t *ids, float *logits)
{
    if (w->turn && w->n % w->every == 0)
        HX_TRY(run(w, w->turn));
    HX_TRY(hx_pass_write(w->token, ids, 0));
    HX_TRY(run(w, w->token));
    w->n++;
    return logits ? hx_pass_read(w->token, hx_pass_find(w->token, "logits"), logits) : HX_OK;
}
