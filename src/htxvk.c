// htxvk.c - the public functions over engine, checkpoints and generator.
#include "htxvk.h"

#include <stdlib.h>
#include <string.h>

#include "core/ckpt.h"
#include "train/rig.h"

struct htxvk_trainer {
    hx_arena     *arena;
    hx_run_conf  *conf;
    hx_dev       *dev;
    hx_rig        rig;
    hx_generator *gen;                     // made at its first use
    hx_ckpt_state state;
};

const char *htxvk_version(void) { return HX_VERSION; }
const char *htxvk_message(void) { return hx_last_message(); }

static htxvk_result code(hx_result r) { return (htxvk_result)hx_result_exit(r); }

// Copies as much of a result as its receiver knows of.
static hx_result give(void *to, size_t known, const void *from, size_t n, const char *what)
{
    if (known < sizeof known || known > 4096)
        return hx_fail(HX_E_USAGE, "%s.size is %zu: set it to sizeof(%s) before the call "
                       "[E-API-SIZE]", what, known, what);
    memcpy((char *)to + sizeof known, (const char *)from + sizeof known,
           (known < n ? known : n) - sizeof known);
    return HX_OK;
}

// ---- making -------------------------------------------------------------------------------

static hx_result make(htxvk_trainer *t, const char *yaml, const char *device)
{
    static const char *const none[] = { "data.train=[none]", "sample.every=0" };
    HX_TRY(hx_run_conf_parse(t->arena, "configuration", yaml, ".", none, HX_COUNT(none), &t->conf));
    hx_dev_params p = { .select = device ? device : t->conf->device.select,
                        .threads = t->conf->run.threads };
    HX_TRY(hx_dev_open(&p, &t->dev));
    HX_TRY(hx_rig_new(t->dev, t->conf, false, &t->rig));
    if (t->rig.net.masked)
        return hx_fail(HX_E_USAGE, "data with masked labels is trained on by `htxvk train` only "
                       "[E-API-MASK]");
    t->state = (hx_ckpt_state){ .seed = t->conf->run.seed };
    return hx_engine_init(t->rig.engine, (uint64_t)t->conf->run.seed);
}

htxvk_result htxvk_trainer_new(const char *yaml, const char *device, htxvk_trainer **out)
{
    if (!out || !yaml)
        return code(hx_fail(HX_E_USAGE, "htxvk_trainer_new: %s is NULL [E-API-NULL]",
                            out ? "yaml" : "out"));
    *out = NULL;
    hx_arena *a = hx_arena_new();
    htxvk_trainer *t = a ? hx_new(a, htxvk_trainer, 1) : NULL;
    if (!t) {
        hx_arena_free(&a);
        return HTXVK_NOMEM;
    }
    t->arena = a;
    hx_result r = make(t, yaml, device);
    if (r)
        htxvk_trainer_free(&t);
    *out = t;
    return code(r);
}

void htxvk_trainer_free(htxvk_trainer **tp)
{
    htxvk_trainer *t = tp ? *tp : NULL;
    if (!t)
        return;
    hx_generator_free(&t->gen);
    hx_rig_done(&t->rig);
    hx_dev_close(&t->dev);
    hx_arena *a = t->arena;
    hx_arena_free(&a);
    *tp = NULL;
}

static int64_t tokens(const htxvk_trainer *t) { return (int64_t)t->conf->train.seq_len + 1; }

static int64_t vocabulary(const htxvk_trainer *t)
{
    return t->conf->model->size(t->conf->model_conf, "num_tokens");
}

htxvk_result htxvk_trainer_sizes(const htxvk_trainer *t, htxvk_sizes *out)
{
    if (!t || !out)
        return code(hx_fail(HX_E_USAGE, "htxvk_trainer_sizes: an argument is NULL [E-API-NULL]"));
    htxvk_sizes s = { .accumulate = t->conf->train.accumulate, .batch = t->conf->train.batch,
                      .tokens = tokens(t), .vocabulary = vocabulary(t),
                      .parameters = hx_params_count(t->rig.net.params), .step = t->state.step };
    return code(give(out, out->size, &s, sizeof s, "htxvk_sizes"));
}

