#version 460
// y[r] = 1 if x[r,k] is not 0 for some k, else 0      one invocation per row
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, W; };
IN_INT(0, x);  OUT_INT(1, y);

void main()
{
    uint r = hx_group() * 256 + gl_LocalInvocationID.x;
    if (r >= R) return;
    int any = 0;
    for (uint k = 0; k < W; k++) any |= x[r * W + k];
    y[r] = any != 0 ? 1 : 0;
}
