#version 460
// dx[b,t] = dy[b, (t + shift)/s] / s, 0 where there is no such mean      four rows a workgroup
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64, local_size_y = 4) in;
layout(push_constant) uniform push {
    uint B, M, D; int n, s, shift; uint dy_o, dy_s, dx_o, dx_s;
};
IN(0, dy);  OUT(1, dx);

void main()
{
    uint row = hx_group() * 4 + gl_LocalInvocationID.y;
    if (row >= B * uint(n)) return;
    uint j = (row % uint(n) + uint(shift)) / uint(s), to = dx_o + row * dx_s;
    uint from = dy_o + (row / uint(n) * M + j) * dy_s;
    float part = 1 / float(s);
    for (uint i = gl_LocalInvocationID.x; i < D; i += 64)
        dx[to + i] = j < M ? dy[from + i] * part : 0;
}
