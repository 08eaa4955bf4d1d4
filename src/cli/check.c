// check.c - `htxvk check`: every operator, every derivative and whole models against the fp64
// references, on the devices of whoever runs it.
#include <errno.h>
#include <fnmatch.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "../../runtime/clock.h"
#include "../../runtime/file.h"
#include "../../runtime/pool.h"
#include "../core/opcheck.h"
#include "../train/modelcheck.h"
#include "cli.h"

typedef struct check_opts {
    int32_t cases, jobs;
    int64_t seed;
    bool quick, full;
    const char *profile, *json, *junit;
} check_opts;
#define O(type, member, def, lo, hi, help) \
    { #member, type, offsetof(check_opts, member), def, lo, hi, help }
static const hx_field check_fields[] = {
    O(HX_I32, cases, "0", 0, 10000000,
        "random cases per operator, however long they take; 0: 200 or 5 seconds"),
    O(HX_I32, jobs, "0", 0, 64,
        "operators at a time, each on the device opened once more; 0: as many as processors, up to 16"),
    O(HX_BOOL, quick, "false", 0, 0, "under a minute: at most half a second per operator"),
    O(HX_BOOL, full, "false", 0, 0, "600 cases per operator, however long they take"),
    O(HX_I64, seed, "1", 0, 9e15, "of the first case; each has the next one"),
    O(HX_STR, profile, "uniform", 0, 0,
        "numbers for SAMPLE: uniform normal ints mixed tiny huge zeros equal nan inf"),
    O(HX_STR, json, "", 0, 0, "write the results to this file, - for stdout"),
    O(HX_STR, junit, "", 0, 0, "write the results to this file as JUnit XML"),
    {0}
};
#undef O

enum { MAX_DEVICES = 64, MAX_JOBS = 64 };

// What one operator did on one device.
typedef struct tally {
    int    cases, runs, failed;
    double worst, worst_l2, l2, worst_gradient, seconds;
    uint32_t ran;                          // bit i: kernel row i
    char   rows[160], why[600], replay[400];
} tally;

// An operator, or one sample of a model.
typedef struct unit {
    const hx_op    *op;
    const hx_model *model;
    int             sample;
    bool            done;
    hx_result       r;
    char            message[1024];         // of r
    tally           t;
    hx_modelreport  m;
} unit;

typedef struct work {
    hx_cli           *c;
    const check_opts *o;
    hx_profile        profile;
    const char       *sample;              // given on the command line; NULL: lists and random ones
    int               n_names;             // of c->args that are operators
    int               most; double seconds;            // cases and time an operator gets
    json_t           *results;             // of the current device
    const char       *selector;
    bool              print;
    int               failed;
} work;

static bool chosen(const work *w, const char *name)
{
    for (int i = 0; i < w->n_names; i++)
        if (!fnmatch(w->c->args[i], name, 0))
            return true;
    return !w->n_names;
}

static bool chosen_ops(const work *w)
{
    for (int i = 0; i < hx_n_ops; i++)
        if (chosen(w, hx_ops[i]->name))
            return true;
    return false;
}

// Operators and models, then perhaps one sample, which has '=' in it.
static hx_result check_args(work *w)
{
    int n = 0;
    const char **names = hx_new(w->c->arena, const char *, hx_n_ops + hx_n_models);
    if (!names)
        return HX_E_NOMEM;
    for (int i = 0; i < hx_n_ops; i++)
        names[n++] = hx_ops[i]->name;
    for (int i = 0; i < hx_n_models; i++)
        names[n++] = hx_models[i]->name;
    w->n_names = w->c->n_args;
    if (w->n_names > 1 && strchr(w->c->args[w->n_names - 1], '='))
        w->sample = w->c->args[--w->n_names];
    for (int k = 0; k < w->n_names; k++) {
        int hits = 0;
        for (int i = 0; i < n; i++)
            hits += !fnmatch(w->c->args[k], names[i], 0);
        const char *near = hits ? NULL : hx_nearest(w->c->args[k], names, n);
        if (!hits)
            return hx_fail(HX_E_USAGE, "there is no operator or model '%s'%s%s [E-USAGE]",
                           w->c->args[k], near ? "; did you mean " : "", near ? near : "");
    }
    if (!hx_profile_find(w->o->profile, &w->profile))
        return hx_fail(HX_E_USAGE, "there is no profile '%s' [E-USAGE]", w->o->profile);
    if (w->o->quick && w->o->full)
        return hx_fail(HX_E_USAGE, "--quick and --full exclude each other [E-USAGE]");
    w->most = w->o->cases ? w->o->cases : w->o->full ? 600 : w->o->quick ? 60 : 200;
    w->seconds = w->o->cases || w->o->full ? 1e9 : w->o->quick ? 0.5 : 5;
    return HX_OK;
}

static void add_row_name(tally *t, const char *row)
{
    size_t used = strlen(t->rows);
    if (!strstr(t->rows, row) && used + strlen(row) + 2 < sizeof t->rows)
        snprintf(t->rows + used, sizeof t->rows - used, "%s%s", used ? " " : "", row);
}

// The first failure of an operator: made smaller, with the command that repeats it.
static void note_failure(const work *w, hx_lab *l, const hx_op *op, hx_sample s, uint64_t seed,
    hx_result res, tally *t)
{
    if (t->failed++)
        return;
    snprintf(t->why, sizeof t->why, "%s", hx_last_message());
    if (l && res == HX_E_CHECK && !w->sample) {
        hx_opreport r;
        int rows;
        hx_sample_shrink(l, op, &s, seed);
        if (hx_lab_check_rows(l, op, &s, seed, &r, &rows))
            snprintf(t->why, sizeof t->why, "%s", hx_last_message());
    }
    const char *precision = w->c->precision;
    snprintf(t->replay, sizeof t->replay, "htxvk check %s \"%s\" --seed %llu --profile %s%s%s%s%s",
             op->name, s.text, (unsigned long long)seed, hx_profile_name(s.profile),
             w->selector ? " --device " : "", w->selector ? w->selector : "",
             precision ? " --precision " : "", precision ? precision : "");
}

// One case: every kernel row that the device can run for this sample; the host has one way.
static hx_result check_case(const work *w, hx_lab *l, const hx_op *op, const hx_sample *s,
    uint64_t seed, tally *t)
{
    hx_opreport r = {0};
    int rows = 0;
    hx_result res = hx_lab_check_rows(l, op, s, seed, &r, &rows);
    if (res == HX_E_NOMEM || res == HX_E_LOST || res == HX_E_NODEVICE)
        return res;
    if (res)
        note_failure(w, l, op, *s, seed, res, t);
    add_row_name(t, r.row);
    t->ran |= r.ran;
    t->worst = fmax(t->worst, r.worst);
    t->worst_l2 = fmax(t->worst_l2, r.worst_l2);
    t->l2 = fmax(t->l2, r.l2);
    t->runs += rows;
    t->cases++;
    return HX_OK;
}

static hx_result check_gradient(const work *w, const hx_op *op, const hx_sample *s,
    uint64_t seed, tally *t)
{
    double worst = 0;
    hx_result r = hx_check_gradient(op, s, seed, &worst);
    if (r && r != HX_E_CHECK)
        return r;
    if (r)
        note_failure(w, NULL, op, *s, seed, r, t);
    t->worst_gradient = fmax(t->worst_gradient, worst);
    return HX_OK;
}

// The operator's own samples, then random ones.
static hx_result check_op(const work *w, hx_lab *l, const hx_op *op, bool gradients, tally *t)
{
    int n = w->sample ? 1 : hx_sample_count(op->check);
    double start = hx_now();
    hx_sample s;
    for (int i = 0; i < n; i++) {
        HX_TRY(hx_sample_read(op, w->sample ? w->sample : op->check, i, &s));
        s.random_layout = true;
        s.profile = w->sample ? w->profile : HX_PROFILE_UNIFORM;
        if (!w->o->quick || i == 0)
            HX_TRY(check_case(w, l, op, &s, (uint64_t)w->o->seed + (uint64_t)i, t));
        if (gradients && s.profile == HX_PROFILE_UNIFORM && (!w->o->quick ||
            hx_now() - start < w->seconds))
            HX_TRY(check_gradient(w, op, &s, (uint64_t)w->o->seed + (uint64_t)i, t));
    }
    start = hx_now();
    for (int i = 0; i < w->most && !w->sample && hx_now() - start < w->seconds; i++) {
        uint64_t seed = (uint64_t)w->o->seed + (uint64_t)i;
        HX_TRY(hx_sample_random(op, seed, &s));
        HX_TRY(check_case(w, l, op, &s, seed, t));
    }
    return HX_OK;
}

static void print_tally(const hx_op *op, const tally *t, bool gradients)
{
    char derivative[24] = "";
    if (gradients && op->vjp)
        snprintf(derivative, sizeof derivative, "%.0e", t->worst_gradient);
    printf("  %-18s %5d %6d %6.0f%% %6.0f%% %8.1e %8s %6.1f  %-6s %s\n", op->name, t->cases,
        t->runs, 100 * t->worst,
           100 * t->worst_l2, t->l2, derivative, t->seconds, t->failed ? "FAILED" : t->runs
               ? "ok" : "-", t->rows);
    if (t->failed)
        printf("    %s\n    %s\n", t->why, t->replay);
    fflush(stdout);
}

// Every kernel row: what it needs, and whether it ran.
static json_t *kernels_of(const hx_op *op, const tally *t)
{
    json_t *list = json_array();
    for (int i = 0; i < HX_MAX_ROWS && op->kernels[i].name; i++) {
        const hx_row *r = &op->kernels[i];
        json_t *needs = json_array();
        for (int k = 0; k < HX_N_CAPS; k++)
            if (r->needs >> k & 1)
                json_array_append_new(needs, json_string(hx_cap_names[k]));
        json_array_append_new(list, json_pack("{ss ss so ss sb}", "kernel", r->name, "constants",
            r->spec ? r->spec : "", "needs", needs, "precision", hx_precision_names[r->precision],
            "ran", (int)(t->ran >> i & 1)));
    }
    return list;
}

static void put_result(const work *w, const hx_op *op, const tally *t)
{
    json_t *j = json_pack("{ss si si sf sf sf sf sf ss sb so}", "op", op->name, "cases", t->cases,
        "runs", t->runs, "worst", t->worst,
        "worst_l2", t->worst_l2, "l2", t->l2, "d_error", t->worst_gradient, "seconds",
            t->seconds, "rows", t->rows, "ok", !t->failed,
        "kernels", kernels_of(op, t));
    if (j && t->failed) {
        json_object_set_new(j, "message", json_string(t->why));
        json_object_set_new(j, "replay", json_string(t->replay));
    }
    json_array_append_new(w->results, j ? j : json_null());
}

static void print_model(const unit *u)
{
    printf("  %-24s %10.1e %10.1e  %-6s [%s]\n", u->model->name, u->m.outputs, u->m.grads,
           u->r ? "FAILED" : "ok", u->m.text);
    if (u->r)
        printf("    %s\n", u->message);
    fflush(stdout);
}

static void put_model(const work *w, const unit *u)
{
    json_t *j = json_pack("{ss ss sf sf ss sf sb}", "model", u->model->name, "sample", u->m.text,
                          "outputs", u->m.outputs, "gradients", u->m.grads, "nearest", u->m.worst,
                          "ms", u->m.ms, "ok", !u->r);
    if (j && u->r)
        json_object_set_new(j, "message", json_string(u->message));
    json_array_append_new(w->results, j ? j : json_null());
}

static void print_title(const work *w, const hx_dev_caps *k)
{
    const char *driver = hx_printable(w->c->arena, k->driver);
    printf("%s%s%s\n", hx_printable(w->c->arena, k->name), *driver ? ", " : "", driver);
    if (chosen_ops(w))
        printf("  %-18s %5s %6s %7s %7s %8s %8s %6s  %-6s %s\n", "operator", "cases", "runs",
               "worst", "L2", "L2 is", "d error", "s", "", "kernels");
}

// ---- several at a time ---------------------------------------------------------------------

// Units are shared out in order, and shown in order as soon as all before them are done.
typedef struct team {
    work           *w;
    unit           *unit;
    int             n, shown;
    bool            gradients;
    int             n_dev, n_idle, idle[MAX_JOBS];     // devices that no unit has now
    hx_dev         *dev[MAX_JOBS];
    hx_lab         *lab[MAX_JOBS];
    pthread_mutex_t lock;
    const unit     *broken;                // after which nothing goes on: no device, no memory
    int             ops, cases, runs, failed;
} team;

// A model that differs is a finding; what stops an operator is not.
static bool breaks(const unit *u) { return u->r && !(u->model && u->r == HX_E_CHECK); }

static void show_op(team *m, const unit *u)
{
    put_result(m->w, u->op, &u->t);
    if (m->w->print)
        print_tally(u->op, &u->t, m->gradients);
    m->ops++;
    m->cases += u->t.cases;
    m->runs += u->t.runs;
    m->failed += u->t.failed > 0;
}

static void show_model(team *m, const unit *u)
{
    bool first = u == m->unit || u[-1].op;
    if (m->w->print && first)
        printf("  %-24s %10s %10s\n", "model", "outputs", "gradients");
    if (m->w->print)
        print_model(u);
    put_model(m->w, u);
    m->failed += u->r != HX_OK;
}

static void show_sum(const team *m, double seconds)
{
    if (m->w->print && m->ops)
        printf("  %d operators, %d failed; %d cases, %d runs in %.1f s; worst and L2 in parts of "
               "the allowed error\n", m->ops, m->failed, m->cases, m->runs, seconds);
}

static void run_unit(void *ctx, int64_t i)
{
    team *m = ctx;
    unit *u = &m->unit[i];
    pthread_mutex_lock(&m->lock);
    int k = m->broken ? -1 : m->idle[--m->n_idle];
    pthread_mutex_unlock(&m->lock);
    if (k < 0)
        return;
    double start = hx_now();
    u->r = u->op ? check_op(m->w, m->lab[k], u->op, m->gradients, &u->t)
                 : hx_check_model(m->dev[k], u->model, u->sample,
                                  (uint64_t)m->w->o->seed + (uint64_t)u->sample, &u->m);
    u->t.seconds = hx_now() - start;
    if (u->r)
        snprintf(u->message, sizeof u->message, "%s", hx_last_message());
    pthread_mutex_lock(&m->lock);
    m->idle[m->n_idle++] = k;
    u->done = true;
    if (breaks(u) && !m->broken)
        m->broken = u;
    for (; m->shown < m->n && m->unit[m->shown].done && !breaks(&m->unit[m->shown]); m->shown++)
        (m->unit[m->shown].op ? show_op : show_model)(m, &m->unit[m->shown]);
    pthread_mutex_unlock(&m->lock);
}

// The chosen operators, then the samples of the chosen models.
static hx_result list_units(team *m)
{
    work *w = m->w;
    int most = hx_n_ops;
    for (int k = 0; k < hx_n_models; k++)
        most += hx_model_samples(hx_models[k]);
    if (!(m->unit = hx_new(w->c->arena, unit, most)))
        return HX_E_NOMEM;
    for (int i = 0; i < hx_n_ops; i++)
        if (chosen(w, hx_ops[i]->name) && !hx_ops[i]->view)
            m->unit[m->n++].op = hx_ops[i];
    for (int k = 0; k < hx_n_models && !w->sample; k++)
        for (int i = 0; chosen(w, hx_models[k]->name) && i < hx_model_samples(hx_models[k]); i++) {
            m->unit[m->n].model = hx_models[k];
            m->unit[m->n++].sample = i;
        }
    return HX_OK;
}

static hx_result open_team(team *m, const hx_cli *c, int jobs)
{
    for (; m->n_dev < jobs; m->n_dev++) {
        HX_TRY(hx_cli_open(c, NULL, NULL, &m->dev[m->n_dev]));
        hx_result r = hx_lab_new(m->dev[m->n_dev], &m->lab[m->n_dev]);
        if (r)
            return hx_cli_close(&m->dev[m->n_dev], r);
        m->idle[m->n_idle++] = m->n_dev;
    }
    return HX_OK;
}

static hx_result close_team(team *m, hx_result r)
{
    for (int k = 0; k < m->n_dev; k++) {
        hx_lab_free(&m->lab[k]);
        r = hx_cli_close(&m->dev[k], r);
    }
    return r;
}

static hx_result run_team(team *m)
{
    double start = hx_now();
    hx_pool *pool = hx_pool_new(m->n_dev);
    if (!pool)
        return hx_fail(HX_E_NOMEM, "no memory for %d threads [E-NOMEM]", m->n_dev);
    hx_pool_run(pool, m->n, run_unit, m);
    hx_pool_free(&pool);
    if (m->broken)
        return hx_fail(m->broken->r, "%s", m->broken->message);
    show_sum(m, hx_now() - start);
    m->w->failed += m->failed;
    return HX_OK;
}

// Opens one device as often as there are jobs, checks it, and adds it to the document.
static hx_result check_selected(work *w, const char *selector, bool gradients, json_t *devices)
{
    hx_cli one = *w->c;
    team m = { .w = w, .gradients = gradients, .lock = PTHREAD_MUTEX_INITIALIZER };
    one.device = w->selector = selector;
    HX_TRY(list_units(&m));
    int jobs = w->o->jobs ? w->o->jobs : (int)hx_min(hx_processors(), 16);
    jobs = (int)hx_max(1, hx_min(jobs, m.n));
    if (jobs > 1 && !one.threads)
        one.threads = 1;
    hx_result r = open_team(&m, &one, jobs);
    if (r)
        return close_team(&m, r);
    const hx_dev_caps *k = hx_dev_get_caps(m.dev[0]);
    w->results = json_array();
    json_array_append_new(devices,
                          json_pack("{ss ss ss so}", "kind", k->kind, "name",
                                    hx_printable(w->c->arena, k->name), "driver",
                                    hx_printable(w->c->arena, k->driver), "results", w->results));
    if (w->print)
        print_title(w, k);
    // whole models are compared within the errors of fp32
    while (m.n && m.unit[m.n - 1].model && k->precision != HX_FP32)
        m.n--;
    return close_team(&m, run_team(&m));
}

static hx_result check_all(work *w, json_t *devices)
{
    if (!w->c->device || strcmp(w->c->device, "all"))
        return check_selected(w, w->c->device, true, devices);
    hx_dev_info *list = hx_new(w->c->arena, hx_dev_info, MAX_DEVICES);
    if (!list)
        return HX_E_NOMEM;
    int n = 0;
    const char *note = NULL;
    bool first = true;
    HX_TRY(hx_dev_list(list, MAX_DEVICES, &n, &note));
    for (int i = 0; i < n; i++) {
        if (list[i].why_not[0])
            continue;
        HX_TRY(check_selected(w, list[i].selector, first, devices));
        first = false;
    }
    return HX_OK;
}

// ---- JUnit ---------------------------------------------------------------------------------

static void put_xml(FILE *f, const char *text)
{
    for (; text && *text; text++) {
        const char *e = *text == '&' ? "&amp;" : *text == '<' ? "&lt;" : *text == '>' ? "&gt;"
            : *text == '"' ? "&quot;" : NULL;
        if (e)
            fputs(e, f);
        else
            fputc((unsigned char)*text < ' ' ? ' ' : *text, f);
    }
}

// A test suite for each device, a test case for each operator.
static hx_result write_junit(const json_t *j, const char *path)
{
    FILE *f = fopen(path, "w");
    if (!f)
        return hx_fail(HX_E_IO, "%s: %s [E-IO-WRITE]", path, strerror(errno));
    size_t i, k;
    json_t *d, *o;
    fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", f);
    json_array_foreach(json_object_get(j, "devices"), i, d) {
        fputs(" <testsuite name=\"", f);
        put_xml(f, json_string_value(json_object_get(d, "name")));
        fputs("\">\n", f);
        json_array_foreach(json_object_get(d, "results"), k, o) {
            const char *why = json_string_value(json_object_get(o, "message"));
            fprintf(f, "  <testcase classname=\"htxvk.check\" name=\"%s\" time=\"%.3f\"",
                json_string_value(json_object_get(o, "op")),
                    json_number_value(json_object_get(o, "seconds")));
            if (why) {
                fputs("><failure message=\"", f);
                put_xml(f, why);
                fputs("\">", f);
                put_xml(f, json_string_value(json_object_get(o, "replay")));
                fputs("</failure></testcase>\n", f);
            } else {
                fputs("/>\n", f);
            }
        }
        fputs(" </testsuite>\n", f);
    }
    fputs("</testsuites>\n", f);
    bool bad = ferror(f);
    return fclose(f) || bad ? hx_fail(HX_E_IO, "%s could not be written whole [E-IO-WRITE]",
        path) : HX_OK;
}

static hx_result run(hx_cli *c)
{
    work w = { .c = c, .o = c->opts };
    w.print = strcmp(w.o->json, "-") != 0;
    HX_TRY(check_args(&w));
    json_t *j = json_pack("{ss sI so}", "version", HX_VERSION, "seed", (json_int_t)w.o->seed,
                          "devices", json_array());
    hx_result r = check_all(&w, json_object_get(j, "devices"));
    if (!r)
        r = hx_cli_json(j, w.o->json);
    if (!r && *w.o->junit)
        r = write_junit(j, w.o->junit);
    json_decref(j);
    if (!r && w.failed)
        r = hx_fail(HX_E_CHECK, "%d operators or models are wrong on this machine [E-CHECK]",
                    w.failed);
    return r;
}

HX_CMD(check, .args = "[OPERATOR|MODEL]... [SAMPLE] [--device SEL|all] [--quick|--full] [--jobs N]",
       .help = "compare every operator, derivative and model with fp64 references on your devices",
       .opts = check_fields, .opts_size = sizeof(check_opts), .max_args = 1000, .run = run,
       .more = "OPERATOR or MODEL may be a pattern such as 'attn*'; SAMPLE, such as\n"
               "\"R=33 C=257 -b\", is one case. Others are random: shapes, attributes, optional\n"
               "arguments, row distances, kinds of numbers. A failure is made smaller and\n"
               "printed with the command that repeats it. Exit code 0: all agree, 8: not.\n"
               "With --precision bf16, the kernels for matrix units too, and no models.\n");
