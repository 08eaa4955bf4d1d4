#version 460
// y[a,q,p] = x[a,p,q]     a workgroup copies sixteen rows, 16 columns at a time
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 16, local_size_y = 16) in;
layout(push_constant) uniform push { uint A, P, Q, D; uint x_o, x_s, y_o, y_s; };
IN(0, x);  OUT(1, y);

void main()
{
    uint row = hx_group() * 16 + gl_LocalInvocationID.y;
    if (row >= A * P * Q) return;
    uint a = row / (P * Q), q = row / P % Q, p = row % P;
    uint from = x_o + ((a * P + p) * Q + q) * x_s, to = y_o + row * y_s;
    for (uint i = gl_LocalInvocationID.x; i < D; i += 16) y[to + i] = x[from + i];
}
