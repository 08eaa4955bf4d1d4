// engine.c - the step: passes over micro-batches and the optimizer's tape, recorded for two slots.
#include "../../runtime/clock.h"
#include "engine.h"

#include <Random123/philox.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 2 };

// What a step reads and writes on the host's side, and its programs.
typedef struct slot {
    hx_memory input, output;
    hx_prog **prog;                        // one per micro-batch, then the optimizer
    double    cut;                         // FLOPs of a piece that the programs were recorded for; 0: whole
    uint64_t  ticket;
    int64_t   step;
    double    start_ms;                    // when it was submitted
    float     limit;                       // of the gradient's norm
} slot;

struct hx_engine {
    hx_arena       *arena;
    hx_dev         *dev;
    const hx_net   *net;
    hx_engine_conf  k;
    hx_pass        *micro[2];              // writes gradients, adds gradients
    hx_pass        *eval;
    hx_tape        *optim_tape;
    hx_plan        *optim_plan;
    hx_memory       mem[HX_N_PLACES];      // but HX_INPUT, HX_OUTPUT and HX_CONST
    int32_t        *ages;                  // of the next step: [accumulate, batch]; NULL: none carried
    bool            grads_apart;           // gradients have memory of their own: see hx_pass_kind
    hx_memory       optim_const;
    slot            slot[SLOTS];
    int             n_prog;
    double          cut;                   // what programs should be recorded for, see measure()
    float           limit;                 // of steps to come, see hx_engine_limit
    int             measured;              // steps whose time was taken
    double          fastest_ms, last_end_ms;
    double          usual_ms;              // what a step takes, 0: not known well enough to sleep
    int64_t         first, next;           // pending steps are first .. next-1, counted from 0
    int             ce;                    // index of the cross entropy among the outputs
};

// ---- tapes and plans ----------------------------------------------------------------------

// The pass of micro-batch `m`: the first writes gradients, the others add to them.
static hx_pass *micro_pass(const hx_engine *e, int64_t m)
{
    return e->micro[m > 0];
}

// Neighbouring parameters that weight decay treats alike, up to the end of what is trained.
static int decay_parts(const hx_engine *e, int64_t n, hx_optim_part *part)
{
    const hx_params *ps = e->net->params;
    int parts = 0;
    for (int i = 0; i < ps->n; i++) {
        const hx_param *p = &ps->list[i];
        if (p->buffer)
            continue;
        bool decays = !e->k.decay_matrices || (p->rank > 1 && !strstr(p->name, "emb"));
        if (parts && part[parts - 1].decays == decays)
            parts--;
        else if (parts)
            part[parts - 1].end = p->at / 4;
        part[parts++] = (hx_optim_part){ n, decays };
    }
    return parts;
}

static hx_result plan_optimizer(hx_engine *e)
{
    const hx_dev_caps *c = hx_dev_get_caps(e->dev);
    int64_t n = e->net->params->trained / 4;
    // segments of a power of two: none lies across two blocks of memory
    int64_t room = hx_min(c->max_range, e->micro[0]->plan->block_bytes) / 4, most = 4096;
    while (2 * most <= room && 2 * most <= HX_PARAM_BLOCK / 4)
        most *= 2;
    hx_optim_part *part = hx_new(e->arena, hx_optim_part, e->net->params->n + 1);
    if (!part)
        return HX_E_NOMEM;
    int parts = decay_parts(e, n, part);
    e->optim_tape = hx_optim_tape_parts(e->k.optim, &e->k.optim_conf, most, 0, 0, part, parts,
                                        e->k.ema > 0);
    if (!e->optim_tape)
        return HX_E_NOMEM;
    HX_TRY(hx_tape_error(e->optim_tape));
    e->optim_tape->grads_within = e->grads_apart ? 0 : e->net->params->trained;
    return hx_plan_new(e->optim_tape, e->dev, &e->optim_plan);
}

static hx_result plan_micro(hx_engine *e)
{
    int64_t B = e->k.batch, T = e->k.tokens;
    bool apart = e->k.accumulate > 1 || e->grads_apart;
    HX_TRY(hx_pass_new(e->dev, e->net, HX_FOR_LOSS, B, T, apart ? HX_PASS_WRITE_GRADS : HX_PASS_MAKE_GRADS,
                       &e->micro[0]));
    if (e->k.accumulate > 1)
        HX_TRY(hx_pass_new(e->dev, e->net, HX_FOR_LOSS, B, T, HX_PASS_ADD_GRADS, &e->micro[1]));
    return HX_OK;
}