// ---- steps --------------------------------------------------------------------------------

static hx_result check_ids(const htxvk_trainer *t, const int32_t *ids, int64_t n)
{
    int64_t V = vocabulary(t);
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= V)
            return hx_fail(HX_E_INPUT, "ids[%lld] is %d: the model knows 0 to %lld [E-TOKEN-RANGE]",
                           (long long)i, ids[i], (long long)V - 1);
    return HX_OK;
}

static hx_result step(htxvk_trainer *t, const int32_t *ids, htxvk_losses *out)
{
    int64_t rows = (int64_t)t->conf->train.accumulate * t->conf->train.batch;
    int64_t next = t->state.step + 1, n = rows * tokens(t);
    double lr = hx_learning_rate(t->conf, next);
    hx_losses l;
    HX_TRY(check_ids(t, ids, n));
    HX_TRY(hx_engine_step(t->rig.engine, next, lr, ids));
    HX_TRY(hx_engine_result(t->rig.engine, &l));
    t->state.step = next;
    t->state.updates += !l.skipped;
    t->state.tokens += n - rows;
    htxvk_losses x = { .step = next, .loss = l.loss, .cross_entropy = l.ce,
                       .grad_norm = l.grad_norm, .learning_rate = lr, .skipped = l.skipped };
    return give(out, out->size, &x, sizeof x, "htxvk_losses");
}

htxvk_result htxvk_trainer_step(htxvk_trainer *t, const int32_t *ids, htxvk_losses *out)
{
    if (!t || !ids || !out)
        return code(hx_fail(HX_E_USAGE, "htxvk_trainer_step: an argument is NULL [E-API-NULL]"));
    return code(step(t, ids, out));
}

static hx_result eval(htxvk_trainer *t, const int32_t *ids, htxvk_losses *out)
{
    hx_losses l;
    int32_t *ages = calloc((size_t)t->conf->train.batch, sizeof *ages);
    hx_result r = ages ? check_ids(t, ids, t->conf->train.batch * tokens(t))
                       : hx_fail(HX_E_NOMEM, "no memory for an evaluation [E-NOMEM]");
    // nothing is carried from one evaluation to the next
    if (!r)
        r = hx_engine_eval(t->rig.engine, ids, ages, &l);
    free(ages);
    HX_TRY(r);
    htxvk_losses x = { .step = t->state.step, .loss = l.loss, .cross_entropy = l.ce };
    return give(out, out->size, &x, sizeof x, "htxvk_losses");
}

htxvk_result htxvk_trainer_eval(htxvk_trainer *t, const int32_t *ids, htxvk_losses *out)
{
    if (!t || !ids || !out)
        return code(hx_fail(HX_E_USAGE, "htxvk_trainer_eval: an argument is NULL [E-API-NULL]"));
    return code(eval(t, ids, out));
}

// ---- checkpoints --------------------------------------------------------------------------

// Weights, two moments and, with train.ema, mean weights, one after the other in host memory.
static const hx_place places[] = { HX_PARAM, HX_MOM1, HX_MOM2, HX_EMA };

static int count_places(const htxvk_trainer *t)
{
    return HX_COUNT(places) - !(t->conf->train.ema > 0);
}

static char *host_copy(const htxvk_trainer *t)
{
    int64_t n = 0;
    bool fits = hx_mul(t->rig.net.params->bytes, count_places(t), &n);
    char *a = fits ? calloc(1, (size_t)hx_max(n, 1)) : NULL;
    if (!a)
        hx_fail(HX_E_NOMEM, "no memory for a host copy of the weights [E-NOMEM]");
    return a;
}

static hx_result save(htxvk_trainer *t, const char *folder, int keep, char *a)
{
    int64_t n = t->rig.net.params->bytes;
    for (int i = 0; i < count_places(t); i++)
        HX_TRY(hx_engine_read(t->rig.engine, places[i], a + i * n));
    hx_ckpt c = { .model = t->conf->model, .conf = t->conf->model_conf, .params = t->rig.net.params,
                  .p = a, .m = a + n, .v = a + 2 * n,
                  .ema = t->conf->train.ema > 0 ? a + 3 * n : NULL, .state = t->state };
    return hx_ckpt_write(folder, &c, keep);
}

