// opcheck.h - the checks that follow from an operator's descriptor, for tests and `htxvk check`.
#pragma once
#include "../../runtime/dev.h"
#include "tape.h"

// One sample of hx_op.check, wrong or bench: "R=33 C=257 eps=1e-3 -b g=[4]".
typedef struct hx_sample {
    int64_t dim[HX_MAX_DIMS];
    _Alignas(8) char attrs[HX_MAX_ATTRS];
    uint32_t left_out;                     // bit i: optional argument i is not given
    int      odd_arg;                      // an input whose shape is replaced; -1: none
    int64_t  odd_shape[HX_MAX_RANK];
    int      odd_rank;
    char     text[128], says[96];          // the sample; what follows ':' in a wrong one
} hx_sample;
// Reads sample number i of a list separated by ';'. HX_E_USAGE past the end or when malformed.
hx_result hx_sample_read(const hx_op *op, const char *list, int i, hx_sample *out);
int       hx_sample_count(const char *list);

typedef struct hx_opreport {
    char   row[64];                        // kernel row, or "host"
    double worst;                          // largest error in units of the tolerance
    double worst_l2;                       // relative L2 error in units of its limit
    double l2;                             // relative L2 error itself
    double ms;
} hx_opreport;
// Derivative against central differences of the fp64 reference, weighing every output:
// HX_E_CHECK with the element and both values when they differ by more than 1e-7 relative.
hx_result hx_check_gradient(const hx_op *op, const hx_sample *s, uint64_t seed, double *worst);
// One kernel row (-1: the one that would be chosen) on a device against the reference; strided
// arguments get odd row distances, guard words around outputs must survive, two runs must give
// the same bits. HX_E_CHECK with element, both values and the allowed error.
hx_result hx_check_kernel(hx_dev *d, const hx_op *op, int row, const hx_sample *s, uint64_t seed,
                          hx_opreport *report);
// A sample that must fail, with its message. HX_E_CHECK when it does not.
hx_result hx_check_wrong(const hx_op *op, const hx_sample *s);