static hx_result make_plans(hx_engine *e)
{
    HX_TRY(plan_micro(e));
    e->grads_apart = !e->micro[0]->plan->grads_within;
    HX_TRY(hx_pass_new(e->dev, e->net, HX_FOR_LOSS, e->k.batch, e->k.tokens, HX_PASS_FORWARD, &e->eval));
    e->ce = hx_pass_find(e->micro[0], "ce_loss");
    if (e->ce < 0)
        e->ce = hx_pass_find(e->micro[0], "loss");
    if (e->ce < 0)
        return hx_fail(HX_E_INTERNAL, "model %s has no loss [E-INTERNAL]", e->net->model->name);
    return plan_optimizer(e);
}

// ---- memory -------------------------------------------------------------------------------

static int64_t input_bytes(const hx_engine *e)  { return e->micro[0]->graph->input_bytes; }
static int64_t output_bytes(const hx_engine *e) { return e->micro[0]->output_bytes; }
static int64_t state_bytes(const hx_engine *e)  { return e->micro[0]->graph->state_bytes; }

static hx_result make_slots(hx_engine *e)
{
    int64_t in = 0, out = 0, state = 0;
    bool fits = hx_mul(input_bytes(e), e->k.accumulate, &in) &&
                hx_mul(output_bytes(e), e->k.accumulate, &out) &&
                hx_mul(state_bytes(e), e->k.accumulate, &state);
    if (!fits)
        return hx_fail(HX_E_SHAPE, "train.accumulate %lld is too large [E-SIZE]",
                       (long long)e->k.accumulate);
    for (int s = 0; s < SLOTS; s++) {
        slot *q = &e->slot[s];
        HX_TRY(hx_memory_new(e->dev, in + HX_PASS_ALIGN, HX_BUF_UP, "inputs", &q->input));
        HX_TRY(hx_memory_new(e->dev, out + HX_PASS_ALIGN, HX_BUF_DOWN, "results", &q->output));
        // states of micro-batches lie one after the other; slot s reads those that the other wrote
        hx_memory *own = &e->mem[s ? HX_NEXT : HX_STATE];
        if (state > 0) {
            HX_TRY(hx_memory_new(e->dev, state, HX_BUF_DEVICE, "states", own));
            HX_TRY(hx_memory_zero(own));
        }
        q->prog = hx_new(e->arena, hx_prog *, e->n_prog);
        if (!q->prog)
            return HX_E_NOMEM;
    }
    return HX_OK;
}

// All activations share one arena: plans never run at the same time.
static int64_t temp_bytes(const hx_engine *e)
{
    int64_t temp = hx_max(e->optim_plan->temp_bytes, e->eval->plan->temp_bytes);
    for (int i = 0; i < 2; i++)
        temp = hx_max(temp, e->micro[i] ? e->micro[i]->plan->temp_bytes : 0);
    return e->grads_apart ? temp : hx_max(temp, e->net->params->bytes);
}

// Where the gradients of the micro-batches lie.
static hx_memory *grads_of(hx_engine *e)
{
    return &e->mem[e->micro[0]->plan->grads_within ? HX_TEMP : HX_GRAD];
}

static const char *mib(hx_arena *a, int64_t bytes)
{
    const char *s = hx_sprintf(a, "%.1f MiB", (double)bytes / 1048576);
    return s ? s : "";
}

// What would fit: activations grow with the batch, everything else does not.
static const char *remedy(const hx_engine *e, int64_t fixed, int64_t temp, int64_t have)
{
    int64_t batch = (int64_t)((double)(have - fixed) / (double)temp * (double)e->k.batch);
    if (have <= fixed || batch < 1)
        return "make the model smaller or train.seq_len shorter";
    const char *s = hx_sprintf(e->arena, "fits with train.batch=%lld",
                               (long long)hx_min(batch, e->k.batch - 1));
    return s && e->k.batch > 1 ? s : "make train.seq_len shorter";
}

// Says at once, and in whole, what a device is too small for.
static hx_result check_fit(const hx_engine *e)
{
    const hx_dev_caps *c = hx_dev_get_caps(e->dev);
    int64_t params = e->net->params->bytes, io = 0, states = 0, all = 0, have = c->memory_bytes;
    int64_t temp = temp_bytes(e) - (e->grads_apart ? 0 : params);
    bool counted = hx_mul(params, e->k.ema > 0 ? 5 : 4, &all) &&
                   hx_mul(input_bytes(e) + output_bytes(e), 2 * e->k.accumulate, &io) &&
                   hx_mul(state_bytes(e), 2 * e->k.accumulate, &states) &&
                   hx_sum(all, states, &all) && hx_sum(all, io, &all) && hx_sum(all, temp, &all);
    if (counted && (have <= 0 || all <= have))
        return HX_OK;
    hx_arena *a = e->arena;
    return hx_fail(
        HX_E_NOMEM,
        "this run needs %s on '%s', which has %s: parameters %s, gradients %s, optimizer %s, "
        "activations %s; %s [E-NOMEM]",
        mib(a, counted ? all : INT64_MAX), c->name, mib(a, have), mib(a, params), mib(a, params),
        mib(a, (e->k.ema > 0 ? 3 : 2) * params), mib(a, temp), remedy(e, all - temp, temp, have));
}

