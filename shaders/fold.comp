#version 460
// dx[b,t,i] = c[b,t,i] + sum_j du[b,j, i k + t + k-1 - j stride]
// A workgroup makes four rows of dx; j runs over the rows of u that hold token t.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64, local_size_y = 4) in;
layout(push_constant) uniform push { uint B, M, W; int n, k, stride; uint opts; };
IN(0, du);  IN(1, c);  OUT(2, dx);

void main()
{
    uint row = hx_group() * 4 + gl_LocalInvocationID.y, D = W / uint(k);
    if (row >= B * uint(n)) return;
    int t = int(row % uint(n)), from = (t + stride - 1) / stride;
    int to = min(int(M) - 1, (t + k - 1) / stride);
    uint base = row / uint(n) * M;
    for (uint i = gl_LocalInvocationID.x; i < D; i += 64) {
        float s = HAS(1) ? c[row * D + i] : 0;
        for (int j = from; j <= to; j++)
            s += du[(base + uint(j)) * W + i * uint(k) + uint(t + k - 1 - j * stride)];
        dx[row * D + i] = s;
    }
}
