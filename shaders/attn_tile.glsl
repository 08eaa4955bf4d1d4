// attn_tile.glsl - tiles in shared memory: BR rows against BC others. Zeros lie beyond the class's
// n tokens and the head's K channels, so that the inner loops need no bounds. Invocation (tx, ty)
// has rows ty + TY a and columns tx + TX b of every product.
#include "attn.glsl"
layout(constant_id = 1) const uint BR = 32;
layout(constant_id = 2) const uint BC = 32;
layout(local_size_x_id = 3, local_size_y_id = 4) in;
const uint TX = gl_WorkGroupSize.x;
const uint TY = gl_WorkGroupSize.y;
const uint K4 = (K + 3) / 4;               // channels, in fours
const uint NC = (K4 + TX - 1) / TX;        // fours of channels of an invocation
const uint KU = NC * TX;                   // fours of channels with padding
const uint KS = KU + 1;                    // rows apart: neighbours lie in different banks

// tile[rows][KS] = rows i0 .. of head h of an argument with x_o, x_s, whose class has n of T tokens
#define LOAD(tile, rows, p, x, i0, T, n, h)                                                      \
    for (uint e = gl_LocalInvocationIndex; e < (rows) * KU; e += TX * TY) {                      \
        uint i = (i0) + e / KU, c = e % KU * 4;                                                  \
        vec4 four = vec4(0);                                                                     \
        if (i < n) {                                                                             \
            uint at_ = ROW(p, x, i, T, h) + c;                                                   \
            [[unroll]] for (uint d = 0; d < 4; d++) if (c + d < K) four[d] = x[at_ + d];         \
        }                                                                                        \
        tile[e / KU * KS + e % KU] = four;                                                       \
    }

// s[a][b] = x row ty + TY a . y row tx + TX b
#define DOTS(s, RT, CT, x, y)                                                                    \
    [[unroll]] for (uint a = 0; a < RT; a++)                                                     \
        [[unroll]] for (uint b = 0; b < CT; b++) s[a][b] = 0;                                    \
    for (uint c = 0; c < K4; c++) {                                                              \
        vec4 yy[CT];                                                                             \
        [[unroll]] for (uint b = 0; b < CT; b++) yy[b] = y[(tx + TX * b) * KS + c];              \
        [[unroll]] for (uint a = 0; a < RT; a++) {                                               \
            vec4 xx = x[(ty + TY * a) * KS + c];                                                 \
            [[unroll]] for (uint b = 0; b < CT; b++) s[a][b] += dot(xx, yy[b]);                  \
        }                                                                                        \
    }

// acc[a][b] += sum over j < n of w[ty + TY a][j] y[j][tx + TX b]; rows of w are WS apart, n and j
// count in fours
#define MIX(acc, RT, n, w, WS, y)                                                                \
    for (uint j = 0; j < (n) / 4; j++) {                                                         \
        vec4 ww[RT];                                                                             \
        [[unroll]] for (uint a = 0; a < RT; a++) ww[a] = w[(ty + TY * a) * (WS) + j];            \
        [[unroll]] for (uint u = 0; u < 4; u++)                                                  \
            [[unroll]] for (uint b = 0; b < NC; b++) {                                           \
                vec4 yy = y[(4 * j + u) * KS + tx + TX * b];                                     \
                [[unroll]] for (uint a = 0; a < RT; a++) acc[a][b] += ww[a][u] * yy;             \
            }                                                                                    \
    }

#define CLEAR(acc, RT)                                                                           \
    [[unroll]] for (uint a = 0; a < RT; a++)                                                     \
        [[unroll]] for (uint b = 0; b < NC; b++) acc[a][b] = vec4(0);

// x row i0 + ty + TY a of the place = acc[a] f(a)
#define STORE(p, x, i0, T, acc, RT, f)                                                           \
    [[unroll]] for (uint a = 0; a < RT; a++) {                                                   \
        uint i = (i0) + ty + TY * a;                                                             \
        if (i < p.n)                                                                             \
            [[unroll]] for (uint b = 0; b < NC; b++)                                             \
                [[unroll]] for (uint d = 0; d < 4; d++) {                                        \
                    uint c = (tx + TX * b) * 4 + d;                                              \
                    if (c < K) x[ROW(p, x, i, T, p.h) + c] = acc[a][b][d] * f(a);                \
                }                                                                                \
    }

#ifdef DROP
#define KEPT(row, at, j) * kept(row, at, j)
#else
#define KEPT(row, at, j)
#endif

// Weights of keys at .. at + BC - 1 against the new maximum, the rows' of which is in red; what was summed so far
// follows it.
#define WEIGHTS                                                                                  \
    [[unroll]] for (uint a = 0; a < RT; a++) {                                                   \
        uint row = ty + TY * a;                                                                  \
        float m = top[a];                                                                        \
        [[unroll]] for (uint b = 0; b < TX; b++) m = max(m, red[row * TX + b]);                  \
        float old = exp(top[a] - m);                                                             \
        sum[a] *= old;                                                                           \
        [[unroll]] for (uint b = 0; b < NC; b++) acc[a][b] *= old;                               \
        [[unroll]] for (uint b = 0; b < CT; b++) {                                               \
            float e = s[a][b] == -3e38 ? 0 : exp(s[a][b] - m);                                   \
            sum[a] += e;                                                                         \
            uint j = tx + TX * b;                                                                \
            ps[row * PS + j / 4][j % 4] = e KEPT(row, at, at + j);                               \
        }                                                                                        \
        top[a] = m;                                                                              \
    }
