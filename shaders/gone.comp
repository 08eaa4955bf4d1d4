#version 460
// y[b] = more[b] + size - min(size, floor(max(age[b] + plus, 0) / unit) per)
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(push_constant) uniform push { uint B; int size, plus, unit, per; uint opts; };
IN_INT(0, age);  IN_INT(1, more);  OUT_INT(2, y);

void main()
{
    uint i = hx_group() * 64 + gl_LocalInvocationID.x;
    if (i >= B) return;
    int units = max(age[i] + plus, 0) / unit;
    // without overflow: so many units fill the memory
    int had = per == 0 ? 0 : units > size / per ? size : min(units * per, size);
    int v = size - had;
    if (HAS(1)) v += more[i];
    y[i] = v;
}