// Passes find everything in the engine's arenas, but for their constants.
static void share(hx_engine *e, hx_memory *shared[HX_N_PLACES])
{
    for (int i = 0; i < HX_N_PLACES; i++)
        shared[i] = i <= HX_MOM2 || i == HX_STATE || i == HX_NEXT ? &e->mem[i] : NULL;
    shared[HX_GRAD] = grads_of(e);
    shared[HX_INPUT] = &e->slot[0].input;
    shared[HX_OUTPUT] = &e->slot[0].output;
}

static hx_result bind_micro(hx_engine *e)
{
    hx_memory *shared[HX_N_PLACES];
    share(e, shared);
    HX_TRY(hx_pass_bind(e->micro[0], shared));
    return e->micro[1] ? hx_pass_bind(e->micro[1], shared) : HX_OK;
}

static hx_result make_memory(hx_engine *e)
{
    static const char *const names[] = { [HX_PARAM] = "parameters", [HX_GRAD] = "gradients",
        [HX_MOM1] = "first moments", [HX_MOM2] = "second moments", [HX_EMA] = "mean weights" };
    for (int i = HX_PARAM; i <= (e->k.ema > 0 ? HX_EMA : HX_MOM2); i++)
        if (i != HX_GRAD || e->grads_apart)
            HX_TRY(hx_memory_new(e->dev, e->net->params->bytes, HX_BUF_DEVICE, names[i], &e->mem[i]));

    int64_t temp = temp_bytes(e);
    if (temp > 0)
        HX_TRY(hx_memory_new(e->dev, temp, HX_BUF_DEVICE, "activations", &e->mem[HX_TEMP]));
    HX_TRY(make_slots(e));

    hx_memory *shared[HX_N_PLACES];
    share(e, shared);
    HX_TRY(bind_micro(e));
    // an evaluation carries states of its own
    shared[HX_STATE] = shared[HX_NEXT] = NULL;
    // what is evaluated are the mean weights where there are any
    if (e->k.ema > 0)
        shared[HX_PARAM] = &e->mem[HX_EMA];
    HX_TRY(hx_pass_bind(e->eval, shared));
    if (e->optim_tape->const_bytes > 0) {
        HX_TRY(hx_memory_new(e->dev, e->optim_tape->const_bytes, HX_BUF_DEVICE, "constants",
                             &e->optim_const));
        HX_TRY(hx_plan_upload(e->optim_plan, &e->optim_const));
    }
    return HX_OK;
}

// ---- recording ----------------------------------------------------------------------------

static double step_flops(const hx_engine *e)
{
    double f = e->optim_plan->flops;
    for (int64_t m = 0; m < e->k.accumulate; m++)
        f += micro_pass(e, m)->plan->flops;
    return f;
}

static void free_programs(hx_engine *e, slot *q)
{
    for (int i = 0; q->prog && i < e->n_prog; i++)
        hx_prog_free(&q->prog[i]);
}

static hx_result record_slot(hx_engine *e, slot *q, double cut)
{
    int64_t A = e->k.accumulate;
    free_programs(e, q);
    q->cut = cut;
    for (int64_t m = 0; m <= A; m++) {
        hx_pass *pass = m < A ? micro_pass(e, m) : NULL;
        hx_memory *mem[HX_N_PLACES];
        for (int i = 0; i < HX_N_PLACES; i++)
            mem[i] = &e->mem[i];
        mem[HX_GRAD] = grads_of(e);
        mem[HX_INPUT] = &q->input;
        mem[HX_OUTPUT] = &q->output;
        mem[HX_CONST] = pass ? pass->mem[HX_CONST] : &e->optim_const;
        bool second = q != e->slot;
        mem[HX_STATE] = &e->mem[second ? HX_NEXT : HX_STATE];
        mem[HX_NEXT] = &e->mem[second ? HX_STATE : HX_NEXT];
        int64_t shift[HX_N_PLACES] = {
            [HX_INPUT] = m * input_bytes(e), [HX_OUTPUT] = m * output_bytes(e),
            [HX_STATE] = m * state_bytes(e), [HX_NEXT] = m * state_bytes(e)};
        HX_TRY(hx_prog_new(e->dev, e->k.profile, pass ? "micro-batch" : "optimizer", &q->prog[m]));
        HX_TRY(hx_plan_record(pass ? pass->plan : e->optim_plan, mem, shift, cut, q->prog[m]));
        HX_TRY(hx_prog_end(q->prog[m]));
    }
    return HX_OK;
}

