#version 460
// y[i,c] = x[i / G, c]                          one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint P, C; int n, G; uint x_o, x_s; };
IN(0, x);  OUT(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= uint(n) * C)
        return;
    y[i] = x[x_o + i / C / uint(G) * x_s + i % C];
}
