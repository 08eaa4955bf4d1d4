#version 460
// dz = f dy,  ds = (1-f) dy,  p = sum of f (1-f) dy (z-s) over 16 rows,  f = sigmoid b
// One invocation goes down its column of 16 rows.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(push_constant) uniform push {
    uint R, C;
    uint dy_o, dy_s, z_o, z_s, s_o, s_s, dz_o, dz_s, ds_o, ds_s;
};
IN(0, dy);  IN(1, z);  IN(2, s);  IN(3, b);  OUT(4, dz);  OUT(5, ds);  OUT(6, p);

void main()
{
    uint at = hx_group() * 64 + gl_LocalInvocationID.x, group = at / C, c = at % C;
    if (group * 16 >= R)
        return;
    float f = 1 / (1 + exp(-b[c])), g = 1 / (1 + exp(b[c])), sum = 0;
    for (uint r = group * 16; r < min(R, group * 16 + 16); r++) {
        float v = dy[dy_o + r * dy_s + c];
        dz[dz_o + r * dz_s + c] = f * v;
        ds[ds_o + r * ds_s + c] = g * v;
        sum += f * g * v * (z[z_o + r * z_s + c] - s[s_o + r * s_s + c]);
    }
    p[group * C + c] = sum;
}
