// interp.h - runs a tape in fp64 through the references alone: slow, exact, the definition.
#pragma once
#include "tape.h"

typedef struct hx_interp hx_interp;
hx_interp *hx_interp_new(const hx_tape *t);            // yours; NULL when memory is out
void       hx_interp_free(hx_interp **i);
void       hx_interp_set(hx_interp *i, hx_t x, const real *v);   // contiguous, hx_elems(x)
void       hx_interp_get(hx_interp *i, hx_t x, real *v);
hx_result  hx_interp_run(hx_interp *i);
