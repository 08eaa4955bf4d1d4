// run.h - a run directory: the resolved configuration, metrics, log, samples and checkpoints of one
// training. It appears whole, one process at a time owns it.
#pragma once
#include "conf_run.h"

typedef struct hx_run {
    hx_arena   *arena;
    const char *dir, *ckpt_dir, *metrics, *log;
    int         lock;                      // descriptor; -1: none
} hx_run;

// Makes `dir` with config.yaml and its folders inside: staged beside it, then renamed; and locks
// it. HX_E_USAGE: it exists already.
hx_result hx_run_create(const char *dir, const hx_run_conf *c, hx_run **out);   // yours
// Locks an existing run. HX_E_IO: another process trains there.
hx_result hx_run_open(const char *dir, hx_run **out);                           // yours
void      hx_run_close(hx_run **r);        // accepts NULL, writes NULL
bool      hx_run_is(const char *dir);      // a directory with a config.yaml
// A name for a new run: runs/NAME-YYYYMMDD-HHMMSS, NAME from the configuration's file.
const char *hx_run_name(hx_arena *a, const char *conf_path);

hx_result hx_run_save_conf(hx_run *r, const hx_run_conf *c);         // replaces config.yaml
hx_result hx_run_metric(hx_run *r, const char *json);                // one line of metrics.jsonl
hx_result hx_run_log(hx_run *r, const char *line);                   // one line of train.log
hx_result hx_run_sample(hx_run *r, int64_t step, const void *text, int64_t n);
// Drops the metrics of steps after `step`: they will be made again.
hx_result hx_run_rewind(hx_run *r, int64_t step);
// Is there a row of this type for this step?
bool      hx_run_has_row(hx_run *r, const char *type, int64_t step);
