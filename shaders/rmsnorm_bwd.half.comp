#version 460
// dx = unshifted r (dy g - s r mean(dy g s r)) + c,  p = sum of dy s r over 16 rows,  twin = dx; dy in 16 bits
// A workgroup does 16 rows: first LANES = 16 invocations a row find the means, then every
// invocation goes down two columns of its own.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(constant_id = 1) const uint HALF = 0;
layout(push_constant) uniform push {
    uint B, T, D; int shift; uint dy_o, dy_s, x_o, x_s, c_o, c_s, dx_o, dx_s, opts;
};
#include "half.glsl"
#include "shifted2.glsl"
IN_WORDS(0, dy);  IN2(1, x);  IN2(2, g);  IN(3, r);  IN2(4, c);  OUT2(5, dx);  OUT2(6, p);  OUT_WORDS(7, twin);
#include "shifted2_at.glsl"
shared float scale[16], slope[16];         // r and r r mean(dy g s) of each row

void main()
{
    uint row = rows_row(), lane = rows_lane(), rows = B * T, end = row < rows ? D : 0;
    shifted s = shifted_row(row, row % T);
    float m = 0;
    for (uint j = lane * 2; j < end; j += LANES * 2)
        m += dot(LOAD2(0, dy, dy_o + row * dy_s + j) * g[j / 2], shifted_at(s, j));
    m = rows_sum(m);
    if (row < rows && lane == 0) {
        float k = r[row];
        scale[row % 16] = k;
        // a length below the clamp is a constant
        slope[row % 16] = k >= 0.999999e12 * sqrt(float(D)) ? 0 : m * k / D * k;
    }
    barrier();
    uint group = hx_group(), top = group * 16, bottom = min(rows, top + 16);
    for (uint j = gl_LocalInvocationIndex * 2; j < (top < rows ? D : 0); j += 512) {
        vec2 gj = g[j / 2], sum = vec2(0);
        uint t = top % T;
        for (uint u = top; u < bottom; u += 4) {
            // four rows are read before any is written: a compiler must not change that order
            vec2 v[4], sj[4], cj[4];
            uint from[4];
            bool there[4];
            [[unroll]] for (uint i = 0; i < 4; i++) {
                uint at_row = min(u + i, bottom - 1);
                s = shifted_row(at_row, t);
                from[i] = shifted_from(s, j);
                there[i] = j < D / 2 || s.late;
                v[i] = LOAD2(0, dy, dy_o + at_row * dy_s + j);
                sj[i] = shifted_at(s, j);
                cj[i] = vec2(0);
                if (HAS(4))
                    GET2(cj[i], c, c_o + from[i] * c_s + j)
                t = at_row + 1 == bottom ? t : t + 1 < T ? t + 1 : 0;
            }
            [[unroll]] for (uint i = 0; i < 4; i++) {
                float k = scale[(u + i) % 16];
                vec2 ds = k * (v[i] * gj - sj[i] * slope[(u + i) % 16]);
                if (u + i < bottom) {
                    vec2 d = (there[i] ? ds : vec2(0)) + cj[i];
                    SET2(dx, dx_o + from[i] * dx_s + j, d)
                    if (HAS(7))
                        STORE2(7, twin, from[i] * D + j, d)
                    sum += there[i] ? v[i] * sj[i] * k : vec2(0);
                }
            }
        }
        p[(group * D + j) / 2] = sum;
    }
}
