#version 460
// y = s r g in 16 bits,  r = sqrt(D) / max(|s|, 1e-12),  s = x shifted
// LANES invocations a row, two channels each at a time.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(constant_id = 1) const uint HALF = 0;
layout(push_constant) uniform push { uint B, T, D; int shift; uint x_o, x_s, y_o, y_s; };
#include "half.glsl"
#include "shifted2.glsl"
IN2(0, x);  IN2(1, g);  OUT_WORDS(2, y);  OUT(3, r);
#include "shifted2_at.glsl"

void main()
{
    uint row = rows_row(), lane = rows_lane(), to = y_o + row * y_s;
    uint end = row < B * T ? D : 0;
    shifted s = shifted_row(row, row % T);
    float ss = 0;
    for (uint j = lane * 2; j < end; j += LANES * 2) {
        vec2 v = shifted_at(s, j);
        ss += dot(v, v);
    }
    float n = sqrt(rows_sum(ss)), k = sqrt(float(D)) / (n < 1e-12 ? 1e-12 : n);
    for (uint j = lane * 2; j < end; j += LANES * 2)
        STORE2(2, y, to + j, shifted_at(s, j) * k * g[j / 2])
    if (row < B * T && lane == 0) r[row] = k;
}
