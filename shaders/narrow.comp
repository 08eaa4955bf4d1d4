#version 460
// y = x rounded to 16 bits                      one invocation per eight elements
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint HALF = 0;
layout(push_constant) uniform push { uint R, C; uint x_o, x_s, y_o, y_s; };
#include "half.glsl"
IN16(0, x);  OUT16(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * (C / 8))
        return;
    uint r = i / (C / 8), c = i % (C / 8) * 8;
    vec4 lo, hi;
    LOAD8(0, x, x_o + r * x_s + c, lo, hi)
    STORE8(1, y, y_o + r * y_s + c, lo, hi)
}
