#version 460
// y[p,c] = sum_{i < G} x[p G + i, c]            one invocation per sum
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; int G; uint x_o, x_s; };
IN(0, x);  OUT(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, g = uint(G);
    if (i >= (R + g - 1) / g * C)
        return;
    uint p = i / C, c = i % C, last = min(R, (p + 1) * g);
    float s = 0;
    for (uint r = p * g; r < last; r++)
        s += x[x_o + r * x_s + c];
    y[i] = s;
}
