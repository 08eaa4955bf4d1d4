#version 460
// y[t,b] = ids[b, from + t]                     one invocation per id
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint B, N; int m, from; };
IN_INT(0, ids);  OUT_INT(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i < B * uint(m)) y[i] = ids[i % B * N + uint(from) + i / B];
}
