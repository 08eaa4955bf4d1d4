#version 460
// dh = act'(h) dy                               one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "act.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; int act; uint dy_o, dy_s; };
IN(0, dy);  IN(1, h);  OUT(2, dh);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * C)
        return;
    uint r = i / C, c = i % C;
    dh[i] = act_slope(uint(act), h[i]) * dy[dy_o + r * dy_s + c];
}
