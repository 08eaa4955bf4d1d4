#version 460
// h = x w^T + b,  y = act(h) + r                32 x 32 of y per workgroup: matmul_lanes.glsl
#extension GL_GOOGLE_include_directive : require
#include "linear.glsl"
#include "matmul_lanes.glsl"

void main() { matmul(R, O, I); }
