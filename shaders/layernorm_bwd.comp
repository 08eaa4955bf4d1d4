#version 460
// dx = unshifted r (h - mean h - n mean(h n)) + c,  h = dy g,  n = (s-m) r,
// p, q = sums of dy n, dy over 16 rows, twin = dx
// A workgroup does 16 rows: first LANES = 16 invocations a row find the means, then every
// invocation goes down its own columns.
#extension GL_GOOGLE_include_directive : require
#define ROWS_SUM vec2
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push {
    uint B, T, D; int shift; uint dy_o, dy_s, x_o, x_s, c_o, c_s, dx_o, dx_s, opts;
};
IN(0, dy);  IN(1, x);  IN(2, g);  IN(3, m);  IN(4, r);  IN(5, c);
OUT(6, dx);  OUT(7, p);  OUT(8, q);  OUT(9, twin);
#include "shifted.glsl"
shared vec4 stats[16];                     // m, r, mean h, mean(h n) of each row

void main()
{
    uint row = rows_row(), lane = rows_lane(), rows = B * T, end = row < rows ? D : 0;
    shifted s = shifted_row(row, row % T);
    float mean = end > 0 ? m[row] : 0, k = end > 0 ? r[row] : 0;
    vec2 sums = vec2(0);
    for (uint j = lane; j < end; j += LANES) {
        float h = dy[dy_o + row * dy_s + j] * g[j];
        sums += vec2(h, h * (shifted_at(s, j) - mean));
    }
    sums = rows_sum(sums);
    if (row < rows && lane == 0) stats[row % 16] = vec4(mean, k, sums.x / D, sums.y * k / D);
    barrier();
    uint group = hx_group(), top = group * 16, bottom = min(rows, top + 16);
    for (uint j = gl_LocalInvocationIndex; j < (top < rows ? D : 0); j += 256) {
        float gj = g[j], dg = 0, db = 0;
        uint t = top % T;
        for (uint u = top; u < bottom; u += 4) {
            // four rows are read before any is written: a compiler must not change that order
            float v[4], sj[4], cj[4];
            uint from[4];
            bool there[4];
            [[unroll]] for (uint i = 0; i < 4; i++) {
                uint at = min(u + i, bottom - 1);
                s = shifted_row(at, t);
                from[i] = shifted_from(s, j);
                there[i] = j < (D + 1) / 2 || s.late;
                v[i] = dy[dy_o + at * dy_s + j];
                sj[i] = shifted_at(s, j);
                cj[i] = HAS(5) ? c[c_o + from[i] * c_s + j] : 0;
                t = at + 1 == bottom ? t : t + 1 < T ? t + 1 : 0;
            }
            [[unroll]] for (uint i = 0; i < 4; i++) {
                vec4 st = stats[(u + i) % 16];
                // rounded as in the mean: in a row of one column they cancel
                precise float h = v[i] * gj;
                float n = (sj[i] - st.x) * st.y, ds = st.y * (h - st.z - n * st.w);
                if (u + i < bottom) {
                    float d = (there[i] ? ds : 0) + cj[i];
                    dx[dx_o + from[i] * dx_s + j] = d;
                    if (HAS(9))
                        twin[from[i] * D + j] = d;
                    dg += v[i] * n;
                    db += v[i];
                }
            }
        }
        p[group * D + j] = dg;
        if (HAS(8)) q[group * D + j] = db;
    }
}
