#version 460
// dx = unshifted r (h - mean h - n mean(h n)) + c,  h = dy g,  n = (s-m) r,
// p, q = sums of dy n, dy over 16 rows, twin = dx; dy in 16 bits
// A workgroup does 16 rows: first LANES = 16 invocations a row find the means, then every
// invocation goes down two columns of its own.
#extension GL_GOOGLE_include_directive : require
#define ROWS_SUM vec2
#include "hx.glsl"
#include "rows.glsl"
layout(constant_id = 1) const uint HALF = 0;
layout(push_constant) uniform push {
    uint B, T, D; int shift; uint dy_o, dy_s, x_o, x_s, c_o, c_s, dx_o, dx_s, opts;
};
#include "half.glsl"
#include "shifted2.glsl"
IN_WORDS(0, dy);  IN2(1, x);  IN2(2, g);  IN(3, m);  IN(4, r);  IN2(5, c);
OUT2(6, dx);  OUT2(7, p);  OUT2(8, q);  OUT_WORDS(9, twin);
#include "shifted2_at.glsl"
shared vec4 stats[16];                     // m, r, mean h, mean(h n) of each row

void main()
{
    uint row = rows_row(), lane = rows_lane(), rows = B * T, end = row < rows ? D : 0;
    shifted s = shifted_row(row, row % T);
    float mean = end > 0 ? m[row] : 0, k = end > 0 ? r[row] : 0;
    vec2 sums = vec2(0);
    for (uint j = lane * 2; j < end; j += LANES * 2) {
        vec2 h = LOAD2(0, dy, dy_o + row * dy_s + j) * g[j / 2];
        sums += vec2(h.x + h.y, dot(h, shifted_at(s, j) - mean));
    }
    sums = rows_sum(sums);
    if (row < rows && lane == 0) stats[row % 16] = vec4(mean, k, sums.x / D, sums.y * k / D);
    barrier();
    uint group = hx_group(), top = group * 16, bottom = min(rows, top + 16);
    for (uint j = gl_LocalInvocationIndex * 2; j < (top < rows ? D : 0); j += 512) {
        vec2 gj = g[j / 2], dg = vec2(0), db = vec2(0);
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
                if (HAS(5))
                    GET2(cj[i], c, c_o + from[i] * c_s + j)
                t = at_row + 1 == bottom ? t : t + 1 < T ? t + 1 : 0;
            }
            [[unroll]] for (uint i = 0; i < 4; i++) {
                vec4 st = stats[(u + i) % 16];
                vec2 n = (sj[i] - st.x) * st.y, ds = st.y * (v[i] * gj - st.z - n * st.w);
                if (u + i < bottom) {
                    vec2 d = (there[i] ? ds : vec2(0)) + cj[i];
                    SET2(dx, dx_o + from[i] * dx_s + j, d)
                    if (HAS(9))
                        STORE2(9, twin, from[i] * D + j, d)
                    dg += v[i] * n;
                    db += v[i];
                }
            }
        }
        p[(group * D + j) / 2] = dg;
        if (HAS(8)) q[(group * D + j) / 2] = db;
    }
}
