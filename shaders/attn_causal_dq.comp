#version 460
#extension GL_GOOGLE_include_directive : require
#define SEES(i, j) ((j) <= (i))
#define KEYS_LO(i) 0
#define KEYS_HI(i) ((i) + 1)
#include "attention_dq.glsl"