// What is too large for the device whatever the plan says is refused before planning, which takes
// long for such a model.
static hx_result check_params(const hx_engine *e)
{
    const hx_dev_caps *c = hx_dev_get_caps(e->dev);
    int64_t params = e->net->params->bytes, all = INT64_MAX;
    if ((hx_mul(params, 4, &all) && all <= c->memory_bytes) || c->memory_bytes <= 0)
        return HX_OK;
    return hx_fail(HX_E_NOMEM,
                   "parameters, gradients and optimizer need %s on '%s', which has %s: make the "
                   "model smaller [E-NOMEM]",
                   mib(e->arena, all), c->name, mib(e->arena, c->memory_bytes));
}

static hx_result build(hx_engine *e)
{
    HX_TRY(check_params(e));
    e->n_prog = (int)e->k.accumulate + 1;
    HX_TRY(make_plans(e));
    HX_TRY(check_fit(e));
    int64_t rows = e->k.accumulate * e->k.batch;
    if (e->micro[0]->graph->carries && !(e->ages = hx_new(e->arena, int32_t, rows)))
        return HX_E_NOMEM;
    HX_TRY(make_memory(e));
    e->cut = hx_pass_cut(e->dev, step_flops(e));
    for (int s = 0; s < SLOTS; s++)
        HX_TRY(record_slot(e, &e->slot[s], e->cut));
    return HX_OK;
}

hx_result hx_engine_new(hx_dev *dev, const hx_net *net, const hx_engine_conf *k, hx_engine **out)
{
    *out = NULL;
    hx_arena *arena = hx_arena_new();
    hx_engine *e = arena ? hx_new(arena, hx_engine, 1) : NULL;
    if (!e) {
        hx_arena_free(&arena);
        return HX_E_NOMEM;
    }
    e->arena = arena;
    e->dev = dev;
    e->net = net;
    e->k = *k;
    hx_result r =
        k->accumulate < 1 || k->accumulate > 1 << 16
            ? hx_fail(HX_E_SHAPE, "train.accumulate is %lld; 1 to 65536 is possible [E-SIZE]",
                      (long long)k->accumulate)
            : build(e);
    if (r)
        hx_engine_free(&e);
    *out = e;
    return r;
}

// Shorter sequences find room where the longest had it.
static hx_result check_room(const hx_engine *e)
{
    int64_t A = e->k.accumulate;
    const struct { const hx_memory *m; int64_t need; } all[] = {
        { &e->mem[HX_TEMP], temp_bytes(e) }, { &e->slot[0].input, A * input_bytes(e) + HX_PASS_ALIGN },
        { &e->slot[0].output, A * output_bytes(e) + HX_PASS_ALIGN }, { &e->mem[HX_STATE], A * state_bytes(e) } };
    for (int i = 0; i < HX_COUNT(all); i++)
        if (all[i].need > all[i].m->bytes)
            return hx_fail(HX_E_SHAPE, "sequences of %lld tokens need %lld bytes where the longest ones "
                           "have %lld; leave this length out of train.curriculum [E-SIZE]",
                           (long long)e->k.tokens - 1, (long long)all[i].need, (long long)all[i].m->bytes);
    return HX_OK;
}

hx_result hx_engine_resize(hx_engine *e, int64_t tokens)
{
    if (hx_engine_pending(e))
        return hx_fail(HX_E_INTERNAL, "another length while a step is under way [E-INTERNAL]");
    if (tokens == e->k.tokens)
        return HX_OK;
    for (int s = 0; s < SLOTS; s++)
        free_programs(e, &e->slot[s]);
    for (int i = 0; i < 2; i++)
        hx_pass_free(&e->micro[i]);
    e->k.tokens = tokens;
    HX_TRY(plan_micro(e));
    HX_TRY(check_room(e));
    if (!e->micro[0]->plan->grads_within && !e->mem[HX_GRAD].n_block)
        HX_TRY(hx_memory_new(e->dev, e->net->params->bytes, HX_BUF_DEVICE, "gradients", &e->mem[HX_GRAD]));
    HX_TRY(bind_micro(e));
    // what only longer sequences reach must not keep their gradient
    if (!e->micro[0]->plan->grads_within)
        HX_TRY(hx_memory_zero(&e->mem[HX_GRAD]));
    e->measured = 0;
    e->cut = hx_pass_cut(e->dev, step_flops(e));
    for (int s = 0; s < SLOTS; s++)
        HX_TRY(record_slot(e, &e->slot[s], e->cut));
    return HX_OK;
}

