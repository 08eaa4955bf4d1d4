#version 460
// k = number of rows with y[r] != ignore, at least 1
// One workgroup: an invocation counts every 256th row, then a tree.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R; int ignore; };
IN_INT(0, y);  OUT_INT(1, k);
shared uint count[256];

void main()
{
    uint i = gl_LocalInvocationID.x, c = 0;
    for (uint r = i; r < R; r += 256)
        if (y[r] != ignore) c++;
    count[i] = c;
    barrier();
    for (uint h = 128; h > 0; h /= 2) {
        if (i < h) count[i] += count[i + h];
        barrier();
    }
    if (i == 0) k[0] = int(max(count[0], 1));
}
