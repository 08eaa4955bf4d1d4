#version 460
// where elements of matrices are: coop_places.glsl
#extension GL_GOOGLE_include_directive : require
#include "attn_fp16.glsl"
#define float_of(v) float(v)
// 16 bits that are a number of their own for each i < 256, that number, and back
#define MARK(i) (0x3c00u + (i))
#define MARKED(i) unpackHalf2x16(MARK(i)).x
#define MARK_OF(v) (packHalf2x16(vec2(v, 0)) - 0x3c00u)
#include "coop_places.glsl"
