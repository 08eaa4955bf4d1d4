#version 460
#extension GL_GOOGLE_include_directive : require
#define SEES(i, j) ((j) <= (i) && (i) - (j) <= w)
#define QUERIES_LO(j) (j)
#define QUERIES_HI(j) min((j) + w + 1, n)
#include "attention_dkv.glsl"
