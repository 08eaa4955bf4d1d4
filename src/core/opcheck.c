// opcheck.c - derivatives against differences, and samples that must be refused.
#include "optrial.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- gradient ----------------------------------------------------------------------------

// The sum is kept in long double: rounding errors of millions of terms would drown a difference.
static hx_result weighted(const hx_problem *p, real *const *w, long double *sum)
{
    hx_trial r;
    hx_result e = hx_trial_init(&r, p);
    if (!e && !(r.in = hx_interp_new(r.t)))
        e = HX_E_NOMEM;
    for (int k = 0; k < p->sig->n_in && !e; k++)
        if (p->a[k])
            hx_interp_set(r.in, r.x[k], p->a[k]);
    if (!e)
        e = hx_interp_run(r.in);
    *sum = 0;
    for (int k = 0; k < p->sig->n_out && !e; k++) {
        if (!w[k])
            continue;
        real *y = calloc((size_t)hx_elems(r.y[k]), sizeof *y);
        if (y)
            hx_interp_get(r.in, r.y[k], y);
        else
            e = hx_fail(HX_E_NOMEM, "no memory for sample '%s' [E-NOMEM]", p->s->text);
        for (int64_t i = 0; y && i < hx_elems(r.y[k]); i++)
            *sum += (long double)w[k][i] * y[i];
        free(y);
    }
    hx_trial_done(&r);
    return e;
}

// d(sum of w[k] . y[k]) / d(inputs) through the operator's vjp; a loss node is not needed: the
// weights are the gradients of the outputs
static hx_result by_vjp(const hx_problem *p, real *const *w, real **grad)
{
    hx_trial r;
    hx_result e = hx_trial_init(&r, p);
    hx_node n = {0};
    if (!e && r.t->n_node && !p->op->expand)
        n = r.t->node[r.t->n_node - 1];
    hx_t seed[HX_MAX_ARGS] = {0}, d[HX_MAX_ARGS] = {0};
    for (int k = 0; k < p->sig->n_out && !e; k++)
        if (w[k])
            seed[k] = hx_external(r.t, HX_INPUT, k * ((int64_t)1 << 36), false,
                p->sig->rank[p->sig->n_in + k],
                                  p->shape[p->sig->n_in + k]);
    for (int k = 0; k < p->sig->n_in; k++)
        n.want[k] = p->a[k] && !(p->sig->flags[k] & HX_ARG_INT);
    memcpy(n.grad, seed, sizeof n.grad);
    if (!e)
        p->op->vjp(&n, d);
    if (!e && !(e = hx_tape_error(r.t)) && !(r.in = hx_interp_new(r.t)))
        e = HX_E_NOMEM;
    for (int k = 0; k < p->sig->n_in && !e; k++)
        if (p->a[k])
            hx_interp_set(r.in, r.x[k], p->a[k]);
    for (int k = 0; k < p->sig->n_out && !e; k++)
        if (w[k])
            hx_interp_set(r.in, seed[k], w[k]);
    if (!e)
        e = hx_interp_run(r.in);
    for (int k = 0; k < p->sig->n_in && !e; k++) {
        if (!(grad[k] = calloc((size_t)p->count[k], sizeof(real))))
            e = hx_fail(HX_E_NOMEM, "no memory for sample '%s' [E-NOMEM]", p->s->text);
        else if (hx_is(d[k]))
            hx_interp_get(r.in, d[k], grad[k]);
    }
    hx_trial_done(&r);
    return e;
}

// Elements of each input that are tried: fewer where one run of the reference takes long.
static int64_t probes(const hx_problem *p)
{
    const hx_op *op = p->op;
    double work = op->flops ? (double)hx_eval(op->flops, op, p->s->dim, p->s->attrs) : 0;
    return work <= 4e6 ? 24 : hx_max(2, (int64_t)(24 * 4e6 / work));
}

