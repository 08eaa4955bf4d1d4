#version 460
// dx = unshifted r (dy g - s r mean(dy g s r)) + c,  p = sum of dy s r over 16 rows
// A workgroup does 16 rows: first LANES = 16 invocations a row find the means, then every
// invocation goes down its own columns. Each element of dx has one writer: the row that read it,
// or, where no row did, its own.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push {
    uint B, T, D; int shift; uint dy_o, dy_s, x_o, x_s, c_o, c_s, dx_o, dx_s, opts;
};
IN(0, dy);  IN(1, x);  IN(2, g);  IN(3, r);  IN(4, c);  OUT(5, dx);  OUT(6, p);
shared float scale[16], slope[16];         // r and r r mean(dy g s) of each row

float added(uint row, uint j) { return HAS(4) ? c[c_o + row * c_s + j] : 0; }

void main()
{
    uint group = hx_group(), i = gl_LocalInvocationIndex, lane = rows_lane(), row = rows_row();
    uint rows = B * T, first = (D + 1) / 2, late = uint(shift);
    uint at = x_o + row * x_s, dy_at = dy_o + row * dy_s;
    bool live = row < rows, has = row % T >= late;
    float m = 0;
    if (live) for (uint j = lane; j < D; j += LANES) {
        float s = j < first ? x[at + j] : has ? x[at + j - late * x_s] : 0;
        m += dy[dy_at + j] * g[j] * s;
    }
    m = rows_sum(m);
    if (live && lane == 0) {
        float k = r[row];
        scale[row % 16] = k;
        // a length below the clamp is a constant
        slope[row % 16] = k >= 0.999999e12 * sqrt(float(D)) ? 0 : m * k / D * k;
    }
    barrier();
    uint end = min(rows, group * 16 + 16);
    if (group * 16 < rows) for (uint j = i; j < D; j += 256) {
        float gj = g[j], sum = 0;
        for (uint q = group * 16; q < end; q++) {
            uint t = q % T, from = j < first ? q : q - late;
            if (j < first || t >= late) {
                float s = x[x_o + from * x_s + j], v = dy[dy_o + q * dy_s + j], k = scale[q % 16];
                dx[dx_o + from * dx_s + j] = k * (v * gj - s * slope[q % 16]) + added(from, j);
                sum += v * s * k;
            }
            if (j >= first && t + late >= T) dx[dx_o + q * dx_s + j] = added(q, j);
        }
        p[group * D + j] = sum;
    }
}
