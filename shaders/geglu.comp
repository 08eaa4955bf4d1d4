#version 460
// y = x gelu(g)                                 one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "act.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; uint x_o, x_s, g_o, g_s, y_o, y_s; };
IN(0, x);  IN(1, g);  OUT(2, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * C)
        return;
    uint r = i / C, c = i % C;
    y[y_o + r * y_s + c] = x[x_o + r * x_s + c] * act_of(1, g[g_o + r * g_s + c]);
}
