#version 460
// y1 = x1 c - x2 s, y2 = x2 c + x1 s, of numbers of 16 bits       one invocation per eight pairs
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint HALF = 0;
layout(push_constant) uniform push {
    uint B, T, D, P, K;
    uint heads, axial, inverse;
    uint x_o, x_s, y_o, y_s;
};
#include "half.glsl"
IN16(0, x);  IN16(1, cs);  OUT16(2, y);

void main()
{
    uint i = hx_group() * 64 + gl_LocalInvocationID.x, some = D / 16, half_ = K / 2;
    uint row = i / some, p = i % some * 8, j = p % half_, c1 = p / half_ * K + j;
    if (row >= B * T)
        return;
    uint at_cs = (row % T / axial * K + j) / 4;
    float turn = inverse == 0 ? 1 : -1;
    vec4 c_lo = uintBitsToFloat(cs[at_cs]), c_hi = uintBitsToFloat(cs[at_cs + 1]);
    vec4 s_lo = uintBitsToFloat(cs[at_cs + half_ / 4]) * turn;
    vec4 s_hi = uintBitsToFloat(cs[at_cs + half_ / 4 + 1]) * turn;
    // all are read before any is written: y may be x
    vec4 lo1, hi1, lo2, hi2;
    LOAD8(0, x, x_o + row * x_s + c1, lo1, hi1)
    LOAD8(0, x, x_o + row * x_s + c1 + half_, lo2, hi2)
    vec4 a = lo1 * c_lo - lo2 * s_lo, b = hi1 * c_hi - hi2 * s_hi;
    STORE8(2, y, y_o + row * y_s + c1, a, b)
    a = lo2 * c_lo + lo1 * s_lo;
    b = hi2 * c_hi + hi1 * s_hi;
    STORE8(2, y, y_o + row * y_s + c1 + half_, a, b)
}
