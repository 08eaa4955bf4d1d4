#version 460
// y = (1-z) n + z x                             one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "gru.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, D; uint i_o, i_s, h_o, h_s, x_o, x_s, y_o, y_s; };
IN(0, i);  IN(1, h);  IN(2, x);  OUT(3, y);

void main()
{
    uint at = hx_group() * 256 + gl_LocalInvocationID.x, row = at / D, k = at % D;
    if (at >= R * D)
        return;
    uint p = i_o + row * i_s + k, q = h_o + row * h_s + k;
    float r = share_of(i[p] + h[q]), u = i[p + D] + h[q + D];
    float n = hx_tanh(i[p + 2 * D] + r * h[q + 2 * D]);
    y[y_o + row * y_s + k] = share_of(-u) * n + share_of(u) * x[x_o + row * x_s + k];
}
