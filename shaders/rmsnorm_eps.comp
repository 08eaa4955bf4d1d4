#version 460
// y = x r g,  r = 1 / sqrt(mean x^2 + eps)      LANES invocations a row
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push { uint B, T, D; float eps; uint x_o, x_s, y_o, y_s; };
IN(0, x);  IN(1, g);  OUT(2, y);  OUT(3, r);

void main()
{
    uint row = rows_row(), lane = rows_lane(), from = x_o + row * x_s, to = y_o + row * y_s;
    uint end = row < B * T ? D : 0;
    float ss = 0;
    for (uint j = lane; j < end; j += LANES) { float v = x[from + j]; ss += v * v; }
    float k = 1 / sqrt(rows_sum(ss) / float(D) + eps);
    for (uint j = lane; j < end; j += LANES) y[to + j] = x[from + j] * k * g[j];
    if (row < B * T && lane == 0) r[row] = k;
}
