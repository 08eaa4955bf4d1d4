#version 460
#extension GL_GOOGLE_include_directive : require
#define DROP
#include "mask_slots.glsl"
#include "attention_dkv.glsl"
