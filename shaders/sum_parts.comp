#version 460
// y_i = sum_s p_si + c_i                        one invocation per sum
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint S, C, opts; };
IN(0, p);  IN(1, c);  OUT(2, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= C)
        return;
    float sum = 0;
    for (uint s = 0; s < S; s++)
        sum += p[s * C + i];
    y[i] = HAS(1) ? sum + c[i] : sum;
}
