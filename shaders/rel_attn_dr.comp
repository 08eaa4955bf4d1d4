#version 460
#extension GL_GOOGLE_include_directive : require
#include "rel_attn_dr.glsl"
