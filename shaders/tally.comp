#version 460
// c[b,0] = number of h[b,t] = 1, c[b,1] = number of h[b,t] = 0, both + before[b,:]
// One workgroup per sequence.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint B, T; uint opts; };
IN_INT(0, h);  IN_INT(1, before);  OUT_INT(2, c);
shared int right[256];
shared int wrong[256];

void main()
{
    uint b = hx_group(), i = gl_LocalInvocationID.x;
    int r = 0, w = 0;
    for (uint t = i; t < (b < B ? T : 0); t += 256) {
        int x = h[b * T + t];
        if (x == 1) r++;
        if (x == 0) w++;
    }
    right[i] = r;
    wrong[i] = w;
    barrier();
    for (uint k = 128; k > 0; k /= 2) {
        if (i < k) { right[i] += right[i + k]; wrong[i] += wrong[i + k]; }
        barrier();
    }
    if (i < 2 && b < B) {
        int n = i == 0 ? right[0] : wrong[0];
        if (HAS(1)) n += before[2 * b + i];
        c[2 * b + i] = n;
    }
}
