#version 460
// dp[t] = ds (E - P s)/|p|,  de[t+1] = ds (P - E s)/|e| + c,  P = p/|p|, E = e/|e|
// LANES invocations for dp[t] and de[t+1]; at the last token for the zeros of dp[t] and de[0].
#extension GL_GOOGLE_include_directive : require
#define ROWS_SUM vec4
#include "hx.glsl"
#include "rows.glsl"
layout(push_constant) uniform push {
    uint B, T, D, p_o, p_s, e_o, e_s, c_o, c_s, de_o, de_s, dp_o, dp_s, opts;
};
IN(0, ds);  IN(1, p);  IN(2, e);  IN(3, c);  OUT(4, de);  OUT(5, dp);

void main()
{
    uint row = rows_row(), lane = rows_lane(), t = row % T, next = t < T - 1 ? row + 1 : row - t;
    uint at = p_o + row * p_s, to = e_o + next * e_s;
    uint end = row < B * T ? D : 0, pair_end = t < T - 1 ? end : 0;
    vec4 sums = vec4(0);
    for (uint j = lane; j < pair_end; j += LANES) {
        float u = p[at + j], v = e[to + j];
        sums += vec4(u * u, v * v, u * v, 0);
    }
    sums = rows_sum(sums);
    float np = sqrt(sums.x), ne = sqrt(sums.y);
    float rp = 1 / hx_at_least(np, 1e-12), re = 1 / hx_at_least(ne, 1e-12);
    float d = pair_end > 0 ? ds[row / T * (T - 1) + t] : 0, s = sums.z * rp * re;
    // dp = a e - b p,  de = a p - w e; nothing comes back through a clamped length
    float a = d * rp * re, b = np < 1e-12 ? 0 : d * s * rp * rp;
    float w = ne < 1e-12 ? 0 : d * s * re * re;
    for (uint j = lane; j < end; j += LANES) {
        // the last p and the first e are in no pair and need not be finite
        float u = j < pair_end ? p[at + j] : 0, v = j < pair_end ? e[to + j] : 0, added = HAS(3) ? c[c_o + next * c_s + j] : 0;
        dp[dp_o + row * dp_s + j] = a * v - b * u;
        de[de_o + next * de_s + j] = a * u - w * v + added;
    }
}
