// act.h - activation functions: exact in fp64, and on rows of floats.
#pragma once
#include "../core/op.h"

typedef struct hx_act_attrs { int32_t act; } hx_act_attrs;   // enum hx_act of t.h
extern const hx_field hx_act_fields[];

real hx_act_real(int act, real x);
real hx_act_slope_real(int act, real x);
// y = act(h) + r; r may be NULL, or y.
void hx_act_row(int act, int64_t n, const float *h, const float *r, float *y);
// dh = act'(h) dy; dh may be dy
void hx_act_slope_row(int act, int64_t n, const float *h, const float *dy, float *dh);
