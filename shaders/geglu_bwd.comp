#version 460
// dx = dy gelu(g),  dg = dy x gelu'(g)          one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "act.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push {
    uint R, C;
    uint dy_o, dy_s, x_o, x_s, g_o, g_s, dx_o, dx_s, dg_o, dg_s;
};
IN(0, dy);  IN(1, x);  IN(2, g);  OUT(3, dx);  OUT(4, dg);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * C)
        return;
    uint r = i / C, c = i % C;
    float v = dy[dy_o + r * dy_s + c], gate = g[g_o + r * g_s + c];
    dx[dx_o + r * dx_s + c] = v * act_of(1, gate);
    dg[dg_o + r * dg_s + c] = v * x[x_o + r * x_s + c] * act_slope(1, gate);
}
