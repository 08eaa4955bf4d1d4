#version 460
#extension GL_GOOGLE_include_directive : require
#define DROP
#include "mask_causal.glsl"
#include "attention_dq.glsl"
