// coop_bf16.glsl - bf16 for matmul.coop.glsl, spelt in SPIR-V for compilers that do not know it.
#extension GL_EXT_spirv_intrinsics : require
#define ELEM  spirv_type(extensions = ["SPV_KHR_bfloat16"], capabilities = [5116, 5118], id = 22, 16, 0)
#define ELEM2 spirv_type(id = 23, ELEM, 2)
spirv_instruction(id = 115) ELEM2 coop_round(vec2 x);      // OpFConvert
spirv_instruction(id = 124) uint coop_bits(ELEM2 x);       // OpBitcast
#define PAIR(v) coop_bits(coop_round(v))
