#version 460
// h = x w^T + b,  y = act(h) + r                on matrix units, factors in fp16: matmul.coop.glsl
#extension GL_GOOGLE_include_directive : require
#include "coop_fp16.glsl"
#include "linear.coop.glsl"
#include "matmul.coop.glsl"

void main() { matmul(R, O, I); }
