// oprun.c - kernels against the reference: one operator, one case, on a device.
#include "optrial.h"
#include "plan.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 1024 };                     // words before and after each argument
static const uint32_t GUARD_WORD = 0x7FC0BEEF;       // NaN, so that reading there shows
static const uint32_t POISON = 0x7FC0DEAD;           // in outputs before the run, NaN too

extern const hx_op hx_op_narrow;

struct hx_lab { hx_dev *d; hx_memory arena, temp; };

hx_result hx_lab_new(hx_dev *d, hx_lab **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return hx_fail(HX_E_NOMEM, "no memory for checks [E-NOMEM]");
    (*out)->d = d;
    return HX_OK;
}

void hx_lab_free(hx_lab **l)
{
    if (!l || !*l)
        return;
    hx_memory_free(&(*l)->arena);
    hx_memory_free(&(*l)->temp);
    free(*l);
    *l = NULL;
}

// Memory grows in powers of two and stays for the next case.
static hx_result at_least(hx_lab *l, hx_memory *m, int64_t bytes)
{
    int64_t n = 1 << 20;
    while (n < bytes)
        n *= 2;
    if (!bytes || m->bytes >= bytes)
        return HX_OK;
    hx_memory_free(m);
    return hx_memory_new(l->d, n, HX_BUF_DEVICE, "check", m);
}

// ---- where arguments lie -------------------------------------------------------------------

// Guard, rows that are farther apart than they are long if they may be strided, guard. All
// arguments lie in one arena; an output may lie on the input that it is allowed to replace.
typedef struct { int64_t at, off, ld, rows, cols, elems; } layout;

typedef struct {
    hx_problem p;
    hx_sample sample;
    hx_lab *lab;
    hx_tape *t; hx_plan *plan; hx_prog *prog;
    layout lay[HX_MAX_ARGS];
    int64_t bytes;
    char *init, *got, *again;              // the arena: before, after one run, after another
    real *ref[HX_MAX_ARGS], *mag[HX_MAX_ARGS];         // outputs; of absolute values, or NULL
    double reach[HX_MAX_ARGS], reach2[HX_MAX_ARGS];    // see probe()
    int exact;
    hx_precision ref_for;                  // what inputs of the reference were rounded to
    uint32_t half;                         // arguments that are to lie in 16 bits
    const hx_row *row;                     // that is checked; NULL: a host function
} bench;

static void bench_done(bench *b)
{
    hx_prog_free(&b->prog);
    hx_plan_free(&b->plan);
    hx_tape_free(&b->t);
    free(b->init);
    free(b->got);
    free(b->again);
    for (int k = 0; k < HX_MAX_ARGS; k++) {
        free(b->ref[k]);
        free(b->mag[k]);
    }
    hx_problem_done(&b->p);
}

static layout lay_out(const hx_problem *p, int k, uint64_t bits, int64_t *at)
{
    static const int8_t offs[] = { 5, 0, 1, 2, 3, 4, 8, 63 }, gaps[] = { 3, 0, 1, 4, 5, 17, 0, 64 };
    int rank = p->sig->rank[k], o = bits & 7, g = bits >> 3 & 7;
    int64_t cols = rank ? p->shape[k][rank - 1] : 1, rows = p->count[k] / cols;
    bool strided = p->sig->flags[k] & HX_ARG_STRIDED;
    layout l = { .at = *at + GUARD * 4, .off = strided ? offs[o] : 0,
                 .ld = cols + (strided && rows > 1 ? gaps[g] : 0), .rows = rows, .cols = cols };
    l.elems = l.off + rows * l.ld;
    *at = hx_align(l.at + (l.elems + GUARD) * 4, 256);
    return l;
}

// Outputs take the place of inputs where .alias allows it.
static void lay_in_place(bench *b)
{
    const hx_problem *p = &b->p;
    for (const char *a = p->op->alias; a && *a;) {
        char out[16] = "", in[16] = "";
        int used = 0;
        if (sscanf(a, " %15[^=]=%15[^ ]%n", out, in, &used) < 2)
            return;
        int o = hx_sig_arg(p->sig, out), i = hx_sig_arg(p->sig, in);
        bool strided = (p->sig->flags[o] & HX_ARG_STRIDED) && (p->sig->flags[i] & HX_ARG_STRIDED);
        bool dense = b->lay[i].ld == b->lay[i].cols && !b->lay[i].off;
        if (hx_given(p, o) && hx_given(p, i) && (strided || dense))
            b->lay[o] = b->lay[i];
        a += used;
    }
}