void hx_engine_free(hx_engine **ep)
{
    hx_engine *e = *ep;
    if (!e)
        return;
    while (hx_engine_pending(e)) {
        hx_dev_wait(e->dev, e->slot[e->first % SLOTS].ticket, HX_WAIT_MS);
        e->first++;
    }
    for (int s = 0; s < SLOTS; s++)
        free_programs(e, &e->slot[s]);
    for (int i = 0; i < 2; i++)
        hx_pass_free(&e->micro[i]);
    hx_pass_free(&e->eval);
    hx_plan_free(&e->optim_plan);
    hx_tape_free(&e->optim_tape);
    for (int s = 0; s < SLOTS; s++) {
        hx_memory_free(&e->slot[s].input);
        hx_memory_free(&e->slot[s].output);
    }
    for (int i = 0; i < HX_N_PLACES; i++)
        hx_memory_free(&e->mem[i]);
    hx_memory_free(&e->optim_const);
    hx_arena *arena = e->arena;
    hx_arena_free(&arena);
    *ep = NULL;
}

// ---- values -------------------------------------------------------------------------------

hx_result hx_engine_init(hx_engine *e, uint64_t seed)
{
    const hx_params *ps = e->net->params;
    char *host = calloc(1, (size_t)hx_max(ps->bytes, 1));
    if (!host)
        return hx_fail(HX_E_NOMEM, "no memory for %lld bytes of parameters [E-NOMEM]",
                       (long long)ps->bytes);
    hx_result r = HX_OK;
    for (int i = HX_MOM1; i <= HX_MOM2 && !r; i++)
        r = hx_engine_write(e, (hx_place)i, host);
    r = r ? r : hx_params_init(ps, seed, host);
    if (!r)
        r = hx_engine_write(e, HX_PARAM, host);
    if (!r && e->k.ema > 0)
        r = hx_engine_write(e, HX_EMA, host);
    free(host);
    return r;
}

static hx_memory *newest_states(hx_engine *e)
{
    return &e->mem[e->next % SLOTS ? HX_NEXT : HX_STATE];
}

int64_t hx_engine_state_bytes(const hx_engine *e)
{
    return e->k.accumulate * state_bytes(e);
}

hx_result hx_engine_read_states(hx_engine *e, void *states)
{
    return hx_memory_read(newest_states(e), 0, states, hx_engine_state_bytes(e));
}

hx_result hx_engine_write_states(hx_engine *e, const void *states)
{
    return hx_memory_write(newest_states(e), 0, states, hx_engine_state_bytes(e));
}

const hx_graph *hx_engine_graph(const hx_engine *e)
{
    return e->micro[0]->graph;
}

void hx_engine_ages(hx_engine *e, const int32_t *ages)
{
    if (e->ages)
        memcpy(e->ages, ages, sizeof *ages * (size_t)(e->k.accumulate * e->k.batch));
}

hx_memory *hx_engine_memory(hx_engine *e, hx_place place)
{
    return place == HX_GRAD ? grads_of(e) : &e->mem[place];
}

hx_result hx_engine_read(hx_engine *e, hx_place place, void *arena)
{
    return hx_memory_read(hx_engine_memory(e, place), 0, arena, e->net->params->bytes);
}

hx_result hx_engine_write(hx_engine *e, hx_place place, const void *arena)
{
    return hx_memory_write(hx_engine_memory(e, place), 0, arena, e->net->params->bytes);
}

// ---- steps --------------------------------------------------------------------------------

void hx_engine_limit(hx_engine *e, double norm)
{
    e->limit = (float)fmin(norm, 3e38);
}

// The first steps are left behind sooner: with a decay near 1 they would count for long.
static double ema_rate(const hx_engine *e, int64_t step)
{
    return 1 - fmin(e->k.ema, (1 + (double)step) / (10 + (double)step));
}

// 1 where a number below p * 2^32 is drawn: Philox-4x32-10, keyed with the seed, counting steps,
// micro-batches and names.
static bool draw(uint64_t seed, int64_t step, int64_t micro, const char *name, double p)
{
    uint32_t h = 2166136261u;              // FNV-1a
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    philox4x32_ctr_t c = {{ (uint32_t)step, (uint32_t)((uint64_t)step >> 32), (uint32_t)micro, h }};
    philox4x32_key_t k = {{ (uint32_t)seed, (uint32_t)(seed >> 32) }};
    return philox4x32(c, k).v[0] < p * 4294967296.0;
}

