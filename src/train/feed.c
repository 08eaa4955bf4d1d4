// feed.c - steps out of streams; carried states out of and into files.
#include "feed.h"

#include <string.h>

hx_result hx_feed_new(hx_arena *arena, const hx_run_conf *c, const hx_corpus *corpus, hx_feed *out)
{
    *out = (hx_feed){ .ignore = (int32_t)c->model->size(c->model_conf, "ignore_index") };
    if (!c->data.streams)
        return HX_OK;
    int64_t B = c->train.batch, rows = B * c->train.accumulate;
    out->ages = hx_new(arena, int32_t, rows);
    if (!out->ages)
        return HX_E_NOMEM;
    HX_TRY(hx_stream_new(corpus->text[HX_TRAIN_TEXT], corpus->span[HX_TRAIN_TEXT], c->data.separator,
                         c->train.seq_len, rows, (uint64_t)c->run.seed, &out->train));
    return c->eval.every <= 0 ? HX_OK
        : hx_stream_new(corpus->text[HX_VALID_TEXT], corpus->span[HX_VALID_TEXT], c->data.separator,
                        c->train.seq_len, B, 0, &out->valid);
}

hx_result hx_feed_turn(hx_feed *f, const hx_run_conf *c, const hx_text *text, hx_span span, int64_t seq_len)
{
    hx_stream *s = NULL;
    HX_TRY(hx_stream_new(text, span, c->data.separator, seq_len, (int64_t)c->train.batch * c->train.accumulate,
                         (uint64_t)c->run.seed, &s));
    hx_stream_free(&f->train);
    f->train = s;
    return HX_OK;
}

void hx_feed_done(hx_feed *f)
{
    hx_stream_free(&f->train);
    hx_stream_free(&f->valid);
}

void hx_feed_fill(const hx_feed *f, const hx_stream *s, const hx_run_conf *c, int64_t step,
                  int64_t from, int32_t *ids)
{
    int64_t B = c->train.batch, row = s->seq_len + 1, half = B * row;
    for (int64_t i = 0; i < s->rows; i++) {
        hx_piece p = hx_stream_piece(s, i, step, from);
        int32_t *to = ids + i / B * 2 * half + i % B * row;
        hx_stream_fill(s, p, f->ignore, to, to + half);
        f->ages[i] = (int32_t)hx_min(p.age, 1 << 30);
    }
}

// ---- files ----------------------------------------------------------------------------------

// One item for each state; data are buffers of their own.
static hx_result make_items(hx_arena *a, const hx_engine *e, int64_t A, hx_st_item **items)
{
    const hx_graph *g = hx_engine_graph(e);
    hx_st_item *list = hx_new(a, hx_st_item, g->n_carried + 1);
    for (int i = 0; list && i < g->n_carried; i++) {
        const hx_carried *c = &g->carried[i];
        int64_t *shape = hx_new(a, int64_t, c->rank + 1);
        void *data = hx_alloc(a, (size_t)(A * c->bytes));
        const char *name = hx_strdup(a, c->name);      // the graph may be gone before they are
        if (!shape || !data || !name)
            return hx_fail(HX_E_NOMEM, "no memory for a copy of the states [E-NOMEM]");
        shape[0] = A;
        memcpy(shape + 1, c->shape, sizeof *shape * (size_t)c->rank);
        list[i] = (hx_st_item){ name, HX_ST_F32, c->rank + 1, shape, data };
    }
    *items = list;
    return list ? HX_OK : HX_E_NOMEM;
}

// Between the arena of an engine and items.
static void copy(const hx_graph *g, int64_t A, char *arena, const hx_st_item *items, bool out)
{
    for (int i = 0; i < g->n_carried; i++)
        for (int64_t m = 0; m < A; m++) {
            size_t n = (size_t)g->carried[i].bytes;
            char *there = arena + m * g->state_bytes + g->carried[i].at;
            char *here = (char *)items[i].data + m * (int64_t)n;
            memcpy(out ? here : there, out ? there : here, n);
        }
}

static int64_t micro_batches(const hx_engine *e)
{
    int64_t one = hx_engine_graph(e)->state_bytes;
    return one ? hx_engine_state_bytes(e) / one : 0;
}

hx_result hx_states_items(hx_arena *arena, hx_engine *e, hx_st_item **items, int *n)
{
    *n = 0;
    int64_t A = micro_batches(e);
    if (!A)
        return HX_OK;
    char *all = hx_alloc(arena, (size_t)hx_engine_state_bytes(e));
    if (!all)
        return hx_fail(HX_E_NOMEM, "no memory for a copy of the states [E-NOMEM]");
    HX_TRY(hx_engine_read_states(e, all));
    HX_TRY(make_items(arena, e, A, items));
    copy(hx_engine_graph(e), A, all, *items, true);
    *n = hx_engine_graph(e)->n_carried;
    return HX_OK;
}

static const char *shape_text(hx_arena *a, int rank, const int64_t *shape)
{
    const char *s = "";
    for (int i = 0; i < rank && s; i++)
        s = hx_sprintf(a, "%s%s%lld", s, i ? ", " : "", (long long)shape[i]);
    return s ? s : "";
}

static hx_result load_item(hx_arena *a, const hx_st *st, const hx_st_item *x)
{
    const hx_st_tensor *t = hx_st_find(st, x->name);
    if (!t)
        return hx_fail(HX_E_INPUT, "%s has no state '%s': it is of another model, or of one with "
                       "another depth [E-STATE-MATCH]", st->path, x->name);
    if (t->rank != x->rank || memcmp(t->shape, x->shape, sizeof *x->shape * (size_t)x->rank))
        return hx_fail(HX_E_INPUT, "%s: state '%s' is [%s], [%s] is needed: model, train.batch and "
                       "train.accumulate must be those that it was saved with [E-STATE-MATCH]", st->path,
                       x->name, shape_text(a, t->rank, t->shape), shape_text(a, x->rank, x->shape));
    return hx_st_read_f32(st, t, (float *)x->data);
}

static hx_result load(hx_arena *a, hx_engine *e, const hx_st *st, int64_t A)
{
    const hx_graph *g = hx_engine_graph(e);
    hx_st_item *items;
    if (st->n != g->n_carried)
        return hx_fail(HX_E_INPUT, "%s has %d states, the model carries %d [E-STATE-MATCH]", st->path,
                       st->n, g->n_carried);
    HX_TRY(make_items(a, e, A, &items));
    for (int i = 0; i < g->n_carried; i++)
        HX_TRY(load_item(a, st, &items[i]));
    char *all = hx_alloc(a, (size_t)hx_engine_state_bytes(e));
    if (!all)
        return hx_fail(HX_E_NOMEM, "no memory for a copy of the states [E-NOMEM]");
    memset(all, 0, (size_t)hx_engine_state_bytes(e));
    copy(g, A, all, items, false);
    return hx_engine_write_states(e, all);
}

hx_result hx_states_load(hx_arena *arena, hx_engine *e, const char *dir, bool *there)
{
    int64_t A = micro_batches(e);
    const char *path = hx_path_join(arena, dir, "memory.safetensors");
    if (!path)
        return HX_E_NOMEM;
    *there = A && hx_file_exists(path);
    if (!*there)
        return HX_OK;
    hx_st *st = NULL;
    HX_TRY(hx_st_open(path, &st));
    hx_result r = load(arena, e, st, A);
    hx_st_close(&st);
    return r;
}
