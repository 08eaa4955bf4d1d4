#version 460
// y1 = x1 c - x2 s, y2 = x2 c + x1 s            one workgroup per token, one invocation per pair
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(push_constant) uniform push {
    uint B, T, D, P, K;
    uint heads, axial, inverse;
    uint x_o, x_s, y_o, y_s;
};
IN(0, x);  IN(1, cs);  OUT(2, y);

void main()
{
    uint row = hx_group(), half_ = K / 2;
    if (row >= B * T)
        return;
    uint at = row % T / axial * K;
    for (uint p = gl_LocalInvocationID.x; p < D / 2; p += 64) {
        uint j = p % half_, c1 = p / half_ * K + j, c2 = c1 + half_;
        float c = cs[at + j], s = inverse == 0 ? cs[at + half_ + j] : -cs[at + half_ + j];
        // both are read before either is written: y may be x
        float x1 = x[x_o + row * x_s + c1], x2 = x[x_o + row * x_s + c2];
        y[y_o + row * y_s + c1] = x1 * c - x2 * s;
        y[y_o + row * y_s + c2] = x2 * c + x1 * s;
    }
}
