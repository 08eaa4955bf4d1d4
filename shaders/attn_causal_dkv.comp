#version 460
#extension GL_GOOGLE_include_directive : require
#define SEES(i, j) ((j) <= (i))
#define QUERIES_LO(j) (j)
#define QUERIES_HI(j) n
#include "attention_dkv.glsl"
