#version 460
// w[r,s,t] = x[r,s].y[r,t]                      LANES invocations a product
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push {
    uint R, S, D, T;
    uint x_o, x_s, y_o, y_s, w_o, w_s;
};
IN(0, x);  IN(1, y);  OUT(2, w);

void main()
{
    uint i = rows_row(), row = i / T, t = i % T, lane = rows_lane();
    bool mine = row < R * S;
    uint from = x_o + row * x_s, other = y_o + (row / S * T + t) * y_s;
    float sum = 0;
    for (uint d = lane; d < (mine ? D : 0); d += LANES) sum += x[from + d] * y[other + d];
    sum = rows_sum(sum);
    if (mine && lane == 0) w[w_o + row * w_s + t] = sum;
}
