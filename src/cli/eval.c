// eval.c - `htxvk eval`: bits per byte of a checkpoint over a text.
#include <jansson.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "../../runtime/clock.h"
#include "../../runtime/file.h"
#include "../train/evaluate.h"
#include "../train/rig.h"
#include "../train/run.h"
#include "load.h"

typedef struct eval_opts {
    hx_strs data;
    const char *split, *json;
    const char *order;
    int32_t batch, seq_len, stride, positions;
} eval_opts;
#define O(type, member, def, lo, hi, help) \
    { #member, type, offsetof(eval_opts, member), def, lo, hi, help }
static const hx_field eval_fields[] = {
    O(HX_STRS, data, "[]", 0, 0,
      "text to evaluate on: a file, .gz, .zst, a directory or a set of `htxvk data`; may be "
      "repeated"),
    O(HX_STR, split, "valid", 0, 0, "without --data, of a run: train | valid | test"),
    O(HX_I32, batch, "4", 1, 65536, "windows that run at once"),
    O(HX_I32, seq_len, "0", 0, 1 << 30, "predictions per window; 0: the model's sequence length"),
    O(HX_STR, order, "auto", 0, 0,
      "windows, each from an empty context | stream: states are carried on "
      "along documents | auto: as the run was trained"),
    O(HX_I32, stride, "0", 0, 1 << 30,
      "tokens from one window to the next: less than --seq-len gives every prediction more "
      "context; 0: --seq-len"),
    O(HX_I32, positions, "0", 0, 256,
      "also losses of so many parts of the window, for the report of a run"),
    O(HX_STR, json, "", 0, 0, "write JSON to this file, - for stdout"),
    {0}};
#undef O

static void show_progress(void *user, int64_t done, int64_t all)
{
    (void)user;
    fprintf(stderr, "\r%lld of %lld bytes%s", (long long)done, (long long)all,
            done == all ? "\r\033[K" : "");
}

// The text: files that --data names, else a split of the run's own data.
static hx_result choose_text(hx_cli *c, const char *path, hx_corpus *corpus, const hx_text **text,
                             hx_span *span, const hx_run_conf *conf)
{
    const eval_opts *o = c->opts;
    if (o->data.n) {
        HX_TRY(hx_text_read(&o->data, 0, &corpus->text[0]));
        *text = corpus->text[0];
        *span = hx_text_whole(corpus->text[0]);
        return HX_OK;
    }
    static const char *const names[HX_N_TEXTS] = { "train", "valid", "test" };
    int which = 0;
    while (which < HX_N_TEXTS && strcmp(o->split, names[which]))
        which++;
    if (which == HX_N_TEXTS)
        return hx_fail(HX_E_USAGE, "--split %s: it is train, valid or test [E-USAGE]", o->split);
    if (!conf)
        return hx_fail(HX_E_USAGE, "%s is no run directory, so --data FILE is needed [E-USAGE]",
                       path);
    HX_TRY(hx_corpus_read(conf, corpus));
    *text = corpus->text[which];
    *span = corpus->span[which];
    return HX_OK;
}

static double share(int64_t part, int64_t all) { return (double)part / (double)all; }

// Bits per byte of source text: tokens of several bytes by their mean length in this text.
static double bits_of(const hx_text *t, double nats)
{
    return nats / log(2) * (t->source_bytes ? share(t->size, t->source_bytes) : 1);
}

// Bits per byte of each part of the window, as positions.json of a run or below "positions".
static hx_result by_position(hx_cli *c, hx_loaded *l, const hx_text *text, hx_span span, int64_t T,
                             json_t **out)
{
    const eval_opts *o = c->opts;
    json_t *at = json_array(), *bpc = json_array();
    int64_t parts = hx_min(o->positions, T);
    *out = json_pack("{so so}", "position", at, "bpc", bpc);
    for (int64_t i = 0; i < parts; i++) {
        hx_protocol how = { .seq_len = T, .from = i * T / parts, .to = (i + 1) * T / parts };
        hx_evaluation e;
        HX_TRY(
            hx_evaluate(l->dev, &l->net, &l->params, text, span, &how, o->batch, NULL, NULL, &e));
        json_array_append_new(at, json_real(0.5 * (double)(how.from + how.to)));
        json_array_append_new(bpc, json_real(bits_of(text, e.ce)));
        if (!o->json[0] || strcmp(o->json, "-"))
            printf("%s%6lld to %-6lld %.4f\n", i ? "                 " : "by position      ",
                   (long long)how.from, (long long)how.to, bits_of(text, e.ce));
    }
    if (!hx_run_is(c->args[0]))
        return HX_OK;
    const char *path = hx_path_join(c->arena, c->args[0], "positions.json");
    return path ? hx_cli_json(*out, path) : HX_E_NOMEM;
}

static hx_result print_result(hx_cli *c, const hx_loaded *l, const hx_text *text,
                              const hx_evaluation *e, double seconds, json_t *positions)
{
    const eval_opts *o = c->opts;
    double bits = bits_of(text, e->ce);
    int64_t peak = hx_dev_get_stats(l->dev).bytes_peak;
    if (!o->json[0] || strcmp(o->json, "-")) {
        printf("checkpoint       %s\n", l->dir);
        if (e->rows)
            printf("protocol         %lld rows along documents, %lld predictions at a time, states "
                   "carried on\n",
                   (long long)e->rows, (long long)e->seq_len);
        else
            printf(
                "protocol         %lld windows of %lld predictions, each from an empty context\n",
                (long long)e->windows, (long long)e->seq_len);
        if (o->stride && o->stride < e->seq_len)
            printf("                 a window every %d tokens, of which the last %d predictions "
                   "count\n",
                   o->stride, o->stride);
        printf("predicted %s %lld\nbits per byte    %.4f\nperplexity       %.4f\n",
               l->bpe ? "tokens" : "bytes ", (long long)e->tokens, bits, exp(e->ce));
        if (isfinite(e->loss))
            printf("loss             %.4f nats\n", e->loss);
        if (e->score.labels)
            printf(
                "labels right     %.2f%% (%lld of %lld)\ndocuments right  %.2f%% (%lld of %lld)\n",
                100 * share(e->score.right, e->score.labels), (long long)e->score.right,
                (long long)e->score.labels, 100 * share(e->score.rows_right, e->score.rows),
                (long long)e->score.rows_right, (long long)e->score.rows);
        printf("device memory    %lld bytes at most\ntook             %.3f s, %.0f predictions a second\n",
               (long long)peak, seconds, (double)e->tokens / seconds);
    }
    json_t *j = json_pack("{ss sI sI sI sf sf sf sf sI}", "checkpoint", l->dir, "windows",
                          (json_int_t)e->windows, "seq_len", (json_int_t)e->seq_len, "tokens",
                          (json_int_t)e->tokens, "bpc", bits, "perplexity", exp(e->ce), "ce_loss",
                          e->ce, "seconds", seconds, "peak_bytes", (json_int_t)peak);
    if (e->rows)
        json_object_set_new(j, "rows", json_integer(e->rows));
    else
        json_object_set_new(j, "stride", json_integer(o->stride ? o->stride : e->seq_len));
    if (isfinite(e->loss))
        json_object_set_new(j, "loss", json_real(e->loss));
    if (e->score.labels) {
        json_object_set_new(j, "acc", json_real(share(e->score.right, e->score.labels)));
        json_object_set_new(j, "acc_all", json_real(share(e->score.rows_right, e->score.rows)));
    }
    if (positions)
        json_object_set(j, "positions", positions);
    hx_result r = hx_cli_json(j, o->json);
    json_decref(j);
    return r;
}

// Ids are the model's, and made as those that it was trained on.
static hx_result check_tokens(const hx_loaded *l, const hx_text *text)
{
    static const char *const kinds[] = { "bytes", "a tokenizer's tokens" };
    if (!l->bpe != !text->tokenizer)
        return hx_fail(HX_E_INPUT,
                       "'%s' is made of %s, the model was trained on %s: see `htxvk data prepare` "
                       "[E-SET-MIXED]",
                       text->part[0].path, kinds[!l->bpe], kinds[!!l->bpe]);
    return hx_text_check(text, l->kase.model->size(l->kase.conf, "num_tokens"));
}

// conf is NULL for a checkpoint without its run.
static hx_result along_documents(hx_cli *c, hx_loaded *l, const hx_text *text, hx_span span,
                                 const hx_run_conf *conf)
{
    const eval_opts *o = c->opts;
    const hx_model *m = l->kase.model;
    int64_t L = m->size(l->kase.conf, "segment"), T = o->seq_len;
    if (!T)
        T = conf ? conf->train.seq_len : L > 0 ? L : m->size(l->kase.conf, "seq_len");
    if (L > 0 && T % L)
        return hx_fail(HX_E_USAGE,
                       "--seq-len %lld is no multiple of the model's segment of %lld tokens "
                       "[E-USAGE]",
                       (long long)T, (long long)L);
    HX_TRY(check_tokens(l, text));
    l->net.masked = l->net.carries = true;
    hx_stream *s = NULL;
    HX_TRY(hx_stream_new(text, span, conf ? conf->data.separator : "", T, o->batch, 0, &s));
    hx_evaluation e;
    bool show = !c->quiet && isatty(STDERR_FILENO);
    double begin = hx_now();
    hx_result r =
        hx_evaluate_stream(l->dev, &l->net, &l->params, s, show ? show_progress : NULL, NULL, &e);
    hx_stream_free(&s);
    if (!text->mask)
        e.score = (hx_score){ 0 };
    return r ? r : print_result(c, l, text, &e, hx_now() - begin, NULL);
}

static hx_result evaluate(hx_cli *c, hx_loaded *l, const hx_text *text, hx_span span)
{
    const eval_opts *o = c->opts;
    const hx_model *m = l->kase.model;
    int64_t most = m->size(l->kase.conf, "seq_len"), T = o->seq_len ? o->seq_len : most;
    // documents are taken whole; the model says if it cannot
    if (span.doc && !o->seq_len)
        T = span.doc - 1;
    if (T > most && !span.doc)
        return hx_fail(HX_E_USAGE, "--seq-len %lld: the model was made for at most %lld [E-USAGE]",
                       (long long)T, (long long)most);
    HX_TRY(check_tokens(l, text));
    l->net.masked = text->mask != NULL;
    hx_evaluation e;
    bool show = !c->quiet && isatty(STDERR_FILENO);
    hx_protocol how = { .seq_len = T, .stride = o->stride };
    json_t *positions = NULL;
    double begin = hx_now();
    HX_TRY(hx_evaluate(l->dev, &l->net, &l->params, text, span, &how, o->batch,
                       show ? show_progress : NULL, NULL, &e));
    double seconds = hx_now() - begin;
    hx_result r = o->positions ? by_position(c, l, text, span, T, &positions) : HX_OK;
    if (!r)
        r = print_result(c, l, text, &e, seconds, positions);
    json_decref(positions);
    return r;
}

static hx_result run(hx_cli *c)
{
    hx_corpus corpus = {0};
    hx_loaded l = {0};
    const hx_text *text = NULL;
    hx_span span = {0};
    hx_run_conf *conf = NULL;
    const eval_opts *o = c->opts;
    bool stream = !strcmp(o->order, "stream");
    if (!stream && strcmp(o->order, "auto") && strcmp(o->order, "windows"))
        return hx_fail(HX_E_USAGE, "--order %s: it is auto, windows or stream [E-USAGE]", o->order);
    hx_result r = hx_load(c, c->args[0], &l);
    if (!r && hx_run_is(c->args[0]))
        r = hx_run_conf_read(c->arena, hx_path_join(c->arena, c->args[0], "config.yaml"), NULL, 0,
                             &conf);
    if (!r)
        r = choose_text(c, c->args[0], &corpus, &text, &span, conf);
    stream |= !strcmp(o->order, "auto") && conf && conf->data.streams;
    if (!r)
        r = stream ? along_documents(c, &l, text, span, conf) : evaluate(c, &l, text, span);
    r = hx_load_done(&l, r);
    hx_corpus_done(&corpus);
    return r;
}

HX_CMD(eval, .args = "RUN|CHECKPOINT [--data FILE]...",
       .help = "bits per byte and perplexity of a checkpoint over a text", .opts = eval_fields,
       .opts_size = sizeof(eval_opts), .min_args = 1, .max_args = 1, .run = run,
       .more = "Every byte but the first is predicted once: windows follow each other, each with "
               "an empty\n"
               "context, or as --stride says. With --order stream --batch rows walk beside each "
               "other along\n"
               "documents, each through its share, and what the model remembers goes with them.\n");
