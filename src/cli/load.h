// load.h - a trained model from a run directory or a checkpoint, onto a device.
#pragma once
#include "../data/bpe.h"
#include "../train/conf_run.h"
#include "../train/pass.h"
#include "cli.h"

typedef struct hx_loaded {
    const char *dir;                       // the checkpoint that was taken
    hx_case     kase;
    hx_net      net;
    hx_dev     *dev;
    hx_memory   params;
    hx_bpe     *bpe;                       // of the run that the checkpoint lies in; NULL: tokens are bytes
} hx_loaded;
// Reads the newest whole checkpoint of `path`, then opens the device and moves the parameters
// there.
hx_result hx_load(hx_cli *c, const char *path, hx_loaded *out);
hx_result hx_load_done(hx_loaded *l, hx_result r);     // passes r on, see hx_cli_close
