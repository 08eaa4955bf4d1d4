#version 460
// u[b,j, i k + p] = x[b, j stride - (k-1) + p, i] in 16 bits, 0 before the start
// One invocation makes eight elements of u.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint HALF = 0;
layout(push_constant) uniform push { uint B, T, D; int k, stride; uint x_o, x_s; };
#include "half.glsl"
IN(0, x);  OUT16(1, u);

// element `at` of row m of u, whose token j begins at `first`
float tap(uint at, uint base, int first)
{
    uint i = at / uint(k);
    int t = first + int(at % uint(k));
    return t < 0 ? 0 : x[x_o + (base + uint(t)) * x_s + i];
}

void main()
{
    uint m = (T + uint(stride) - 1) / uint(stride), eights = D * uint(k) / 8;
    uint e = hx_group() * 256 + gl_LocalInvocationID.x;
    if (e >= B * m * eights)
        return;
    uint row = e / eights, at = e % eights * 8, base = row / m * T;
    int first = int(row % m) * stride - (k - 1);
    vec4 lo, hi;
    [[unroll]] for (uint c = 0; c < 4; c++) {
        lo[c] = tap(at + c, base, first);
        hi[c] = tap(at + c + 4, base, first);
    }
    HALF_NEAR8(lo, hi)
    STORE8(1, u, e * 8, lo, hi)
}
