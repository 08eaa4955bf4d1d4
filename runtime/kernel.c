// kernel.c - names of capabilities, as `htxvk devices` prints them and HTXVK_CAPS takes them, and of
// precisions.
#include "kernel.h"
#include <string.h>

// the preprocessor knows no lower case: a row of HX_CAPS without a word here does not compile
#define WORD_SUBGROUP   "subgroup"
#define WORD_SHARED48   "shared48"
#define WORD_SHARED64   "shared64"
#define WORD_WIDE       "wide"
#define WORD_STORE16    "store16"
#define WORD_FP16       "fp16"
#define WORD_COOPMAT    "coopmat"
#define WORD_COOPMAT_BF "coopmat_bf"
#define WORD_COOPMAT2   "coopmat2"
#define WORD_GPU        "gpu"
#define WORD_LANES      "lanes"
#define WORD_FACTORS    "factors"

const char *const hx_cap_names[HX_N_CAPS] = {
#define X(name, text) WORD_##name,
    HX_CAPS(X)
#undef X
};

const char *const hx_precision_names[HX_N_PRECISIONS] = { "fp32", "bf16", "fp16", "auto" };

int hx_precision_find(const char *name)
{
    for (int i = 0; i < HX_N_PRECISIONS; i++)
        if (!strcmp(name, hx_precision_names[i]))
            return i;
    return -1;
}
