#version 460
// de[v] = c[v] + sum over (b,t) with ids[b,t] = v of dx[b,t]
// A workgroup makes COLS columns of one row v. It looks at 1024 tokens at a time and keeps one bit
// for each that is v, in words of 32; lane w of a column adds the tokens of words w, w + LANES, ..
// in order, and the lanes are added in order at the end. That is at most 5 + 33 * 32 / LANES loop
// iterations for 1024 tokens.
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint COLS = 32;
layout(push_constant) uniform push { uint B, N, T, D; int rows; uint dx_o, dx_s; uint opts; };
IN_INT(0, ids);  IN(1, dx);  IN(2, c);  OUT(3, de);
shared uint found[2][32];                  // of this round and of the next
shared float part[256];

void main()
{
    uint i = gl_LocalInvocationID.x, v = gl_WorkGroupID.x, lanes = 256 / COLS, lane = i / COLS;
    uint col = gl_WorkGroupID.y * COLS + i % COLS, n = B * T, side = 0;
    uint b = i / T, t = i % T, more_b = 256 / T, more_t = 256 % T;    // of the next id to look at
    float s = 0;
    if (i < 64) found[i / 32][i % 32] = 0;
    barrier();
    for (uint from = 0; from < n; from += 1024) {
        for (uint k = 0; k < 4; k++) {
            if (b < B) {
                uint id = uint(ids[b * N + t]);
                if (id >= uint(rows)) id = 0;
                if (id == v) atomicOr(found[side][k * 8 + i / 32], 1u << (i % 32));
            }
            b += more_b;
            t += more_t;
            if (t >= T) { t -= T; b++; }
        }
        barrier();
        if (i < 32) found[1 - side][i] = 0;
        for (uint w = lane; w < 32; w += lanes)
            for (uint bits = found[side][w]; bits != 0; bits &= bits - 1) {
                uint at = from + w * 32 + uint(findLSB(bits));
                if (col < D) s += dx[dx_o + at * dx_s + col];
            }
        side = 1 - side;
        barrier();
    }
    part[i] = s;
    barrier();
    if (lane == 0 && col < D) {
        for (uint k = 1; k < lanes; k++) s += part[k * COLS + i];
        de[v * D + col] = s + (HAS(2) ? c[v * D + col] : 0);
    }
}