static hx_result compare(const hx_problem *p, real *const *w, real *const *grad, double *worst)
{
    const double h = 1e-5;
    int64_t tries = probes(p);
    for (int k = 0; k < p->sig->n_in; k++) {
        if (!p->a[k] || p->sig->flags[k] & HX_ARG_INT)
            continue;
        int64_t step = p->count[k] / tries + 1;
        for (int64_t j = 0; j < p->count[k]; j += step) {
            real x = p->a[k][j];
            long double f[4];
            for (int s = 0; s < 4; s++) {          // fourth-order central differences
                p->a[k][j] = x + h * (real[]){ -2, -1, 1, 2 }[s] * 8;
                HX_TRY(weighted(p, w, &f[s]));
            }
            p->a[k][j] = x;
            double fd = (double)((f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h * 8));
            double e = fabs(fd - grad[k][j]) / fmax(1, fabs(fd));
            *worst = fmax(*worst, e);
            if (!(e < 1e-7))
                return hx_fail(HX_E_CHECK,
                    "%s [%s]: d%s[%lld] is %.12g, differences say %.12g [E-GRADIENT]",
                    p->op->name, p->s->text, p->sig->name[k], (long long)j, grad[k][j], fd);
        }
    }
    return HX_OK;
}

hx_result hx_check_gradient(const hx_op *op, const hx_sample *s, uint64_t seed, double *worst)
{
    *worst = 0;
    if (!op->vjp)
        return HX_OK;
    hx_problem p;
    real *w[HX_MAX_ARGS] = {0}, *grad[HX_MAX_ARGS] = {0};
    hx_result e = hx_problem_init(&p, op, s, seed);
    uint64_t state = seed ^ 0x5DEECE66D;
    for (int k = 0; k < p.sig->n_out && !e; k++) {
        int arg = p.sig->n_in + k;
        // outputs that only serve the backward pass carry no gradient of their own
        if (!hx_given(&p, arg) || p.sig->flags[arg] & HX_ARG_INT || (k && !op->all_outputs))
            continue;
        if (!(w[k] = calloc((size_t)p.count[arg], sizeof(real))))
            e = hx_fail(HX_E_NOMEM, "no memory for sample '%s' [E-NOMEM]", s->text);
        for (int64_t i = 0; !e && i < p.count[arg]; i++)
            w[k][i] = (real)(hx_mix(&state) >> 11) * 0x1p-52 - 1;
    }
    if (!e)
        e = by_vjp(&p, w, grad);
    if (!e)
        e = compare(&p, w, grad, worst);
    for (int k = 0; k < HX_MAX_ARGS; k++) {
        free(w[k]);
        free(grad[k]);
    }
    hx_problem_done(&p);
    return e;
}

// ---- what must be refused -----------------------------------------------------------------

hx_result hx_check_wrong(const hx_op *op, const hx_sample *s)
{
    const hx_sig *sig = hx_sig_of(op);
    hx_tape *t = hx_tape_new();
    hx_t x[HX_MAX_ARGS] = {0}, y[HX_MAX_ARGS] = {0};
    if (!t)
        return hx_fail(HX_E_NOMEM, "no memory for a tape [E-NOMEM]");
    for (int k = 0; k < sig->n_in; k++) {
        int64_t shape[HX_MAX_RANK];
        if (s->left_out >> k & 1)
            continue;
        int rank = hx_sample_shape(op, s, k, shape);
        bool odd = k == s->odd_arg;
        x[k] = hx_external(t, HX_INPUT, k * ((int64_t)1 << 36), sig->flags[k] & HX_ARG_INT,
                           odd ? s->odd_rank : rank, odd ? s->odd_shape : shape);
    }
    hx_apply(op, s->attrs, x, y);
    hx_result e = hx_tape_error(t);
    bool said = e && strstr(hx_last_message(), s->says);
    char message[512];
    snprintf(message, sizeof message, "%s", e ? hx_last_message() : "no failure");
    hx_tape_free(&t);
    return said ? HX_OK : hx_fail(HX_E_CHECK, "%s [%s]: should fail with '%s': %s [E-WRONG]",
        op->name,
        s->text, s->says, message);
}
