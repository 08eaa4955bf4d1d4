#version 460
// e = y.dy - dl per head                        one invocation per head of a token
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(push_constant) uniform push {
    uint B, T, D;
    uint heads;
    uint y_o, y_s, dy_o, dy_s, opts;
};
IN(0, y);  IN(1, dy);  IN(2, dl);  OUT(3, e);

void main()
{
    uint at = hx_group() * 64 + gl_LocalInvocationID.x, K = D / heads;
    if (at >= B * T * heads)
        return;
    uint row = at / heads, h = at % heads, to = (row / T * heads + h) * T + row % T;
    uint y0 = y_o + row * y_s + h * K, dy0 = dy_o + row * dy_s + h * K;
    float sum = 0;
    for (uint c = 0; c < K; c++)
        sum += y[y0 + c] * dy[dy0 + c];
    if (HAS(2))
        sum -= dl[to];
    e[to] = sum;
}
