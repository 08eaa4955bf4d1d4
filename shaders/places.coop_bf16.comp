#version 460
// where elements of matrices are: coop_places.glsl
#extension GL_GOOGLE_include_directive : require
#include "attn_bf16.glsl"
spirv_instruction(id = 115) float float_of(ELEM v);         // OpFConvert
// 16 bits that are a number of their own for each i < 256, that number, and back
#define MARK(i) (0x3f00u + (i))
#define MARKED(i) uintBitsToFloat(MARK(i) << 16)
#define MARK_OF(v) ((floatBitsToUint(v) >> 16) - 0x3f00u)
#include "coop_places.glsl"
