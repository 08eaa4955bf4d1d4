#version 460
// p2 = p - lr/b1 m2 / (sqrt(v2/b2) + eps),  m2, v2 = means of f g + wd p and its square
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
const bool DECOUPLED = false;
#include "adam.glsl"
