// head.c - logits to loss and score, for whole sequences and for their segments.
#include "head.h"

#include "../ops/t.h"

// Number of labels that count, over all parts; made once.
static hx_t count_all(hx_graph *g, int ignore)
{
    int64_t n = g->tokens - 1;
    if (!hx_is(g->count)) {
        hx_t labels = t_window_ids(g->labels, n, 1, 1, 1);
        g->count = t_count_valid(hx_reshape(labels, 1, (int64_t[]){ g->batch * n }), ignore);
    }
    return g->count;
}

static void keep_score(hx_graph *g, hx_t hits, bool by_time)
{
    int64_t B = g->batch, n = hx_elems(hits) / B;
    hits = by_time ? t_turn_ids(hx_reshape(hits, 2, (int64_t[]){ n, B }), 0, B)
                   : hx_reshape(hits, 2, (int64_t[]){ B, n });
    g->score = t_tally(hits, g->score);
}

hx_t hx_loss_of_rows(hx_graph *g, hx_t n, hx_t hits, hx_t labels, int ignore, bool by_time)
{
    if (!n.id)
        return n;
    labels = hx_reshape(labels, 1, (int64_t[]){ hx_elems(labels) });
    if (g->scored)
        keep_score(g, hits, by_time);
    if (g->masked)
        return t_valid_share(n, labels, count_all(g, ignore), ignore);
    // without a mask the reference's means of segments, by the share of tokens in them
    int64_t all = g->batch * (g->tokens - 1);
    hx_t mean = t_valid_mean(n, labels, ignore);
    return hx_elems(labels) < all ? t_scale(mean, (float)((double)hx_elems(labels) / (double)all))
                                  : mean;
}

hx_t hx_loss_part(hx_graph *g, hx_t e, hx_t w, hx_t b, hx_t labels, int ignore, bool by_time)
{
    hx_t hits = HX_NONE;
    hx_t n = t_cross_entropy_rows(e, w, b, labels, ignore, 0, g->scored ? &hits : NULL);
    return hx_loss_of_rows(g, n, hits, labels, ignore, by_time);
}
