// softmax.glsl - which keys a query sees: 16 invocations a row of M, each with every 16th key.
#include "rows.glsl"
shared float tops[256];

// Largest v of the row's 16 invocations. Every invocation of the workgroup must call it.
float rows_max(float v)
{
    uint first = gl_LocalInvocationIndex - rows_lane();
    barrier();
    tops[gl_LocalInvocationIndex] = v;
    barrier();
    float m = tops[first];
    for (uint k = 1; k < 16; k++) m = max(m, tops[first + k]);
    return m;
}

bool sees(uint row, uint j)
{
    uint t = row / H % T, b = row / H / T, first = uint(own);
    return (!HAS(2) || qm[b * T + t] != 0) && (causal == 0 || j <= t) && (j >= first || j == t)
        && (!HAS(3) || j < first || km[b * (M - first) + j - first] != 0);
}
