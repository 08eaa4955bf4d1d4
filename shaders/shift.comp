#version 460
// y[t,j] = x[t,j] for j < ceil(D/2), else x[t-shift,j], 0 for t < shift
// 1024 elements a workgroup.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint B, T, D; int shift; uint x_o, x_s, y_o, y_s; };
IN(0, x);  OUT(1, y);

void main()
{
    uint late = uint(shift);
    for (uint k = 0; k < 4; k++) {
        uint i = hx_group() * 1024 + k * 256 + gl_LocalInvocationIndex, row = i / D, j = i % D;
        if (i >= B * T * D) continue;
        bool first = j < (D + 1) / 2;
        uint at = x_o + (first ? row : row - late) * x_s + j;
        y[y_o + row * y_s + j] = first || row % T >= late ? x[at] : 0;
    }
}
