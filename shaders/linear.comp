#version 460
// h = x w^T + b,  y = act(h) + r                a tile of y per workgroup: matmul.glsl
#extension GL_GOOGLE_include_directive : require
#include "linear.glsl"
#include "matmul.glsl"

void main() { matmul(R, O, I); }
