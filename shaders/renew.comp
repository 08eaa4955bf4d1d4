#version 460
// y[a,b] = old[a,b] where age[b] > 0, else init[a,b], or 0 without; flip: the other way round
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint B, A, C; int flip; uint opts; };
IN_INT(0, age);  IN(1, old);  IN(2, init);  OUT(3, y);

void main()
{
    uint n = A * B * C, from = hx_group() * 1024 + gl_LocalInvocationID.x;
    for (uint k = 0; k < 4; k++) {
        uint i = from + k * 256;
        if (i >= n) return;
        bool keep = (age[i / C % B] > 0) != (flip != 0);
        float v = 0;
        if (keep) v = old[i];
        else if (HAS(2)) v = init[i];
        y[i] = v;
    }
}
