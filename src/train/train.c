// train.c - the loop: writes step n+1 while n runs, reads losses one step late, stops at the
// boundaries where something else has to be done.
#include "trainer.h"

#include "curriculum.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/file.h"

// ---- data ---------------------------------------------------------------------------------

static int64_t step_tokens(const hx_trainer *t)
{
    return (int64_t)t->c->train.batch * t->T * t->c->train.accumulate;
}

static int64_t step_samples(const hx_run_conf *c)
{
    return (int64_t)c->train.batch * c->train.accumulate;
}

// Window `i`, of T tokens, of the batches in t->ids, from token `at` of a text.
static void put_window(hx_trainer *t, int64_t i, int64_t T, const hx_text *text, int64_t at)
{
    const hx_run_conf *c = t->c;
    int64_t B = c->train.batch, batch = B * (T + 1);
    int32_t *ids = t->ids + i / B * batch * (c->data.masked ? 2 : 1) + i % B * (T + 1);
    hx_window_ids(text, at, T, ids);
    if (c->data.masked)
        hx_window_labels(text, at, T, (int32_t)c->model->size(c->model_conf, "ignore_index"), ids + batch);
}

// The windows of the step that follows `step` finished ones: a function of seed and index alone.
static void fill_ids(hx_trainer *t, int64_t step)
{
    const hx_run_conf *c = t->c;
    if (t->feed.train) {
        hx_feed_fill(&t->feed, t->feed.train, c, step, t->state.walk, t->ids);
        hx_engine_ages(t->rig.engine, t->feed.ages);
        return;
    }
    hx_span s = hx_train_span(t);
    int64_t T = t->T, n = step_samples(c), first = t->sample0 + (step - t->step0) * n;
    bool in_order = !strcmp(c->data.order, "sequential");
    for (int64_t i = 0; i < n; i++) {
        int64_t at = in_order ? hx_window_at(s, T, (first + i) % hx_window_count(s, T))
                              : hx_window_random(s, T, (uint64_t)c->run.seed, first + i);
        put_window(t, i, T, hx_train_text(t), at);
    }
}

// ---- evaluation and samples ---------------------------------------------------------------
// Both may take long on a slow device, so a request to stop cuts them short; they are made again
// when the run goes on.

static bool stopping(const hx_trainer *t)
{
    return t->p->stop && *t->p->stop;
}

static void add_score(hx_score *sum, const hx_score *s)
{
    sum->labels += s->labels;
    sum->right += s->right;
    sum->rows += s->rows;
    sum->rows_right += s->rows_right;
}

// Shares of labels and of documents that were met, for rows and for people; "" where there is no mask.
static const char *accuracy(hx_trainer *t, const hx_score *s, hx_out *row)
{
    if (!s->labels || !t->c->data.masked)
        return "";
    double acc = (double)s->right / (double)s->labels, all = (double)s->rows_right / (double)s->rows;
    hx_row_number(row, "acc", acc);
    hx_row_number(row, "acc_all", all);
    const char *text = hx_sprintf(t->arena, ", %.2f%% of labels and %.2f%% of documents right", 100 * acc, 100 * all);
    return text ? text : "";
}

// The first pieces of as many rows as a batch has, which begin at distances in the validation text and
// carry their states on; every label weighs the same.
static hx_result evaluate_stream(hx_trainer *t, hx_losses *out)
{
    const hx_run_conf *c = t->c;
    const hx_stream *s = t->feed.valid;
    int64_t most = hx_max(hx_stream_pieces(s) / s->rows, 1), batches = hx_min(c->eval.batches, most);
    double all = 0;
    *out = (hx_losses){ .step = t->state.step };
    for (int64_t b = 0; b < batches; b++) {
        if (stopping(t))
            return HX_E_STOPPED;
        hx_feed_fill(&t->feed, s, c, b, 0, t->ids);
        hx_losses l;
        HX_TRY(hx_engine_eval(t->rig.engine, t->ids, t->feed.ages, &l));
        double n = (double)l.score.labels;
        out->loss += l.loss * n;
        out->ce += l.ce * n;
        for (int i = 0; i < HX_MAX_OUTPUTS; i++)
            out->part[i] += l.part[i] * n;
        add_score(&out->score, &l.score);
        all += n;
    }
    out->loss /= all;
    out->ce /= all;
    for (int i = 0; i < HX_MAX_OUTPUTS; i++)
        out->part[i] /= all;
    return HX_OK;
}

