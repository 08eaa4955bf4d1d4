#version 460
// p[i] = sum of g[j]^2 over 4096 i <= j < 4096 (i+1)
// One workgroup per block: an invocation adds 16 numbers, then a tree.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint N; uint p_o, p_s; };
IN(0, g);  OUT(1, p);
shared float part[256];

void main()
{
    uint i = gl_LocalInvocationID.x, block = hx_group(), from = block * 4096;
    float s = 0;
    for (uint k = 0; k < 16; k++) {
        uint j = from + k * 256 + i;
        float x = j < N ? g[j] : 0;
        s += x * x;
    }
    part[i] = s;
    barrier();
    for (uint h = 128; h > 0; h /= 2) {
        if (i < h) part[i] += part[i + h];
        barrier();
    }
    if (i == 0 && from < N) p[p_o + block * p_s] = part[0];
}
