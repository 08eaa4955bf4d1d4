#version 460
// dx = unshifted r (dy g - s r mean(dy g s r)) + c,  p = sum of dy s r over 16 rows,  twin = dx
// A workgroup does 16 rows: first LANES = 16 invocations a row find the means, then every
// invocation goes down its own columns.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push {
    uint B, T, D; int shift; uint dy_o, dy_s, x_o, x_s, c_o, c_s, dx_o, dx_s, opts;
};
IN(0, dy);  IN(1, x);  IN(2, g);  IN(3, r);  IN(4, c);  OUT(5, dx);  OUT(6, p);  OUT(7, twin);
#include "shifted.glsl"
shared float scale[16], slope[16];         // r and r r mean(dy g s) of each row

void main()
{
    uint row = rows_row(), lane = rows_lane(), rows = B * T, end = row < rows ? D : 0;
    shifted s = shifted_row(row, row % T);
    float m = 0;
    for (uint j = lane; j < end; j += LANES)
        m += dy[dy_o + row * dy_s + j] * g[j] * shifted_at(s, j);
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
        for (uint q = top; q < bottom; q += 4) {
            // four rows are read before any is written: a compiler must not change that order
            float v[4], sj[4], cj[4];
            uint from[4];
            bool there[4];
            [[unroll]] for (uint i = 0; i < 4; i++) {
                uint at = min(q + i, bottom - 1);
                s = shifted_row(at, t);
                from[i] = shifted_from(s, j);
                there[i] = j < (D + 1) / 2 || s.late;
                v[i] = dy[dy_o + at * dy_s + j];
                sj[i] = shifted_at(s, j);
                cj[i] = HAS(4) ? c[c_o + from[i] * c_s + j] : 0;
                t = at + 1 == bottom ? t : t + 1 < T ? t + 1 : 0;
            }
            [[unroll]] for (uint i = 0; i < 4; i++) {
                float k = scale[(q + i) % 16], ds = k * (v[i] * gj - sj[i] * slope[(q + i) % 16]);
                if (q + i < bottom) {
                    float d = (there[i] ? ds : 0) + cj[i];
                    dx[dx_o + from[i] * dx_s + j] = d;
                    if (HAS(7))
                        twin[from[i] * D + j] = d;
                    sum += there[i] ? v[i] * sj[i] * k : 0;
                }
            }
        }
        p[group * D + j] = sum;
    }
}
