// attn_bf16.glsl - bf16 for attn_coop.glsl.
#include "coop_bf16.glsl"
spirv_instruction(id = 115) ELEM cut(float v);              // OpFConvert
// to the nearest, as coop_pair(): what is converted has no bits that might be cut off
ELEM elem_of(float v)
{
    precise float c = v * 65537;
    precise float rest = c - v;
    precise float near = c - rest;
    return cut(near);
}
