#version 460
// dx[b,t] = dy[b,t/s] where s divides t, else 0      a workgroup makes four rows
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64, local_size_y = 4) in;
layout(push_constant) uniform push { uint B, M, D; int n, s; uint dy_o, dy_s, dx_o, dx_s; };
IN(0, dy);  OUT(1, dx);

void main()
{
    uint row = hx_group() * 4 + gl_LocalInvocationID.y;
    if (row >= B * uint(n)) return;
    uint t = row % uint(n), j = t / uint(s), to = dx_o + row * dx_s;
    bool taken = j * uint(s) == t && j < M;
    uint from = dy_o + (row / uint(n) * M + j) * dy_s;
    for (uint i = gl_LocalInvocationID.x; i < D; i += 64) dx[to + i] = taken ? dy[from + i] : 0;
}
