// half.glsl - numbers of 16 bits beside fp32. The includer declares HALF, the last constant of its
// row: bit i says that argument i lies in memory in 16 bits, bit 30 that those are bf16. Buffers are
// of 16 bytes an element, rows of arguments in 16 bits are whole eights.
#define IN16(i, x)  layout(set = 0, binding = i, std430) readonly  buffer in_##x  { uvec4 x[]; }
#define OUT16(i, x) layout(set = 0, binding = i, std430) writeonly buffer out_##x { uvec4 x[]; }
// Buffers of words: fp32, or pairs of 16 bits.
#define IN_WORDS(i, x)  layout(set = 0, binding = i, std430) readonly  buffer in_##x  { uint x[]; }
#define OUT_WORDS(i, x) layout(set = 0, binding = i, std430) writeonly buffer out_##x { uint x[]; }
#define IS_HALF(i) ((HALF >> i & 1) != 0)

// To the nearest, ties to even; NaN stays NaN.
uint half_pair(vec2 v)
{
    if ((HALF >> 30 & 1) == 0)
        return packHalf2x16(v);
    uvec2 u = floatBitsToUint(v), near = u + 0x7fff + (u >> 16 & 1);
    u = mix(near, u | 0x400000u, greaterThan(u & 0x7fffffffu, uvec2(0x7f800000u)));
    return u.x >> 16 | u.y & 0xffff0000u;
}

vec2 half_both(uint u)
{
    return (HALF >> 30 & 1) == 0 ? unpackHalf2x16(u)
                                 : vec2(uintBitsToFloat(u << 16), uintBitsToFloat(u & 0xffff0000u));
}

// What half_both() would give of half_pair(v). Of fp16 by hand: a compiler may take packing and unpacking
// for nothing, and NVIDIA's does.
vec2 half_near(vec2 v)
{
    if ((HALF >> 30 & 1) != 0)
        return half_both(half_pair(v));
    uvec2 u = floatBitsToUint(v), size = u & 0x7fffffffu;
    uvec2 near = (size + 0xfff + (size >> 13 & 1)) & ~0x1fffu;
    near = mix(near, uvec2(0x7f800000u), greaterThanEqual(near, uvec2(0x47800000u)));
    near = mix(near, size, greaterThan(size, uvec2(0x7f800000u)));
    // below 2^-14 numbers are 2^-24 apart, as those of fp32 between 0.5 and 1
    precise vec2 raised = abs(v) + 0.5;
    precise vec2 small = raised - 0.5;
    near = mix(near, floatBitsToUint(small), lessThan(size, uvec2(0x38800000u)));
    return uintBitsToFloat(near | u & 0x80000000u);
}

uvec4 half_eight(vec4 lo, vec4 hi)
{
    return uvec4(half_pair(lo.xy), half_pair(lo.zw), half_pair(hi.xy), half_pair(hi.zw));
}
void half_parts(uvec4 u, out vec4 lo, out vec4 hi)
{
    lo = vec4(half_both(u.x), half_both(u.y));
    hi = vec4(half_both(u.z), half_both(u.w));
}

// Eight elements as 16 bits would hold them.
#define HALF_NEAR8(lo, hi) {                                                                     \
        lo = vec4(half_near(lo.xy), half_near(lo.zw));                                           \
        hi = vec4(half_near(hi.xy), half_near(hi.zw));                                           \
    }
// Eight elements from element `from` on, rounded if they are not yet.
#define LOAD8(arg, buf, from, lo, hi) {                                                          \
        uint at = from;                                                                          \
        if (IS_HALF(arg)) {                                                                      \
            half_parts(buf[at / 8], lo, hi);                                                     \
        } else {                                                                                 \
            if (at % 4 == 0) {                                                                   \
                lo = uintBitsToFloat(buf[at / 4]);                                               \
                hi = uintBitsToFloat(buf[at / 4 + 1]);                                           \
            } else {                                                                             \
                [[unroll]] for (uint c = 0; c < 4; c++) {                                        \
                    lo[c] = uintBitsToFloat(buf[(at + c) / 4][(at + c) % 4]);                    \
                    hi[c] = uintBitsToFloat(buf[(at + c + 4) / 4][(at + c) % 4]);                \
                }                                                                                \
            }                                                                                    \
            HALF_NEAR8(lo, hi)                                                                   \
        }                                                                                        \
    }
#define STORE8(arg, buf, to, lo, hi) {                                                           \
        uint at = to;                                                                            \
        if (IS_HALF(arg)) {                                                                      \
            buf[at / 8] = half_eight(lo, hi);                                                    \
        } else if (at % 4 == 0) {                                                                \
            buf[at / 4] = floatBitsToUint(lo);                                                   \
            buf[at / 4 + 1] = floatBitsToUint(hi);                                               \
        } else {                                                                                 \
            [[unroll]] for (uint c = 0; c < 4; c++) {                                            \
                buf[(at + c) / 4][(at + c) % 4] = floatBitsToUint(lo[c]);                        \
                buf[(at + c + 4) / 4][(at + c) % 4] = floatBitsToUint(hi[c]);                    \
            }                                                                                    \
        }                                                                                        \
    }
#define STORE2(arg, buf, to, v) {                                                                \
        if (IS_HALF(arg)) {                                                                      \
            buf[(to) / 2] = half_pair(v);                                                        \
        } else {                                                                                 \
            buf[to] = floatBitsToUint((v).x);                                                    \
            buf[(to) + 1] = floatBitsToUint((v).y);                                              \
        }                                                                                        \
    }
// Two elements, the first at an even place, rounded if they are not yet.
#define LOAD2(arg, buf, from) (IS_HALF(arg) ? half_both(buf[(from) / 2])                         \
    : half_near(vec2(uintBitsToFloat(buf[from]), uintBitsToFloat(buf[(from) + 1]))))
