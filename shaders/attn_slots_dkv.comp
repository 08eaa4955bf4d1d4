#version 460
#extension GL_GOOGLE_include_directive : require
#include "mask_slots.glsl"
#include "attention_dkv.glsl"