// A copy of x that may lie in 16 bits.
static hx_t narrowed(hx_t x)
{
    const hx_value *v = hx_value_of(x);
    int rank = v->rank;
    int64_t shape[HX_MAX_RANK];
    memcpy(shape, v->shape, sizeof shape);
    hx_t y, flat = hx_reshape(x, 2, (int64_t[]){ hx_rows(x), hx_dim(x, -1) });
    hx_apply(&hx_op_narrow, NULL, &flat, &y);
    return hx_reshape(y, rank, shape);
}

static hx_result bench_tape(bench *b, int row)
{
    const hx_problem *p = &b->p;
    hx_t x[HX_MAX_ARGS] = {0}, y[HX_MAX_ARGS] = {0};
    // offsets and distances that are odd, or multiples of four elements
    uint64_t state = p->seed ^ 0xA5A5F00D, plain = p->seed % 2 ? 5 | 3 << 3 : 0;
    if (!(b->t = hx_tape_new()))
        return hx_fail(HX_E_NOMEM, "no memory for a tape [E-NOMEM]");
    b->t->force_row = row;
    b->t->force_op = p->op;
    for (int k = 0; k < p->n_arg; k++)
        if (hx_given(p, k))
            b->lay[k] = lay_out(p, k, p->s->random_layout ? hx_mix(&state) : plain, &b->bytes);
    if (p->s->random_layout && hx_mix(&state) % 4 == 0)
        lay_in_place(b);
    for (int k = 0; k < p->n_arg; k++) {
        const layout *l = &b->lay[k];
        if (hx_given(p, k) && k < p->sig->n_in)
            x[k] = hx_external_strided(b->t, HX_INPUT, l->at, p->sig->flags[k] & HX_ARG_INT,
                                       p->sig->rank[k], p->shape[k], l->off, l->ld, l->elems);
        else if (hx_given(p, k))
            y[k - p->sig->n_in] = HX_WANT(b->t);
        if (b->half >> k & 1 && hx_is(x[k]))
            x[k] = narrowed(x[k]);
    }
    hx_apply(p->op, p->s->attrs, x, y);
    HX_TRY(hx_tape_error(b->t));
    for (int k = p->sig->n_in; k < p->n_arg; k++) {
        const layout *l = &b->lay[k];
        if (!hx_given(p, k))
            continue;
        hx_t to = hx_external_strided(b->t, HX_INPUT, l->at, p->sig->flags[k] & HX_ARG_INT,
                                      p->sig->rank[k], p->shape[k], l->off, l->ld, l->elems);
        hx_t made = y[k - p->sig->n_in];
        hx_deliver(b->half >> k & 1 ? narrowed(made) : made, to, false);
    }
    return hx_tape_error(b->t);
}

// ---- one case ------------------------------------------------------------------------------

static char *element(const layout *l, char *arena, int64_t i)
{
    return arena + l->at + 4 * (l->off + i / l->cols * l->ld + i % l->cols);
}

static void store(const bench *b, int k)
{
    bool is_int = b->p.sig->flags[k] & HX_ARG_INT;
    for (int64_t i = 0; i < b->p.count[k]; i++) {
        real v = b->p.a[k][i];
        if (is_int)
            memcpy(element(&b->lay[k], b->init, i), &(int32_t){ (int32_t)v }, 4);
        else
            memcpy(element(&b->lay[k], b->init, i), &(float){ (float)v }, 4);
    }
}

static hx_result first_contents(bench *b)
{
    const hx_problem *p = &b->p;
    b->init = malloc((size_t)b->bytes);
    b->got = malloc((size_t)b->bytes);
    b->again = malloc((size_t)b->bytes);
    if (!b->init || !b->got || !b->again)
        return hx_fail(HX_E_NOMEM, "no memory for sample '%s' [E-NOMEM]", p->s->text);
    for (int64_t w = 0; w < b->bytes / 4; w++)
        memcpy(b->init + 4 * w, &GUARD_WORD, 4);
    for (int k = p->sig->n_in; k < p->n_arg; k++)
        for (int64_t i = 0; hx_given(p, k) && i < p->count[k]; i++)
            memcpy(element(&b->lay[k], b->init, i), &POISON, 4);
    for (int k = 0; k < p->sig->n_in; k++)
        if (p->a[k])
            store(b, k);
    return HX_OK;
}