// Batches of validation windows, spread evenly over the split and always the same.
static hx_result evaluate(hx_trainer *t, hx_losses *out)
{
    if (t->feed.valid)
        return evaluate_stream(t, out);
    const hx_run_conf *c = t->c;
    hx_span s = t->corpus.span[HX_VALID_TEXT];
    int64_t T = c->train.seq_len, B = c->train.batch, windows = hx_window_count(s, T);
    int64_t batches = hx_max(hx_min(c->eval.batches, windows / B), 1), used = batches * B;
    *out = (hx_losses){ .step = t->state.step };
    for (int64_t b = 0; b < batches; b++) {
        if (stopping(t))
            return HX_E_STOPPED;
        for (int64_t i = 0; i < B; i++) {
            int64_t k = (b * B + i) * windows / used;
            put_window(t, i, T, t->corpus.text[HX_VALID_TEXT], hx_window_at(s, T, k));
        }
        hx_losses l;
        HX_TRY(hx_engine_eval(t->rig.engine, t->ids, NULL, &l));
        out->loss += l.loss / (double)batches;
        out->ce += l.ce / (double)batches;
        for (int i = 0; i < HX_MAX_OUTPUTS; i++)
            out->part[i] += l.part[i] / (double)batches;
        add_score(&out->score, &l.score);
    }
    return HX_OK;
}

// The first loss that is not finite, the total last.
static const char *bad_part(const hx_trainer *t, const hx_losses *l)
{
    for (int i = 0; hx_engine_part(t->rig.engine, i); i++)
        if (strcmp(hx_engine_part(t->rig.engine, i), "loss") && !isfinite(l->part[i]))
            return hx_engine_part(t->rig.engine, i);
    return "loss";
}

static bool patience_is_over(const hx_trainer *t)
{
    return t->c->eval.patience > 0 && t->state.stale >= t->c->eval.patience;
}

static void note_best(hx_trainer *t, double loss)
{
    hx_ckpt_state *s = &t->state;
    t->improved = s->best == 0 || loss < s->best;
    s->best = t->improved ? loss : s->best;
    s->best_step = t->improved ? s->step : s->best_step;
    s->stale = t->improved ? 0 : s->stale + 1;
    t->ended = patience_is_over(t);
}

static hx_result eval_now(hx_trainer *t)
{
    hx_losses l;
    double start = hx_now();
    HX_TRY(evaluate(t, &l));
    if (!isfinite(l.loss))
        return hx_fail(HX_E_NUMERIC,
                       "%s of the validation is not finite at step %lld; the loss of a sequence of "
                       "%d tokens may not exist: try a longer train.seq_len [E-NUMERIC]",
                       bad_part(t, &l), (long long)t->state.step, t->c->train.seq_len);
    hx_out b = {0};
    hx_row_begin(t, &b, "eval");
    hx_out_add(&b, ", \"split\": \"valid\"");
    hx_row_losses(t, &b, &l);
    const char *right = accuracy(t, &l.score, &b);
    hx_row_number(&b, "seconds", hx_now() - start);
    HX_TRY(hx_row_end(t, &b));
    hx_put_losses(t, "valid", &l);
    note_best(t, l.loss);
    hx_say(t, HX_EVENT_NOTE, "step %lld  validation: loss %.4f, %.4f bits per byte%s",
        (long long)t->state.step, l.loss, hx_trainer_bits(t, l.ce), right);
    if (t->ended)
        hx_say(t, HX_EVENT_NOTE, "step %lld  no better loss in %lld evaluations, the best was %.4f at "
            "step %lld: training ends", (long long)t->state.step, (long long)t->state.stale,
            t->state.best, (long long)t->state.best_step);
    return HX_OK;
}

