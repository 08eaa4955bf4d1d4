#version 460
// u[b,j, i k + p] = x[b, j stride - (k-1) + p, i], 0 before the start
// A workgroup makes four rows; an invocation writes the k taps of one channel after another.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64, local_size_y = 4) in;
layout(push_constant) uniform push { uint B, T, D; int k, stride; uint x_o, x_s; };
IN(0, x);  OUT(1, u);

void main()
{
    uint m = (T + uint(stride) - 1) / uint(stride), row = hx_group() * 4 + gl_LocalInvocationID.y;
    if (row >= B * m) return;
    int first = int(row % m) * stride - (k - 1);
    uint base = row / m * T;
    for (uint i = gl_LocalInvocationID.x; i < D; i += 64) {
        uint to = (row * D + i) * uint(k);
        for (int p = 0; p < k; p++)
            u[to + uint(p)] = first + p < 0 ? 0 : x[x_o + (base + uint(first + p)) * x_s + i];
    }
}