static hx_result write_chances(hx_engine *e, slot *q)
{
    const hx_graph *g = e->micro[0]->graph;
    for (int64_t m = 0; m < e->k.accumulate; m++)
        for (int i = 0; i < g->n_chance; i++) {
            int32_t v = draw(e->k.seed, q->step, m, g->chance[i].name, g->chance[i].p);
            const hx_value *x = hx_value_of(g->chance[i].t);
            int64_t at = m * input_bytes(e) + g->tape->storage[x->storage].at;
            for (int64_t b = 0; b < e->k.batch; b++)
                HX_TRY(hx_memory_write(&q->input, at + 4 * b, &v, 4));
        }
    return HX_OK;
}

// See hx_dice. There are fewer than 2^16 micro-batches and 2^48 steps.
static hx_result write_dice(hx_engine *e, slot *q)
{
    const hx_graph *g = e->micro[0]->graph;
    for (int64_t m = 0; g->n_dice && m < e->k.accumulate; m++) {
        uint32_t v[4] = { (uint32_t)e->k.seed, (uint32_t)(e->k.seed >> 32), (uint32_t)q->step,
                          (uint32_t)(q->step >> 32 << 16 | m) };
        int64_t at = m * input_bytes(e) + g->tape->storage[hx_value_of(g->dice)->storage].at;
        HX_TRY(hx_memory_write(&q->input, at, v, sizeof v));
    }
    return HX_OK;
}

static hx_result write_inputs(hx_engine *e, slot *q, double lr, const int32_t *ids)
{
    int64_t count = e->k.batch * e->k.tokens;
    HX_TRY(write_chances(e, q));
    HX_TRY(write_dice(e, q));
    const hx_pass *p = e->micro[0];
    for (int64_t m = 0; m < e->k.accumulate; m++) {
        int64_t at = m * input_bytes(e);
        HX_TRY(hx_memory_write(&q->input, at, ids, count * 4));
        ids += count;
        if (e->ages)
            HX_TRY(hx_memory_write(&q->input, at + p->age_at, e->ages + m * e->k.batch,
                                   4 * e->k.batch));
        if (!p->graph->masked)
            continue;
        HX_TRY(hx_memory_write(&q->input, at + p->labels_at, ids, count * 4));
        ids += count;
    }
    float v[HX_STEP_VALUES] = {
        [HX_STEP_LR] = (float)lr,
        [HX_STEP_BIAS1] = (float)(1 - pow(e->k.optim_conf.beta1, (double)q->step)),
        [HX_STEP_BIAS2] = (float)(1 - pow(e->k.optim_conf.beta2, (double)q->step)),
        [HX_STEP_CLIP] = (float)e->k.clip_norm,
        [HX_STEP_SCALE] = 1.f / (float)e->k.accumulate,
        [HX_STEP_LIMIT] = q->limit,
        [HX_STEP_EMA] = (float)ema_rate(e, q->step),
    };
    return hx_memory_write(&q->input, e->k.accumulate * input_bytes(e), v, sizeof v);
}

// Waits for a step. A driver that waits looks again and again: most of what a GPU usually takes is
// slept through instead. A step that had ended by then says only that this was too long.
static hx_result wait_for(hx_engine *e, const slot *q)
{
    double begin = fmax(q->start_ms, e->last_end_ms), ms = begin + 0.9 * e->usual_ms - hx_now_ms();
    bool sleeps = hx_dev_get_caps(e->dev)->type != HX_DEV_CPU && ms >= 1 && ms < HX_WAIT_MS;
    struct timespec t = { (time_t)(1e-3 * ms), (long)(1e6 * fmod(ms, 1000)) };
    if (sleeps)
        nanosleep(&t, NULL);
    double awake = hx_now_ms();
    HX_TRY(hx_dev_wait(e->dev, q->ticket, HX_WAIT_MS));
    double end = hx_now_ms();
    // the first steps make pipelines and programs
    if (sleeps && end - awake < 0.02 * e->usual_ms)
        e->usual_ms /= 2;
    else
        e->usual_ms = q->step > 3 ? end - begin : 0;
    return HX_OK;
}

// The first cut is a guess from the kind of device. The fastest of the first steps tells how long
// a step takes: up to HX_SUBMIT_MS it is one submit from then on, else pieces of about that length.
static void measure(hx_engine *e, const slot *q)
{
    enum { STEPS = 3 };
    double end = hx_now_ms(), ms = end - fmax(q->start_ms, e->last_end_ms);
    e->last_end_ms = end;
    if (e->cut <= 0 || e->measured == STEPS)
        return;
    e->fastest_ms = e->measured ? fmin(e->fastest_ms, ms) : ms;
    if (++e->measured == STEPS)
        e->cut = e->fastest_ms <= HX_SUBMIT_MS ? 0 : step_flops(e) * (0.8 * HX_SUBMIT_MS / e->fastest_ms);
}