static hx_result bench_init(bench *b, int row)
{
    hx_dev *d = b->lab->d;
    HX_TRY(bench_tape(b, row));
    HX_TRY(first_contents(b));
    HX_TRY(hx_plan_new(b->t, d, &b->plan));
    HX_TRY(at_least(b->lab, &b->lab->arena, b->bytes));
    HX_TRY(at_least(b->lab, &b->lab->temp, b->plan->temp_bytes));
    hx_memory *mem[HX_N_PLACES] = { [HX_TEMP] = &b->lab->temp, [HX_INPUT] = &b->lab->arena };
    bool times = hx_dev_get_caps(d)->timestamp_ns > 0 && !b->p.s->random_layout;
    HX_TRY(hx_prog_new(d, times, "check", &b->prog));
    HX_TRY(hx_plan_record(b->plan, mem, (int64_t[HX_N_PLACES]){0}, 0, b->prog));
    return hx_prog_end(b->prog);
}

// The step that runs the operator itself: the others copy.
static const hx_step *own_step(const bench *b)
{
    for (int i = 0; i < b->plan->n_step; i++)
        if (b->t->node[b->plan->step[i].node].op == b->p.op)
            return &b->plan->step[i];
    return NULL;
}

// Does any of its arguments lie in 16 bits?
static bool is_half(const bench *b)
{
    const hx_step *s = own_step(b);
    const hx_node *n = s && s->row && s->row->half ? &b->t->node[s->node] : NULL;
    for (int k = 0; n && k < n->n_in + n->n_out; k++)
        if (hx_is(n->arg[k]) && b->plan->half[hx_value_of(n->arg[k])->storage])
            return true;
    return false;
}

static hx_result bench_run(bench *b, char *got)
{
    uint64_t ticket;
    HX_TRY(hx_memory_write(&b->lab->arena, 0, b->init, b->bytes));
    HX_TRY(hx_dev_submit(b->lab->d, &b->prog, 1, false, &ticket));
    HX_TRY(hx_dev_wait(b->lab->d, ticket, 120000));
    return hx_memory_read(&b->lab->arena, 0, got, b->bytes);
}

// Everything that is no element of an output has the bits it had before the run.
static hx_result rest_unchanged(bench *b, const hx_opreport *report)
{
    const hx_problem *p = &b->p;
    memcpy(b->again, b->init, (size_t)b->bytes);
    for (int k = p->sig->n_in; k < p->n_arg; k++)
        for (int64_t i = 0; hx_given(p, k) && i < p->count[k]; i++)
            memcpy(element(&b->lay[k], b->again, i), element(&b->lay[k], b->got, i), 4);
    if (!memcmp(b->again, b->got, (size_t)b->bytes))
        return HX_OK;
    int64_t w = 0;
    while (!memcmp(b->again + 4 * w, b->got + 4 * w, 4))
        w++;
    for (int k = 0; k < p->n_arg; k++) {
        int64_t j = w - b->lay[k].at / 4;
        if (hx_given(p, k) && j >= -GUARD && j < b->lay[k].elems + GUARD)
            return hx_fail(HX_E_CHECK,
                "%s [%s] %s: word %lld of %s was overwritten, outside of the "
                "outputs' elements [E-GUARD]", p->op->name, p->s->text, report->row,
                (long long)(j - b->lay[k].off), p->sig->name[k]);
    }
    return hx_fail(HX_E_CHECK, "%s [%s] %s: word %lld of the arena was overwritten [E-GUARD]",
        p->op->name, p->s->text, report->row, (long long)w);
}

// ---- verdict -------------------------------------------------------------------------------

