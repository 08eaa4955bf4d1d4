#include "opcheck.h"
#include "interp.h"
#include "plan.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64 };                       // words before and after each output that must survive
static const uint32_t GUARD_WORD = 0xC797DE00;   // -77756.0f

// ---- samples -----------------------------------------------------------------------------

int hx_sample_count(const char *list)
{
    int n = list && *list;
    for (; list && *list; list++)
        n += *list == ';';
    return n;
}

static hx_result odd_shape(const char *p, hx_sample *s)
{
    for (p++; *p && *p != ']' && s->odd_rank < HX_MAX_RANK; p += *p == ',')
        s->odd_shape[s->odd_rank++] = strtoll(p, (char **)&p, 10);
    return HX_OK;
}

static hx_result one_word(const hx_op *op, const hx_sig *sig, const char *word, hx_sample *s)
{
    char key[32] = "";
    const char *eq = strchr(word, '=');
    snprintf(key, sizeof key, "%.*s", eq ? (int)(eq - word) : 31, word[0] == '-' ? word + 1 : word);
    int arg = hx_sig_arg(sig, key);
    if (word[0] == '-' && arg >= 0) {
        s->left_out |= 1u << arg;
        return HX_OK;
    }
    if (!eq)
        return hx_fail(HX_E_USAGE, "%s: '%s' in a sample is no NAME=VALUE [E-SAMPLE]", op->name, word);
    if (eq[1] == '[' && arg >= 0) {
        s->odd_arg = arg;
        return odd_shape(eq + 1, s);
    }
    for (int d = 0; d < sig->n_dim; d++)
        if (!strcmp(sig->dim[d], key)) {
            s->dim[d] = strtoll(eq + 1, NULL, 10);
            return HX_OK;
        }
    return hx_field_set(op->attrs, s->attrs, key, eq + 1, NULL);
}

hx_result hx_sample_read(const hx_op *op, const char *list, int i, hx_sample *s)
{
    *s = (hx_sample){ .odd_arg = -1 };
    const hx_sig *sig = hx_sig_of(op);
    HX_TRY(hx_fields_default(op->attrs, s->attrs));
    while (list && i--)
        list = (list = strchr(list, ';')) ? list + 1 : NULL;
    if (!list || !sig)
        return hx_fail(HX_E_USAGE, "%s has no such sample [E-SAMPLE]", op->name);
    size_t len = strcspn(list, ";");
    const char *colon = memchr(list, ':', len);
    if (colon)
        snprintf(s->says, sizeof s->says, "%.*s", (int)(list + len - colon - 1), colon + 1);
    while (s->says[0] == ' ')
        memmove(s->says, s->says + 1, strlen(s->says));
    snprintf(s->text, sizeof s->text, "%.*s", (int)(colon ? colon - list : (long)len), list);
    char copy[sizeof s->text], *save;
    strcpy(copy, s->text);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        HX_TRY(one_word(op, sig, w, s));
    for (int d = 0; d < sig->n_dim && !*s->says; d++)
        if (s->dim[d] < 1)
            return hx_fail(HX_E_USAGE, "%s: sample '%s' leaves %s unset [E-SAMPLE]", op->name, s->text, sig->dim[d]);
    return HX_OK;
}

// ---- inputs ------------------------------------------------------------------------------

static uint64_t mix(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
}

typedef struct {
    const hx_op *op; const hx_sig *sig; const hx_sample *s;
    int n_arg;
    int64_t shape[HX_MAX_ARGS][HX_MAX_RANK], count[HX_MAX_ARGS];
    real *a[HX_MAX_ARGS];                  // inputs; NULL where left out
} problem;

static void problem_done(problem *p)
{
    for (int k = 0; k < HX_MAX_ARGS; k++)
        free(p->a[k]);
}

static bool given(const problem *p, int k) { return !(p->s->left_out >> k & 1); }

