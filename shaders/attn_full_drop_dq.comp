#version 460
#extension GL_GOOGLE_include_directive : require
#define DROP
#include "mask_full.glsl"
#include "attention_dq.glsl"
