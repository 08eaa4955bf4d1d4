#version 460
// y = a f x,  f = sigmoid g, or 1 - sigmoid g   one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C, G; float a; int rest; uint x_o, x_s, g_o, g_s, y_o, y_s; };
IN(0, x);  IN(1, g);  OUT(2, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, r = i / C, c = i % C;
    if (i >= R * C)
        return;
    float v = g[g_o + r * g_s + c / (C / G)];
    y[y_o + r * y_s + c] = a / (1 + exp(rest != 0 ? v : -v)) * x[x_o + r * x_s + c];
}
