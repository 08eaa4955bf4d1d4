#version 460
// dn[r] = dm/k where y[r] != ignore, else 0      one invocation per row
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R; int ignore; };
IN_INT(0, y);  IN_INT(1, k);  IN(2, dm);  OUT(3, dn);

void main()
{
    uint r = hx_group() * 256 + gl_LocalInvocationID.x;
    if (r < R) dn[r] = y[r] != ignore ? dm[0] / float(k[0]) : 0;
}
