#version 460
// dx = unshifted r (dy g - s r mean(dy g s r)) + c,  p = sum of dy s r over 16 rows
// A workgroup does 16 rows: first LANES = 16 invocations a row find the means, then every
// invocation goes down its own columns.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push {
    uint B, T, D; int shift; uint dy_o, dy_s, x_o, x_s, c_o, c_s, dx_o, dx_s, opts;
};
IN(0, dy);  IN(1, x);  IN(2, g);  IN(3, r);  IN(4, c);  OUT(5, dx);  OUT(6, p);
#include "shifted.glsl"
shared float scale[16], slope[16];         // r and r r mean(dy g s) of each row

void main()
{
    uint row = rows_row(), lane = rows_lane(), rows = B * T, end = row < rows ? D : 0;
    shifted s = shifted_row(row, row % T);
    float m = 0;
    for (uint j = lane; j < end; j += LANES) m += dy[dy_o + row * dy_s + j] * g[j] * shifted_at(s, j);
    m = rows_sum(m);
    if (row < rows && lane == 0) {
        float k = r[row];
        scale[row % 16] = k;
        // a length below the clamp is a constant
        slope[row % 16] = k >= 0.999999e12 * sqrt(float(D)) ? 0 : m * k / D * k;
    }
    barrier();
    uint group = hx_group(), top = group * 16, bottom = min(rows, top + 16);
    for (uint j = gl_LocalInvocationIndex; j < (top < rows ? D : 0); j += 256) {
        float gj = g[j], sum = 0;
        uint t = top % T;
        for (uint q = top; q < bottom; q++) {
            s = shifted_row(q, t);
            uint from = shifted_from(s, j);
            float v = dy[dy_o + q * dy_s + j], sj = shifted_at(s, j), k = scale[q % 16];
            float ds = k * (v * gj - sj * slope[q % 16]);
            ds = j < (D + 1) / 2 || s.late ? ds : 0;
            dx[dx_o + from * dx_s + j] = ds + (HAS(4) ? c[c_o + from * c_s + j] : 0);
            sum += v * sj * k;
            t = t + 1 < T ? t + 1 : 0;
        }
        p[group * D + j] = sum;
    }
}
