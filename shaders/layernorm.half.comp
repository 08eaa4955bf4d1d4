#version 460
// y = (s-m) r g + b in 16 bits,  m = mean s,  r = 1/sqrt(mean (s-m)^2 + 1e-5),  s = x shifted
// LANES invocations a row, two channels each at a time.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(constant_id = 1) const uint HALF = 0;
layout(push_constant) uniform push { uint B, T, D; int shift; uint x_o, x_s, y_o, y_s, opts; };
#include "half.glsl"
#include "shifted2.glsl"
IN2(0, x);  IN2(1, g);  IN2(2, b);  OUT_WORDS(3, y);  OUT(4, m);  OUT(5, r);
#include "shifted2_at.glsl"

void main()
{
    uint row = rows_row(), lane = rows_lane(), to = y_o + row * y_s;
    uint end = row < B * T ? D : 0;
    shifted s = shifted_row(row, row % T);
    float mean = 0, var = 0;
    for (uint j = lane * 2; j < end; j += LANES * 2) {
        vec2 v = shifted_at(s, j);
        mean += v.x + v.y;
    }
    mean = rows_sum(mean) / D;
    for (uint j = lane * 2; j < end; j += LANES * 2) {
        vec2 v = shifted_at(s, j) - mean;
        var += dot(v, v);
    }
    float k = 1 / sqrt(rows_sum(var) / D + 1e-5);
    for (uint j = lane * 2; j < end; j += LANES * 2) {
        vec2 v = (shifted_at(s, j) - mean) * k * g[j / 2];
        if (HAS(2))
            v += b[j / 2];
        STORE2(3, y, to + j, v)
    }
    if (row < B * T && lane == 0) { m[row] = mean; r[row] = k; }
}
