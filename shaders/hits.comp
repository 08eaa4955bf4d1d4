#version 460
// h[r] = 1 if y[r] is the first largest of z[r,:], else 0; -1 where y[r] = ignore
// LANES invocations take one row, so that a workgroup takes 256 / LANES rows; each looks for
// logits that beat the label's.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint LANES = 256;
layout(push_constant) uniform push { uint R, V; int ignore; uint z_o, z_s; };
IN(0, z);  IN_INT(1, y);  OUT_INT(2, h);
shared uint beaten[256];

void main()
{
    uint i = gl_LocalInvocationID.x, lane = i % LANES, row = hx_group() * (256 / LANES) + i / LANES;
    int label = row < R ? y[row] : ignore;
    bool counts = label != ignore && uint(label) < V;
    uint from = z_o + row * z_s, at = uint(label);
    float mine = counts ? z[from + at] : 0;

    uint b = 0;
    for (uint v = lane; v < (counts ? V : 0); v += LANES) {
        float other = z[from + v];
        if (v < at ? other >= mine : other > mine) b = 1;
    }
    beaten[i] = b;
    barrier();
    for (uint k = LANES / 2; k > 0; k /= 2) {
        if (lane < k) beaten[i] |= beaten[i + k];
        barrier();
    }
    if (lane == 0 && row < R)
        h[row] = counts ? (beaten[i] == 0 ? 1 : 0) : -1;
}
