// report.c - fuzz target: the files of a run that reports and resumed trainings read: metrics.jsonl,
// positions.json, a sample and config.yaml.
#include "../../src/cli/report.h"
#include "../../src/train/run.h"
#include "../toy.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[64], samples[80];
    part p[MAX_PARTS];
    split(data, size, p);
    snprintf(samples, sizeof samples, "%s/samples", fresh_dir(dir));
    hx_dir_make(samples, 0700);
    put(dir, "metrics.jsonl", p[0]);
    put(dir, "positions.json", p[1]);
    put(samples, "step-00000100.txt", p[2]);
    put(dir, "config.yaml", p[3]);
    hx_report_write(dir, NULL);
    hx_arena *a = hx_arena_new();
    hx_run run = { .arena = a, .dir = dir, .lock = -1 };
    hx_run_rewind(&run, 50);
    if (!hx_run_rewind(&run, 0) && hx_run_has_row(&run, "train", 1))
        abort();
    hx_arena_free(&a);
    hx_dir_remove(dir);
    return 0;
}
