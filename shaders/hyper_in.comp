#version 460
// y[r,t] = c[r,t] + sum_s w[r,s,t] x[r,s]       one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push {
    uint R, S, D, T;
    uint x_o, x_s, w_o, w_s, c_o, c_s, y_o, y_s, opts;
};
IN(0, x);  IN(1, w);  IN(2, c);  OUT(3, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, d = i % D, row = i / D;
    if (row >= R * T)
        return;
    uint r = row / T, t = row % T;
    float sum = HAS(2) ? c[c_o + row * c_s + d] : 0;
    for (uint s = 0; s < S; s++)
        sum += w[w_o + (r * S + s) * w_s + t] * x[x_o + (r * S + s) * x_s + d];
    y[y_o + row * y_s + d] = sum;
}
