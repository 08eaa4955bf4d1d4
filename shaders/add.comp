#version 460
// z = x + y,  twin = z                             one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; uint x_o, x_s, y_o, y_s, z_o, z_s, opts; };
IN(0, x);  IN(1, y);  OUT(2, z);  OUT(3, twin);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * C)
        return;
    uint r = i / C, c = i % C;
    float s = x[x_o + r * x_s + c] + y[y_o + r * y_s + c];
    z[z_o + r * z_s + c] = s;
    if (HAS(3))
        twin[i] = s;
}