// What outputs reach where the reference itself is small because terms cancel: its values on the
// same numbers with other signs, and its change, as a multiple, when inputs change by a little.
// A sum without minus signs needs neither: the sum of absolute values says it for each element.
static hx_result probe(bench *b, hx_variant v, uint64_t seed)
{
    const hx_problem *p = &b->p;
    real *y[HX_MAX_ARGS] = {0};
    hx_result e = hx_trial_reference(p, v, seed, y);
    bool finite_only = p->s->profile == HX_PROFILE_NAN || p->s->profile == HX_PROFILE_INF;
    for (int k = 0; k < p->sig->n_out && !e; k++) {
        double sum = 0;
        for (int64_t i = 0; y[k] && i < p->count[p->sig->n_in + k]; i++) {
            real ref = b->ref[k][i];
            double r = v == HX_NUDGED ? fabs(y[k][i] - ref) / HX_NUDGE : fabs(y[k][i]);
            if (!isfinite(ref) || (finite_only && !isfinite(r)))
                continue;
            b->reach[k] = isfinite(r) ? fmax(b->reach[k], r) : INFINITY;
            sum += isfinite(r) ? r * r : INFINITY;
        }
        b->reach2[k] = fmax(b->reach2[k], sum);
    }
    for (int k = 0; k < HX_MAX_ARGS; k++)
        free(y[k]);
    return e;
}

static hx_result probes(bench *b)
{
    const hx_problem *p = &b->p;
    int64_t most = 0;
    b->exact = p->op->exact ? (int)hx_eval(p->op->exact, p->op, p->s->dim, p->s->attrs) : 0;
    if (b->exact == 3)
        return hx_trial_reference(p, HX_ABSOLUTE, 0, b->mag);
    if (b->exact == 2)
        return HX_OK;
    for (int k = p->sig->n_in; k < p->n_arg; k++)
        most = hx_max(most, hx_given(p, k) ? p->count[k] : 0);
    int n = most < 16 ? 8 : most < 256 ? 5 : 3;    // the fewer values, the more depends on luck
    for (int i = 0; i < n; i++) {
        HX_TRY(probe(b, HX_FLIPPED, p->seed + (uint64_t)i));
        HX_TRY(probe(b, HX_NUDGED, p->seed + (uint64_t)i));
    }
    return HX_OK;
}

// grain, least: what an output in 16 bits is rounded by, of its value and at least
typedef struct { double norm2, tol, limit, steady, grain, least; } yardstick;

static yardstick measure(const bench *b, int k)
{
    const hx_problem *p = &b->p;
    const hx_op *op = p->op;
    const real *ref = b->ref[k - p->sig->n_in], *mag = b->mag[k - p->sig->n_in];
    double terms = op->terms ? (double)hx_eval(op->terms, op, p->s->dim, p->s->attrs) : 1, most = 0;
    double scale = b->reach[k - p->sig->n_in], mag2 = 0, ref2 = 0;
    for (int64_t i = 0; i < p->count[k]; i++) {
        if (!isfinite(ref[i]))
            continue;
        scale = fmax(scale, fabs(ref[i]));
        ref2 += ref[i] * ref[i];
        most = mag ? fmax(most, fabs(mag[i])) : most;
        mag2 += mag ? mag[i] * mag[i] : 0;
    }
    // what a sum of that many terms of random signs leaves of their absolute values
    scale = fmax(scale, most / sqrt(fmax(terms, 1)));
    mag2 = fmax(mag2 / fmax(terms, 1), b->reach2[k - p->sig->n_in]);
    // errors of equal terms do not average out: terms instead of their root
    double steady = p->s->profile == HX_PROFILE_EQUAL ? fmax(1, sqrt(fmax(terms, 1)) / 4) : 1;
    bool half = b->half >> k & 1, bf = b->ref_for == HX_BF16;
    double grain = !half ? 0 : bf ? 0x1p-8 : 0x1p-11;
    // half a unit of the type that terms were rounded to: once, whatever their number
    double unit = !(b->row && b->row->rough >> k & 1) ? 0 : bf ? 0x1p-9 : 0x1p-12;
    // below the normal numbers devices may flush to zero
    return (yardstick){ .steady = steady, .grain = grain, .least = half && !bf ? 0x1p-25 : 0,
        .norm2 = fmax(fmax(ref2, mag2), 0x1p-200),
        .tol = hx_tolerance(op, p->s->dim, p->s->attrs, scale) * steady + 8 * unit * scale +
               0x1p-125,
        .limit = hx_tolerance(op, p->s->dim, p->s->attrs, steady > 1 ? steady : 0.25) + grain +
                 (steady > 1 ? 8 : 2) * unit };
}