typedef struct text { const hx_trainer *t; char *at; int64_t n, cap; bool failed; } text;

// A token may be many bytes.
static bool keep_byte(void *user, uint8_t byte)
{
    text *x = user;
    if (x->n == x->cap) {
        char *more = realloc(x->at, 2 * (size_t)x->cap);
        x->failed = !more;
        if (x->failed)
            return false;
        x->at = more;
        x->cap *= 2;
    }
    x->at[x->n++] = (char)byte;
    return !stopping(x->t);
}

static hx_result sample_now(hx_trainer *t)
{
    const hx_conf_sample *s = &t->c->sample;
    hx_sampling how = { s->temp, s->top_k, s->top_p, (uint64_t)t->c->run.seed, s->min_p };
    size_t n_prompt = strlen(s->prompt);
    text x = { .t = t, .n = (int64_t)n_prompt, .cap = (int64_t)n_prompt + s->length + 1 };
    x.at = malloc((size_t)x.cap);
    if (!x.at)
        return hx_fail(HX_E_NOMEM, "no memory for a sample [E-NOMEM]");
    memcpy(x.at, s->prompt, n_prompt);
    hx_result r =
        hx_generate(t->rig.gen, s->prompt, (int64_t)n_prompt, s->length, &how, keep_byte, &x);
    if (!r && x.failed)
        r = hx_fail(HX_E_NOMEM, "no memory for a sample [E-NOMEM]");
    if (!r && stopping(t))
        r = HX_E_STOPPED;
    if (!r)
        r = hx_run_sample(t->p->run, t->state.step, x.at, x.n);
    if (!r) {
        hx_out b = {0};
        hx_row_begin(t, &b, "sample");
        hx_out_add(&b, ", \"file\": \"samples/step-%08lld.txt\"", (long long)t->state.step);
        r = hx_row_end(t, &b);
    }
    if (!r && t->events && hx_events_text(t->events, t->state.step, "sample", x.at, x.n))
        hx_events_close(&t->events);
    if (!r) {
        hx_event e = { .kind = HX_EVENT_SAMPLE, .text = x.at, .n_text = x.n };
        hx_tell(t, &e);
    }
    free(x.at);
    return r;
}

// ---- the start ---------------------------------------------------------------------------

// From the newest checkpoint, or from the seed.
static hx_result begin(hx_trainer *t)
{
    const char *dir = NULL;
    if (t->p->resume)
        HX_TRY(hx_ckpt_find(t->arena, t->p->run->dir, &dir));
    if (dir) {
        HX_TRY(hx_save_load(t, dir));
        HX_TRY(hx_run_rewind(t->p->run, t->state.step));
        if (t->c->save.best && t->state.best_step == t->state.step)
            HX_TRY(hx_ckpt_mark_best(t->p->run->ckpt_dir, t->state.step));
        t->ended = patience_is_over(t);
        hx_say(t, HX_EVENT_NOTE, "step %lld  resumed from %s", (long long)t->state.step, dir);
    } else {
        HX_TRY(hx_enter_stage(t, 0));
        t->state = (hx_ckpt_state){ .seed = t->c->run.seed,
            .stream = t->feed.train ? hx_stream_mark(t->feed.train) : 0 };
        HX_TRY(hx_run_rewind(t->p->run, -1));
        HX_TRY(hx_engine_init(t->rig.engine, (uint64_t)t->c->run.seed));
        if (*t->c->train.init)
            HX_TRY(hx_save_weights_from(t, t->c->train.init));
    }
    t->saved_step = dir ? t->state.step : -1;
    t->step0 = t->state.step;
    t->sample0 = t->state.sample;
    return HX_OK;
}

// ---- steps --------------------------------------------------------------------------------

static const char *last_ckpt(const hx_trainer *t)
{
    const char *dir = NULL;
    return !hx_ckpt_find(t->arena, t->p->run->dir, &dir) && dir ? dir : "none";
}

