#version 460
// y = n / max(d, eps)                           one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; float eps; uint nd_o, nd_s, y_o, y_s; };
IN(0, nd);  OUT(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, K = C - 1;
    if (i >= R * K)
        return;
    uint from = nd_o + i / K * nd_s;
    float d = nd[from + K];
    y[y_o + i / K * y_s + i % K] = nd[from + i % K] / hx_at_least(d, eps);
}
