// evaluate.c - full batches of whole windows, the rest of them one by one, then the shorter last
// one.
#include "evaluate.h"

#include <math.h>
#include <stdlib.h>

typedef struct work {
    hx_dev        *dev;
    const hx_net  *net;
    hx_memory     *params;
    const hx_text *text;
    int32_t       *ids;
    void         (*tick)(void *user, int64_t done, int64_t all);
    void          *user;
    int64_t        all, done;              // predictions in total and so far
    int64_t        step;                   // tokens from one window to the next
    int64_t        from, to;               // predictions of a window that count
    hx_evaluation *out;
} work;

static double output_value(hx_pass *p, const char *name, hx_result *r)
{
    float v = NAN;
    int i = hx_pass_find(p, name);
    if (i >= 0 && !*r)
        *r = hx_pass_read(p, i, &v);
    return v;
}

// Windows and, where the net is masked, their labels; returns how many labels count.
static int64_t put_windows(const work *w, int64_t at, int64_t batch, int64_t n)
{
    int64_t counted = batch * n, row = n + 1;
    for (int64_t i = 0; i < batch; i++)
        hx_window_ids(w->text, at + i * w->step, n, w->ids + i * row);
    if (!w->net->masked)
        return counted;
    int32_t ignore = (int32_t)w->net->model->size(w->net->conf, "ignore_index"),
            *labels = w->ids + batch * row;
    for (int64_t i = 0; i < batch; i++)
        hx_window_labels(w->text, at + i * w->step, n, ignore, labels + i * row);
    for (int64_t i = 0; i < batch * row; i++)
        if (i % row <= w->from || i % row > w->to)
            labels[i] = ignore;
    for (int64_t i = 0; i < batch * row; i++)
        counted -= i % row > 0 && labels[i] == ignore;
    return counted;
}

// Runs what was put into w->ids, of which `counted` labels count; `at` is where the first row begins.
static hx_result run_pass(work *w, hx_pass *p, int64_t counted, int64_t at)
{
    HX_TRY(hx_pass_write(p, w->ids, 0));
    HX_TRY(hx_pass_run(p));
    hx_result r = HX_OK;
    double loss = output_value(p, "loss", &r);
    double ce = hx_pass_find(p, "ce_loss") < 0 ? loss : output_value(p, "ce_loss", &r);
    HX_TRY(r);
    HX_TRY(hx_pass_score(p, &w->out->score));
    if (!isfinite(ce))
        return hx_fail(HX_E_NUMERIC,
                       "the loss is not finite in the window at token %lld [E-NUMERIC]",
                       (long long)at);
    double weight = (double)counted;
    w->out->ce += ce * weight;
    // the objective of a last, short window may not exist
    if (isfinite(loss)) {
        w->out->loss += loss * weight;
        w->out->in_loss += counted;
    }
    w->out->tokens += counted;
    return HX_OK;
}

// Runs `batch` windows of n predictions, the first of them at token `at`.
static hx_result run_batch(work *w, hx_pass *p, int64_t at, int64_t batch, int64_t n)
{
    int64_t counted = put_windows(w, at, batch, n);
    // windows without a label that counts have no mean
    if (counted)
        HX_TRY(run_pass(w, p, counted, at));
    w->done += batch * hx_min(w->step, n);
    w->out->windows += batch;
    if (w->tick)
        w->tick(w->user, w->done, w->all);
    return HX_OK;
}

// `count` runs of `batch` windows of n predictions from token *at on, which moves on.
static hx_result run_many(work *w, int64_t count, int64_t batch, int64_t n, int64_t *at)
{
    if (count < 1 || n < 1)
        return HX_OK;
    hx_pass *p = NULL;
    HX_TRY(hx_pass_new(w->dev, w->net, HX_FOR_LOSS, batch, n + 1, HX_PASS_FORWARD, &p));
    hx_memory *shared[HX_N_PLACES] = { [HX_PARAM] = w->params };
    hx_result r = hx_pass_bind(p, shared);
    for (int64_t i = 0; i < count && !r; i++) {
        r = run_batch(w, p, *at, batch, n);
        *at += batch * w->step;
    }
    hx_pass_free(&p);
    return r;
}

