#version 460
// y = s r g,  r = sqrt(D) / max(|s|, 1e-12),  s = x shifted
// LANES invocations a row.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push { uint B, T, D; int shift; uint x_o, x_s, y_o, y_s; };
IN(0, x);  IN(1, g);  OUT(2, y);  OUT(3, r);
#include "shifted.glsl"

void main()
{
    uint row = rows_row(), lane = rows_lane(), to = y_o + row * y_s;
    uint end = row < B * T ? D : 0;
    shifted s = shifted_row(row, row % T);
    float ss = 0;
    for (uint j = lane; j < end; j += LANES) { float v = shifted_at(s, j); ss += v * v; }
    float n = sqrt(rows_sum(ss)), k = sqrt(float(D)) / hx_at_least(n, 1e-12);
    for (uint j = lane; j < end; j += LANES) y[to + j] = shifted_at(s, j) * k * g[j];
    if (row < B * T && lane == 0) r[row] = k;
}
