// rig.h - everything that a configured run keeps on its device, and the text that it reads.
#pragma once
#include "../data/text.h"
#include "conf_run.h"
#include "engine.h"
#include "generate.h"

typedef struct hx_rig { hx_net net; hx_engine *engine; hx_generator *gen; hx_bpe *bpe; } hx_rig;
// Plans and allocates all that training as configured will ever need on `dev`, so that a run that
// does not fit fails at once, and `htxvk plan` can ask a null device how much it is.
// profile: programs carry timestamps, see hx_engine_profile.
hx_result hx_rig_new(hx_dev *dev, const hx_run_conf *c, bool profile, hx_rig *out);
void      hx_rig_done(hx_rig *r);

enum { HX_TRAIN_TEXT, HX_VALID_TEXT, HX_TEST_TEXT, HX_N_TEXTS };
// text[i] with the bytes span[i] of it; texts may be one and the same.
typedef struct hx_corpus { hx_text *text[HX_N_TEXTS]; hx_span span[HX_N_TEXTS]; } hx_corpus;
// Reads data.train, .valid, .test: what is not given is cut from data.train by data.split.
hx_result hx_corpus_read(const hx_run_conf *c, hx_corpus *out);
void      hx_corpus_done(hx_corpus *c);
// The training text of one stage of a curriculum that has a set for each: yours, freed with
// hx_text_free. The last stage's is that of the corpus.
hx_result hx_stage_text(const hx_run_conf *c, int stage, hx_text **out);

// Learning rate of step 1, 2, ... steps: linear warm-up, then the schedule down to min_lr.
double    hx_learning_rate(const hx_run_conf *c, int64_t step);
