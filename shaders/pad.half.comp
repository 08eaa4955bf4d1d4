#version 460
// y = parts of x in 16 bits, zeros below and beside each    one invocation per eight elements of y
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint HALF = 0;
layout(push_constant) uniform push { uint R, C; int parts, rows, cols; };
#include "half.glsl"
IN(0, x);  OUT16(1, y);

float at(uint from, uint c, bool there) { return there && c < C ? x[from + c] : 0; }

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, per = uint(rows), eights = uint(cols) / 8;
    if (i >= uint(parts) * per * eights)
        return;
    uint row = i / eights, c = i % eights * 8, have = R / uint(parts);
    bool there = row % per < have;
    uint from = (row / per * have + row % per) * C;
    vec4 lo, hi;
    [[unroll]] for (uint k = 0; k < 4; k++) {
        lo[k] = at(from, c + k, there);
        hi[k] = at(from, c + k + 4, there);
    }
    HALF_NEAR8(lo, hi)
    STORE8(1, y, i * 8, lo, hi)
}
