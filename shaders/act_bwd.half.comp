#version 460
// dh = act'(h) dy, h and dy in 16 bits          one invocation per eight elements
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "act.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint HALF = 0;
layout(push_constant) uniform push { uint R, C; int act; uint dy_o, dy_s; };
#include "half.glsl"
IN16(0, dy);  IN16(1, h);  OUT16(2, dh);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * (C / 8))
        return;
    uint r = i / (C / 8), c = i % (C / 8) * 8;
    vec4 lo, hi, h_lo, h_hi;
    LOAD8(0, dy, dy_o + r * dy_s + c, lo, hi)
    LOAD8(1, h, i * 8, h_lo, h_hi)
    [[unroll]] for (uint k = 0; k < 4; k++) {
        lo[k] *= act_slope(uint(act), h_lo[k]);
        hi[k] *= act_slope(uint(act), h_hi[k]);
    }
    STORE8(2, dh, i * 8, lo, hi)
}
