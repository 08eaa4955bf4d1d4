#version 460
// y[b] = 0 where drop[b] is not 0, else age[b] + plus
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(push_constant) uniform push { uint B; int plus; uint opts; };
IN_INT(0, age);  IN_INT(1, drop);  OUT_INT(2, y);

void main()
{
    uint i = hx_group() * 64 + gl_LocalInvocationID.x;
    if (i >= B) return;
    int v = age[i] + plus;
    if (HAS(1)) v = drop[i] != 0 ? 0 : v;
    y[i] = v;
}
