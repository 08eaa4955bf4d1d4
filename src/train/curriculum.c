// curriculum.c - train.curriculum: sequences of a few tokens or segments first, longer ones later.
#include "curriculum.h"

#include <string.h>

#include "../data/set.h"

int hx_stages(const hx_run_conf *c) { return (int)hx_max(c->train.curriculum.n, 1); }

int hx_stage_at(const hx_run_conf *c, int64_t step)
{
    int stage = 0;
    for (int64_t end = 0; stage < hx_stages(c) - 1; stage++) {
        end += c->train.curriculum_steps.v[stage];
        if (step < end)
            break;
    }
    return stage;
}

int64_t hx_stage_len(const hx_run_conf *c, int stage)
{
    return c->train.curriculum.n ? c->train.curriculum.v[stage] : c->train.seq_len;
}

bool hx_stage_begins(const hx_run_conf *c, int64_t step)
{
    return step > 0 && hx_stage_at(c, step) != hx_stage_at(c, step - 1);
}

// ---- rules --------------------------------------------------------------------------------

static const hx_conf *place(const hx_conf *root, const char *key)
{
    const hx_conf *at = hx_conf_get(hx_conf_get(root, "train"), key);
    return at ? at : root;
}

// Segments become tokens.
static hx_result in_tokens(const hx_conf *root, hx_run_conf *c)
{
    hx_ints *len = &c->train.curriculum;
    if (!strcmp(c->train.curriculum_unit, "tokens"))
        return HX_OK;
    const hx_conf *at = place(root, "curriculum_unit");
    if (strcmp(c->train.curriculum_unit, "segments"))
        return hx_conf_fail(at, "train.curriculum_unit: '%.40s' is neither tokens nor segments [E-WORD]",
                            c->train.curriculum_unit);
    int64_t L = c->model->size ? c->model->size(c->model_conf, "segment") : 0;
    if (L < 1)
        return hx_conf_fail(at, "train.curriculum_unit: model.arch %s has no segments; set it to tokens "
                            "[E-SEGMENT]", c->model->name);
    for (int i = 0; i < len->n; i++)
        len->v[i] = len->v[i] == HX_NULL ? HX_NULL : (int32_t)hx_min(len->v[i] * L, 1 << 24);
    // as the copy in the run directory has it
    c->train.curriculum_unit = "tokens";
    return HX_OK;
}

static hx_result check_lengths(const hx_conf *root, hx_run_conf *c)
{
    const hx_ints *len = &c->train.curriculum;
    for (int i = 0; i < len->n; i++)
        if (len->v[i] == HX_NULL || (i && len->v[i] <= len->v[i - 1]))
            return hx_conf_fail(place(root, "curriculum"), "train.curriculum: stage %d has no more tokens "
                                "than the one before; lengths grow [E-RANGE]", i + 1);
    int32_t last = len->v[len->n - 1];
    if (c->train.seq_len && c->train.seq_len != last)
        return hx_conf_fail(place(root, "seq_len"), "train.seq_len: %d is not the last length of "
                            "train.curriculum, %d; leave it out [E-RANGE]", c->train.seq_len, last);
    c->train.seq_len = last;
    return HX_OK;
}

static hx_result check_steps(const hx_conf *root, hx_run_conf *c)
{
    hx_ints *s = &c->train.curriculum_steps;
    int64_t n = c->train.curriculum.n, all = c->train.steps;
    // equal shares
    for (int i = 0; !s->n && i < n - 1; i++)
        s->v[i] = (int32_t)hx_min((i + 1) * all / n - i * all / n, INT32_MAX);
    if (!s->n)
        s->n = (int)n - 1;
    for (int i = 0; i < s->n; i++)
        if (s->v[i] == HX_NULL || s->n != n - 1)
            return hx_conf_fail(place(root, "curriculum_steps"), "train.curriculum_steps: %d numbers, "
                                "train.curriculum has %d lengths; one for each but the last is needed "
                                "[E-RANGE]", s->n, (int)n);
    return HX_OK;
}

hx_result hx_curriculum_check(const hx_conf *root, hx_run_conf *c)
{
    if (!c->train.curriculum.n) {
        if (c->train.curriculum_steps.n)
            return hx_conf_fail(place(root, "curriculum_steps"), "train.curriculum_steps: there is no "
                                "train.curriculum [E-RANGE]");
        return HX_OK;
    }
    HX_TRY(in_tokens(root, c));
    HX_TRY(check_lengths(root, c));
    return check_steps(root, c);
}

hx_result hx_curriculum_sets(hx_arena *arena, hx_run_conf *c)
{
    const hx_strs *sets = &c->data.train;
    int64_t first = 0;
    bool differ = false;
    for (int i = 0; i < sets->n && c->train.curriculum.n; i++) {
        hx_set_facts f = { 0 };
        bool is;
        HX_TRY(hx_set_is(sets->v[i], &is));
        if (!is)
            return HX_OK;                  // text is cut as needed
        HX_TRY(hx_set_facts_read(arena, sets->v[i], &f));
        first = i ? first : f.document_tokens;
        differ |= f.document_tokens != first;
    }
    c->data.staged = differ;
    if (differ && sets->n != c->train.curriculum.n)
        return hx_fail(HX_E_INPUT, "data.train: %d sets of documents of different lengths; "
                       "train.curriculum has %d stages, each needs one [E-SET-LENGTH]", sets->n,
                       c->train.curriculum.n);
    return HX_OK;
}
