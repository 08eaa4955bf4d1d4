#version 460
// y[b,p] = x[b, p/s]      a workgroup copies four rows, 64 columns at a time
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64, local_size_y = 4) in;
layout(push_constant) uniform push { uint B, M, D; int n, s; uint x_o, x_s, y_o, y_s; };
IN(0, x);  OUT(1, y);

void main()
{
    uint row = hx_group() * 4 + gl_LocalInvocationID.y;
    if (row >= B * uint(n)) return;
    uint from = x_o + (row / uint(n) * M + row % uint(n) / uint(s)) * x_s, to = y_o + row * y_s;
    for (uint i = gl_LocalInvocationID.x; i < D; i += 64) y[to + i] = x[from + i];
}
