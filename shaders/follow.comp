#version 460
// e2 = e + rate (p - e), a workgroup for 1024 elements. k: the step block.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint N; };
IN(0, e);  IN(1, p);  IN(2, k);  OUT(3, e2);

void main()
{
    uint first = hx_group() * 1024 + gl_LocalInvocationID.x;
    float rate = k[6];
    for (uint i = first; i < min(N, first + 1024); i += 256)
        e2[i] = e[i] + rate * (p[i] - e[i]);
}
