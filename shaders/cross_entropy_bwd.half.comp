#version 460
// dz[r,v] = dn[r] (exp(z[r,v] - l[r]) - (1-e) [v = y[r]] - e/V), 0 where y[r] = ignore
// in 16 bits. LANES invocations take one row, each pairs of it. Rows that do not count are 0 even where
// z is not finite.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint LANES = 256;
layout(constant_id = 1) const uint HALF = 0;
layout(push_constant) uniform push { uint R, V; int ignore; float share; uint z_o, z_s; };
#include "half.glsl"
IN(0, z);  IN_INT(1, y);  IN(2, l);  IN(3, dn);  OUT_WORDS(4, dz);

void main()
{
    uint i = gl_LocalInvocationID.x, row = hx_group() * (256 / LANES) + i / LANES;
    if (row >= R) return;
    int label = y[row];
    float lse = l[row], d = dn[row], each = share / V;
    bool counts = label != ignore && uint(label) < V;
    for (uint v = i % LANES * 2; v < V; v += LANES * 2) {
        vec2 x = vec2(z[z_o + row * z_s + v], z[z_o + row * z_s + v + 1]);
        vec2 own = vec2(int(v) == label, int(v + 1) == label) * (1 - share);
        vec2 s = counts ? d * (exp(x - lse) - each - own) : vec2(0);
        STORE2(4, dz, row * V + v, s)
    }
}
