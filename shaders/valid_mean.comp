#version 460
// m = sum of n[r] over y[r] != ignore / k,  k = number of those rows
// One workgroup: an invocation adds every 256th row, then a tree.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R; int ignore; };
IN(0, n);  IN_INT(1, y);  OUT(2, m);  OUT_INT(3, k);
shared float part[256];
shared uint count[256];

void main()
{
    uint i = gl_LocalInvocationID.x, c = 0;
    float s = 0;
    for (uint r = i; r < R; r += 256)
        if (y[r] != ignore) { s += n[r]; c++; }
    part[i] = s;
    count[i] = c;
    barrier();
    for (uint h = 128; h > 0; h /= 2) {
        if (i < h) { part[i] += part[i + h]; count[i] += count[i + h]; }
        barrier();
    }
    if (i == 0) {
        k[0] = int(count[0]);
        m[0] = count[0] > 0 ? part[0] / float(count[0]) : uintBitsToFloat(0x7fc00000u);
    }
}
