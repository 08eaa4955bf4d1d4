#version 460
// y[r,v] = z[r,v] - log sum_u exp z[r,u] + c[r]               one workgroup per row
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(push_constant) uniform push { uint R, V; uint z_o, z_s, c_o, c_s, y_o, y_s, opts; };
IN(0, z);  IN(1, c);  OUT(2, y);
shared float part[64];

void main()
{
    uint r = hx_group(), me = gl_LocalInvocationID.x;
    bool mine = r < R;
    uint at = z_o + r * z_s;
    float top = -3.4e38, sum = 0;
    if (mine) for (uint v = me; v < V; v += 64) top = max(top, z[at + v]);
    part[me] = top;
    barrier();
    for (uint k = 0; k < 64; k++) top = max(top, part[k]);
    barrier();
    if (mine) for (uint v = me; v < V; v += 64) sum += exp(z[at + v] - top);
    part[me] = sum;
    barrier();
    sum = 0;
    for (uint k = 0; k < 64; k++) sum += part[k];
    // the largest first: what is left of z beside it may be small
    float less = log(sum);
    if (mine && HAS(1)) less -= c[c_o + r * c_s];
    if (mine) for (uint v = me; v < V; v += 64) y[y_o + r * y_s + v] = (z[at + v] - top) - less;
}
