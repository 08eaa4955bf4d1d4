#version 460
// p_s = a^T b over the s-th part of the rows    32 x 32 per workgroup: matmul_lanes.glsl
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "matmul_split.glsl"
IN(0, a);  IN(1, b);  OUT(2, p);

void put(uint m, uint n, float s) { p[SUM_AT(m, n)] = s; }

#define A_BY_K false
#define B_BY_K false
#define PUT put
#include "matmul_lanes.glsl"

MAIN
