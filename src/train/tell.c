// tell.c - what a run says: lines, rows of metrics, curves.
#include "trainer.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void hx_tell(hx_trainer *t, hx_event *e)
{
    e->step = t->state.step;
    e->steps = t->c->train.steps;
    e->tokens = t->state.tokens;
    if (t->p->event)
        t->p->event(t->p->user, e);
}

// A line for people, into the log, too. A log that cannot be written stops nothing.
void __attribute__((format(printf, 3, 4)))
hx_say(hx_trainer *t, hx_event_kind kind, const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    char stamp[1100], when[16];
    time_t clock = time(NULL);
    struct tm local;
    strftime(when, sizeof when, "%H:%M:%S", localtime_r(&clock, &local));
    snprintf(stamp, sizeof stamp, "%s  %s", when, line);
    hx_run_log(t->p->run, stamp);
    hx_event e = { .kind = kind, .line = line };
    hx_tell(t, &e);
}

void hx_row_number(hx_out *b, const char *name, double v)
{
    if (isfinite(v))
        hx_out_add(b, ", \"%s\": %.9g", name, v);
}

// The start of a row of metrics.jsonl: what every type has.
void hx_row_begin(const hx_trainer *t, hx_out *b, const char *type)
{
    struct timespec clock;
    clock_gettime(CLOCK_REALTIME, &clock);
    hx_out_add(b,
               "{\"v\": 1, \"t\": %lld.%03ld, \"type\": \"%s\", \"step\": %lld, \"tokens\": %lld",
               (long long)clock.tv_sec, clock.tv_nsec / 1000000, type, (long long)t->state.step,
               (long long)t->state.tokens);
}

hx_result hx_row_end(hx_trainer *t, hx_out *b)
{
    hx_out_add(b, "}");
    hx_result r = b->failed ? hx_fail(HX_E_NOMEM, "no memory for a row of metrics [E-NOMEM]")
                            : hx_run_metric(t->p->run, b->data);
    hx_out_free(b);
    return r;
}

double hx_trainer_bits(const hx_trainer *t, double nats)
{
    const hx_text *x = t->corpus.text[HX_TRAIN_TEXT];
    return nats / log(2) * (x->source_bytes ? (double)x->size / (double)x->source_bytes : 1);
}

void hx_row_losses(const hx_trainer *t, hx_out *b, const hx_losses *l)
{
    hx_row_number(b, "loss", l->loss);
    hx_row_number(b, "bpc", hx_trainer_bits(t, l->ce));
    for (int i = 0; hx_engine_part(t->rig.engine, i); i++)
        if (strcmp(hx_engine_part(t->rig.engine, i), "loss"))
            hx_row_number(b, hx_engine_part(t->rig.engine, i), l->part[i]);
}

// A curve for TensorBoard. A file that cannot be written costs its curves, not the run.
void hx_put_event(hx_trainer *t, const char *group, const char *name, double v)
{
    char tag[160];
    snprintf(tag, sizeof tag, "%s/%s", group, name);
    if (!t->events || !isfinite(v) || !hx_events_number(t->events, t->state.step, tag, v))
        return;
    hx_say(t, HX_EVENT_WARN, "no more events for TensorBoard: %s", hx_last_message());
    hx_events_close(&t->events);
}

void hx_put_losses(hx_trainer *t, const char *group, const hx_losses *l)
{
    hx_put_event(t, group, "bpc", hx_trainer_bits(t, l->ce));
    for (int i = 0; hx_engine_part(t->rig.engine, i); i++)
        hx_put_event(t, group, hx_engine_part(t->rig.engine, i), l->part[i]);
}

hx_result hx_begin_events(hx_trainer *t)
{
    char dir[4200];
    snprintf(dir, sizeof dir, "%s/tb", t->p->run->dir);
    int64_t first = t->state.step ? t->state.step + 1 : 0;
    return t->c->log.tensorboard ? hx_events_open(dir, first, &t->events) : HX_OK;
}

hx_result hx_start_row(hx_trainer *t)
{
    const hx_dev_caps *c = hx_dev_get_caps(t->dev);
    hx_out b = {0};
    hx_row_begin(t, &b, "start");
    hx_out_add(&b, ", \"version\": \"%s\", \"device\": ", HX_VERSION);
    hx_out_json_text(&b, c->name);
    hx_out_add(&b, ", \"driver\": ");
    hx_out_json_text(&b, c->driver);
    hx_out_add(&b, ", \"model\": \"%s\", \"parameters\": %lld", t->c->model->name,
               (long long)hx_params_count(t->rig.net.params));
    return hx_row_end(t, &b);
}

hx_result hx_end_row(hx_trainer *t)
{
    hx_out b = {0};
    hx_row_begin(t, &b, "end");
    hx_row_number(&b, "seconds", t->state.seconds);
    hx_out_add(&b, ", \"exit\": 0, \"reason\": \"%s\"", t->ended ? "no better loss" : "done");
    return hx_row_end(t, &b);
}

// Of this process, in memory; 0: unknown.
int64_t hx_resident_bytes(void)
{
    long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%*s %lld", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}
