#version 460
// y = a b + c                                   32 x 32 of y per workgroup: matmul_lanes.glsl
#extension GL_GOOGLE_include_directive : require
#include "matmul_nn.glsl"
#include "matmul_lanes.glsl"

void main() { matmul(M, N, K); }
