#version 460
// z = x + y,  twin = z in 16 bits                  one invocation per eight elements
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint HALF = 0;
layout(push_constant) uniform push { uint R, C; uint x_o, x_s, y_o, y_s, z_o, z_s, opts; };
#include "half.glsl"
IN16(0, x);  IN16(1, y);  OUT16(2, z);  OUT16(3, twin);

// eight fp32 numbers, wherever the first lies
#define GET8(buf, from, lo, hi) {                                                                \
        uint at = from;                                                                          \
        if (at % 4 == 0) {                                                                       \
            lo = uintBitsToFloat(buf[at / 4]);                                                   \
            hi = uintBitsToFloat(buf[at / 4 + 1]);                                               \
        } else {                                                                                 \
            [[unroll]] for (uint c = 0; c < 4; c++) {                                            \
                lo[c] = uintBitsToFloat(buf[(at + c) / 4][(at + c) % 4]);                        \
                hi[c] = uintBitsToFloat(buf[(at + c + 4) / 4][(at + c) % 4]);                    \
            }                                                                                    \
        }                                                                                        \
    }

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * (C / 8))
        return;
    uint r = i / (C / 8), c = i % (C / 8) * 8;
    vec4 lo, hi, y_lo, y_hi;
    GET8(x, x_o + r * x_s + c, lo, hi)
    GET8(y, y_o + r * y_s + c, y_lo, y_hi)
    lo += y_lo;
    hi += y_hi;
    STORE8(2, z, z_o + r * z_s + c, lo, hi)
    if (HAS(3))
        STORE8(3, twin, i * 8, lo, hi)
}
