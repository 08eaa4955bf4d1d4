#version 460
#extension GL_GOOGLE_include_directive : require
#define OWN_SHARED
#include "attn_fp16.glsl"
#include "mask_band.glsl"
#include "attention_dkv.coop.glsl"
