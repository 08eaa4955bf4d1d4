#version 460
// y = (s-m) r g + b,  m = mean s,  r = 1/sqrt(mean (s-m)^2 + 1e-5),  s = x shifted
// LANES invocations a row.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push { uint B, T, D; int shift; uint x_o, x_s, y_o, y_s, opts; };
IN(0, x);  IN(1, g);  IN(2, b);  OUT(3, y);  OUT(4, m);  OUT(5, r);

// channel j of s, of a row that begins at `at` and whose second half begins `shift` rows before
#define S(j) ((j) < (D + 1) / 2 ? x[at + (j)] : late ? x[at + (j) - uint(shift) * x_s] : 0)

void main()
{
    uint row = rows_row(), lane = rows_lane(), at = x_o + row * x_s, to = y_o + row * y_s;
    bool live = row < B * T, late = row % T >= uint(shift);
    float mean = 0, var = 0;
    if (live) for (uint j = lane; j < D; j += LANES) mean += S(j);
    mean = rows_sum(mean) / D;
    if (live) for (uint j = lane; j < D; j += LANES) { float s = S(j) - mean; var += s * s; }
    float k = 1 / sqrt(rows_sum(var) / D + 1e-5);
    if (live) for (uint j = lane; j < D; j += LANES)
        y[to + j] = (S(j) - mean) * k * g[j] + (HAS(2) ? b[j] : 0);
    if (live && lane == 0) { m[row] = mean; r[row] = k; }
}
