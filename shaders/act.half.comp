#version 460
// y = act(h), h in 16 bits                      one invocation per eight elements
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "act.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint HALF = 0;
layout(push_constant) uniform push { uint R, C; int act; };
#include "half.glsl"
IN16(0, h);  OUT16(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * (C / 8))
        return;
    vec4 lo, hi;
    LOAD8(0, h, i * 8, lo, hi)
    [[unroll]] for (uint c = 0; c < 4; c++) {
        lo[c] = act_of(uint(act), lo[c]);
        hi[c] = act_of(uint(act), hi[c]);
    }
    STORE8(1, y, i * 8, lo, hi)
}
