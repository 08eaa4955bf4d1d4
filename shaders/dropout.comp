#version 460
// y = 0 where philox(dice, place, i) < p, else scale x           one invocation per four elements
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "philox.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push
{
    uint R, C; float p, scale; uint place; uint x_o, x_s, y_o, y_s;
};
IN(0, x);  IN_INT(1, dice);  OUT(2, y);

void main()
{
    uint j = hx_group() * 256 + gl_LocalInvocationID.x;
    if (4 * j >= R * C) return;
    uvec4 w = philox(uvec4(j, place, dice[2], dice[3]), uvec2(dice[0], uint(dice[1]) ^ 0x64726f70u));
    uint from = uint(p * 4294967296.0);
    for (uint e = 0; e < 4; e++) {
        uint i = 4 * j + e, r = i / C, c = i % C;
        if (i >= R * C) return;
        y[y_o + r * y_s + c] = w[e] < from ? 0 : scale * x[x_o + r * x_s + c];
    }
}
