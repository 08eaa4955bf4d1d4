#version 460
// p_s = a^T b over the s-th part of the rows    on matrix units, factors in fp16: matmul_whole.coop.glsl
#extension GL_GOOGLE_include_directive : require
#include "coop_fp16.glsl"
#include "coop16.glsl"
#include "matmul_split.glsl"
IN(0, a);  IN(1, b);  OUT(2, p);

void put8(uint m, uint n, vec4 lo, vec4 hi) { SET8(2, p, SUM_AT(m, n), lo, hi) }
void put1(uint m, uint n, float s) { SET_FLOAT(p, SUM_AT(m, n), s); }

#define EIGHTS (N % 8 == 0)
#define A_BY_K 0
#define B_BY_K 0
#include "matmul.coop.glsl"
#include "matmul_whole.coop.glsl"
#define matmul matmul_or_whole

MAIN
