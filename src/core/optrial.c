// optrial.c - see optrial.h.
#include "optrial.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

// ---- inputs ------------------------------------------------------------------------------

static real uniform(uint64_t bits) { return (real)(bits >> 11) * 0x1p-52 - 1; }

// Four uniform numbers of variance 1/3 each.
static real normal(uint64_t *state)
{
    real s = 0;
    for (int i = 0; i < 4; i++)
        s += uniform(hx_mix(state));
    return s * 0.8660254037844386;
}

// Element of a float input that nothing else determines. `same`: what all have in EQUAL.
static float number(const hx_sample *s, uint64_t bits, real same)
{
    uint64_t state = bits;
    real u = uniform(bits);
    int k = (int)(bits & 0xff);
    switch (s->profile) {
    case HX_PROFILE_UNIFORM: return (float)u;
    case HX_PROFILE_INTS:    return (float)(k % 9 - 4);
    case HX_PROFILE_MIXED:   return (float)ldexp(u, -(k % 21));
    case HX_PROFILE_TINY:    return (float)ldexp(normal(&state), -50);
    case HX_PROFILE_HUGE:    return (float)ldexp(normal(&state), s->huge ? s->huge : 30);
    case HX_PROFILE_ZEROS:   return k % 4 == 0 ? (float)u : k % 2 ? -0.0f : 0.0f;
    case HX_PROFILE_EQUAL:   return (float)same;
    default:                 return (float)normal(&state);
    }
}

// One input's numbers; whether all of them were left to chance.
static bool fill_input(hx_problem *p, int k, uint64_t *state)
{
    const hx_op *op = p->op;
    bool is_int = p->sig->flags[k] & HX_ARG_INT, free_choice = !is_int;
    uint64_t own = hx_mix(state);
    real same = uniform(hx_mix(&own));
    for (int64_t i = 0; i < p->count[k]; i++) {
        uint64_t bits = hx_mix(state);
        real v = op->fill ? op->fill(k, i, (uint32_t)(bits >> 32), p->s->dim, p->s->attrs) : NAN;
        free_choice &= isnan(v);
        if (isnan(v))                      // fill leaves this input to chance
            v = is_int ? 0 : number(p->s, bits, same);
        p->a[k][i] = is_int ? v : (float)v;
    }
    return free_choice;
}

// One element of one input becomes NaN or infinite.
static void spoil(hx_problem *p, uint64_t *state)
{
    int n = 0, k = 0;
    for (int i = 0; i < p->sig->n_in; i++)
        n += p->chance[i];
    if (!n || (p->s->profile != HX_PROFILE_NAN && p->s->profile != HX_PROFILE_INF))
        return;
    for (int skip = (int)(hx_mix(state) % (uint64_t)n); !p->chance[k] || skip--; k++)
        ;
    real inf = hx_mix(state) & 1 ? INFINITY : -INFINITY;
    p->a[k][hx_mix(state) % (uint64_t)p->count[k]] = p->s->profile == HX_PROFILE_NAN ? NAN : inf;
}

void hx_problem_done(hx_problem *p)
{
    for (int k = 0; k < HX_MAX_ARGS; k++)
        free(p->a[k]);
}

hx_result hx_problem_init(hx_problem *p, const hx_op *op, const hx_sample *s, uint64_t seed)
{
    *p = (hx_problem){ .op = op, .sig = hx_sig_of(op), .s = s, .seed = seed };
    p->n_arg = p->sig->n_in + p->sig->n_out;
    uint64_t state = seed;
    for (int k = 0; k < p->n_arg; k++) {
        p->count[k] = 1;
        for (int r = 0; r < p->sig->rank[k]; r++) {
            p->shape[k][r] = hx_eval(p->sig->shape[k][r], op, s->dim, s->attrs);
            if (p->shape[k][r] < 1 || !hx_mul(p->count[k], p->shape[k][r], &p->count[k]))
                return hx_fail(HX_E_USAGE, "%s: sample '%s' gives %s no valid shape [E-SAMPLE]",
                    op->name, s->text, p->sig->name[k]);
        }
        if (!hx_given(p, k) || k >= p->sig->n_in)
            continue;
        if (!(p->a[k] = calloc((size_t)p->count[k], sizeof(real))))
            return hx_fail(HX_E_NOMEM, "no memory for sample '%s' [E-NOMEM]", s->text);
        p->chance[k] = fill_input(p, k, &state);
    }
    spoil(p, &state);
    return HX_OK;
}

// ---- the operator on a tape --------------------------------------------------------------

void hx_trial_done(hx_trial *r)
{
    hx_interp_free(&r->in);
    hx_tape_free(&r->t);
}

// applies the operator to external inputs; y[] are its outputs
hx_result hx_trial_init(hx_trial *r, const hx_problem *p)
{
    *r = (hx_trial){ .t = hx_tape_new() };
    if (!r->t)
        return hx_fail(HX_E_NOMEM, "no memory for a tape [E-NOMEM]");
    for (int k = 0; k < p->n_arg; k++) {
        bool out = k >= p->sig->n_in;
        if (!hx_given(p, k))
            continue;
        if (out)
            r->y[k - p->sig->n_in] = HX_WANT(r->t);
        else
            r->x[k] = hx_external(r->t, HX_PARAM, k * ((int64_t)1 << 36),
                p->sig->flags[k] & HX_ARG_INT,
                                  p->sig->rank[k], p->shape[k]);
    }
    hx_apply(p->op, p->s->attrs, r->x, r->y);
    return hx_tape_error(r->t);
}

static real like(const hx_problem *p, int k, hx_variant v, uint64_t *state, real x)
{
    if (v == HX_AS_IS || p->sig->flags[k] & HX_ARG_INT)
        return x;
    if (v == HX_ABSOLUTE)
        return fabs(x);
    uint64_t bits = hx_mix(state);
    if (v == HX_FLIPPED)
        return p->chance[k] && bits >> 63 ? -x : x;
    return x * (1 + HX_NUDGE * uniform(bits));
}

hx_result hx_trial_reference(const hx_problem *p, hx_variant v, uint64_t seed, real **ref)
{
    hx_trial r;
    hx_result e = hx_trial_init(&r, p);
    if (!e && !(r.in = hx_interp_new(r.t)))
        e = HX_E_NOMEM;
    for (int k = 0; k < p->sig->n_in && !e; k++) {
        if (!p->a[k])
            continue;
        real *x = malloc((size_t)p->count[k] * sizeof *x);
        for (int64_t i = 0; x && i < p->count[k]; i++)
            x[i] = like(p, k, v, &seed, p->a[k][i]);
        if (x)
            hx_interp_set(r.in, r.x[k], x);
        else
            e = hx_fail(HX_E_NOMEM, "no memory for sample '%s' [E-NOMEM]", p->s->text);
        free(x);
    }
    if (!e)
        e = hx_interp_run(r.in);
    for (int k = 0; k < p->sig->n_out && !e; k++)
        if (hx_is(r.y[k])) {
            ref[k] = calloc((size_t)p->count[p->sig->n_in + k], sizeof(real));
            if (ref[k])
                hx_interp_get(r.in, r.y[k], ref[k]);
            else
                e = hx_fail(HX_E_NOMEM, "no memory for sample '%s' [E-NOMEM]", p->s->text);
        }
    hx_trial_done(&r);
    return e;
}
