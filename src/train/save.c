// save.c - checkpoints of a trainer: the copy that they are written from beside training, what becomes
// of them, and the way back.
#include "curriculum.h"
#include "trainer.h"

#include <stdlib.h>
#include <string.h>

#include "../../runtime/file.h"

static const hx_place saved_places[] = { HX_PARAM, HX_MOM1, HX_MOM2, HX_EMA };

static int count_saved(const hx_trainer *t)
{
    return HX_COUNT(saved_places) - !(t->c->train.ema > 0);
}

// The saved arenas in host memory, one after the other. It stays, so that memory is the same from the
// first checkpoint on.
static hx_result need_copy(hx_trainer *t)
{
    int64_t n = 0;
    bool fits = hx_mul(t->rig.net.params->bytes, count_saved(t), &n);
    if (fits && !t->copy)
        t->copy = calloc(1, (size_t)hx_max(n, 1));
    return t->copy ? HX_OK
                   : hx_fail(HX_E_NOMEM, "no memory for a host copy of parameters and moments, %d x "
                             "%lld bytes [E-NOMEM]", count_saved(t),
                             (long long)t->rig.net.params->bytes);
}

// ---- writing ------------------------------------------------------------------------------

hx_result hx_save_open(hx_trainer *t)
{
    t->saving = -1;
    return hx_saver_new(t->p->run->ckpt_dir, t->c->save.keep, &t->saver);
}

void hx_save_warn(hx_trainer *t, int64_t step)
{
    hx_say(t, HX_EVENT_WARN, "step %lld  not saved, will be tried again: %s", (long long)step,
        hx_last_message());
}

// Takes what became of the checkpoint that was begun, and waits for it if it must.
static hx_result take(hx_trainer *t)
{
    int64_t step = t->saving;
    if (step < 0)
        return HX_OK;
    hx_result r = hx_saver_take(t->saver);
    t->saving = -1;
    hx_arena_free(&t->saving_states);
    if (r) {
        t->saved_step = -1;
        return r;
    }
    hx_say(t, HX_EVENT_NOTE, "step %lld  saved %s/step-%08lld", (long long)step, t->p->run->ckpt_dir,
        (long long)step);
    return HX_OK;
}

void hx_save_settle(hx_trainer *t)
{
    int64_t step = t->saving;
    if (take(t))
        hx_save_warn(t, step);
}

void hx_save_look(hx_trainer *t)
{
    if (t->saving >= 0 && hx_saver_idle(t->saver, 0))
        hx_save_settle(t);
}

static hx_result copy_states(hx_trainer *t, hx_ckpt *ck)
{
    hx_st_item *items = NULL;
    t->saving_states = hx_arena_new();
    HX_TRY(t->saving_states ? HX_OK : hx_fail(HX_E_NOMEM, "no memory for the states [E-NOMEM]"));
    HX_TRY(hx_states_items(t->saving_states, t->rig.engine, &items, &ck->n_memory));
    ck->memory = items;
    return HX_OK;
}

// Everything that is saved, as it is now, into host memory.
static hx_result copy_all(hx_trainer *t, hx_ckpt *ck)
{
    int64_t n = t->rig.net.params->bytes;
    HX_TRY(need_copy(t));
    char *a = t->copy;
    for (int i = 0; i < count_saved(t); i++)
        HX_TRY(hx_engine_read(t->rig.engine, saved_places[i], a + i * n));
    *ck = (hx_ckpt){ .model = t->c->model, .conf = t->c->model_conf, .params = t->rig.net.params,
                     .p = a, .m = a + n, .v = a + 2 * n,
                     .ema = t->c->train.ema > 0 ? a + 3 * n : NULL, .state = t->state };
    return copy_states(t, ck);
}

