#version 460
// y = (s-m) r g + b,  m = mean s,  r = 1/sqrt(mean (s-m)^2 + 1e-5),  s = x shifted
// LANES invocations a row.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push { uint B, T, D; int shift; uint x_o, x_s, y_o, y_s, opts; };
IN(0, x);  IN(1, g);  IN(2, b);  OUT(3, y);  OUT(4, m);  OUT(5, r);
#include "shifted.glsl"

void main()
{
    uint row = rows_row(), lane = rows_lane(), to = y_o + row * y_s;
    uint end = row < B * T ? D : 0;
    shifted s = shifted_row(row, row % T);
    float mean = 0, var = 0;
    for (uint j = lane; j < end; j += LANES) mean += shifted_at(s, j);
    mean = rows_sum(mean) / D;
    for (uint j = lane; j < end; j += LANES) { float v = shifted_at(s, j) - mean; var += v * v; }
    float k = 1 / sqrt(rows_sum(var) / D + 1e-5);
    for (uint j = lane; j < end; j += LANES)
        y[to + j] = (shifted_at(s, j) - mean) * k * g[j] + (HAS(2) ? b[j] : 0);
    if (row < B * T && lane == 0) { m[row] = mean; r[row] = k; }
}