static hx_result problem_init(problem *p, const hx_op *op, const hx_sample *s, uint64_t seed)
{
    *p = (problem){ .op = op, .sig = hx_sig_of(op), .s = s };
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
        if (!given(p, k) || k >= p->sig->n_in)
            continue;
        if (!(p->a[k] = calloc((size_t)p->count[k], sizeof(real))))
            return hx_fail(HX_E_NOMEM, "no memory for sample '%s' [E-NOMEM]", s->text);
        bool is_int = p->sig->flags[k] & HX_ARG_INT;
        for (int64_t i = 0; i < p->count[k]; i++) {
            uint64_t bits = mix(&state);
            real v = is_int ? 0 : (float)((real)(bits >> 11) * 0x1p-52 - 1);
            p->a[k][i] = op->fill ? op->fill(k, i, (uint32_t)(bits >> 32), s->dim, s->attrs) : v;
            if (op->fill && isnan(p->a[k][i]))
                p->a[k][i] = v;            // fill leaves this input to chance
        }
    }
    return HX_OK;
}

// ---- gradient ----------------------------------------------------------------------------

typedef struct { hx_tape *t; hx_interp *in; hx_t x[HX_MAX_ARGS], y[HX_MAX_ARGS]; } trial;

static void trial_done(trial *r)
{
    hx_interp_free(&r->in);
    hx_tape_free(&r->t);
}

// applies the operator to external inputs; y[] are its outputs
static hx_result trial_init(trial *r, const problem *p)
{
    *r = (trial){ .t = hx_tape_new() };
    if (!r->t)
        return hx_fail(HX_E_NOMEM, "no memory for a tape [E-NOMEM]");
    for (int k = 0; k < p->n_arg; k++) {
        bool out = k >= p->sig->n_in;
        if (!given(p, k))
            continue;
        if (out)
            r->y[k - p->sig->n_in] = HX_WANT(r->t);
        else
            r->x[k] = hx_external(r->t, HX_PARAM, k * ((int64_t)1 << 36), p->sig->flags[k] & HX_ARG_INT,
                                  p->sig->rank[k], p->shape[k]);
    }
    hx_apply(p->op, p->s->attrs, r->x, r->y);
    return hx_tape_error(r->t);
}

static hx_result weighted(const problem *p, real *const *w, real *sum)
{
    trial r;
    hx_result e = trial_init(&r, p);
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
        hx_interp_get(r.in, r.y[k], y);
        for (int64_t i = 0; i < hx_elems(r.y[k]); i++)
            *sum += w[k][i] * y[i];
        free(y);
    }
    trial_done(&r);
    return e;
}

// d(sum of w[k] . y[k]) / d(inputs) through the operator's vjp; a loss node is not needed: the
// weights are the gradients of the outputs
static hx_result by_vjp(const problem *p, real *const *w, real **grad)
{
    trial r;
    hx_result e = trial_init(&r, p);
    hx_node n = {0};
    if (!e && r.t->n_node && !p->op->expand)
        n = r.t->node[r.t->n_node - 1];
    hx_t seed[HX_MAX_ARGS] = {0}, d[HX_MAX_ARGS] = {0};
    for (int k = 0; k < p->sig->n_out && !e; k++)
        if (w[k])
            seed[k] = hx_external(r.t, HX_INPUT, k * ((int64_t)1 << 36), false, p->sig->rank[p->sig->n_in + k],
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
        grad[k] = calloc((size_t)p->count[k], sizeof(real));
        if (hx_is(d[k]))
            hx_interp_get(r.in, d[k], grad[k]);
    }
    trial_done(&r);
    return e;
}

