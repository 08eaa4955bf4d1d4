// train.h - the loop of a run: steps, evaluations, samples, checkpoints, resuming.
#pragma once
#include <signal.h>

#include "rig.h"
#include "run.h"

typedef enum {
    HX_EVENT_STEP,
    HX_EVENT_ROW,
    HX_EVENT_NOTE,
    HX_EVENT_SAMPLE,
    HX_EVENT_WARN
} hx_event_kind;
// What happened, for whoever shows it: STEP after every step; ROW for the steps that log.every
// chooses, NOTE and WARN for everything else with one line for people; SAMPLE with the text.
typedef struct hx_event {
    hx_event_kind kind;
    const char   *line;                    // NULL for STEP and SAMPLE
    int64_t       step, steps, tokens;
    double        loss, bpc, lr, grad_norm;    // nats, bits per token, -, before clipping
    double        tok_s, step_ms, eta_s;
    int64_t       memory;                  // bytes on the device
    const void   *text;                    // SAMPLE
    int64_t       n_text;
} hx_event;

typedef struct hx_trainer hx_trainer;
// Reads the texts and makes all that training needs on the device: what does not fit fails here.
// conf (resolved) and dev are borrowed.
hx_result hx_trainer_new(const hx_run_conf *conf, hx_dev *dev, hx_trainer **out);
void      hx_trainer_free(hx_trainer **t); // accepts NULL, writes NULL

typedef struct hx_train_params {
    hx_run            *run;                // locked
    bool               resume;             // from the newest checkpoint of the run if there is one
    const volatile sig_atomic_t *stop; // not 0: finish the step, save, HX_E_STOPPED; may be NULL
    volatile sig_atomic_t *save;           // not 0: save after this step, becomes 0; may be NULL
    void             (*event)(void *user, const hx_event *e);  // may be NULL
    void              *user;
} hx_train_params;
// Trains to conf->train.steps, or until evaluations have not become better for long. HX_E_STOPPED: stopped and saved. HX_E_NUMERIC: names the step and
// the last checkpoint, which is from before.
hx_result hx_trainer_run(hx_trainer *t, const hx_train_params *p);
