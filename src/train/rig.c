// rig.c - parameters, engine and generator of a run; its texts; its learning rate.
#include "rig.h"

#include "curriculum.h"

#include <math.h>
#include <string.h>

// ---- device side --------------------------------------------------------------------------

static hx_result make_engine(hx_dev *dev, const hx_run_conf *c, bool profile, hx_rig *out)
{
    const hx_optim *o = hx_optim_find(c->optim.name);
    if (!o)
        return hx_fail(HX_E_INPUT, "optim.name: there is no optimizer '%s' [E-CONF-VALUE]",
                       c->optim.name);
    hx_engine_conf k = {.batch = c->train.batch,
                        .tokens = (int64_t)c->train.seq_len + 1,
                        .accumulate = c->train.accumulate,
                        .optim = o,
                        .clip_norm = c->train.clip_norm,
                        .seed = (uint64_t)c->run.seed,
                        .profile = profile,
                        .decay_matrices = !strcmp(c->optim.decay, "matrices"),
                        .ema = c->train.ema,
                        .optim_conf = {(float)c->optim.betas.v[0], (float)c->optim.betas.v[1],
                                       c->optim.eps, c->optim.weight_decay}};
    return hx_engine_new(dev, &out->net, &k, &out->engine);
}

static hx_result make_generator(hx_dev *dev, const hx_run_conf *c, hx_rig *out)
{
    hx_place weights = c->train.ema > 0 ? HX_EMA : HX_PARAM;
    hx_memory *shared[HX_N_PLACES] = { [HX_PARAM] = hx_engine_memory(out->engine, weights),
                                       [HX_TEMP] = hx_engine_memory(out->engine, HX_TEMP) };
    HX_TRY(hx_generator_new(dev, &out->net, shared, &out->gen));
    if (c->data.tokenizer_file)
        HX_TRY(hx_bpe_read(c->data.tokenizer_file, &out->bpe));
    hx_generator_use(out->gen, out->bpe);
    int64_t prompt = (int64_t)strlen(c->sample.prompt);
    return hx_generator_prepare(out->gen, hx_max(prompt, 1) + c->sample.length - 1);
}

hx_result hx_rig_new(hx_dev *dev, const hx_run_conf *c, bool profile, hx_rig *out)
{
    *out = (hx_rig){0};
    hx_result r = hx_net_init(&out->net, c->model, c->model_conf);
    out->net.frugal = !strcmp(c->train.recompute, "products") ? HX_KEEP_LEAST
        : !strcmp(c->train.recompute, "true") ? HX_KEEP_DEAR : HX_KEEP_ALL;
    out->net.replays = c->train.replay;
    out->net.smooth = c->train.label_smoothing;
    out->net.masked = c->data.masked || c->data.streams;
    out->net.carries = c->data.streams;
    if (!r)
        r = make_engine(dev, c, profile, out);
    if (!r && c->sample.every > 0)
        r = make_generator(dev, c, out);
    if (r)
        hx_rig_done(out);
    return r;
}

void hx_rig_done(hx_rig *r)
{
    hx_generator_free(&r->gen);
    hx_bpe_free(&r->bpe);
    hx_engine_free(&r->engine);
    hx_net_done(&r->net);
}

// ---- texts --------------------------------------------------------------------------------

static hx_result read_own(const hx_strs *paths, hx_corpus *out, int which)
{
    if (!paths->n)
        return HX_OK;
    HX_TRY(hx_text_read(paths, 0, &out->text[which]));
    out->span[which] = hx_text_whole(out->text[which]);
    return HX_OK;
}

// A part that has files of its own gives its share of the split to training.
static hx_result split_train(const hx_run_conf *c, hx_corpus *out)
{
    hx_reals share = c->data.split;
    for (int i = HX_VALID_TEXT; i < HX_N_TEXTS && i < share.n; i++) {
        if (!out->text[i])
            continue;
        share.v[HX_TRAIN_TEXT] += share.v[i];
        share.v[i] = 0;
    }
    hx_span cut[HX_N_TEXTS] = {0};
    HX_TRY(hx_text_split(out->text[HX_TRAIN_TEXT], &share, cut));
    out->span[HX_TRAIN_TEXT] = cut[HX_TRAIN_TEXT];
    for (int i = HX_VALID_TEXT; i < HX_N_TEXTS; i++) {
        if (out->text[i])
            continue;
        out->text[i] = out->text[HX_TRAIN_TEXT];
        out->span[i] = cut[i];
    }
    return HX_OK;
}

