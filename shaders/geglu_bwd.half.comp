#version 460
// dx = dy gelu(g),  dg = dy x gelu'(g), in 16 bits    one invocation per eight elements
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "act.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint HALF = 0;
layout(push_constant) uniform push {
    uint R, C;
    uint dy_o, dy_s, x_o, x_s, g_o, g_s, dx_o, dx_s, dg_o, dg_s;
};
#include "half.glsl"
IN16(0, dy);  IN16(1, x);  IN16(2, g);  OUT16(3, dx);  OUT16(4, dg);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * (C / 8))
        return;
    uint r = i / (C / 8), c = i % (C / 8) * 8;
    vec4 lo, hi, x_lo, x_hi, g_lo, g_hi;
    LOAD8(0, dy, dy_o + r * dy_s + c, lo, hi)
    LOAD8(1, x, x_o + r * x_s + c, x_lo, x_hi)
    LOAD8(2, g, g_o + r * g_s + c, g_lo, g_hi)
    [[unroll]] for (uint k = 0; k < 4; k++) {
        x_lo[k] *= lo[k] * act_slope(1, g_lo[k]);
        x_hi[k] *= hi[k] * act_slope(1, g_hi[k]);
        lo[k] *= act_of(1, g_lo[k]);
        hi[k] *= act_of(1, g_hi[k]);
    }
    STORE8(3, dx, dx_o + r * dx_s + c, lo, hi)
    STORE8(4, dg, dg_o + r * dg_s + c, x_lo, x_hi)
}
