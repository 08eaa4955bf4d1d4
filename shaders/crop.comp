#version 460
// x = first rows of each part of y, first columns, + c    one invocation per element of x
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; int parts, have, cols; uint opts; };
IN(0, y);  IN(1, c);  OUT(2, x);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, per = uint(have), width = uint(cols);
    if (i >= uint(parts) * per * width)
        return;
    uint row = i / width, rows = R / uint(parts);
    float v = y[(row / per * rows + row % per) * C + i % width];
    x[i] = HAS(1) ? v + c[i] : v;
}
