#version 460
// dx = a f dy,  dg = +-a f (1-f) sum of dy x over the channels of a gate     one invocation per gate
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(push_constant) uniform push {
    uint R, C, G; float a; int rest;
    uint dy_o, dy_s, x_o, x_s, g_o, g_s, dx_o, dx_s, dg_o, dg_s;
};
IN(0, dy);  IN(1, x);  IN(2, g);  OUT(3, dx);  OUT(4, dg);

void main()
{
    uint i = hx_group() * 64 + gl_LocalInvocationID.x, r = i / G, j = i % G, wide = C / G;
    if (i >= R * G)
        return;
    float v = rest != 0 ? -g[g_o + r * g_s + j] : g[g_o + r * g_s + j], s = 0;
    float f = 1 / (1 + exp(-v)), left = 1 / (1 + exp(v));
    for (uint c = j * wide; c < (j + 1) * wide; c++) {
        float d = dy[dy_o + r * dy_s + c];
        s += d * x[x_o + r * x_s + c];
        dx[dx_o + r * dx_s + c] = a * f * d;
    }
    dg[dg_o + r * dg_s + j] = (rest != 0 ? -a : a) * f * left * s;
}