// Tokens must be the model's, and labels that count must not be the one that it leaves out.
static hx_result check_text(const hx_run_conf *c, const hx_text *t)
{
    HX_TRY(hx_text_check(t, c->model->size(c->model_conf, "num_tokens")));
    if (c->data.masked != (t->mask != NULL))
        return hx_fail(HX_E_INPUT, "'%s' is %smasked, data.train is%s: evaluate on the kind that is trained on "
                       "[E-SET-MIXED]", t->part[0].path, t->mask ? "" : "not ", t->mask ? " not" : "");
    if (!c->data.tokenizer_file != !t->tokenizer)
        return hx_fail(HX_E_INPUT, "'%s' has other tokens than data.train: bytes and those of a tokenizer do "
                       "not mix [E-SET-MIXED]", t->part[0].path);
    int64_t ignore = c->model->size(c->model_conf, "ignore_index");
    for (int64_t i = 0; t->mask && ignore >= 0 && i < t->size; i++)
        if (t->mask[i] && hx_text_token(t, i) == ignore)
            return hx_fail(HX_E_INPUT, "'%s': token %lld is an answer and the model's ignore_index, %lld; set "
                           "model.ignore_index: -1 [E-SET-IGNORE]", t->part[0].path, (long long)i,
                           (long long)ignore);
    return HX_OK;
}

static hx_result read_all(const hx_run_conf *c, hx_corpus *out)
{
    // what is evaluated is like the last stage of a curriculum
    hx_strs last = { 1, { c->data.train.v[hx_stages(c) - 1] } };
    HX_TRY(read_own(c->data.staged ? &last : &c->data.train, out, HX_TRAIN_TEXT));
    HX_TRY(read_own(&c->data.valid, out, HX_VALID_TEXT));
    HX_TRY(read_own(&c->data.test, out, HX_TEST_TEXT));
    if (!out->text[HX_TRAIN_TEXT])
        return hx_fail(HX_E_INPUT, "data.train names no file [E-CONF-VALUE]");
    HX_TRY(split_train(c, out));
    for (int i = 0; i < HX_N_TEXTS; i++)
        if (i == 0 || out->text[i] != out->text[0])
            HX_TRY(check_text(c, out->text[i]));
    if (c->data.streams)
        return HX_OK;                      // documents may be shorter, see hx_stream_new
    HX_TRY(hx_span_check("train", out->span[HX_TRAIN_TEXT], c->train.seq_len));
    return c->eval.every > 0 ? hx_span_check("valid", out->span[HX_VALID_TEXT], c->train.seq_len)
                             : HX_OK;
}

hx_result hx_corpus_read(const hx_run_conf *c, hx_corpus *out)
{
    *out = (hx_corpus){0};
    hx_result r = read_all(c, out);
    if (r)
        hx_corpus_done(out);
    return r;
}

hx_result hx_stage_text(const hx_run_conf *c, int stage, hx_text **out)
{
    *out = NULL;
    hx_result r = hx_text_read(&(hx_strs){ 1, { c->data.train.v[stage] } }, 0, out);
    if (!r)
        r = check_text(c, *out);
    if (!r && !c->data.streams)
        r = hx_span_check("train", hx_text_whole(*out), hx_stage_len(c, stage));
    if (r)
        hx_text_free(out);
    return r;
}

void hx_corpus_done(hx_corpus *c)
{
    for (int i = HX_N_TEXTS - 1; i >= 0; i--) {
        if (i == 0 || c->text[i] != c->text[0])
            hx_text_free(&c->text[i]);
        c->text[i] = NULL;
    }
}

// ---- schedule -----------------------------------------------------------------------------

double hx_learning_rate(const hx_run_conf *c, int64_t step)
{
    double top = c->optim.lr, low = fmin(c->schedule.min_lr, top),
           warm = (double)c->schedule.warmup;
    if ((double)step <= warm)
        return top * (double)step / warm;
    const char *name = c->schedule.name;
    double steps = (double)c->train.steps, now = (double)step, span = steps - warm;
    double at = span > 0 ? fmin((now - warm) / span, 1) : 1;
    if (!strcmp(name, "cosine"))
        return low + (top - low) * 0.5 * (1 + cos(acos(-1.0) * at));
    if (!strcmp(name, "linear"))
        return top + (low - top) * at;
    // falls like 1/sqrt(step) from the end of the warm-up on
    if (!strcmp(name, "inv_sqrt"))
        return fmax(low, top * sqrt(fmax(warm, 1) / fmax(now, 1)));
    // warm-up, the same for long, then a straight fall
    double tail = fmin(c->schedule.decay * steps, span);
    if (!strcmp(name, "wsd") && tail > 0 && now > steps - tail)
        return top + (low - top) * fmin((now - (steps - tail)) / tail, 1);
    return top;
}