// Where the reference is not finite the kernel's value is not finite either, and nowhere else.
static bool acceptable(const bench *b, const yardstick *y, double got, double ref, double mag)
{
    const hx_problem *p = &b->p;
    if (!isfinite(ref))
        return !isfinite(got);
    if (b->exact == 2)
        return got == ref && signbit(got) == signbit(ref);
    if (got == ref || fmax(fabs(ref), mag) > 1e38)     // sums may leave the range of fp32 halfway
        return true;
    if (y->least > 0 && fabs(ref) > 65000)             // past the end of fp16
        return fabs(got) > 65000;
    if (b->exact > 0 && p->s->profile == HX_PROFILE_INTS && !y->grain)
        return false;
    double grain = fmax(y->grain * (fabs(ref) + y->tol), y->least);
    double own = mag > 0 ? hx_tolerance(p->op, p->s->dim, p->s->attrs,
        mag) * y->steady + 0x1p-125 : INFINITY;
    return fabs(got - ref) <= fmin(y->tol, own) + grain;
}

static hx_result close_enough(bench *b, int k, hx_opreport *report)
{
    const hx_problem *p = &b->p;
    const real *refs = b->ref[k - p->sig->n_in], *mags = b->mag[k - p->sig->n_in];
    yardstick y = measure(b, k);
    bool is_int = p->sig->flags[k] & HX_ARG_INT;
    double err2 = 0;
    for (int64_t i = 0; i < p->count[k]; i++) {
        uint32_t word;
        float f;
        memcpy(&word, element(&b->lay[k], b->got, i), 4);
        memcpy(&f, &word, 4);
        double got = is_int ? (int32_t)word : f, ref = refs[i], err = fabs(got - ref);
        if (word == POISON && !is_int)
            return hx_fail(HX_E_CHECK,
                "%s [%s] %s: %s[%lld] was not written, or made of what was not "
                "[E-UNWRITTEN]", p->op->name, p->s->text, report->row, p->sig->name[k],
                    (long long)i);
        if (!acceptable(b, &y, got, ref, mags ? fabs(mags[i]) : 0))
            return hx_fail(HX_E_CHECK,
                "%s [%s] %s: %s[%lld] is %.9g, the reference %.9g, allowed error "
                "%.2g [E-VALUE]", p->op->name, p->s->text, report->row, p->sig->name[k],
                    (long long)i,
                got, ref, y.tol);
        if (!isfinite(ref) || !isfinite(got) || fabs(ref) > 1e38)
            continue;
        err2 += fmax(err - y.least, 0) * fmax(err - y.least, 0);
        double grain = fmax(y.grain * (fabs(ref) + y.tol), y.least);
        report->worst = fmax(report->worst, err / (y.tol + grain));
    }
    double l2 = sqrt(err2 / y.norm2);
    if (y.steady <= 1)
        report->l2 = fmax(report->l2, l2);
    report->worst_l2 = fmax(report->worst_l2, l2 / y.limit);
    if (!(l2 <= y.limit) && sqrt(err2) > 0x1p-120 && p->count[k] > 1)
        return hx_fail(HX_E_CHECK,
            "%s [%s] %s: %s is off by %.2g relative L2, allowed %.2g [E-VALUE]",
            p->op->name, p->s->text, report->row, p->sig->name[k], l2, y.limit);
    return HX_OK;
}

static hx_result judge(bench *b, hx_opreport *report)
{
    const hx_problem *p = &b->p;
    HX_TRY(rest_unchanged(b, report));
    for (int k = p->sig->n_in; k < p->n_arg; k++)
        if (hx_given(p, k))
            HX_TRY(close_enough(b, k, report));
    HX_TRY(bench_run(b, b->again));
    if (memcmp(b->got, b->again, (size_t)b->bytes))
        return hx_fail(HX_E_CHECK, "%s [%s] %s: two runs differ in their bits [E-BITS]",
            p->op->name,
            p->s->text, report->row);
    return HX_OK;
}

// To the nearest number of 16 bits, ties to even.
static real rounded(real v, hx_precision to)
{
    int bits = to == HX_BF16 ? 8 : 11, least = to == HX_BF16 ? -125 : -13, e;
    if (!isfinite(v))
        return v;
    frexp(v, &e);
    e = e > least ? e : least;             // below, numbers have fewer bits
    real r = ldexp(nearbyint(ldexp(v, bits - e)), e - bits);
    return to == HX_FP16 && fabs(r) > 65504 ? copysign(INFINITY, r) : r;
}

