#version 460
// y = s x                                       one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; float s; uint x_o, x_s, y_o, y_s; };
IN(0, x);  OUT(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * C)
        return;
    uint r = i / C, c = i % C;
    y[y_o + r * y_s + c] = s * x[x_o + r * x_s + c];
}
