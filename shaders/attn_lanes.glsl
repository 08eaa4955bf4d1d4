// attn_lanes.glsl - for processors that run a subgroup's W invocations as lanes of one vector: there
// a load is made lane by lane and costs as much as many products. Every lane keeps R tokens in
// registers; of each token that they meet, W neighbouring channels are loaded at once and handed
// around. No shared memory, no barriers.
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "attn.glsl"
layout(constant_id = 1) const uint R = 2;
const uint W = 8;
layout(local_size_x = 8) in;
const uint KP = (K + W - 1) / W * W;       // channels with padding
#define lane gl_SubgroupInvocationID

// this lane's tokens: row i0 + lane + W a
#define OWN(a) (p.i0 + lane + W * (a))
#define TAKE(mine, p, x, T)                                                                      \
    [[unroll]] for (uint a = 0; a < R; a++)                                                      \
        [[unroll]] for (uint c = 0; c < KP; c++)                                                 \
            mine[a][c] = OWN(a) < p.n && c < K ? x[ROW(p, x, OWN(a), T, p.h) + c] : 0;
#define GIVE(p, x, T, mine, f)                                                                   \
    [[unroll]] for (uint a = 0; a < R; a++)                                                      \
        if (OWN(a) < p.n)                                                                        \
            [[unroll]] for (uint c = 0; c < K; c++)                                              \
                x[ROW(p, x, OWN(a), T, p.h) + c] = mine[a][c] * f(a);
#define CLEAR(mine)                                                                              \
    [[unroll]] for (uint a = 0; a < R; a++)                                                      \
        [[unroll]] for (uint c = 0; c < KP; c++) mine[a][c] = 0;

// row i's channels at head h, W neighbours a load: part[c / W] in lane c % W
#define MEET(part, p, x, i, T, h)                                                                \
    [[unroll]] for (uint c = 0; c < KP; c += W)                                                  \
        part[c / W] = K % W == 0 || c + lane < K ? x[ROW(p, x, i, T, h) + c + lane] : 0;
#define CHANNEL(part, c) subgroupShuffle(part[(c) / W], (c) % W)
// s[a] = mine[a] . part
#define DOTS(s, mine, part)                                                                      \
    [[unroll]] for (uint a = 0; a < R; a++) s[a] = 0;                                            \
    [[unroll]] for (uint c = 0; c < KP; c++) {                                                   \
        float x_ = CHANNEL(part, c);                                                             \
        [[unroll]] for (uint a = 0; a < R; a++) s[a] += x_ * mine[a][c];                         \
    }
// mine[a] += f[a] part
#define MIX(mine, f, part)                                                                       \
    [[unroll]] for (uint c = 0; c < KP; c++) {                                                   \
        float x_ = CHANNEL(part, c);                                                             \
        [[unroll]] for (uint a = 0; a < R; a++) mine[a][c] += f[a] * x_;                         \
    }
