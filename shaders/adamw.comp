#version 460
// p2 = p - lr wd p - lr/b1 m2 / (sqrt(v2/b2) + eps),  m2, v2 = means of f g, (f g)^2
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
const bool DECOUPLED = true;
#include "adam.glsl"