static void reference_done(bench *b)
{
    for (int k = 0; k < HX_MAX_ARGS; k++) {
        free(b->ref[k]);
        free(b->mag[k]);
        b->ref[k] = b->mag[k] = NULL;
        b->reach[k] = b->reach2[k] = 0;
    }
}

// The reference of the problem with the inputs that this row rounds rounded.
static hx_result refer(bench *b, hx_precision precision, uint32_t rounds)
{
    hx_problem *p = &b->p;
    real *was[HX_MAX_ARGS] = {0};
    hx_result e = HX_OK;
    reference_done(b);
    for (int k = 0; k < p->sig->n_in && !e; k++) {
        size_t bytes = (size_t)p->count[k] * sizeof(real);
        if (!(rounds >> k & 1) || !p->a[k])
            continue;
        if (!(was[k] = malloc(bytes)))
            e = hx_fail(HX_E_NOMEM, "no memory for sample '%s' [E-NOMEM]", p->s->text);
        else
            memcpy(was[k], p->a[k], bytes);
        for (int64_t i = 0; i < p->count[k] && !e; i++)
            p->a[k][i] = rounded(p->a[k][i], precision);
    }
    if (!e)
        e = hx_trial_reference(p, HX_AS_IS, 0, b->ref);
    if (!e)
        e = probes(b);
    for (int k = 0; k < p->sig->n_in; k++)
        if (was[k]) {
            memcpy(p->a[k], was[k], (size_t)p->count[k] * sizeof(real));
            free(was[k]);
        }
    b->ref_for = precision;
    return e;
}

// One row, given the problem and its reference.
static hx_result one_row(bench *b, int row, hx_opreport *report)
{
    const hx_dev_caps *c = hx_dev_get_caps(b->lab->d);
    HX_TRY(bench_init(b, row));
    const hx_step *step = own_step(b);
    const hx_row *r = step ? step->row : NULL;
    b->row = r;
    if (b->half && !is_half(b))
        return HX_OK;                      // nothing here can lie in 16 bits
    snprintf(report->row, sizeof report->row, "%s%s", r ? r->name : c->kind, b->half ? "+16" : "");
    hx_precision to = r && r->precision == HX_AUTO ? c->precision : r ? r->precision : HX_FP32;
    if (to != b->ref_for)
        HX_TRY(refer(b, to, r->rounds));
    HX_TRY(bench_run(b, b->got));
    double ms[64];
    int n = 0;
    if (b->prog->profile && !hx_prog_times(b->prog, ms, HX_COUNT(ms), &n))
        for (int i = 0; i < n; i++)
            report->ms += ms[i];
    return judge(b, report);
}

// The same problem is ready for another row.
static void row_done(bench *b)
{
    hx_prog_free(&b->prog);
    hx_plan_free(&b->plan);
    hx_tape_free(&b->t);
    free(b->init);
    free(b->got);
    free(b->again);
    b->init = b->got = b->again = NULL;
    b->bytes = 0;
}

// One row, with all arguments in fp32 and, where the row knows them, in 16 bits.
static hx_result both_ways(bench *b, int row, hx_opreport *report)
{
    hx_result e = one_row(b, row, report);
    const hx_row *r = b->plan && own_step(b) ? own_step(b)->row : NULL;
    b->half = r ? r->half : 0;
    if (!e && b->half) {
        row_done(b);
        e = one_row(b, row, report);
    }
    b->half = 0;
    return e;
}

static hx_result bench_problem(bench *b, hx_lab *l, const hx_op *op, const hx_sample *s,
    uint64_t seed)
{
    *b = (bench){ .lab = l, .sample = *s };
    // 2^30 is infinite in fp16: too much for operators that are not tried with infinities
    if (hx_dev_get_caps(l->d)->precision == HX_FP16 && op->fuzz && strstr(op->fuzz, "-inf"))
        b->sample.huge = 12;
    HX_TRY(hx_problem_init(&b->p, op, &b->sample, seed));
    return refer(b, HX_FP32, 0);
}

