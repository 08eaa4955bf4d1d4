#version 460
// dx = 2 ds (x - y),  dy = -dx                  one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; uint x_o, x_s, y_o, y_s, dx_o, dx_s, dy_o, dy_s; };
IN(0, ds);  IN(1, x);  IN(2, y);  OUT(3, dx);  OUT(4, dy);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, r = i / C, c = i % C;
    if (i >= R * C)
        return;
    float d = 2 * ds[r] * (x[x_o + r * x_s + c] - y[y_o + r * y_s + c]);
    dx[dx_o + r * dx_s + c] = d;
    dy[dy_o + r * dy_s + c] = -d;
}
