#version 460
// dn = dy/c,  dd = -dy.n/c^2 where d >= eps, else 0          LANES invocations a row
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push {
    uint R, C; float eps; uint dy_o, dy_s, nd_o, nd_s, dnd_o, dnd_s;
};
IN(0, dy);  IN(1, nd);  OUT(2, dnd);

void main()
{
    uint row = rows_row(), lane = rows_lane(), K = C - 1, end = row < R ? K : 0;
    uint from = nd_o + row * nd_s, to = dnd_o + row * dnd_s;
    float d = row < R ? nd[from + K] : 1, c = hx_at_least(d, eps), s = 0;
    for (uint i = lane; i < end; i += LANES) {
        float v = dy[dy_o + row * dy_s + i];
        s += v * (nd[from + i] / c);
        dnd[to + i] = v / c;
    }
    s = rows_sum(s);
    if (row < R && lane == 0) dnd[to + K] = d < eps ? 0 : -s / c;
}
