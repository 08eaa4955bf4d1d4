#version 460
// dx = f dy,  dn = (1-f) dy/c,  dd = -(1-f) dy.n/c^2,  dg = f(1-f) dy.(x - n/c) per row
// LANES invocations a row.
#extension GL_GOOGLE_include_directive : require
#define ROWS_SUM vec2
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push {
    uint R, K, H; float eps;
    uint dy_o, dy_s, x_o, x_s, nd_o, nd_s, dx_o, dx_s, dnd_o, dnd_s;
};
IN(0, dy);  IN(1, x);  IN(2, nd);  IN(3, g);  OUT(4, dx);  OUT(5, dnd);  OUT(6, dg);

void main()
{
    uint row = rows_row(), lane = rows_lane(), end = row < R ? K : 0;
    uint from = nd_o + row * nd_s, to = dnd_o + row * dnd_s;
    float d = row < R ? nd[from + K] : 1, c = hx_at_least(d, eps), gate = row < R ? g[row % H] : 0;
    bool empty = d <= 0;
    float f = empty ? 1 : 1 / (1 + exp(-gate)), p = empty ? 0 : 1 / (1 + exp(gate));
    vec2 s = vec2(0);
    for (uint i = lane; i < end; i += LANES) {
        float v = dy[dy_o + row * dy_s + i];
        s += vec2(v * x[x_o + row * x_s + i], v * (nd[from + i] / c));
        dx[dx_o + row * dx_s + i] = f * v;
        dnd[to + i] = empty ? 0 : p * v / c;
    }
    s = rows_sum(s);
    if (row < R && lane == 0) {
        dnd[to + K] = empty || d < eps ? 0 : -p * s.y / c;
        dg[row] = empty ? 0 : f * p * (s.x - s.y);
    }
}
