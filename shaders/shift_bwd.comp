#version 460
// dx[t,j] = dy[t,j] + c for j < ceil(D/2), else dy[t+shift,j] + c
// 1024 elements a workgroup.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(push_constant) uniform push {
    uint B, T, D; int shift; uint dy_o, dy_s, c_o, c_s, dx_o, dx_s, opts;
};
IN(0, dy);  IN(1, c);  OUT(2, dx);

void main()
{
    uint late = uint(shift);
    for (uint k = 0; k < 4; k++) {
        uint i = hx_group() * 1024 + k * 256 + gl_LocalInvocationIndex, row = i / D, j = i % D;
        if (i >= B * T * D) continue;
        bool first = j < (D + 1) / 2;
        uint at = dy_o + (first ? row : row + late) * dy_s + j;
        float v = first || row % T + late < T ? dy[at] : 0;
        dx[dx_o + row * dx_s + j] = v + (HAS(1) ? c[c_o + row * c_s + j] : 0);
    }
}
