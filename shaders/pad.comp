#version 460
// y = parts of x, zeros below and beside each   one invocation per element of y
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; int parts, rows, cols; };
IN(0, x);  OUT(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, per = uint(rows), width = uint(cols);
    if (i >= uint(parts) * per * width)
        return;
    uint row = i / width, c = i % width, have = R / uint(parts), at = row % per;
    y[i] = at < have && c < C ? x[(row / per * have + at) * C + c] : 0;
}
