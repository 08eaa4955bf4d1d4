#version 460
// y = a^T b + c                                 on matrix units, factors in bf16: matmul_whole.coop.glsl
#extension GL_GOOGLE_include_directive : require
#include "coop_bf16.glsl"
#include "matmul_tn.coop.glsl"
#include "matmul.coop.glsl"
#include "matmul_whole.coop.glsl"

void main() { matmul_or_whole(M, N, K); }
