#version 460
// dz[r,v] = dn[r] (exp(z[r,v] - l[r]) - (1-e) [v = y[r]] - e/V), 0 where y[r] = ignore
// LANES invocations take one row. Rows that do not count are 0 even where z is not finite.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint LANES = 256;
layout(push_constant) uniform push { uint R, V; int ignore; float share; uint z_o, z_s; };
IN(0, z);  IN_INT(1, y);  IN(2, l);  IN(3, dn);  OUT(4, dz);

void main()
{
    uint i = gl_LocalInvocationID.x, row = hx_group() * (256 / LANES) + i / LANES;
    if (row >= R) return;
    int label = y[row];
    float lse = l[row], d = dn[row], each = share / V;
    bool counts = label != ignore && uint(label) < V;
    for (uint v = i % LANES; v < V; v += LANES) {
        float x = z[z_o + row * z_s + v];
        dz[row * V + v] = counts ? d * (exp(x - lse) - each - (int(v) == label ? 1 - share : 0)) : 0;
    }
}
