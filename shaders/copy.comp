#version 460
// y = x, as words: bit patterns stay what they are       one invocation per element
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint R, C; uint x_o, x_s, y_o, y_s; };
layout(set = 0, binding = 0, std430) readonly  buffer in_x  { uint x[]; };
layout(set = 0, binding = 1, std430) writeonly buffer out_y { uint y[]; };

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= R * C)
        return;
    uint r = i / C, c = i % C;
    y[y_o + r * y_s + c] = x[x_o + r * x_s + c];
}
