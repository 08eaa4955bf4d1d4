#version 460
// y = a b + c                                   a tile of y per workgroup: matmul.glsl
#extension GL_GOOGLE_include_directive : require
#include "matmul_nn.glsl"
#include "matmul.glsl"

void main() { matmul(M, N, K); }
