#version 460
// dc = dy1 x1 + dy2 x2, ds = dy2 x1 - dy1 x2    one invocation per pair of a position
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(push_constant) uniform push {
    uint B, T, D;
    uint heads, axial, inverse, positions;
    uint x_o, x_s, dy_o, dy_s;
};
IN(0, x);  IN(1, dy);  OUT(2, dcs);

void main()
{
    uint at = hx_group() * 64 + gl_LocalInvocationID.x, K = D / heads, half_ = K / 2;
    if (at >= positions * half_)
        return;
    uint p = at / half_, j = at % half_, t1 = min((p + 1) * axial, T);
    float dc = 0, ds = 0;
    for (uint b = 0; b < B; b++)
        for (uint t = p * axial; t < t1; t++)
            for (uint h = 0; h < heads; h++) {
                uint i = x_o + (b * T + t) * x_s + h * K + j;
                uint g = dy_o + (b * T + t) * dy_s + h * K + j;
                dc += dy[g] * x[i] + dy[g + half_] * x[i + half_];
                ds += dy[g + half_] * x[i] - dy[g] * x[i + half_];
            }
    dcs[p * K + j] = dc;
    dcs[p * K + half_ + j] = inverse == 0 ? ds : -ds;
}
