// coop16.glsl - what matrix products on matrix units share: buffers of 16 bytes an element, which are
// four fp32 or, where HALF says so, eight numbers of 16 bits. After PAIR(v): two numbers of a vec2
// rounded to 16 bits, in a uint.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#include "hx.glsl"
#undef IN
#undef OUT
#define IN(i, x)  layout(set = 0, binding = i, std430) readonly  buffer in_##x  { uvec4 x[]; }
#define OUT(i, x) layout(set = 0, binding = i, std430) writeonly buffer out_##x { uvec4 x[]; }
#define VEC4(buf, i)  uintBitsToFloat(buf[(i) / 4])
#define FLOAT(buf, i) uintBitsToFloat(buf[(i) / 4][(i) % 4])
#define SET_FLOAT(buf, i, v) buf[(i) / 4][(i) % 4] = floatBitsToUint(v)
layout(constant_id = 9) const uint HALF = 0;    // bit i: argument i lies in 16 bits

uvec4 eight(vec4 lo, vec4 hi)
{
    return uvec4(PAIR(lo.xy), PAIR(lo.zw), PAIR(hi.xy), PAIR(hi.zw));
}

// Stores eight sums from element `to` on; arg: number of the argument.
#define SET8(arg, buf, to, lo, hi) {                                                             \
        uint at = to;                                                                            \
        if ((HALF >> arg & 1) != 0) {                                                            \
            buf[at / 8] = eight(lo, hi);                                                         \
        } else if (at % 4 == 0) {                                                                \
            buf[at / 4] = floatBitsToUint(lo);                                                   \
            buf[at / 4 + 1] = floatBitsToUint(hi);                                               \
        } else {                                                                                 \
            for (uint e = 0; e < 4; e++) {                                                       \
                SET_FLOAT(buf, at + e, lo[e]);                                                   \
                SET_FLOAT(buf, at + e + 4, hi[e]);                                               \
            }                                                                                    \
        }                                                                                        \
    }
// Adds eight fp32 from element `from` on.
#define ADD8(buf, from, lo, hi) {                                                                \
        uint at = from;                                                                          \
        if (at % 4 == 0) {                                                                       \
            lo += VEC4(buf, at);                                                                 \
            hi += VEC4(buf, at + 4);                                                             \
        } else {                                                                                 \
            for (uint e = 0; e < 4; e++) {                                                       \
                lo[e] += FLOAT(buf, at + e);                                                     \
                hi[e] += FLOAT(buf, at + e + 4);                                                 \
            }                                                                                    \
        }                                                                                        \
    }
