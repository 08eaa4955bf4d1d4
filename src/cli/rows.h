// rows.h - metrics.jsonl of a run as columns of numbers.
#pragma once
#include <jansson.h>

#include "chart.h"

typedef struct hx_rows { const char *dir; json_t *all; } hx_rows;   // an array of objects
// Every whole row of a run; a last one that a crash cut short is left out. HX_E_INPUT: no run.
hx_result hx_rows_read(hx_arena *a, const char *dir, hx_rows *out);
void      hx_rows_done(hx_rows *r);
// Numbers of a key ("loss", "mem.device") over those of x ("step", "tokens", "t") in the rows of
// one type; in `a`. n is 0 where there are none.
hx_result hx_rows_line(hx_arena *a, const hx_rows *r, const char *type, const char *x,
                       const char *key, hx_line *out);
// The last row of a type; NULL: there is none. Borrowed.
const json_t *hx_rows_last(const hx_rows *r, const char *type);
// A moving mean over about 1/40 of the points.
hx_result hx_line_smooth(hx_arena *a, const hx_line *raw, hx_line *out);
