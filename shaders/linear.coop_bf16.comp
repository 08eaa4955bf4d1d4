#version 460
// h = x w^T + b,  y = act(h) + r                on matrix units, factors in bf16: matmul.coop.glsl
#extension GL_GOOGLE_include_directive : require
#include "coop_bf16.glsl"
#include "linear.coop.glsl"
#include "matmul.coop.glsl"

void main() { matmul(R, O, I); }
