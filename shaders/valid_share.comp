#version 460
// s = sum of n[r] over y[r] != ignore / k
// One workgroup: an invocation adds every 256th row, then a tree.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R; int ignore; };
IN(0, n);  IN_INT(1, y);  IN_INT(2, k);  OUT(3, s);
shared float part[256];

void main()
{
    uint i = gl_LocalInvocationID.x;
    float sum = 0;
    for (uint r = i; r < R; r += 256)
        if (y[r] != ignore) sum += n[r];
    part[i] = sum;
    barrier();
    for (uint h = 128; h > 0; h /= 2) {
        if (i < h) part[i] += part[i + h];
        barrier();
    }
    if (i == 0) s[0] = part[0] / float(k[0]);
}
