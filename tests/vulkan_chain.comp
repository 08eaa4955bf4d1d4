// y_i = FACTOR x_(N-1-i) + add, through shared memory: a chain of these has one right order.
// One invocation an element.
#version 450
#include "hx.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint FACTOR = 1;
layout(push_constant) uniform push { uint N; float add; uint x_o; };
IN(0, x);
OUT(1, y);
shared float tile[2 * gl_WorkGroupSize.x];

void main()
{
    uint i = gl_GlobalInvocationID.x, t = 2 * gl_LocalInvocationID.x;
    if (i < N)
        tile[t] = x[x_o + N - 1 - i];
    barrier();
    if (i < N)
        y[i] = float(FACTOR) * tile[t] + add;
}
