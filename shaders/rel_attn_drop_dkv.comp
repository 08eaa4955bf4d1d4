#version 460
#extension GL_GOOGLE_include_directive : require
#define DROP
#include "rel_attn_dkv.glsl"
