#version 460
#extension GL_GOOGLE_include_directive : require
#define OWN_SHARED
#include "attn_bf16.glsl"
#include "mask_full.glsl"
#include "attention_dq.coop.glsl"
