#version 460
// y[r] = (to < 0 ? ids[r] - first : to) where first <= ids[r] < first + n, else other[r] or -1
//                                                             one invocation per id
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R; int first, n, to; uint opts; };
IN_INT(0, ids);  IN_INT(1, other);  OUT_INT(2, y);

void main()
{
    uint r = hx_group() * 256 + gl_LocalInvocationID.x;
    if (r >= R) return;
    int id = ids[r];
    if (id >= first && id - first < n)
        y[r] = to < 0 ? id - first : to;
    else if (HAS(1))
        y[r] = other[r];
    else
        y[r] = -1;
}