hx_result hx_engine_step(hx_engine *e, int64_t step, double lr, const int32_t *ids)
{
    if (hx_engine_pending(e) == SLOTS)
        return hx_fail(HX_E_INTERNAL,
                       "step %lld: results of two steps wait to be taken [E-INTERNAL]",
                       (long long)step);
    slot *q = &e->slot[e->next % SLOTS];
    if (q->cut != e->cut)
        HX_TRY(record_slot(e, q, e->cut));
    q->step = step;
    q->limit = e->limit;
    HX_TRY(write_inputs(e, q, lr, ids));
    q->start_ms = hx_now_ms();
    HX_TRY(hx_dev_submit(e->dev, q->prog, e->n_prog, q->cut > 0, &q->ticket));
    e->next++;
    return HX_OK;
}

int hx_engine_pending(const hx_engine *e)
{
    return (int)(e->next - e->first);
}

const char *hx_engine_part(const hx_engine *e, int i)
{
    const hx_graph *g = e->micro[0]->graph;
    return i < g->n_output ? g->output[i].name : NULL;
}

// Adds the outputs of one pass, `at` bytes into the results, to the sums.
static hx_result add_outputs(const hx_pass *p, hx_memory *from, int64_t at, hx_losses *sum)
{
    for (int i = 0; i < p->graph->n_output; i++) {
        float v = 0;
        HX_TRY(hx_memory_read(from, at + p->output_at[i], &v, 4));
        sum->part[i] += v;
    }
    return HX_OK;
}

static void name_losses(const hx_engine *e, double n, hx_losses *out)
{
    for (int i = 0; i < HX_MAX_OUTPUTS; i++)
        out->part[i] /= n;
    out->ce = out->part[e->ce];
    out->loss = out->part[hx_pass_find(e->micro[0], "loss")];
}

hx_result hx_engine_result(hx_engine *e, hx_losses *out)
{
    if (!hx_engine_pending(e))
        return hx_fail(HX_E_INTERNAL, "no step is under way [E-INTERNAL]");
    slot *q = &e->slot[e->first % SLOTS];
    HX_TRY(wait_for(e, q));
    measure(e, q);
    *out = (hx_losses){ .step = q->step };
    int64_t A = e->k.accumulate;
    for (int64_t m = 0; m < A; m++)
        HX_TRY(add_outputs(micro_pass(e, m), &q->output, m * output_bytes(e), out));
    name_losses(e, (double)A, out);
    float norm = 0;
    HX_TRY(hx_memory_read(&q->output, A * output_bytes(e), &norm, 4));
    out->grad_norm = norm;
    out->skipped = !isfinite(norm) || (q->limit > 0 && norm > q->limit);
    e->first++;
    return HX_OK;
}

hx_result hx_engine_eval(hx_engine *e, const int32_t *ids, const int32_t *ages, hx_losses *out)
{
    if (hx_engine_pending(e))
        return hx_fail(HX_E_INTERNAL, "evaluation while a step is under way [E-INTERNAL]");
    *out = (hx_losses){0};
    HX_TRY(hx_pass_write(e->eval, ids, 0));
    if (ages)
        HX_TRY(hx_pass_write_ages(e->eval, ages));
    HX_TRY(hx_pass_run(e->eval));
    HX_TRY(add_outputs(e->eval, e->eval->mem[HX_OUTPUT], 0, out));
    HX_TRY(hx_pass_score(e->eval, &out->score));
    name_losses(e, 1, out);
    return HX_OK;
}

// ---- what is not finite -----------------------------------------------------------------------

// The first parameter of `arena` with such a value; -1: none.
static int bad_param(const hx_params *ps, const char *arena)
{
    for (int i = 0; i < ps->n; i++) {
        const float *v = (const float *)(arena + ps->list[i].at);
        for (int64_t k = 0; k < ps->list[i].elems && !ps->list[i].table; k++)
            if (!isfinite(v[k]))
                return i;
    }
    return -1;
}

