#version 460
// y[r] = x[r], 0 where ids[r] < 0                             one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, D; uint x_o, x_s, y_o, y_s; };
IN(0, x);  IN_INT(1, ids);  OUT(2, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * D) return;
    uint r = i / D, c = i % D;
    y[y_o + r * y_s + c] = ids[r] < 0 ? 0 : x[x_o + r * x_s + c];
}
