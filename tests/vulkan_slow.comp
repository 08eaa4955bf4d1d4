// x_i grows for a long time: longer than a test waits for it.
// One invocation an element.
#version 450
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(set = 0, binding = 0, std430) buffer io_x { float x[]; };

void main()
{
    uint i = gl_GlobalInvocationID.x % 64;
    float s = float(i);
    for (int k = 0; k < 50000; k++)
        s = sin(s) + x[i];
    if (s > 1e9)
        x[i] = s;
}