static hx_result find_bad(hx_engine *e, const int32_t *ids, char *arena, char *out, size_t size)
{
    const hx_params *ps = e->net->params;
    int64_t count = e->k.batch * e->k.tokens * (e->net->masked ? 2 : 1);
    HX_TRY(hx_engine_read(e, HX_PARAM, arena));
    int bad = bad_param(ps, arena);
    if (bad >= 0)
        snprintf(out, size, "%s", ps->list[bad].name);
    for (int64_t m = 0; m < e->k.accumulate && bad < 0; m++) {
        HX_TRY(hx_pass_write(e->micro[0], ids + m * count, 0));
        HX_TRY(hx_pass_run(e->micro[0]));
        HX_TRY(hx_engine_read(e, HX_GRAD, arena));
        bad = bad_param(ps, arena);
        if (bad >= 0)
            snprintf(out, size, "%s.grad, micro-batch %lld", ps->list[bad].name, (long long)m + 1);
    }
    return HX_OK;
}

hx_result hx_engine_find_bad(hx_engine *e, const int32_t *ids, char *out, size_t size)
{
    *out = 0;
    char *arena = calloc(1, (size_t)hx_max(e->net->params->bytes, 1));
    hx_result r = arena ? find_bad(e, ids, arena, out, size)
                        : hx_fail(HX_E_NOMEM, "no memory to look at the gradients [E-NOMEM]");
    free(arena);
    return r;
}

// ---- times ----------------------------------------------------------------------------------

hx_result hx_engine_profile(hx_engine *e,
                            void (*put)(void *user, const hx_plan *p, const hx_step *s,
                                        double begin, double ms),
                            void *user)
{
    const slot *q = &e->slot[(e->next + SLOTS - 1) % SLOTS];
    for (int m = 0; m < e->n_prog; m++) {
        const hx_plan *p = m < e->n_prog - 1 ? micro_pass(e, m)->plan : e->optim_plan;
        double *ms = calloc(2 * (size_t)p->n_step + 1, sizeof *ms), *begin = ms + p->n_step;
        int n = 0;
        if (!ms)
            return hx_fail(HX_E_NOMEM, "no memory for the times of %d steps [E-NOMEM]", p->n_step);
        hx_result r = hx_prog_spans(q->prog[m], begin, ms, p->n_step, &n);
        for (int i = 0; i < n && !r; i++)
            put(user, p, &p->step[i], begin[i], ms[i]);
        free(ms);
        HX_TRY(r);
    }
    return HX_OK;
}

// ---- facts --------------------------------------------------------------------------------

static int64_t memory_bytes(const hx_memory *const *m, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += m[i]->bytes;
    return sum;
}

hx_engine_facts hx_engine_get_facts(const hx_engine *e)
{
    hx_engine_facts f = { .flops = step_flops(e), .submits = 1, .traffic = e->optim_plan->bytes,
        .dispatches = e->optim_plan->n_step, .levels = e->optim_plan->n_level,
        .bound_bytes = e->micro[0]->plan->bound_bytes };
    for (int64_t m = 0; m < e->k.accumulate; m++) {
        const hx_plan *p = micro_pass(e, m)->plan;
        f.traffic += p->bytes;
        f.dispatches += p->n_step;
        f.levels += p->n_level;
    }
    for (int i = 0; i < HX_N_PLACES; i++)
        f.bytes[i] = e->mem[i].bytes;
    if (!f.bytes[HX_GRAD]) {               // the beginning of the activations
        f.bytes[HX_GRAD] = e->net->params->bytes;
        f.bytes[HX_TEMP] -= f.bytes[HX_GRAD];
    }
    f.copy_bytes = e->net->params->bytes * (e->k.ema > 0 ? 4 : 3) + hx_engine_state_bytes(e);
    f.bytes[HX_INPUT] =
        memory_bytes((const hx_memory *[]){&e->slot[0].input, &e->slot[1].input}, 2);
    f.bytes[HX_OUTPUT] =
        memory_bytes((const hx_memory *[]){&e->slot[0].output, &e->slot[1].output}, 2);
    f.bytes[HX_STATE] += e->eval->own[HX_STATE].bytes;
    f.bytes[HX_NEXT] += e->eval->own[HX_NEXT].bytes;
    f.bytes[HX_CONST] = e->optim_const.bytes + e->micro[0]->own[HX_CONST].bytes +
                        e->eval->own[HX_CONST].bytes +
                        (e->micro[1] ? e->micro[1]->own[HX_CONST].bytes : 0);
    if (e->micro[1])
        f.bound_bytes = hx_max(f.bound_bytes, e->micro[1]->plan->bound_bytes);
    return f;
}

const hx_plan *hx_engine_plan(const hx_engine *e, int which)
{
    const hx_plan *all[] = {e->micro[0]->plan, e->micro[1] ? e->micro[1]->plan : NULL,
                            e->optim_plan, e->eval->plan};
    return which >= 0 && which < HX_COUNT(all) ? all[which] : NULL;
}
