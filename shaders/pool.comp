#version 460
// y[b,j] = 1/s sum of x[b,t] over j s - shift <= t < j s - shift + s      four rows a workgroup
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64, local_size_y = 4) in;
layout(push_constant) uniform push { uint B, M, D; int s, shift; uint x_o, x_s, y_o, y_s; };
IN(0, x);  OUT(1, y);

void main()
{
    uint m = (M + uint(s) - 1) / uint(s), row = hx_group() * 4 + gl_LocalInvocationID.y;
    if (row >= B * m) return;
    int first = int(row % m) * s - shift;
    uint lo = uint(max(first, 0)), hi = uint(clamp(first + s, 0, int(M)));
    uint base = row / m * M, to = y_o + row * y_s;
    for (uint i = gl_LocalInvocationID.x; i < D; i += 64) {
        float sum = 0;
        for (uint t = lo; t < hi; t++) sum += x[x_o + (base + t) * x_s + i];
        y[to + i] = sum * (1 / float(s));
    }
}
