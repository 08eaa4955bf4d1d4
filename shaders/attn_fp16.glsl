// attn_fp16.glsl - fp16 for attn_coop.glsl.
#include "coop_fp16.glsl"
#define elem_of(v) float16_t(v)
#define NARROW                             // gradients may leave the range of the type