static hx_result compare(const problem *p, real *const *w, real *const *grad, double *worst)
{
    const double h = 1e-5;
    for (int k = 0; k < p->sig->n_in; k++) {
        if (!p->a[k] || p->sig->flags[k] & HX_ARG_INT)
            continue;
        int64_t step = p->count[k] / 24 + 1;
        for (int64_t j = 0; j < p->count[k]; j += step) {
            real x = p->a[k][j], f[4];
            for (int s = 0; s < 4; s++) {          // fourth-order central differences
                p->a[k][j] = x + h * (real[]){ -2, -1, 1, 2 }[s] * 8;
                HX_TRY(weighted(p, w, &f[s]));
            }
            p->a[k][j] = x;
            double fd = (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * h * 8);
            double e = fabs(fd - grad[k][j]) / fmax(1, fabs(fd));
            *worst = fmax(*worst, e);
            if (!(e < 1e-7))
                return hx_fail(HX_E_CHECK, "%s [%s]: d%s[%lld] is %.12g, differences say %.12g [E-GRADIENT]",
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
    problem p;
    real *w[HX_MAX_ARGS] = {0}, *grad[HX_MAX_ARGS] = {0};
    hx_result e = problem_init(&p, op, s, seed);
    uint64_t state = seed ^ 0x5DEECE66D;
    for (int k = 0; k < p.sig->n_out && !e; k++) {
        int arg = p.sig->n_in + k;
        // outputs that only serve the backward pass carry no gradient of their own
        if (!given(&p, arg) || p.sig->flags[arg] & HX_ARG_INT || (k && !op->all_outputs))
            continue;
        w[k] = calloc((size_t)p.count[arg], sizeof(real));
        for (int64_t i = 0; i < p.count[arg]; i++)
            w[k][i] = (real)(mix(&state) >> 11) * 0x1p-52 - 1;
    }
    if (!e)
        e = by_vjp(&p, w, grad);
    if (!e)
        e = compare(&p, w, grad, worst);
    for (int k = 0; k < HX_MAX_ARGS; k++) {
        free(w[k]);
        free(grad[k]);
    }
    problem_done(&p);
    return e;
}

// ---- kernels -----------------------------------------------------------------------------

// Where an argument lies in its arena: guard, rows that are farther apart than they are long
// if it may be strided, guard.
typedef struct { int64_t at, off, ld, rows, cols, elems; } layout;

static layout lay_out(const problem *p, int k, int64_t *at)
{
    int rank = p->sig->rank[k];
    int64_t cols = rank ? p->shape[k][rank - 1] : 1, rows = p->count[k] / cols;
    bool strided = p->sig->flags[k] & HX_ARG_STRIDED;
    layout l = { .at = *at, .off = strided ? 5 : 0, .ld = cols + (strided && rows > 1 ? 3 : 0), .rows = rows, .cols = cols };
    l.elems = l.off + rows * l.ld + GUARD;
    *at = hx_align(*at + l.elems * 4, 256);
    return l;
}

static void store(const layout *l, char *arena, const real *v, bool is_int)
{
    for (int64_t r = 0; r < l->rows; r++)
        for (int64_t c = 0; c < l->cols; c++, v++) {
            char *at = arena + l->at + 4 * (l->off + r * l->ld + c);
            if (is_int)
                memcpy(at, &(int32_t){ (int32_t)*v }, 4);
            else
                memcpy(at, &(float){ (float)*v }, 4);
        }
}

static hx_result guards_live(const problem *p, int k, const layout *l, const char *arena)
{
    const uint32_t *w = (const uint32_t *)(arena + l->at);
    for (int64_t i = 0; i < l->elems; i++) {
        int64_t j = i - l->off;
        bool inside = j >= 0 && j < l->rows * l->ld && j % l->ld < l->cols;
        if (!inside && w[i] != GUARD_WORD)
            return hx_fail(HX_E_CHECK, "%s [%s]: word %lld of %s was overwritten, outside of its "
                "elements [E-GUARD]", p->op->name, p->s->text, (long long)j, p->sig->name[k]);
    }
    return HX_OK;
}

static hx_result close_enough(const problem *p, int k, const layout *l, const char *arena,
                              const real *ref, hx_opreport *report)
{
    double scale = 0, err2 = 0, ref2 = 0;
    for (int64_t i = 0; i < p->count[k]; i++)
        scale = isfinite(ref[i]) ? fmax(scale, fabs(ref[i])) : scale;
    double tol = hx_tolerance(p->op, p->s->dim, p->s->attrs, scale);
    bool is_int = p->sig->flags[k] & HX_ARG_INT;
    for (int64_t i = 0; i < p->count[k]; i++) {
        const char *at = arena + l->at + 4 * (l->off + i / l->cols * l->ld + i % l->cols);
        float f;
        int32_t n;
        memcpy(&f, at, 4);
        memcpy(&n, at, 4);
        double got = is_int ? n : f, e = fabs(got - ref[i]);
        if (isnan(ref[i]) && isnan(got))
            continue;
        err2 += e * e;
        ref2 += ref[i] * ref[i];
        if (tol > 0)
            report->worst = fmax(report->worst, e / tol);
        if (!(e <= tol) && !(got == ref[i]))
            return hx_fail(HX_E_CHECK, "%s [%s] %s: %s[%lld] is %.9g, the reference %.9g, allowed error "
                "%.2g [E-VALUE]", p->op->name, p->s->text, report->row, p->sig->name[k], (long long)i,
                got, ref[i], tol);
    }
    double l2 = ref2 > 0 ? sqrt(err2 / ref2) : 0, limit = hx_tolerance(p->op, p->s->dim, p->s->attrs, 0.25);
    report->l2 = fmax(report->l2, l2);
    report->worst_l2 = fmax(report->worst_l2, l2 / limit);
    if (l2 > limit && p->count[k] > 1)
        return hx_fail(HX_E_CHECK, "%s [%s] %s: %s is off by %.2g relative L2, allowed %.2g [E-VALUE]",
            p->op->name, p->s->text, report->row, p->sig->name[k], l2, limit);
    return HX_OK;
}

typedef struct {
    hx_tape *t; hx_plan *plan; hx_prog *prog; hx_memory mem[HX_N_PLACES];
    layout lay[HX_MAX_ARGS]; int64_t bytes[2]; char *init[2], *got[2];   // [0] inputs, [1] outputs
} bench;

static void bench_done(bench *b)
{
    hx_prog_free(&b->prog);
    for (int i = 0; i < HX_N_PLACES; i++)
        hx_memory_free(&b->mem[i]);
    hx_plan_free(&b->plan);
    hx_tape_free(&b->t);
    for (int i = 0; i < 2; i++) {
        free(b->init[i]);
        free(b->got[i]);
    }
}

static hx_result bench_tape(bench *b, const problem *p, int row)
{
    hx_t x[HX_MAX_ARGS] = {0}, y[HX_MAX_ARGS] = {0};
    if (!(b->t = hx_tape_new()))
        return hx_fail(HX_E_NOMEM, "no memory for a tape [E-NOMEM]");
    b->t->force_row = row;
    for (int k = 0; k < p->n_arg; k++) {
        bool out = k >= p->sig->n_in;
        if (!given(p, k))
            continue;
        b->lay[k] = lay_out(p, k, &b->bytes[out]);
        const layout *l = &b->lay[k];
        if (out)
            y[k - p->sig->n_in] = HX_WANT(b->t);
        else
            x[k] = hx_external_strided(b->t, HX_INPUT, l->at, p->sig->flags[k] & HX_ARG_INT,
                                       p->sig->rank[k], p->shape[k], l->off, l->ld, l->elems);
    }
    hx_apply(p->op, p->s->attrs, x, y);
    HX_TRY(hx_tape_error(b->t));
    for (int k = p->sig->n_in; k < p->n_arg; k++) {
        const layout *l = &b->lay[k];
        if (!given(p, k))
            continue;
        hx_t to = hx_external_strided(b->t, HX_OUTPUT, l->at, false, p->sig->rank[k], p->shape[k],
                                      l->off, l->ld, l->elems);
        hx_deliver(y[k - p->sig->n_in], to, false);
    }
    return hx_tape_error(b->t);
}

static hx_result bench_init(bench *b, hx_dev *d, const problem *p, int row)
{
    *b = (bench){0};
    HX_TRY(bench_tape(b, p, row));
    for (int i = 0; i < 2; i++) {
        b->init[i] = malloc((size_t)b->bytes[i] + 4);
        b->got[i] = malloc((size_t)b->bytes[1] + 4);
        if (!b->init[i] || !b->got[i])
            return hx_fail(HX_E_NOMEM, "no memory for sample '%s' [E-NOMEM]", p->s->text);
        for (int64_t w = 0; w < b->bytes[i] / 4; w++)
            memcpy(b->init[i] + 4 * w, &GUARD_WORD, 4);
    }
    for (int k = 0; k < p->sig->n_in; k++)
        if (p->a[k])
            store(&b->lay[k], b->init[0], p->a[k], p->sig->flags[k] & HX_ARG_INT);
    HX_TRY(hx_plan_new(b->t, d, &b->plan));
    hx_memory *mem[HX_N_PLACES];
    int64_t bytes[HX_N_PLACES] = { [HX_TEMP] = b->plan->temp_bytes, [HX_INPUT] = b->bytes[0],
                                   [HX_OUTPUT] = b->bytes[1], [HX_CONST] = b->t->const_bytes };
    for (int i = 0; i < HX_N_PLACES; i++) {
        mem[i] = &b->mem[i];
        if (bytes[i])
            HX_TRY(hx_memory_new(d, bytes[i], HX_BUF_DEVICE, "check", mem[i]));
    }
    HX_TRY(hx_plan_upload(b->plan, mem[HX_CONST]));
    HX_TRY(hx_memory_write(mem[HX_INPUT], 0, b->init[0], b->bytes[0]));
    HX_TRY(hx_prog_new(d, d->caps.timestamp_ns > 0, "check", &b->prog));
    HX_TRY(hx_plan_record(b->plan, mem, (int64_t[HX_N_PLACES]){0}, 0, b->prog));
    return hx_prog_end(b->prog);
}

static hx_result bench_run(bench *b, hx_dev *d, char *got)
{
    uint64_t ticket;
    HX_TRY(hx_memory_write(&b->mem[HX_OUTPUT], 0, b->init[1], b->bytes[1]));
    HX_TRY(hx_dev_submit(d, &b->prog, 1, false, &ticket));
    HX_TRY(hx_dev_wait(d, ticket, 120000));
    return hx_memory_read(&b->mem[HX_OUTPUT], 0, got, b->bytes[1]);
}

static hx_result reference(const problem *p, real **ref)
{
    trial r;
    hx_result e = trial_init(&r, p);
    if (!e && !(r.in = hx_interp_new(r.t)))
        e = HX_E_NOMEM;
    for (int k = 0; k < p->sig->n_in && !e; k++)
        if (p->a[k])
            hx_interp_set(r.in, r.x[k], p->a[k]);
    if (!e)
        e = hx_interp_run(r.in);
    for (int k = 0; k < p->sig->n_out && !e; k++)
        if (hx_is(r.y[k])) {
            ref[k] = calloc((size_t)p->count[p->sig->n_in + k], sizeof(real));
            hx_interp_get(r.in, r.y[k], ref[k]);
        }
    trial_done(&r);
    return e;
}

hx_result hx_check_kernel(hx_dev *d, const hx_op *op, int row, const hx_sample *s, uint64_t seed,
                          hx_opreport *report)
{
    problem p;
    bench b = {0};
    real *ref[HX_MAX_ARGS] = {0};
    *report = (hx_opreport){0};
    hx_result e = problem_init(&p, op, s, seed);
    if (!e)
        e = reference(&p, ref);
    if (!e)
        e = bench_init(&b, d, &p, row);
    if (!e) {
        const hx_row *r = b.plan->n_step ? b.plan->step[0].row : NULL;
        snprintf(report->row, sizeof report->row, "%s", r ? r->name : d->caps.kind);
        e = bench_run(&b, d, b.got[0]);
    }
    double ms[64];
    int n = 0;
    if (!e && b.prog->profile && !hx_prog_times(b.prog, ms, HX_COUNT(ms), &n))
        for (int i = 0; i < n; i++)
            report->ms += ms[i];
    for (int k = p.sig->n_in; k < p.n_arg && !e; k++) {
        if (!given(&p, k))
            continue;
        e = guards_live(&p, k, &b.lay[k], b.got[0]);
        if (!e)
            e = close_enough(&p, k, &b.lay[k], b.got[0], ref[k - p.sig->n_in], report);
    }
    if (!e)
        e = bench_run(&b, d, b.got[1]);
    if (!e && memcmp(b.got[0], b.got[1], (size_t)b.bytes[1]))
        e = hx_fail(HX_E_CHECK, "%s [%s] %s: two runs differ in their bits [E-BITS]", op->name, s->text, report->row);
    bench_done(&b);
    for (int k = 0; k < HX_MAX_ARGS; k++)
        free(ref[k]);
    problem_done(&p);
    return e;
}

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
        for (int r = 0; r < sig->rank[k]; r++)
            shape[r] = hx_eval(sig->shape[k][r], op, s->dim, s->attrs);
        bool odd = k == s->odd_arg;
        x[k] = hx_external(t, HX_INPUT, k * ((int64_t)1 << 36), sig->flags[k] & HX_ARG_INT,
                           odd ? s->odd_rank : sig->rank[k], odd ? s->odd_shape : shape);
    }
    hx_apply(op, s->attrs, x, y);
    hx_result e = hx_tape_error(t);
    bool said = e && strstr(hx_last_message(), s->says);
    char message[512];
    snprintf(message, sizeof message, "%s", e ? hx_last_message() : "no failure");
    hx_tape_free(&t);
    return said ? HX_OK : hx_fail(HX_E_CHECK, "%s [%s]: should fail with '%s': %s [E-WRONG]", op->name,
        s->text, s->says, message);
}
