#version 460
// y[b,t] = x[b, t - shift], 0 outside      a workgroup makes four rows, 64 columns at a time
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64, local_size_y = 4) in;
layout(push_constant) uniform push { uint B, T, D; int n, shift; uint x_o, x_s, y_o, y_s; };
IN(0, x);  OUT(1, y);

void main()
{
    uint row = hx_group() * 4 + gl_LocalInvocationID.y;
    if (row >= B * uint(n)) return;
    int t = int(row % uint(n)) - shift;
    bool there = t >= 0 && t < int(T);
    uint from = x_o + (row / uint(n) * T + uint(t)) * x_s, to = y_o + row * y_s;
    for (uint i = gl_LocalInvocationID.x; i < D; i += 64) y[to + i] = there ? x[from + i] : 0;
}
