#version 460
// x[b,t] = e[ids[b,t]],  t < take      a workgroup copies four rows, 64 columns at a time
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64, local_size_y = 4) in;
layout(push_constant) uniform push { uint B, N, V, D; int take; uint x_o, x_s; };
IN_INT(0, ids);  IN(1, e);  OUT(2, x);

void main()
{
    uint i = hx_group() * 4 + gl_LocalInvocationID.y, n = uint(take);
    if (i >= B * n) return;
    uint id = uint(ids[i / n * N + i % n]);
    uint from = (id < V ? id : 0) * D, to = x_o + i * x_s;
    for (uint d = gl_LocalInvocationID.x; d < D; d += 64) x[to + d] = e[from + d];
}
