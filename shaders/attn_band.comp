#version 460
#extension GL_GOOGLE_include_directive : require
#define SEES(i, j) ((j) <= (i) && (i) - (j) <= w)
#define KEYS_LO(i) ((i) - min(i, w))
#define KEYS_HI(i) ((i) + 1)
#include "attention.glsl"