// Looks, with the parameters as they are now, for what was not finite in the step that was begun
// after `before` others.
static void find_bad(hx_trainer *t, int64_t before)
{
    *t->bad = 0;
    hx_losses late;
    while (hx_engine_pending(t->rig.engine) && !hx_engine_result(t->rig.engine, &late))
        continue;
    fill_ids(t, before);
    if (hx_engine_find_bad(t->rig.engine, t->ids, t->bad, sizeof t->bad))
        *t->bad = 0;
}

static hx_result not_finite(hx_trainer *t, const hx_losses *l)
{
    hx_save_settle(t);
    find_bad(t, t->state.step);
    return hx_fail(HX_E_NUMERIC,
                   "%s is not finite at step %lld (first bad tensor: %s); last checkpoint: %s; try "
                   "a lower optim.lr or train.clip_norm, or train.non_finite=skip [E-NUMERIC]",
                   isfinite(l->loss) ? "the gradient's norm" : "the loss", (long long)l->step,
                   *t->bad ? t->bad : "not found again", last_ckpt(t));
}

// ---- steps left out -------------------------------------------------------------------------
// Whether a step is left out is decided on the device, by a limit of its gradient's norm. As the
// next step is begun before the last one's result is known, limits follow from the norms of all
// steps but the last one, on devices without a queue, too: so they do not depend on the device's
// kind, nor on where a run was interrupted.

static void learn_norm(hx_ckpt_state *s, double *norm)
{
    if (*norm > 0) {
        double x = log(*norm), d = x - s->norm_mean;
        double rate = fmax(0.01, 1 / (double)++s->norms);
        s->norm_mean += rate * d;
        s->norm_var = (1 - rate) * (s->norm_var + rate * d * d);
    }
    *norm = 0;
}

// For the step after `before` others.
static double norm_limit(hx_trainer *t, int64_t before)
{
    enum { FIRST = 20 };                   // steps before there is a limit
    hx_ckpt_state *s = &t->state;
    double z = t->c->train.skip_zscore;
    if (z <= 0)
        return 0;
    learn_norm(s, &s->norm_before);
    if (s->step < before)                  // the last result is of the step before the last
        learn_norm(s, &s->norm_last);
    // norms that hardly vary are no reason to leave out one that is a little larger
    return s->norms < FIRST ? 0 : exp(s->norm_mean + z * fmax(sqrt(s->norm_var), 0.05));
}

static hx_result left_out(hx_trainer *t, const hx_losses *l)
{
    hx_ckpt_state *s = &t->state;
    bool finite = isfinite(l->grad_norm);
    s->skips++;
    // nor are the states that such a step leaves: rows begin anew after the step that may have begun
    if (!finite)
        s->walk = s->step + 1;
    hx_out b = {0};
    hx_row_begin(t, &b, "skip");
    hx_row_number(&b, "grad_norm", l->grad_norm);
    hx_out_add(&b, ", \"in_a_row\": %lld", (long long)s->skips);
    HX_TRY(hx_row_end(t, &b));
    hx_say(t, HX_EVENT_WARN, "step %lld  left out: the gradient's norm is %.3g%s", (long long)s->step,
        l->grad_norm, finite ? ", far above those before it" : "");
    if (s->skips < t->c->train.max_skips)
        return HX_OK;
    hx_save_settle(t);
    if (!finite)
        find_bad(t, s->step - 1);
    return hx_fail(HX_E_NUMERIC,
                   "%lld steps in a row were left out, the last one is %lld (first bad tensor: %s); "
                   "last checkpoint: %s; try a lower optim.lr or a larger train.max_skips "
                   "[E-NUMERIC]", (long long)s->skips, (long long)s->step,
                   *t->bad ? t->bad : "none", last_ckpt(t));
}

static bool is_row(const hx_trainer *t, int64_t step)
{
    int64_t every = t->c->log.every;
    return step == 1 || step == t->c->train.steps || (every > 0 && step % every == 0);
}

