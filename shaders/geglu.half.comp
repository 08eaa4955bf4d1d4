#version 460
// y = x gelu(g), in 16 bits                     one invocation per eight elements
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "act.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint HALF = 0;
layout(push_constant) uniform push { uint R, C; uint x_o, x_s, g_o, g_s, y_o, y_s; };
#include "half.glsl"
IN16(0, x);  IN16(1, g);  OUT16(2, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * (C / 8))
        return;
    uint r = i / (C / 8), c = i % (C / 8) * 8;
    vec4 lo, hi, g_lo, g_hi;
    LOAD8(0, x, x_o + r * x_s + c, lo, hi)
    LOAD8(1, g, g_o + r * g_s + c, g_lo, g_hi)
    [[unroll]] for (uint k = 0; k < 4; k++) {
        lo[k] *= act_of(1, g_lo[k]);
        hi[k] *= act_of(1, g_hi[k]);
    }
    STORE8(2, y, y_o + r * y_s + c, lo, hi)
}