// All windows of a text in one piece.
static hx_result run_text(work *w, const hx_protocol *how, int64_t stride, int64_t batch, int64_t at)
{
    int64_t T = how->seq_len, first = hx_min(T, w->all);
    int64_t later = (w->all - first) / stride, rest = (w->all - first) % stride;
    bool overlap = stride < T;
    w->step = stride;
    if (!overlap) {
        int64_t whole = w->all / T;
        rest = w->all % T;
        HX_TRY(run_many(w, whole / batch, batch, T, &at));
        HX_TRY(run_many(w, whole % batch, 1, T, &at));
        w->step = w->to = rest;
        return run_many(w, rest > 0, 1, rest, &at);
    }
    // the first one counts in whole, the others what lies behind the one before
    w->to = first;
    HX_TRY(run_many(w, 1, 1, first, &at));
    w->from = T - stride;
    HX_TRY(run_many(w, later / batch, batch, T, &at));
    HX_TRY(run_many(w, later % batch, 1, T, &at));
    at -= stride - rest;
    w->from = T - rest;
    return run_many(w, rest > 0, 1, T, &at);
}

static hx_result run_all(work *w, const hx_protocol *how, hx_span span, int64_t batch)
{
    int64_t T = how->seq_len, at = span.at;
    w->to = how->to ? how->to : T;
    w->from = how->from;
    if (!span.doc)
        return run_text(w, how, how->stride ? how->stride : T, batch, at);
    int64_t docs = span.n / span.doc;
    w->step = span.doc;
    HX_TRY(run_many(w, docs / batch, batch, T, &at));
    return run_many(w, docs % batch, 1, T, &at);
}

static hx_result check(const hx_protocol *k, hx_span span)
{
    bool overlaps = k->stride && k->stride != k->seq_len, part = k->from || k->to;
    if (k->seq_len < 1 || k->stride < 0 || k->stride > k->seq_len || k->from < 0 || k->to > k->seq_len ||
        (k->to && k->from >= k->to))
        return hx_fail(HX_E_USAGE, "windows of %lld predictions every %lld tokens, of which [%lld, %lld) "
                       "count: the second is at most the first [E-EVAL-PROTOCOL]", (long long)k->seq_len,
                       (long long)k->stride, (long long)k->from, (long long)k->to);
    if (overlaps && (part || span.doc))
        return hx_fail(HX_E_USAGE, "a stride goes neither with losses by position nor with documents of "
                       "one length [E-EVAL-PROTOCOL]");
    if (span.n < 2)
        return hx_fail(HX_E_INPUT, "the text has %lld tokens; 2 are the least that can be evaluated "
                       "[E-TEXT-SHORT]", (long long)span.n);
    return span.doc ? hx_span_check("evaluation", span, k->seq_len) : HX_OK;
}

hx_result hx_evaluate(hx_dev *dev, const hx_net *net, hx_memory *params, const hx_text *text,
                      hx_span span, const hx_protocol *how, int64_t batch,
                      void (*tick)(void *user, int64_t done, int64_t all), void *user,
                      hx_evaluation *out)
{
    int64_t T = how->seq_len, ids = 0;
    *out = (hx_evaluation){ .seq_len = T };
    HX_TRY(check(how, span));
    int64_t all = span.doc ? span.n / span.doc * T : span.n - 1;
    int64_t most = span.doc ? span.n / span.doc : hx_ceil_div(all, how->stride ? how->stride : T);
    // labels apart from ids, where not all of them count
    hx_net own = *net;
    own.masked = net->masked || how->to || how->from || (how->stride && how->stride < T);
    batch = hx_max(hx_min(batch, most), 1);
    if (!hx_mul(batch, T + 1, &ids) || !hx_mul(ids, own.masked ? 8 : 4, &ids))
        return hx_fail(HX_E_SHAPE, "a batch of %lld x %lld is too large [E-SIZE]", (long long)batch,
                       (long long)T);
    work w = { .dev = dev, .net = &own, .params = params, .text = text, .ids = malloc((size_t)ids),
               .tick = tick, .user = user, .all = all, .out = out };
    if (!w.ids)
        return hx_fail(HX_E_NOMEM, "no memory for a batch of %lld bytes [E-NOMEM]", (long long)ids);
    hx_result r = run_all(&w, how, span, batch);
    free(w.ids);
    if (!text->mask)
        out->score = (hx_score){ 0 };
    out->ce = out->tokens ? out->ce / (double)out->tokens : 0;
    out->loss = out->in_loss ? out->loss / (double)out->in_loss : NAN;
    return r;
}

