#version 460
// y = a b + c                                   on matrix units, factors in fp16: matmul.coop.glsl
#extension GL_GOOGLE_include_directive : require
#include "coop_fp16.glsl"
#include "matmul_nn.coop.glsl"
#include "matmul.coop.glsl"

void main() { matmul(M, N, K); }
