#version 460
// y = sigmoid(f + 1) s + sigmoid(i - 1) tanh z      one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "tanh.glsl"
layout(local_size_x = 256) in;
// of the opposite it is what is left, without cancellation
float share(float x) { return 1 / (1 + exp(-x)); }
layout(push_constant) uniform push { uint R, C; uint z_o, z_s, i_o, i_s, f_o, f_s, s_o, s_s, y_o, y_s; };
IN(0, z);  IN(1, i);  IN(2, f);  IN(3, s);  OUT(4, y);

void main()
{
    uint at = hx_group() * 256 + gl_LocalInvocationID.x;
    if (at >= R * C)
        return;
    uint r = at / C, c = at % C;
    y[y_o + r * y_s + c] = share(f[f_o + r * f_s + c] + 1) * s[s_o + r * s_s + c]
                         + share(i[i_o + r * i_s + c] - 1) * hx_tanh(z[z_o + r * z_s + c]);
}