static hx_result write_row(hx_trainer *t, const hx_losses *l, const hx_event *e)
{
    hx_out b = {0};
    hx_row_begin(t, &b, "train");
    hx_row_losses(t, &b, l);
    hx_out_add(&b, ", \"lr\": %.7g", e->lr);
    if (t->c->train.curriculum.n)
        hx_out_add(&b, ", \"seq_len\": %lld", (long long)t->T);
    hx_row_number(&b, "grad_norm", e->grad_norm);
    hx_row_number(&b, "tok_s", e->tok_s);
    hx_row_number(&b, "step_ms", e->step_ms);
    hx_dev_stats mem = hx_dev_get_stats(t->dev);
    hx_out_add(&b, ", \"mem\": {\"device\": %lld, \"peak\": %lld, \"objects\": %lld, \"host\": %lld}",
               (long long)mem.bytes_now, (long long)mem.bytes_peak, (long long)mem.objects,
               (long long)hx_resident_bytes());
    HX_TRY(hx_row_end(t, &b));
    hx_put_losses(t, "train", l);
    hx_put_event(t, "optim", "lr", e->lr);
    hx_put_event(t, "optim", "grad_norm", e->grad_norm);
    hx_put_event(t, "speed", "tokens_per_second", e->tok_s);
    hx_put_event(t, "memory", "device", (double)mem.bytes_now);
    hx_say(t, HX_EVENT_ROW,
        "step %lld/%lld  loss %.4f  %.4f bits/byte  lr %.3g  |g| %.3g  %.0f tok/s  %.1f ms/step",
        (long long)t->state.step, (long long)t->c->train.steps, e->loss, e->bpc, e->lr,
        e->grad_norm, e->tok_s, e->step_ms);
    t->span_s = 0;
    t->span_steps = 0;
    return HX_OK;
}

// Takes the result of the oldest step under way.
static hx_result take_result(hx_trainer *t)
{
    hx_losses l;
    HX_TRY(hx_engine_result(t->rig.engine, &l));
    double at = hx_now(), spent = at - t->mark;
    t->mark = at;
    bool skips = !strcmp(t->c->train.non_finite, "skip");
    if (!isfinite(l.grad_norm) ? !skips : !isfinite(l.loss))
        return not_finite(t, &l);
    t->state.step = l.step;
    t->state.updates += !l.skipped;
    t->state.norm_before = t->state.norm_last;
    t->state.norm_last = l.skipped ? 0 : l.grad_norm;
    t->state.tokens += step_tokens(t);
    t->state.sample += step_samples(t->c);
    t->span_s += spent;
    t->all_s += spent;
    t->span_steps++;
    t->all_steps++;
    double per_step = t->span_s / (double)t->span_steps;
    hx_event e = {.kind = HX_EVENT_STEP,
                  .loss = l.loss,
                  .bpc = hx_trainer_bits(t, l.ce),
                  .grad_norm = l.grad_norm,
                  .lr = hx_learning_rate(t->c, l.step),
                  .step_ms = 1000 * per_step,
                  .tok_s = (double)step_tokens(t) / per_step,
                  .eta_s = (double)(t->c->train.steps - l.step) * t->all_s / (double)t->all_steps};
    e.memory = hx_dev_get_stats(t->dev).bytes_now;
    if (l.skipped)
        return left_out(t, &l);
    t->state.skips = 0;
    hx_tell(t, &e);
    return is_row(t, l.step) ? write_row(t, &l, &e) : HX_OK;
}

static hx_result drain(hx_trainer *t)
{
    while (hx_engine_pending(t->rig.engine))
        HX_TRY(take_result(t));
    return HX_OK;
}

static bool due(int64_t every, int64_t step)
{
    return every > 0 && step % every == 0;
}

static bool save_due(const hx_trainer *t, int64_t step)
{
    const hx_conf_save *s = &t->c->save;
    return due(s->every_steps, step) ||
           (s->every_seconds > 0 && hx_now() - t->saved_at >= s->every_seconds);
}

static bool asked_to_save(const hx_trainer *t)
{
    return t->p->save && *t->p->save;
}

static bool is_last(const hx_trainer *t)
{
    return t->state.step == t->c->train.steps;
}

static bool eval_due(const hx_trainer *t, int64_t step)
{
    return t->c->eval.every > 0 && (is_last(t) || step % t->c->eval.every == 0);
}

