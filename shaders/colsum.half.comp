#version 460
// y[p,c] = sum_{i < G} x[p G + i, c], x in 16 bits
// A workgroup makes 64 sums, in 8 parts of the rows that are added up in order.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint HALF = 0;
layout(push_constant) uniform push { uint R, C; int G; uint x_o, x_s; };
#include "half.glsl"
IN_WORDS(0, x);  OUT(1, y);
shared vec2 part[8][32];

void main()
{
    uint g = uint(G), p = gl_WorkGroupID.y;
    uint c = gl_WorkGroupID.x * 64 + gl_LocalInvocationID.x % 32 * 2;
    uint k = gl_LocalInvocationID.x / 32, per = (g + 7) / 8;
    uint first = min(R, p * g + k * per), last = min(min(R, (p + 1) * g), first + per);
    vec2 s = vec2(0);
    if (c < C)
        for (uint r = first; r < last; r += 8) {
            // eight reads on their way at once
            vec2 v[8];
            [[unroll]] for (uint i = 0; i < 8; i++)
                v[i] = LOAD2(0, x, x_o + min(r + i, last - 1) * x_s + c);
            [[unroll]] for (uint i = 0; i < 8; i++)
                s += r + i < last ? v[i] : vec2(0);
        }
    part[k][gl_LocalInvocationID.x % 32] = s;
    barrier();
    if (k > 0 || c >= C)
        return;
    for (uint i = 1; i < 8; i++)
        s += part[i][gl_LocalInvocationID.x % 32];
    y[p * C + c] = s.x;
    y[p * C + c + 1] = s.y;
}
