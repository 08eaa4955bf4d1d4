#version 460
// y = f x + (1-f) n / max(d, eps) where d > 0, else x;  f = sigmoid g        one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push {
    uint R, K, H; float eps; uint x_o, x_s, nd_o, nd_s, y_o, y_s;
};
IN(0, x);  IN(1, nd);  IN(2, g);  OUT(3, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, row = i / K, k = i % K;
    if (i >= R * K)
        return;
    float v = x[x_o + row * x_s + k], d = nd[nd_o + row * nd_s + K];
    // what is left, 1 - f, is the sigmoid of -g: without cancellation
    float f = 1 / (1 + exp(-g[row % H])), p = 1 / (1 + exp(g[row % H]));
    float m = nd[nd_o + row * nd_s + k] / hx_at_least(d, eps);
    y[y_o + row * y_s + k] = d <= 0 ? v : f * v + p * m;
}
