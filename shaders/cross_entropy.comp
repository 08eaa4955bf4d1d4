#version 460
// n[r] = l[r] - (1-e) z[r,y[r]] - e/V sum_v z[r,v], 0 where y[r] = ignore;  l[r] = log sum_v exp z[r,v],
// e = share
// LANES invocations take one row, so that a workgroup takes 256 / LANES rows; a row's largest
// logit first, then the sum, each in a tree over its lanes.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint LANES = 256;
layout(push_constant) uniform push { uint R, V; int ignore; float share; uint z_o, z_s; };
IN(0, z);  IN_INT(1, y);  OUT(2, n);  OUT(3, l);
shared float part[256];

void main()
{
    uint i = gl_LocalInvocationID.x, lane = i % LANES, row = hx_group() * (256 / LANES) + i / LANES;
    uint from = z_o + row * z_s, first = i - lane, end = row < R ? V : 0;

    float m = -3.402823e38;
    for (uint v = lane; v < end; v += LANES) m = max(m, z[from + v]);
    part[i] = m;
    barrier();
    for (uint k = LANES / 2; k > 0; k /= 2) {
        if (lane < k) part[i] = max(part[i], part[i + k]);
        barrier();
    }
    m = part[first];
    barrier();

    float s = 0;
    for (uint v = lane; v < end; v += LANES) s += exp(z[from + v] - m);
    part[i] = s;
    barrier();
    for (uint k = LANES / 2; k > 0; k /= 2) {
        if (lane < k) part[i] += part[i + k];
        barrier();
    }
    float log_s = log(part[first]), rest = 0;
    if (share > 0) {
        barrier();
        for (uint v = lane; v < end; v += LANES) rest += z[from + v] - m;
        part[i] = rest;
        barrier();
        for (uint k = LANES / 2; k > 0; k /= 2) {
            if (lane < k) part[i] += part[i + k];
            barrier();
        }
        rest = part[first] / V;
    }
    if (lane == 0 && row < R) {
        int label = y[row];
        bool counts = label != ignore && uint(label) < V;
        float drop = m - z[from + uint(counts ? label : 0)];
        if (share > 0) drop = (1 - share) * drop - share * rest;
        n[row] = counts ? log_s + drop : 0;
        l[row] = m + log_s;
    }
}