// ---- along documents -----------------------------------------------------------------------

// The pieces of step `step`; a row whose share is done predicts nothing. Returns how many labels count.
static int64_t put_pieces(const work *w, const hx_stream *s, int64_t step, int32_t *ages)
{
    int64_t row = s->seq_len + 1, counted = 0;
    int32_t ignore = (int32_t)w->net->model->size(w->net->conf, "ignore_index");
    int32_t *labels = w->ids + s->rows * row;
    for (int64_t i = 0; i < s->rows; i++) {
        hx_piece p = hx_stream_piece(s, i, step, 0);
        hx_stream_fill(s, p, ignore, w->ids + i * row, labels + i * row);
        ages[i] = (int32_t)hx_min(p.age, 1 << 30);
        for (int64_t k = 1; k < row; k++) {
            if (step >= hx_stream_share(s, i))
                labels[i * row + k] = ignore;
            counted += labels[i * row + k] != ignore;
        }
    }
    return counted;
}

static hx_result walk(work *w, const hx_stream *s, int32_t *ages)
{
    hx_pass *p = NULL;
    HX_TRY(hx_pass_new(w->dev, w->net, HX_FOR_LOSS, s->rows, s->seq_len + 1, HX_PASS_FORWARD, &p));
    hx_result r = hx_pass_bind(p, (hx_memory *[HX_N_PLACES]){ [HX_PARAM] = w->params });
    int64_t steps = hx_stream_share(s, s->rows - 1);
    for (int64_t i = 0; i < s->rows; i++)
        steps = hx_max(steps, hx_stream_share(s, i));
    for (int64_t i = 0; i < steps && !r; i++) {
        int64_t counted = put_pieces(w, s, i, ages);
        r = hx_pass_write_ages(p, ages);
        if (!r)
            r = run_pass(w, p, counted, hx_stream_piece(s, 0, i, 0).at);
        w->out->windows += s->rows;
        if (w->tick)
            w->tick(w->user, i + 1, steps);
    }
    hx_pass_free(&p);
    return r;
}

hx_result hx_evaluate_stream(hx_dev *dev, const hx_net *net, hx_memory *params, const hx_stream *s,
                             void (*tick)(void *user, int64_t done, int64_t all), void *user,
                             hx_evaluation *out)
{
    *out = (hx_evaluation){ .seq_len = s->seq_len, .rows = s->rows };
    int64_t ids = 0;
    if (!hx_mul(s->rows, s->seq_len + 1, &ids) || !hx_mul(ids, 8, &ids))
        return hx_fail(HX_E_SHAPE, "a batch of %lld x %lld is too large [E-SIZE]", (long long)s->rows,
                       (long long)s->seq_len);
    int32_t *ages = calloc((size_t)s->rows, sizeof *ages);
    work w = { .dev = dev, .net = net, .params = params, .text = s->text, .ids = malloc((size_t)ids),
               .tick = tick, .user = user, .out = out };
    hx_result r = w.ids && ages ? walk(&w, s, ages)
        : hx_fail(HX_E_NOMEM, "no memory for a batch of %lld bytes [E-NOMEM]", (long long)ids);
    free(w.ids);
    free(ages);
    out->ce = out->tokens ? out->ce / (double)out->tokens : 0;
    out->loss = out->in_loss ? out->loss / (double)out->in_loss : NAN;
    return r;
}
