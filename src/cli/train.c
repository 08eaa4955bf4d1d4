// train.c - `htxvk train`: starts or resumes a run and shows its progress.
#include "../train/train.h"
#include "../core/ckpt.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../runtime/clock.h"
#include "../../runtime/file.h"
#include "cli.h"
#include "preset.h"
#include "report.h"

typedef struct train_opts {
    hx_strs     set, data;
    const char *out, *trace;
    int64_t     trace_steps;
} train_opts;
#define O(type, member, def, help) { #member, type, offsetof(train_opts, member), def, 0, 0, help }
static const hx_field train_fields[] = {
    O(HX_STRS, set, "[]", "replace one value of the configuration, key=value; may be repeated"),
    O(HX_STRS, data, "[]", "text to train on, instead of data.train; may be repeated"),
    O(HX_STR, out, "", "directory of the new run; runs/NAME-TIME if not given"),
    O(HX_STR, trace, "", "write a trace of the first steps, for Perfetto or chrome://tracing"),
    { "trace_steps", HX_I64, offsetof(train_opts, trace_steps), "10", 1, 100000, "how many"},
    {0}
};
#undef O

// ---- signals ------------------------------------------------------------------------------

static volatile sig_atomic_t starting = 1, stop, save;
static const int ends[] = { SIGINT, SIGTERM, SIGUSR1, SIGHUP };

static void on_signal(int number)
{
    // before training there is nothing to finish, and directories appear whole
    static const char early[] = "stopped before the first step [E-STOPPED]\n";
    if (starting) {
        (void)!write(STDERR_FILENO, early, sizeof early - 1);
        _exit(75);
    }
    // the second one does not wait for the step; what is on disk is whole at any time
    if (stop && number == SIGINT)
        _exit(130);
    stop = 1;
}

static void on_save(int number)
{
    (void)number;
    save = 1;
}

static sigset_t those_that_end(void)
{
    sigset_t set;
    sigemptyset(&set);
    for (int i = 0; i < HX_COUNT(ends); i++)
        sigaddset(&set, ends[i]);
    return set;
}

// From the first moment of the process on; a terminal that goes away (SIGHUP) stops the run in good order, too.
static void catch_signals(void)
{
    struct sigaction a = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    sigset_t waited = those_that_end();
    sigemptyset(&a.sa_mask);
    for (int i = 0; i < HX_COUNT(ends); i++)
        sigaction(ends[i], &a, NULL);
    a.sa_handler = on_save;
    sigaction(SIGUSR2, &a, NULL);
    // what came while the process began again (begin_again)
    sigprocmask(SIG_UNBLOCK, &waited, NULL);
}

// ---- progress -----------------------------------------------------------------------------

typedef struct screen {
    bool   terminal, quiet;
    bool   line;                           // a progress line stands on the terminal
    double shown;                          // when
} screen;

static void clear_line(screen *s)
{
    if (s->line)
        fputs("\r\033[K", stderr);
    s->line = false;
}

// The line is as wide as the terminal at most, so that it stays one.
static int columns(void)
{
    struct winsize w;
    return !ioctl(STDERR_FILENO, TIOCGWINSZ, &w) && w.ws_col > 20 ? w.ws_col - 1 : 160;
}

static void progress_line(screen *s, const hx_event *e)
{
    bool last = e->step == e->steps;
    if (!last && hx_now() - s->shown < 0.1)
        return;
    s->shown = hx_now();
    long eta = e->eta_s < 1e8 ? (long)(e->eta_s + 0.5) : 99999999;
    clear_line(s);
    char line[256];
    snprintf(line, sizeof line,
             "step %lld/%lld  loss %.4f  %.3f bits/byte  %.0f tok/s  %.0f ms/step  eta %ldm%02lds  "
             "%.0f MiB", (long long)e->step, (long long)e->steps, e->loss, e->bpc, e->tok_s,
             e->step_ms, eta / 60, eta % 60, (double)e->memory / 1048576);
    fprintf(stderr, "%.*s", columns(), line);
    s->line = true;
    fflush(stderr);
}

// A sample as text for a terminal: other bytes than printable ones and line breaks as dots.
static void print_sample(const hx_event *e)
{
    const unsigned char *t = e->text;
    fprintf(stderr, "---- sample at step %lld\n", (long long)e->step);
    for (int64_t i = 0; i < e->n_text; i++)
        fputc(t[i] == '\n' || t[i] == '\t' || (t[i] >= 0x20 && t[i] < 0x7f) ? t[i] : '.', stderr);
    fputs("\n----\n", stderr);
}

