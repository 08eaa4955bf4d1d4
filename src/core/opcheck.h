// opcheck.h - the checks that follow from an operator's descriptor, for tests and `htxvk check`.
#pragma once
#include "../../runtime/dev.h"
#include "tape.h"

// What kind of numbers float inputs hold where the operator does not fill them itself.
#define HX_PROFILES(X)                                                                    \
    X(UNIFORM, "uniform", "evenly between -1 and 1")                                      \
    X(NORMAL,  "normal",  "the normal distribution")                                      \
    X(INTS,    "ints",    "integers from -4 to 4: sums and products are exact in any order") \
    X(MIXED,   "mixed",   "magnitudes from 2^-20 to 1 side by side")                      \
    X(TINY,    "tiny",    "around 2^-50")                                                 \
    X(HUGE,    "huge",    "around 2^30")                                                  \
    X(ZEROS,   "zeros",   "mostly zeros of both signs")                                   \
    X(EQUAL,   "equal",   "one value throughout")                                         \
    X(NAN,     "nan",     "normal, one element is NaN")                                   \
    X(INF,     "inf",     "normal, one element is infinite")
typedef enum hx_profile {
#define X(name, word, text) HX_PROFILE_##name,
    HX_PROFILES(X)
#undef X
    HX_N_PROFILES
} hx_profile;
const char *hx_profile_name(hx_profile p);
bool        hx_profile_find(const char *name, hx_profile *out);

// One sample of hx_op.check, wrong or bench: "R=33 C=257 eps=1e-3 -b g=[4]".
typedef struct hx_sample {
    int64_t dim[HX_MAX_DIMS];
    _Alignas(8) char attrs[HX_MAX_ATTRS];
    uint32_t left_out;                     // bit i: optional argument i is not given
    int      odd_arg;                      // an input whose shape is replaced; -1: none
    int64_t  odd_shape[HX_MAX_RANK];
    int      odd_rank;
    hx_profile profile;
    bool     random_layout;                // offsets, row distances, aliases by the seed
    int      huge;                         // power of two of HX_PROFILE_HUGE; 0: 30
    char     text[192], says[96];          // the sample; what follows ':' in a wrong one
} hx_sample;
// Reads sample number i of a list separated by ';'. HX_E_USAGE past the end or when malformed.
hx_result hx_sample_read(const hx_op *op, const char *list, int i, hx_sample *out);
int       hx_sample_count(const char *list);
// Writes the shape of argument k, at most HX_MAX_RANK numbers, and returns how many they are.
int       hx_sample_shape(const hx_op *op, const hx_sample *s, int k, int64_t *shape);

typedef struct hx_opreport {
    char   row[64];                        // kernel row, or "host"
    double worst;                          // largest error in units of the tolerance
    double worst_l2;                       // relative L2 error in units of its limit
    double l2;                             // relative L2 error itself
    double ms;
    uint32_t ran;                          // bit i: kernel row i; by hx_lab_check_rows
} hx_opreport;
// Derivative against central differences of the fp64 reference, weighing every output:
// HX_E_CHECK with the element and both values when they differ by more than 1e-7 relative.
hx_result hx_check_gradient(const hx_op *op, const hx_sample *s, uint64_t seed, double *worst);
// A sample that must fail, with its message. HX_E_CHECK when it does not.
hx_result hx_check_wrong(const hx_op *op, const hx_sample *s);

// What checks of one device share: its buffers, so that a case costs a plan and two submits.
typedef struct hx_lab hx_lab;
hx_result hx_lab_new(hx_dev *d, hx_lab **out);
void      hx_lab_free(hx_lab **l);         // accepts NULL, writes NULL
// One kernel row (-1: the one that would be chosen) against the reference; strided arguments get
// odd offsets and row distances, everything that is no output must keep its bits, outputs begin
// as NaN, two runs must give the same bits, and sums of small integers must be exact (hx_op.exact).
// HX_E_CHECK with element, both values and the allowed error. The reference of a row that rounds inputs
// to 16 bits gets them rounded, the device does not; the allowed error is the same.
hx_result hx_lab_check(hx_lab *l, const hx_op *op, int row, const hx_sample *s, uint64_t seed,
                       hx_opreport *report);
// All rows of `op` that any mask of capabilities can lead to on this device; *rows counts them.
// The report holds the worst of each. Stops at the first failure, whose row the report names.
hx_result hx_lab_check_rows(hx_lab *l, const hx_op *op, const hx_sample *s, uint64_t seed,
                            hx_opreport *report, int *rows);
// A lab for one check only.
hx_result hx_check_kernel(hx_dev *d, const hx_op *op, int row, const hx_sample *s, uint64_t seed,
                          hx_opreport *report);

// A legal random sample: dims, attributes and optional arguments within hx_op.fuzz, profile, and
// a random layout. The same for the same seed everywhere. HX_E_INTERNAL when none is found.
hx_result hx_sample_random(const hx_op *op, uint64_t seed, hx_sample *out);
// A sample that still fails in the same lab, smaller where possible. `s` must fail.
void      hx_sample_shrink(hx_lab *l, const hx_op *op, hx_sample *s, uint64_t seed);
// Writes s->text from the values.
void      hx_sample_say(const hx_op *op, hx_sample *s);
// NULL when shapes and attributes are acceptable to the operator, else why not (static text).
const char *hx_sample_wrong(const hx_op *op, const hx_sample *s);
