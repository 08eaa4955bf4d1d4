#version 460
// h = x w^T + b,  y = act(h) + r                on matrix units, factors in fp16: matmul_whole.coop.glsl
#extension GL_GOOGLE_include_directive : require
#include "coop_fp16.glsl"
#include "linear.coop.glsl"
#include "matmul.coop.glsl"
#include "matmul_whole.coop.glsl"

void main() { matmul_or_whole(R, O, I); }
