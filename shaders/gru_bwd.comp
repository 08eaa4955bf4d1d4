#version 460
// dn = dy (1-z)(1-n^2),  dr = dn h_n r(1-r),  dz = dy (x-n) z(1-z),  dx = dy z;
// di = dr | dz | dn,  dh = dr | dz | dn r       one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "gru.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push {
    uint R, D;
    uint dy_o, dy_s, i_o, i_s, h_o, h_s, x_o, x_s, di_o, di_s, dh_o, dh_s, dx_o, dx_s;
};
IN(0, dy);  IN(1, i);  IN(2, h);  IN(3, x);  OUT(4, di);  OUT(5, dh);  OUT(6, dx);

void main()
{
    uint at = hx_group() * 256 + gl_LocalInvocationID.x, row = at / D, k = at % D;
    if (at >= R * D)
        return;
    uint p = i_o + row * i_s + k, q = h_o + row * h_s + k;
    uint di_at = di_o + row * di_s + k, dh_at = dh_o + row * dh_s + k;
    float s = i[p] + h[q], u = i[p + D] + h[q + D], past = h[q + 2 * D];
    float r = share_of(s), z = share_of(u), left = share_of(-u);
    float a = i[p + 2 * D] + r * past, n = hx_tanh(a), d = dy[dy_o + row * dy_s + k];
    float dn = d * left * hx_tanh_slope(a), dr = dn * past * r * share_of(-s);
    float dz = d * (x[x_o + row * x_s + k] - n) * z * left;
    di[di_at] = dr;
    di[di_at + D] = dz;
    di[di_at + 2 * D] = dn;
    dh[dh_at] = dr;
    dh[dh_at + D] = dz;
    dh[dh_at + 2 * D] = dn * r;
    dx[dx_o + row * dx_s + k] = d * z;
}
