#version 460
// dx[b,j] = c[b,j] + sum of dy[b,p] over j s <= p < j s + s      a workgroup makes four rows
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64, local_size_y = 4) in;
layout(push_constant) uniform push { uint B, M, D; int n, s; uint dy_o, dy_s; uint opts; };
IN(0, dy);  IN(1, c);  OUT(2, dx);

void main()
{
    uint row = hx_group() * 4 + gl_LocalInvocationID.y;
    if (row >= B * uint(n)) return;
    uint base = row / uint(n) * M, from = row % uint(n) * uint(s), to = min(M, from + uint(s));
    for (uint i = gl_LocalInvocationID.x; i < D; i += 64) {
        float sum = HAS(1) ? c[row * D + i] : 0;
        for (uint p = from; p < to; p++) sum += dy[dy_o + (base + p) * dy_s + i];
        dx[row * D + i] = sum;
    }
}
