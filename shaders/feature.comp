#version 460
// y = elu(x) + 1                                one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; uint x_o, x_s, y_o, y_s; };
IN(0, x);  OUT(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * C)
        return;
    float v = x[x_o + i / C * x_s + i % C];
    y[y_o + i / C * y_s + i % C] = v > 0 ? v + 1 : exp(v);
}
