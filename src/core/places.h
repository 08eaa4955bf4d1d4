// places.h - where a device keeps the elements of its matrices.
#pragma once
#include "op.h"
#include "../../runtime/dev.h"

// The last four constants of rows with .places (shaders/attn_coop.glsl); zeros where elements lie
// in no pattern that they can say, the last one zero where factors lie otherwise than sums, or
// conversions cut bits off. Runs a kernel the first time that a device is asked for a precision.
hx_result hx_places_of(hx_dev *d, hx_precision precision, uint32_t out[4]);
// The same from what that kernel wrote; false: no such pattern.
bool hx_places_read(const int32_t *found, int lanes, uint32_t out[4]);
