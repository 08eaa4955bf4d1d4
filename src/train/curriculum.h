// curriculum.h - sequences that grow during a training: which length a step has, and of which text.
#pragma once
#include "../core/conf.h"
#include "conf_run.h"

// Rules, and what follows from them: lengths in tokens, train.seq_len, steps of every stage but the
// last. `root` has the places for messages. HX_E_INPUT, HX_E_USAGE as hx_conf_fail.
hx_result hx_curriculum_check(const hx_conf *root, hx_run_conf *c);
// Sets of documents of different lengths in data.train are one for each stage: fills data.staged.
// HX_E_INPUT: they are not as many, or of other lengths than the stages.
hx_result hx_curriculum_sets(hx_arena *arena, hx_run_conf *c);

// Stages of a run, at least 1; the stage, from 0, of the step that follows `step` finished ones; its
// length.
int     hx_stages(const hx_run_conf *c);
int     hx_stage_at(const hx_run_conf *c, int64_t step);
int64_t hx_stage_len(const hx_run_conf *c, int stage);
// Does the step after `step` finished ones begin a stage that is not the first?
bool    hx_stage_begins(const hx_run_conf *c, int64_t step);
