#version 460
// s_r = |x_r - y_r|^2                           LANES invocations a row
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push { uint R, C; uint x_o, x_s, y_o, y_s; };
IN(0, x);  IN(1, y);  OUT(2, s);

void main()
{
    uint row = rows_row(), lane = rows_lane();
    float sum = 0;
    for (uint i = lane; i < (row < R ? C : 0); i += LANES) {
        float d = x[x_o + row * x_s + i] - y[y_o + row * y_s + i];
        sum += d * d;
    }
    sum = rows_sum(sum);
    if (row < R && lane == 0) s[row] = sum;
}
