#version 460
// dx = unshifted r (h - mean h - n mean(h n)) + c,  h = dy g,  n = (s-m) r,
// p, q = sums of dy n, dy over 16 rows
// A workgroup does 16 rows: first LANES = 16 invocations a row find the means, then every
// invocation goes down its own columns. Each element of dx has one writer: the row that read it,
// or, where no row did, its own.
#extension GL_GOOGLE_include_directive : require
#define ROWS_SUM vec2
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push {
    uint B, T, D; int shift; uint dy_o, dy_s, x_o, x_s, c_o, c_s, dx_o, dx_s, opts;
};
IN(0, dy);  IN(1, x);  IN(2, g);  IN(3, m);  IN(4, r);  IN(5, c);
OUT(6, dx);  OUT(7, p);  OUT(8, q);
shared vec4 stats[16];                     // m, r, mean h, mean(h n) of each row

float added(uint row, uint j) { return HAS(5) ? c[c_o + row * c_s + j] : 0; }

void main()
{
    uint group = hx_group(), i = gl_LocalInvocationIndex, lane = rows_lane(), row = rows_row();
    uint rows = B * T, first = (D + 1) / 2, late = uint(shift);
    uint at = x_o + row * x_s, dy_at = dy_o + row * dy_s;
    bool live = row < rows, has = row % T >= late;
    float mean = live ? m[row] : 0, k = live ? r[row] : 0;
    vec2 sums = vec2(0);
    if (live) for (uint j = lane; j < D; j += LANES) {
        float s = j < first ? x[at + j] : has ? x[at + j - late * x_s] : 0;
        float h = dy[dy_at + j] * g[j];
        sums += vec2(h, h * (s - mean));
    }
    sums = rows_sum(sums);
    if (live && lane == 0) stats[row % 16] = vec4(mean, k, sums.x / D, sums.y * k / D);
    barrier();
    uint end = min(rows, group * 16 + 16);
    if (group * 16 < rows) for (uint j = i; j < D; j += 256) {
        float gj = g[j], dg = 0, db = 0;
        for (uint u = group * 16; u < end; u++) {
            vec4 st = stats[u % 16];
            uint t = u % T, from = j < first ? u : u - late;
            bool there = j < first || t >= late;
            float v = dy[dy_o + u * dy_s + j], s = there ? x[x_o + from * x_s + j] : 0;
            float n = (s - st.x) * st.y;
            if (there)
                dx[dx_o + from * dx_s + j] = st.y * (v * gj - st.z - n * st.w) + added(from, j);
            if (j >= first && t + late >= T) dx[dx_o + u * dx_s + j] = added(u, j);
            dg += v * n;
            db += v;
        }
        p[group * D + j] = dg;
        if (HAS(8)) q[group * D + j] = db;
    }
}
