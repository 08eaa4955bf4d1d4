#version 460
// y = a x + b
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint N; float a, b; };
IN(0, x);  OUT(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationIndex;
    if (i < N) y[i] = a * x[i] + b;
}
