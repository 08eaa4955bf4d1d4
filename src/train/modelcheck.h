// modelcheck.h - a whole model on a device against its references in fp64: outputs and gradients.
#pragma once
#include "pass.h"

typedef struct hx_modelreport {
    char   text[512];                      // the sample
    double outputs, grads;                 // worst ||out - ref|| / ||ref|| of any tensor
    char   worst[128];                     // name of the one nearest to its limit, or past it
    double ms;
} hx_modelreport;
int hx_model_samples(const hx_model *m);
// Runs sample i of m->samples. HX_E_CHECK: an output is off by more than 2e-5 or a gradient by more
// than 1e-4 (1e-6 in absolute numbers where the reference is zero), or a second run differs in a
// bit.
hx_result hx_check_model(hx_dev *dev, const hx_model *m, int i, uint64_t seed, hx_modelreport *out);
