#version 460
// y[r,s] = c[r,s] + sum_t w[r,s,t] x[r,t]       one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push {
    uint R, T, D, S;
    uint x_o, x_s, w_o, w_s, c_o, c_s, y_o, y_s, opts;
};
IN(0, x);  IN(1, w);  IN(2, c);  OUT(3, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, d = i % D, row = i / D;
    if (row >= R * S)
        return;
    uint r = row / S;
    float sum = HAS(2) ? c[c_o + row * c_s + d] : 0;
    for (uint t = 0; t < T; t++)
        sum += w[w_o + row * w_s + t] * x[x_o + (r * T + t) * x_s + d];
    y[y_o + row * y_s + d] = sum;
}
