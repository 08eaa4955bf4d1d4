// optim.c - the optimizer as a tape: norm, clipping factor, and the update segment by segment.
#include "optim.h"
#include <string.h>

const hx_optim *hx_optim_find(const char *name)
{
    for (int i = 0; i < hx_n_optims; i++)
        if (!strcmp(hx_optims[i]->name, name))
            return hx_optims[i];
    return NULL;
}

// Elements [i * most, ...) of the arena of `place`.
static hx_t segment(hx_tape *t, hx_place place, int64_t n, int64_t most, int64_t i)
{
    int64_t from = i * most, count = hx_min(most, n - from);
    return hx_external(t, place, 4 * from, false, 1, &count);
}

// Gradient norm over all segments -> factor on every gradient.
static hx_t clip_factor(hx_tape *t, int64_t n, int64_t most, hx_t step, hx_t norm)
{
    int64_t parts = hx_ceil_div(n, most);
    hx_t *sums = hx_new(t->arena, hx_t, parts), size;
    if (!sums) {
        hx_tape_fail(t, HX_E_NOMEM, "%s", hx_last_message());
        return (hx_t){ t, 0 };
    }
    for (int64_t i = 0; i < parts; i++)
        sums[i] = t_sumsq(segment(t, HX_GRAD, n, most, i));
    hx_t factor = t_clip((int)parts, sums, step, &size);
    hx_deliver(size, norm, false);
    return factor;
}

// Updates weights [from, to), of one part, in segments that no multiple of `most` cuts.
static void update_part(hx_tape *t, const hx_optim *o, const hx_optim_conf *k, int64_t from,
                        int64_t to, int64_t most, hx_t step, hx_t factor)
{
    for (int64_t next; from < to; from = next) {
        next = hx_min(to, (from / most + 1) * most);
        hx_t x[4];
        for (int i = 0; i < 4; i++)
            x[i] = hx_external(t, (hx_place)(HX_PARAM + i), 4 * from, false, 1,
                               (int64_t[]){ next - from });
        o->update(k, step, factor, x[0], x[1], x[2], x[3]);
    }
}

hx_tape *hx_optim_tape_parts(const hx_optim *o, const hx_optim_conf *k, int64_t max_elems,
                             int64_t step_at, int64_t norm_at, const hx_optim_part *part, int n_part,
                             bool ema)
{
    int64_t n = n_part > 0 ? part[n_part - 1].end : 0;
    hx_tape *t = hx_tape_new();
    if (!t)
        return NULL;
    if (n < 1 || max_elems < 1) {
        hx_tape_fail(t, HX_E_USAGE, "optimizer %s: %lld parameters in segments of %lld; both must "
                     "be positive [E-OPTIM]", o->name, (long long)n, (long long)max_elems);
        return t;
    }
    hx_t step = hx_external(t, HX_INPUT, step_at, false, 1, (int64_t[]){ HX_STEP_VALUES });
    hx_t norm = hx_external(t, HX_OUTPUT, norm_at, false, 1, (int64_t[]){ 1 });
    hx_t factor = clip_factor(t, n, max_elems, step, norm);
    for (int i = 0; i < n_part; i++) {
        hx_optim_conf own = *k;
        if (!part[i].decays)
            own.weight_decay = 0;
        update_part(t, o, &own, i ? part[i - 1].end : 0, part[i].end, max_elems, step, factor);
    }
    for (int64_t i = 0; ema && i < hx_ceil_div(n, max_elems); i++)
        t_follow(step, segment(t, HX_EMA, n, max_elems, i), segment(t, HX_PARAM, n, max_elems, i));
    return t;
}

hx_tape *hx_optim_tape(const hx_optim *o, const hx_optim_conf *k, int64_t n, int64_t max_elems,
                       int64_t step_at, int64_t norm_at)
{
    return hx_optim_tape_parts(o, k, max_elems, step_at, norm_at, &(hx_optim_part){ n, true }, 1,
                               false);
}
