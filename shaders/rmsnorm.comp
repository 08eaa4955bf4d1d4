#version 460
// y = s r g,  r = sqrt(D) / max(|s|, 1e-12),  s = x shifted
// LANES invocations a row.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push { uint B, T, D; int shift; uint x_o, x_s, y_o, y_s; };
IN(0, x);  IN(1, g);  OUT(2, y);  OUT(3, r);

// channel j of s, of a row that begins at `at` and whose second half begins `shift` rows before
#define S(j) ((j) < (D + 1) / 2 ? x[at + (j)] : late ? x[at + (j) - uint(shift) * x_s] : 0)

void main()
{
    uint row = rows_row(), lane = rows_lane(), at = x_o + row * x_s, to = y_o + row * y_s;
    bool live = row < B * T, late = row % T >= uint(shift);
    float ss = 0;
    if (live) for (uint j = lane; j < D; j += LANES) { float s = S(j); ss += s * s; }
    float n = sqrt(rows_sum(ss)), k = sqrt(float(D)) / (n < 1e-12 ? 1e-12 : n);
    if (live) for (uint j = lane; j < D; j += LANES) y[to + j] = S(j) * k * g[j];
    if (live && lane == 0) r[row] = k;
}