static void on_event(void *user, const hx_event *e)
{
    screen *s = user;
    if (s->quiet && e->kind != HX_EVENT_WARN)
        return;
    if (e->kind == HX_EVENT_STEP) {
        if (s->terminal)
            progress_line(s, e);
        return;
    }
    if (e->kind == HX_EVENT_ROW && s->terminal)
        return;
    clear_line(s);
    if (e->kind == HX_EVENT_SAMPLE)
        print_sample(e);
    else
        fprintf(stderr, "%s%s\n", e->kind == HX_EVENT_WARN ? "warning: " : "", e->line);
}

// ---- the command --------------------------------------------------------------------------

static bool is_dir(const char *path)
{
    struct stat s;
    return !stat(path, &s) && S_ISDIR(s.st_mode);
}

typedef struct work {
    hx_run_conf *conf;
    hx_dev      *dev;
    hx_trainer  *trainer;
    hx_run      *run;
    bool         resume;
} work;

static hx_result read_conf(hx_cli *c, work *w)
{
    const train_opts *o = c->opts;
    const char *path = c->args[0];
    w->resume = is_dir(path);
    if (w->resume && o->out[0])
        return hx_fail(HX_E_USAGE, "--out %s: %s is a run, it goes on where it is [E-USAGE]",
                       o->out, path);
    if (w->resume && !hx_run_is(path))
        return hx_fail(HX_E_INPUT, "%s is a directory without config.yaml, so no run [E-RUN-NONE]",
                       path);
    if (w->resume)
        path = hx_path_join(c->arena, path, "config.yaml");
    HX_TRY(hx_cli_conf(c, path, &o->set, &o->data, &w->conf));
    w->conf->trace = o->trace[0] ? o->trace : NULL;
    w->conf->trace_steps = o->trace_steps;
    if (c->device)
        w->conf->device.select = c->device;
    if (c->threads)
        w->conf->run.threads = c->threads;
    else
        c->threads = w->conf->run.threads;
    if (c->precision)
        w->conf->device.precision = c->precision;
    if (!strcmp(w->conf->device.precision, "fp16"))
        return hx_fail(HX_E_NODEVICE, "device.precision: fp16 loses small gradients, use bf16, auto "
                       "or fp32 [E-PRECISION]");
    return HX_OK;
}

// A preset names a text that is the user's to give.
static hx_result check_text(hx_cli *c, const work *w)
{
    const train_opts *o = c->opts;
    const hx_strs *text = &w->conf->data.train;
    if (strncmp(c->args[0], "preset:", 7) || o->data.n || hx_file_exists(text->v[0]))
        return HX_OK;
    return hx_fail(HX_E_INPUT, "%s trains on '%s', which is not there: name your own text with --data FILE "
                   "[E-PRESET-DATA]", c->args[0], text->v[0]);
}

// A run that is asked for fewer steps than it has made would have to go back.
static hx_result check_steps(hx_cli *c, const work *w)
{
    const char *dir = NULL;
    hx_ckpt_state s;
    if (hx_ckpt_find(c->arena, w->run->dir, &dir) || !dir || hx_ckpt_state_read(dir, &s))
        return HX_OK;                      // training says what is wrong with it
    if (s.step <= w->conf->train.steps)
        return HX_OK;
    return hx_fail(HX_E_USAGE, "train.steps: %lld, but %s has made %lld steps: name more to train on, or begin "
                   "another run with --out [E-STEPS]", (long long)w->conf->train.steps, w->run->dir,
                   (long long)s.step);
}

// The directory appears only when text, model and device are known to fit.
static hx_result make_run(hx_cli *c, work *w)
{
    const train_opts *o = c->opts;
    if (w->resume) {
        HX_TRY(hx_run_open(c->args[0], &w->run));
        if (o->set.n)
            HX_TRY(check_steps(c, w));
        return o->set.n ? hx_run_save_conf(w->run, w->conf) : HX_OK;
    }
    const char *dir = o->out[0]                                 ? o->out
                      : w->conf->run.out && w->conf->run.out[0] ? w->conf->run.out
                                                                : hx_run_name(c->arena, c->args[0]);
    return dir ? hx_run_create(dir, w->conf, &w->run) : HX_E_NOMEM;
}

// ---- a device that is lost ------------------------------------------------------------------
// The process begins again from the last checkpoint, in its own place: whatever a driver has left
// behind, threads that hang included, ends with the old program.

