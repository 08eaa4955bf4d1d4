#version 460
// e = y.dy - dl per head, of numbers of 16 bits           eight lanes to a head of a token, eight
// channels each; 64 heads of tokens a workgroup
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 64) in;
layout(constant_id = 0) const uint HALF = 0;
layout(push_constant) uniform push {
    uint B, T, D;
    uint heads;
    uint y_o, y_s, dy_o, dy_s, opts;
};
#include "half.glsl"
IN16(0, y);  IN16(1, dy);  IN(2, dl);  OUT(3, e);
const uint W = 8;
shared float part[64 * (W + 1)];

void main()
{
    uint t = gl_LocalInvocationID.x, first = hx_group() * 64, K = D / heads, all = B * T * heads;
    [[unroll]] for (uint r = t / W; r < 64; r += 64 / W) {
        uint head = min(first + r, all - 1), row = head / heads, h = head % heads;
        uint y0 = y_o + row * y_s + h * K, dy0 = dy_o + row * dy_s + h * K;
        vec4 sum = vec4(0), y1, y2, dy1, dy2;
        for (uint k = t % W * 8; k < K; k += W * 8) {
            LOAD8(0, y, y0 + k, y1, y2)
            LOAD8(1, dy, dy0 + k, dy1, dy2)
            sum += y1 * dy1 + y2 * dy2;
        }
        part[r * (W + 1) + t % W] = (sum.x + sum.y) + (sum.z + sum.w);
    }
    barrier();
    uint head = first + t;
    if (head >= all)
        return;
    uint row = head / heads, to = (row / T * heads + head % heads) * T + row % T;
    float sum = 0;
    [[unroll]] for (uint i = 0; i < W; i++)
        sum += part[t * (W + 1) + i];
    if (HAS(2))
        sum -= dl[to];
    e[to] = sum;
}
