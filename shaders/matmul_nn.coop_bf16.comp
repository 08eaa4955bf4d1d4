#version 460
// y = a b + c                                   on matrix units, factors in bf16: matmul.coop.glsl
#extension GL_GOOGLE_include_directive : require
#include "coop_bf16.glsl"
#include "matmul_nn.coop.glsl"
#include "matmul.coop.glsl"

void main() { matmul(M, N, K); }
