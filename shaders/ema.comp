#version 460
// y = f z + (1-f) s,  f = sigmoid b             one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; uint z_o, z_s, s_o, s_s, y_o, y_s; };
IN(0, z);  IN(1, s);  IN(2, b);  OUT(3, y);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * C)
        return;
    uint r = i / C, c = i % C;
    // what is left, 1 - f, is the sigmoid of -b: without cancellation
    float f = 1 / (1 + exp(-b[c])), g = 1 / (1 + exp(b[c]));
    y[y_o + r * y_s + c] = f * z[z_o + r * z_s + c] + g * s[s_o + r * s_s + c];
}
