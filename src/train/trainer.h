// trainer.h - what the files of a trainer share: the loop in train.c, what it says in tell.c.
#pragma once
#include "../../runtime/clock.h"
#include "../core/ckpt.h"
#include "events.h"
#include "feed.h"
#include "saver.h"
#include "trace.h"
#include "train.h"

struct hx_trainer {
    hx_arena              *arena;
    const hx_run_conf     *c;
    hx_dev                *dev;
    const hx_train_params *p;              // of hx_trainer_run
    hx_rig                 rig;
    hx_corpus              corpus;
    hx_ckpt_state          state;          // as of the newest step whose result was taken
    int32_t               *ids;            // one step's windows, a batch before its labels if masked
    hx_feed                feed;           // of a run that reads streams
    int                    stage;          // of a curriculum, -1 before the first step
    int64_t                T;              // tokens of a sequence of this stage
    hx_text               *stage_text[HX_MAX_LIST];    // of all but the last where each has its own
    int64_t                sample0, step0; // index of the next sample at the step we began from
    double                 began, mark;    // times: of this process's training, of the last result
    double                 span_s;         // spent on steps since the last row
    int64_t                span_steps, all_steps;
    double                 all_s;
    double                 saved_at;
    int64_t                saved_step;     // of the newest checkpoint, on disk or on its way there; -1: none
    hx_saver              *saver;
    char                  *copy;           // what checkpoints are written from; NULL until the first
    hx_arena              *saving_states;  // carried states of the one that is being written
    int64_t                saving;         // its step; -1: none is
    hx_events             *events;         // for TensorBoard; NULL: not wanted
    hx_trace              *trace;          // NULL: not wanted, or written
    bool                   improved;       // the evaluation of this step is the best so far
    bool                   ended;          // evaluations have not become better for long
    char                   bad[256];       // of the last step that was skipped: what was not finite
};

// ---- stages of a curriculum; without one there is one stage
const hx_text *hx_train_text(const hx_trainer *t);     // that the stage reads
hx_span   hx_train_span(const hx_trainer *t);
// The stage of the step that follows `step` finished ones, none of which may be under way; streams are
// cut anew. hx_next_stage: on the way, where hx_stage_begins; documents begin, too.
hx_result hx_enter_stage(hx_trainer *t, int64_t step);
hx_result hx_next_stage(hx_trainer *t, int64_t step);

// ---- checkpoints: copied between two steps, written beside the next ones, see save.c ---------------
hx_result hx_save_open(hx_trainer *t);
void      hx_save_close(hx_trainer *t);    // waits for what is being written
// Copies everything and begins to write it; waits for the one before, and says so.
hx_result hx_save_begin(hx_trainer *t);
void      hx_save_look(hx_trainer *t);     // takes and tells what has been written by now, waits for nothing
void      hx_save_settle(hx_trainer *t);   // waits for what is being written; a failure is a warning
hx_result hx_save_finish(hx_trainer *t);   // on return the step that we stand at is on the disk
void      hx_save_warn(hx_trainer *t, int64_t step);       // it was not saved, by the last message
hx_result hx_save_load(hx_trainer *t, const char *dir);    // everything of a checkpoint
// Weights of another run, moments and steps of none: sequences of more segments after those of fewer.
hx_result hx_save_weights_from(hx_trainer *t, const char *path);

// ---- for people; every line goes to the log, too, and one that cannot be written stops nothing
void      hx_tell(hx_trainer *t, hx_event *e);
void      hx_say(hx_trainer *t, hx_event_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

// ---- rows of metrics.jsonl --------------------------------------------------------------------
void      hx_row_begin(const hx_trainer *t, hx_out *b, const char *type);     // what every type has
void      hx_row_number(hx_out *b, const char *name, double v);              // if it is finite
// Bits per byte of source text: tokens of several bytes by their mean length in the training text.
double    hx_trainer_bits(const hx_trainer *t, double nats);
void      hx_row_losses(const hx_trainer *t, hx_out *b, const hx_losses *l);
hx_result hx_row_end(hx_trainer *t, hx_out *b);                              // writes and frees it
hx_result hx_start_row(hx_trainer *t);     // of a process that begins or goes on
hx_result hx_end_row(hx_trainer *t);       // of a run that is done
int64_t   hx_resident_bytes(void);         // of this process, in memory; 0: unknown

// ---- curves for TensorBoard; a file that cannot be written costs its curves, not the run
hx_result hx_begin_events(hx_trainer *t);
void      hx_put_event(hx_trainer *t, const char *group, const char *name, double v);
void      hx_put_losses(hx_trainer *t, const char *group, const hx_losses *l);