hx_result hx_save_begin(hx_trainer *t)
{
    enum { PATIENCE = 100 };               // ms that nobody needs to hear of
    if (t->saving >= 0 && !hx_saver_idle(t->saver, PATIENCE))
        hx_say(t, HX_EVENT_NOTE, "step %lld  waits: the checkpoint of step %lld is still being written; "
            "a longer save.every would train on", (long long)t->state.step, (long long)t->saving);
    hx_save_settle(t);
    double start = hx_now();
    t->state.seconds += start - t->began;
    t->began = start;
    hx_ckpt ck;
    hx_result r = copy_all(t, &ck);
    t->saved_at = hx_now();
    bool best = t->c->save.best && t->state.best_step == t->state.step;
    r = r ? r : hx_saver_begin(t->saver, &ck, best);
    if (r) {
        hx_arena_free(&t->saving_states);
        return r;
    }
    t->saving = t->saved_step = t->state.step;
    return HX_OK;
}

hx_result hx_save_finish(hx_trainer *t)
{
    hx_save_settle(t);
    if (t->saved_step == t->state.step)
        return HX_OK;
    HX_TRY(hx_save_begin(t));
    return take(t);
}

void hx_save_close(hx_trainer *t)
{
    hx_save_settle(t);
    hx_saver_free(&t->saver);
}

// ---- reading -----------------------------------------------------------------------------

// A run that has not carried states until now begins to: its rows are at the start of a walk. So are
// they where text, seed or lengths have changed: what was carried is of other places.
static hx_result load_states(hx_trainer *t, const char *dir)
{
    bool there = true;
    int64_t before = t->state.stream;
    hx_arena *a = hx_engine_state_bytes(t->rig.engine) ? hx_arena_new() : NULL;
    hx_result r = a ? hx_states_load(a, t->rig.engine, dir, &there) : HX_OK;
    t->state.stream = t->feed.train ? hx_stream_mark(t->feed.train) : 0;
    bool begins = hx_stage_begins(t->c, t->state.step);
    bool elsewhere = a && there && before && before != t->state.stream && !begins;
    if (elsewhere)
        hx_say(t, HX_EVENT_WARN, "step %lld  documents, run.seed or train.seq_len are not those of the "
            "checkpoint: the streams begin anew", (long long)t->state.step);
    if (!there || elsewhere || begins)
        t->state.walk = t->state.step;
    hx_arena_free(&a);
    return r;
}

hx_result hx_save_load(hx_trainer *t, const char *dir)
{
    int64_t n = t->rig.net.params->bytes;
    HX_TRY(need_copy(t));
    char *a = t->copy;
    HX_TRY(hx_ckpt_state_read(dir, &t->state));
    HX_TRY(hx_enter_stage(t, t->state.step));
    HX_TRY(hx_ckpt_read(dir, t->rig.net.params, a, a + n, a + 2 * n));
    if (t->c->train.ema > 0) {
        bool there;
        HX_TRY(hx_ckpt_read_ema(dir, t->rig.net.params, a + 3 * n, &there));
        // means that were turned on later begin here
        if (!there)
            memcpy(a + 3 * n, a, (size_t)n);
    }
    for (int i = 0; i < count_saved(t); i++)
        HX_TRY(hx_engine_write(t->rig.engine, saved_places[i], a + i * n));
    return load_states(t, dir);
}

hx_result hx_save_weights_from(hx_trainer *t, const char *path)
{
    const char *dir = NULL;
    HX_TRY(hx_ckpt_find(t->arena, path, &dir));
    if (!dir)
        return hx_fail(HX_E_INPUT, "train.init: %s holds no checkpoint [E-CKPT-NONE]",
                       hx_printable(t->arena, path));
    char *p = calloc(1, (size_t)hx_max(t->rig.net.params->bytes, 1));
    if (!p)
        return hx_fail(HX_E_NOMEM, "no memory for %lld bytes of parameters [E-NOMEM]",
                       (long long)t->rig.net.params->bytes);
    hx_result r = hx_ckpt_verify(dir);
    hx_params *ps = t->rig.net.params;
    ps->lenient = t->c->train.init_new;
    ps->seed = (uint64_t)t->c->run.seed;
    if (!r)
        r = hx_ckpt_read(dir, ps, p, NULL, NULL);
    ps->lenient = false;
    if (!r)
        r = hx_engine_write(t->rig.engine, HX_PARAM, p);
    if (!r && t->c->train.ema > 0)
        r = hx_engine_write(t->rig.engine, HX_EMA, p);
    free(p);
    if (!r)
        hx_say(t, HX_EVENT_NOTE, "weights of %s", dir);
    return r;
}
