#version 460
// p_s = a^T b over the s-th part of the rows    on matrix units, factors in fp16: matmul.coop.glsl
#extension GL_GOOGLE_include_directive : require
#include "coop.glsl"
#include "matmul_split.glsl"
#include "coop_fp16.glsl"
IN(0, a);  IN(1, b);  OUT(2, p);

void put4(uint m, uint n, vec4 s) { p[(SUM_AT(m, n)) / 4] = s; }
void put1(uint m, uint n, float s) { ELEM_OF(p, SUM_AT(m, n)) = s; }

#define FOURS (N % 4 == 0)
#define A_BY_K 0
#define B_BY_K 0
#define PUT4 put4
#define PUT1 put1
#include "matmul.coop.glsl"

MAIN
