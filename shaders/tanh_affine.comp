#version 460
// y = s tanh z + a                              one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "tanh.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; uint z_o, z_s, y_o, y_s; };
IN(0, z);  IN(1, s);  IN(2, a);  OUT(3, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x, r = i / C, c = i % C;
    if (r < R)
        y[y_o + r * y_s + c] = hx_tanh(z[z_o + r * z_s + c]) * s[c] + a[c];
}
