#version 460
// y = act(h)                                    one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "act.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; int act; };
IN(0, h);  OUT(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i < R * C)
        y[i] = act_of(uint(act), h[i]);
}
