// coop_fp16.glsl - fp16 for matmul.coop.glsl.
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define ELEM float16_t
#define PAIR(v) packFloat2x16(f16vec2(v))
