#version 460
// dx = dy where x > 0, else dy e^x              one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; uint dy_o, dy_s, x_o, x_s, dx_o, dx_s; };
IN(0, dy);  IN(1, x);  OUT(2, dx);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * C)
        return;
    float v = x[x_o + i / C * x_s + i % C], d = dy[dy_o + i / C * dy_s + i % C];
    dx[dx_o + i / C * dx_s + i % C] = v > 0 ? d : d * exp(v);
}
