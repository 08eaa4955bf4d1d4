#version 460
// norm = scale sqrt(sum p),  f = scale min(1, most/(norm + 1e-6)),  most <= 0: f = scale;
// norm > limit > 0 or not finite: f = -1
// One workgroup: an invocation adds every 256th partial sum, then a tree. k: the step block.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint P; };
IN(0, p);  IN(1, k);  OUT(2, f);  OUT(3, norm);
shared float part[256];

void main()
{
    uint i = gl_LocalInvocationID.x;
    float s = 0;
    for (uint j = i; j < P; j += 256) s += p[j];
    part[i] = s;
    barrier();
    for (uint h = 128; h > 0; h /= 2) {
        if (i < h) part[i] += part[i + h];
        barrier();
    }
    if (i == 0) {
        float most = k[3], scale = k[4], limit = k[5], size = sqrt(part[0]) * abs(scale);
        float cut = most / (size + 1e-6);
        norm[0] = size;
        // by its bits: compilers may take for granted that numbers are finite
        bool bad = (floatBitsToUint(size) & 0x7f800000) == 0x7f800000 || (limit > 0 && size > limit);
        f[0] = bad ? -1 : most > 0 && !(cut >= 1) ? scale * cut : scale;
    }
}