#define RETRY_VAR "HTXVK_RETRY"            // "2 runs/x/ckpt/step-00000500": tries since that one
enum { TRIES = 3 };

// How often in a row a device was lost without a newer checkpoint, this time included.
static int count_losses(hx_cli *c, const work *w)
{
    const char *dir = NULL, *said = getenv(RETRY_VAR);
    if (hx_ckpt_find(c->arena, w->run->dir, &dir) || !dir)
        dir = "none";
    bool again = said && strlen(said) > 2 && !strcmp(said + 2, dir);
    int n = again ? said[0] - '0' + 1 : 1;
    char *value = hx_sprintf(c->arena, "%d %s", n, dir);
    return value && !setenv(RETRY_VAR, value, 1) ? n : TRIES + 1;
}

static hx_result begin_again(hx_cli *c, const work *w)
{
    char why[600];
    snprintf(why, sizeof why, "%s", hx_last_message());
    int n = count_losses(c, w);
    if (n > TRIES)
        return hx_fail(HX_E_LOST, "%s; given up after %d tries from one checkpoint, go on with "
                       "`htxvk train %s`", why, TRIES, w->run->dir);
    char line[800];
    snprintf(line, sizeof line, "the device was lost: %s; going on from the last checkpoint, try %d "
             "of %d", why, n, TRIES);
    fprintf(stderr, "warning: %s\n", line);
    hx_run_log(w->run, line);
    sleep((unsigned)(n * n - 1));
    // what the run's config.yaml does not hold
    const char *args[] = { "htxvk", "train", w->run->dir, c->validation ? "--validation" : NULL,
                           c->no_cache ? "--no-cache" : NULL, c->quiet ? "--quiet" : NULL };
    char *argv[HX_COUNT(args) + 1];
    int k = 0;
    for (int i = 0; i < HX_COUNT(args); i++)
        if (args[i])
            argv[k++] = (char *)args[i];
    argv[k] = NULL;
    fflush(NULL);
    // a new program knows no handlers: signals wait until it has them
    sigset_t wait = those_that_end(), before;
    sigprocmask(SIG_BLOCK, &wait, &before);
    execv("/proc/self/exe", argv);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return hx_fail(HX_E_LOST, "%s", why);
}

static hx_result train(hx_cli *c, work *w)
{
    HX_TRY(read_conf(c, w));
    HX_TRY(check_text(c, w));
    HX_TRY(hx_cli_open(c, w->conf->device.select, w->conf->device.precision, &w->dev));
    HX_TRY(hx_trainer_new(w->conf, w->dev, &w->trainer));
    HX_TRY(make_run(c, w));
    if (!getenv(RETRY_VAR))
        printf("%s\n", w->run->dir);
    fflush(stdout);
    screen s = { .terminal = isatty(STDERR_FILENO), .quiet = c->quiet };
    hx_train_params p = {
        .run = w->run, .resume = w->resume, .stop = &stop, .save = &save, .event = on_event, .user = &s};
    starting = 0;
    hx_result r = hx_trainer_run(w->trainer, &p);
    if (s.line)
        fputc('\n', stderr);
    // the result of the run matters more than that of its report
    char why[512];
    snprintf(why, sizeof why, "%s", hx_last_message());
    if (hx_report_write(w->run->dir, NULL))
        fprintf(stderr, "warning: no report: %s\n", hx_last_message());
    return r ? hx_fail(r, "%s", why) : HX_OK;
}

static hx_result run(hx_cli *c)
{
    work w = {0};
    hx_result r = train(c, &w);
    if (r == HX_E_LOST && w.run)
        return begin_again(c, &w);
    hx_trainer_free(&w.trainer);
    hx_run_close(&w.run);
    return hx_cli_close(&w.dev, r);
}

HX_CMD(train, .args = "CONFIG.yaml|preset:NAME|RUN [--set key=value]... [--out DIR]",
       .help = "train a model, or go on with a run", .opts = train_fields,
       .opts_size = sizeof(train_opts), .min_args = 1, .max_args = 1, .run = run,
       .early = catch_signals,
       .more = "stdout gets the run directory. Ctrl-C, SIGTERM, SIGHUP or SIGUSR1 ends after the "
               "current step, saves and\nexits with 75; SIGUSR2 saves and goes on;\n"
               "`htxvk train RUN` goes on from there.\n"
               "example: htxvk train demo.yaml --set train.steps=200 --device host\n");