static bool sample_due(const hx_trainer *t, int64_t step)
{
    return t->c->sample.every > 0 && step > 0 && (is_last(t) || step % t->c->sample.every == 0);
}

static hx_result timed(hx_trainer *t, const char *name, hx_result (*work)(hx_trainer *t))
{
    double start = hx_now();
    hx_result r = work(t);
    hx_trace_span(t->trace, name, start, hx_now());
    return r;
}

// What comes between two steps: evaluation, sample, checkpoint, in this order, so that a
// checkpoint's metrics are complete. The last one is waited for; others that cannot be written are
// tried again later.
static hx_result at_boundary(hx_trainer *t)
{
    int64_t step = t->state.step;
    t->improved = false;
    if (eval_due(t, step))
        HX_TRY(timed(t, "evaluation", eval_now));
    bool last = is_last(t) || t->ended;
    bool save = last || save_due(t, step) || (t->improved && t->c->save.best) || asked_to_save(t);
    if (sample_due(t, step))
        HX_TRY(timed(t, "sample", sample_now));
    if (t->saved_step == step || !save)
        return HX_OK;
    if (t->p->save)
        *t->p->save = 0;
    if (last)
        return timed(t, "checkpoint", hx_save_finish);
    if (timed(t, "checkpoint", hx_save_begin))
        hx_save_warn(t, step);
    return HX_OK;
}

// What a run that was stopped, or is new, still owes for the step that it stands at.
static hx_result catch_up(hx_trainer *t)
{
    int64_t step = t->state.step;
    if (eval_due(t, step) && !hx_run_has_row(t->p->run, "eval", step))
        HX_TRY(timed(t, "evaluation", eval_now));
    if (sample_due(t, step) && !hx_run_has_row(t->p->run, "sample", step))
        HX_TRY(timed(t, "sample", sample_now));
    return HX_OK;
}

static bool is_boundary(const hx_trainer *t, int64_t step)
{
    return step == t->c->train.steps || due(t->c->eval.every, step) || due(t->c->sample.every, step)
        || save_due(t, step) || asked_to_save(t);
}

static hx_result stopped(hx_trainer *t)
{
    HX_TRY(drain(t));
    HX_TRY(hx_save_finish(t));
    return hx_fail(HX_E_STOPPED,
                   "stopped at step %lld of %lld, saved; go on with `htxvk train %s` [E-STOPPED]",
                   (long long)t->state.step, (long long)t->c->train.steps, t->p->run->dir);
}

// Waits for the step that was begun, so that its times can be read.
static hx_result trace_step(hx_trainer *t)
{
    double start = hx_now();
    HX_TRY(drain(t));
    hx_trace_span(t->trace, "wait", start, hx_now());
    HX_TRY(hx_trace_device(t->trace, t->rig.engine, hx_now()));
    if (hx_trace_step(t->trace) < t->c->trace_steps)
        return HX_OK;
    hx_say(t, HX_EVENT_NOTE, "step %lld  trace written to %s", (long long)t->state.step, t->c->trace);
    return hx_trace_close(&t->trace);
}

static hx_result loop(hx_trainer *t)
{
    int queued = !strcmp(hx_dev_get_caps(t->dev)->kind, "vulkan");
    t->mark = hx_now();
    for (int64_t step = t->state.step; step < t->c->train.steps && !t->ended;) {
        if (stopping(t))
            return HX_E_STOPPED;
        if (hx_stage_begins(t->c, step)) {
            HX_TRY(drain(t));
            HX_TRY(hx_next_stage(t, step));
        }
        double start = hx_now();
        fill_ids(t, step);
        hx_trace_span(t->trace, "batch", start, hx_now());
        hx_engine_limit(t->rig.engine, norm_limit(t, step));
        step++;
        start = hx_now();
        HX_TRY(hx_engine_step(t->rig.engine, step, hx_learning_rate(t->c, step), t->ids));
        hx_trace_span(t->trace, "submit", start, hx_now());
        if (t->trace)
            HX_TRY(trace_step(t));
        // the step before this one has had time to finish; without a queue this one has, too
        if (hx_engine_pending(t->rig.engine) > queued)
            HX_TRY(take_result(t));
        hx_save_look(t);
        if (!is_boundary(t, step))
            continue;
        HX_TRY(drain(t));
        HX_TRY(at_boundary(t));
        t->mark = hx_now();
    }
    return HX_OK;
}

