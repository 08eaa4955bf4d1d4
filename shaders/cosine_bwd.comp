#version 460
// dp[t] = ds (E - P s)/|p|,  de[t+1] = ds (P - E s)/|e| + c,  P = p/|p|, E = e/|e|
// LANES invocations for dp[t] and de[t+1]; at the last token for the zeros of dp[t] and de[0].
#extension GL_GOOGLE_include_directive : require
#define ROWS_SUM vec3
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push {
    uint B, T, D, p_o, p_s, e_o, e_s, c_o, c_s, de_o, de_s, dp_o, dp_s, opts;
};
IN(0, ds);  IN(1, p);  IN(2, e);  IN(3, c);  OUT(4, de);  OUT(5, dp);

void main()
{
    uint row = rows_row(), lane = rows_lane(), t = row % T, next = t < T - 1 ? row + 1 : row - t;
    bool live = row < B * T, both = live && t < T - 1;
    uint at = p_o + row * p_s, to = e_o + next * e_s;
    vec3 sums = vec3(0);
    if (both) for (uint j = lane; j < D; j += LANES) {
        float u = p[at + j], v = e[to + j];
        sums += vec3(u * u, v * v, u * v);
    }
    sums = rows_sum(sums);
    vec2 n = sqrt(sums.xy);
    bvec2 clamped = lessThan(n, vec2(1e-12));
    n = mix(n, vec2(1e-12), clamped);
    float a = 0, dot = sums.z / n.x / n.y;
    if (both) a = ds[row / T * (T - 1) + t] / n.x / n.y;
    // what comes back through the lengths
    vec2 back = mix(vec2(a * dot) * n.yx / n, vec2(0), clamped);
    if (live) for (uint j = lane; j < D; j += LANES) {
        float u = p[at + j], v = e[to + j];
        dp[dp_o + row * dp_s + j] = both ? a * v - back.x * u : 0;
        de[de_o + next * de_s + j] = (both ? a * u - back.y * v : 0)
            + (HAS(3) ? c[c_o + next * c_s + j] : 0);
    }
}
