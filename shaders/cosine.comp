#version 460
// s[b,t] = p[b,t].e[b,t+1] / (max(|p[b,t]|, 1e-12) max(|e[b,t+1]|, 1e-12))
// LANES invocations a pair of rows.
#extension GL_GOOGLE_include_directive : require
#define ROWS_SUM vec4
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push { uint B, T, D, p_o, p_s, e_o, e_s; };
IN(0, p);  IN(1, e);  OUT(2, s);

void main()
{
    uint i = rows_row(), lane = rows_lane(), row = i / (T - 1) * T + i % (T - 1);
    bool live = i < B * (T - 1);
    uint at = p_o + row * p_s, to = e_o + (row + 1) * e_s;
    vec4 sums = vec4(0);
    if (live) for (uint j = lane; j < D; j += LANES) {
        float u = p[at + j], v = e[to + j];
        sums += vec4(u * u, v * v, u * v, 0);
    }
    sums = rows_sum(sums);
    vec2 n = sqrt(sums.xy);
    n = vec2(hx_at_least(n.x, 1e-12), hx_at_least(n.y, 1e-12));
    if (live && lane == 0) s[i] = sums.z / n.x / n.y;
}