static hx_result go_on(hx_trainer *t)
{
    int64_t steps = t->c->train.steps;
    if (t->state.step < steps) {
        HX_TRY(hx_start_row(t));
        hx_say(t, HX_EVENT_NOTE, "training %s, %lld parameters, on %s", t->c->model->name,
            (long long)hx_params_count(t->rig.net.params), hx_dev_get_caps(t->dev)->name);
    } else {
        hx_say(t, HX_EVENT_NOTE, "step %lld  all %lld steps are done; for more: htxvk train %s --set "
            "train.steps=%lld", (long long)t->state.step, (long long)steps, t->p->run->dir,
            2 * (long long)steps);
    }
    HX_TRY(catch_up(t));
    int64_t before = t->state.step;
    HX_TRY(loop(t));
    HX_TRY(hx_save_finish(t));
    return t->state.step > before ? hx_end_row(t) : HX_OK;
}

static hx_result start_and_go_on(hx_trainer *t)
{
    HX_TRY(begin(t));
    HX_TRY(hx_begin_events(t));
    if (t->c->trace)
        HX_TRY(hx_trace_new(t->c->trace, hx_dev_get_caps(t->dev)->name, &t->trace));
    hx_result r = go_on(t);
    hx_events_close(&t->events);
    // a run with fewer steps than were to be traced
    if (t->trace && hx_trace_close(&t->trace) && !r)
        r = HX_E_IO;
    return r == HX_E_STOPPED ? stopped(t) : r;
}

hx_result hx_trainer_run(hx_trainer *t, const hx_train_params *p)
{
    t->p = p;
    t->began = t->saved_at = hx_now();
    HX_TRY(hx_save_open(t));
    hx_result r = start_and_go_on(t);
    // whatever happened: what is being written is whole before anybody goes on from it
    char why[1024];
    snprintf(why, sizeof why, "%s", hx_last_message());
    hx_save_close(t);
    return r ? hx_fail(r, "%s", why) : HX_OK;
}

static hx_result init(hx_trainer *t)
{
    const hx_run_conf *c = t->c;
    HX_TRY(hx_corpus_read(c, &t->corpus));
    for (int i = 0; c->data.staged && i < hx_stages(c) - 1; i++)
        HX_TRY(hx_stage_text(c, i, &t->stage_text[i]));
    HX_TRY(hx_feed_new(t->arena, c, &t->corpus, &t->feed));
    HX_TRY(hx_rig_new(t->dev, c, c->trace != NULL, &t->rig));
    t->ids = hx_new(t->arena, int32_t,
                    step_samples(c) * ((int64_t)c->train.seq_len + 1) * (t->rig.net.masked ? 2 : 1));
    return t->ids ? HX_OK : HX_E_NOMEM;
}

hx_result hx_trainer_new(const hx_run_conf *conf, hx_dev *dev, hx_trainer **out)
{
    *out = NULL;
    hx_arena *arena = hx_arena_new();
    hx_trainer *t = arena ? hx_new(arena, hx_trainer, 1) : NULL;
    if (!t) {
        hx_arena_free(&arena);
        return HX_E_NOMEM;
    }
    *t = (hx_trainer){ .arena = arena, .c = conf, .dev = dev, .stage = -1, .T = conf->train.seq_len };
    hx_result r = init(t);
    if (r)
        hx_trainer_free(&t);
    *out = t;
    return r;
}

void hx_trainer_free(hx_trainer **tp)
{
    hx_trainer *t = *tp;
    if (!t)
        return;
    free(t->copy);
    hx_rig_done(&t->rig);
    hx_feed_done(&t->feed);
    hx_corpus_done(&t->corpus);
    for (int i = 0; i < HX_MAX_LIST; i++)
        hx_text_free(&t->stage_text[i]);
    hx_arena *arena = t->arena;
    hx_arena_free(&arena);
    *tp = NULL;
}
