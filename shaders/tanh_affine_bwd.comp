#version 460
// dz = dy s (1 - tanh^2 z),  p = sum of dy tanh z and q = sum of dy over 16 rows
// One invocation goes down its column of 16 rows.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "tanh.glsl"
layout(local_size_x = 64) in;
layout(push_constant) uniform push { uint R, C; uint dy_o, dy_s, z_o, z_s, dz_o, dz_s; };
IN(0, dy);  IN(1, z);  IN(2, s);  OUT(3, dz);  OUT(4, p);  OUT(5, q);

void main()
{
    uint at = hx_group() * 64 + gl_LocalInvocationID.x, group = at / C, c = at % C;
    if (group * 16 >= R)
        return;
    float sp = 0, sq = 0, k = s[c];
    for (uint r = group * 16; r < min(R, group * 16 + 16); r++) {
        float v = dy[dy_o + r * dy_s + c], x = z[z_o + r * z_s + c];
        dz[dz_o + r * dz_s + c] = v * k * hx_tanh_slope(x);
        sp += v * hx_tanh(x);
        sq += v;
    }
    p[group * C + c] = sp;
    q[group * C + c] = sq;
}
