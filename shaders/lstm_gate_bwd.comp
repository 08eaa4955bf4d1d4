#version 460
// dz = dy i (1 - t^2),  di = dy i (1-i) t,  df = dy f (1-f) s,  ds = dy f with t = tanh z,
// i = sigmoid(i - 1), f = sigmoid(f + 1)            one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "tanh.glsl"
layout(local_size_x = 256) in;
// of the opposite it is what is left, without cancellation
float share(float x) { return 1 / (1 + exp(-x)); }
layout(push_constant) uniform push {
    uint R, C;
    uint dy_o, dy_s, z_o, z_s, i_o, i_s, f_o, f_s, s_o, s_s, dz_o, dz_s, di_o, di_s, df_o, df_s, ds_o, ds_s;
};
IN(0, dy);  IN(1, z);  IN(2, i);  IN(3, f);  IN(4, s);  OUT(5, dz);  OUT(6, di);  OUT(7, df);  OUT(8, ds);

void main()
{
    uint at = hx_group() * 256 + gl_LocalInvocationID.x;
    if (at >= R * C)
        return;
    uint r = at / C, c = at % C;
    float v = dy[dy_o + r * dy_s + c], u = z[z_o + r * z_s + c];
    float x = i[i_o + r * i_s + c] - 1, g = f[f_o + r * f_s + c] + 1;
    dz[dz_o + r * dz_s + c] = v * share(x) * hx_tanh_slope(u);
    di[di_o + r * di_s + c] = v * share(x) * share(-x) * hx_tanh(u);
    df[df_o + r * df_s + c] = v * share(g) * share(-g) * s[s_o + r * s_s + c];
    ds[ds_o + r * ds_s + c] = v * share(g);
}
