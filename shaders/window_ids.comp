#version 460
// y[b,j,i] = ids[b, j stride + offset + i], 0 outside      one invocation per id
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint B, N; int m, width, stride, offset; };
IN_INT(0, ids);  OUT_INT(1, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, w = uint(width), n = uint(m) * w;
    if (i >= B * n) return;
    uint b = i / n, k = i % n;
    int p = int(k / w) * stride + offset + int(k % w);
    y[i] = p >= 0 && p < int(N) ? ids[b * N + uint(p)] : 0;
}