htxvk_result htxvk_trainer_save(htxvk_trainer *t, const char *folder, int keep)
{
    if (!t || !folder || keep < 1)
        return code(hx_fail(HX_E_USAGE, "htxvk_trainer_save: an argument is NULL, or keep is below "
                            "1 [E-API-NULL]"));
    char *a = host_copy(t);
    hx_result r = a ? save(t, folder, keep, a) : HX_E_NOMEM;
    free(a);
    return code(r);
}

static hx_result load(htxvk_trainer *t, const char *dir, char *a)
{
    int64_t n = t->rig.net.params->bytes;
    hx_ckpt_state state;
    bool mean = false;
    HX_TRY(hx_ckpt_state_read(dir, &state));
    HX_TRY(hx_ckpt_read(dir, t->rig.net.params, a, a + n, a + 2 * n));
    if (t->conf->train.ema > 0)
        HX_TRY(hx_ckpt_read_ema(dir, t->rig.net.params, a + 3 * n, &mean));
    if (t->conf->train.ema > 0 && !mean)
        memcpy(a + 3 * n, a, (size_t)n);
    for (int i = 0; i < count_places(t); i++)
        HX_TRY(hx_engine_write(t->rig.engine, places[i], a + i * n));
    t->state = state;
    return HX_OK;
}

htxvk_result htxvk_trainer_load(htxvk_trainer *t, const char *path)
{
    const char *dir = NULL;
    if (!t || !path)
        return code(hx_fail(HX_E_USAGE, "htxvk_trainer_load: an argument is NULL [E-API-NULL]"));
    hx_result r = hx_ckpt_find(t->arena, path, &dir);
    if (!r && !dir)
        r = hx_fail(HX_E_INPUT, "%s has no checkpoint [E-CKPT-NONE]", path);
    char *a = r ? NULL : host_copy(t);
    r = r ? r : a ? load(t, dir, a) : HX_E_NOMEM;
    free(a);
    return code(r);
}

// ---- text ---------------------------------------------------------------------------------

typedef struct receiver { int (*emit)(void *user, uint8_t byte); void *user; } receiver;

static bool pass_on(void *user, uint8_t byte)
{
    const receiver *to = user;
    return to->emit(to->user, byte) != 0;
}

htxvk_result htxvk_trainer_generate(htxvk_trainer *t, const void *prompt, int64_t n, int64_t length,
                                    const htxvk_sampling *how,
                                    int (*emit)(void *user, uint8_t byte), void *user)
{
    if (!t || !how || !emit || (n > 0 && !prompt) || n < 0 || length < 0)
        return code(hx_fail(HX_E_USAGE, "htxvk_trainer_generate: an argument is NULL, or a length "
                            "is negative [E-API-NULL]"));
    htxvk_sampling s = { .temperature = 1, .top_p = 1 };
    if (how->size < sizeof how->size || how->size > 4096)
        return code(hx_fail(HX_E_USAGE, "htxvk_sampling.size is %zu: set it to "
                            "sizeof(htxvk_sampling) before the call [E-API-SIZE]", how->size));
    memcpy(&s, how, how->size < sizeof s ? how->size : sizeof s);
    hx_place weights = t->conf->train.ema > 0 ? HX_EMA : HX_PARAM;
    hx_memory *shared[HX_N_PLACES] = { [HX_PARAM] = hx_engine_memory(t->rig.engine, weights),
                                       [HX_TEMP] = hx_engine_memory(t->rig.engine, HX_TEMP) };
    hx_result r = t->gen ? HX_OK : hx_generator_new(t->dev, &t->rig.net, shared, &t->gen);
    hx_sampling k = { s.temperature, s.top_k, s.top_p, s.seed, s.min_p };
    if (!r)
        r = hx_generate(t->gen, prompt, n, length, &k, pass_on, &(receiver){ emit, user });
    return code(r);
}