hx_result hx_lab_check(hx_lab *l, const hx_op *op, int row, const hx_sample *s, uint64_t seed,
                       hx_opreport *report)
{
    bench b;
    *report = (hx_opreport){0};
    hx_result e = bench_problem(&b, l, op, s, seed);
    if (!e)
        e = both_ways(&b, row, report);
    bench_done(&b);
    return e;
}

hx_result hx_lab_check_rows(hx_lab *l, const hx_op *op, const hx_sample *s, uint64_t seed,
                            hx_opreport *report, int *rows)
{
    bool vulkan = !strcmp(hx_dev_get_caps(l->d)->kind, "vulkan");
    bench b;
    *report = (hx_opreport){0};
    *rows = 0;
    hx_result e = bench_problem(&b, l, op, s, seed);
    for (int row = 0; row < (vulkan ? HX_MAX_ROWS : 1) && !e; row++) {
        if (vulkan && !hx_row_usable(l->d, op, row, s->dim, s->attrs))
            continue;
        e = both_ways(&b, vulkan ? row : -1, report);
        row_done(&b);
        report->ran |= vulkan ? 1u << row : 0;
        ++*rows;
    }
    bench_done(&b);
    return e;
}

hx_result hx_check_kernel(hx_dev *d, const hx_op *op, int row, const hx_sample *s, uint64_t seed,
                          hx_opreport *report)
{
    hx_lab *l = NULL;
    hx_result e = hx_lab_new(d, &l);
    if (!e)
        e = hx_lab_check(l, op, row, s, seed, report);
    hx_lab_free(&l);
    return e;
}

// ---- shrinking -----------------------------------------------------------------------------

enum { MOST_RUNS = 300 };

static bool still_fails(hx_lab *l, const hx_op *op, hx_sample *s, uint64_t seed, int *runs)
{
    hx_opreport r;
    int rows;
    if (hx_sample_wrong(op, s) || ++*runs > MOST_RUNS)
        return false;
    hx_sample_say(op, s);
    return hx_lab_check_rows(l, op, s, seed, &r, &rows) == HX_E_CHECK;
}

// Tries smaller values for one number: 1, half, one less.
static bool smaller(hx_lab *l, const hx_op *op, hx_sample *s, uint64_t seed, int *runs,
                    void (*set)(const hx_op *op, hx_sample *s, int i, int64_t v), int i,
                        int64_t now)
{
    int64_t next[3] = { 1, now / 2, now - 1 };
    for (int k = 0; k < 3; k++) {
        hx_sample t = *s;
        if (next[k] < 0 || next[k] >= now)
            continue;
        set(op, &t, i, next[k]);
        if (still_fails(l, op, &t, seed, runs)) {
            *s = t;
            return true;
        }
    }
    return false;
}

static void set_dim(const hx_op *op, hx_sample *s, int i, int64_t v)
{
    (void)op;
    s->dim[i] = v;
}

static void set_attr(const hx_op *op, hx_sample *s, int i, int64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)v);
    hx_field_set(op->attrs, s->attrs, op->attrs[i].name, text, NULL);
}

void hx_sample_shrink(hx_lab *l, const hx_op *op, hx_sample *s, uint64_t seed)
{
    const hx_sig *sig = hx_sig_of(op);
    int runs = 0;
    hx_sample plain = *s;
    plain.profile = HX_PROFILE_UNIFORM;
    if (still_fails(l, op, &plain, seed, &runs))
        *s = plain;
    for (bool again = true; again && runs < MOST_RUNS;) {
        again = false;
        for (int d = 0; d < sig->n_dim; d++)
            again |= smaller(l, op, s, seed, &runs, set_dim, d, s->dim[d]);
        for (int i = 0; op->attrs && op->attrs[i].name; i++)
            if (op->attrs[i].type == HX_I32)
                again |= smaller(l, op, s, seed, &runs, set_attr, i,
                                 hx_attr_int(op, s->attrs, op->attrs[i].name, NULL));
        for (int k = 0; k < sig->n_in + sig->n_out; k++) {
            hx_sample t = *s;
            if (!(sig->flags[k] & HX_ARG_OPT) || t.left_out >> k & 1)
                continue;
            t.left_out |= 1u << k;
            if (still_fails(l, op, &t, seed, &runs)) {
                *s = t;
                again = true;
            }
        }
    }
    hx_sample_say(op, s);
}
