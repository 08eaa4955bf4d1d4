// coop_bf16.glsl - bf16 for matmul.coop.glsl, spelt in SPIR-V for compilers that do not know it.
#extension GL_EXT_spirv_intrinsics : require
#define ELEM spirv_type(extensions = ["SPV_KHR_bfloat16"], capabilities = [5116, 5118], id = 22, 16, 0)

// To the nearest 8 bits, ties to even, by Veltkamp's splitting: drivers' own conversions may cut
// bits off. Infinities stay, as ReLU tells them from NaN; 2^111 and beyond is no longer finite.
uint coop_pair(vec2 v)
{
    precise vec2 c = v * 65537;
    precise vec2 rest = c - v;
    precise vec2 near = c - rest;
    uvec2 own = floatBitsToUint(v);
    uvec2 u = mix(floatBitsToUint(near), own, equal(own & 0x7fffffffu, uvec2(0x7f800000u)));
    return u.x >> 16 | u.y & 0xffff0000u;
}
#define PAIR coop_pair
