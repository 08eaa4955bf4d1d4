#version 460
// e = y.dy - dl per head                        sixteen lanes to a head of a token, so that they read
// neighbours; 64 heads of tokens a workgroup
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(push_constant) uniform push {
    uint B, T, D;
    uint heads;
    uint y_o, y_s, dy_o, dy_s, opts;
};
IN(0, y);  IN(1, dy);  IN(2, dl);  OUT(3, e);
const uint W = 16;
shared float part[64 * (W + 1)];

void main()
{
    uint t = gl_LocalInvocationID.x, first = hx_group() * 64, K = D / heads, all = B * T * heads;
    for (uint r = t / W; r < 64; r += 64 / W) {
        uint at = min(first + r, all - 1), row = at / heads, h = at % heads;
        uint y0 = y_o + row * y_s + h * K, dy0 = dy_o + row * dy_s + h * K;
        float sum = 0;
        for (uint c = t % W; c < K; c += W)
            sum += y[y0 + c] * dy[dy0 + c];
        part[r * (W + 1) + t % W] = sum;
    }
    barrier();
    uint at = first + t;
    if (at >= all)
        return;
    uint row = at / heads, to = (row / T * heads + at % heads) * T + row % T;
    float sum = 0;
    [[unroll]] for (uint i = 0; i < W; i++)
        sum += part[t * (W + 1) + i];
    if (HAS(2))
        sum -= dl[to];
    e[to] = sum;
}
