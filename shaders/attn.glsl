// attn.glsl - what the kernels of every attention rule share. One workgroup has BR tokens of one
// residue class of one head and walks over what they see, BC tokens at a time; row i of a class is
// token r + axial i. Tiles lie in shared memory with zeros beyond the class's n tokens and the
// head's K channels, so that the inner loops need no bounds. Invocation (tx, ty) has rows
// ty + TY a and columns tx + TX b of every product.
#include "hx.glsl"
layout(constant_id = 0) const uint K = 64;
layout(constant_id = 1) const uint BR = 32;
layout(constant_id = 2) const uint BC = 32;
layout(local_size_x_id = 3, local_size_y_id = 4) in;
const uint TX = gl_WorkGroupSize.x;
const uint TY = gl_WorkGroupSize.y;
const uint KU = (K + 15) / 16 * 16;        // channels with padding
const uint KS = KU + 1;                    // odd: columns of a tile lie in different banks
const uint NC = KU / TX;                   // channels of an invocation

// what a workgroup works on: tokens i0 .. i0+rows-1 of class r, which has n tokens, of head h
struct place { uint b, h, r, n, i0; };
place place_of(uint B, uint T, uint heads, uint axial, uint rows)
{
    uint at = hx_group(), tiles = ((T + axial - 1) / axial + rows - 1) / rows;
    place p;
    p.i0 = at % tiles * rows;
    at /= tiles;
    p.r = at % axial;
    p.h = at / axial % heads;
    p.b = at / axial / heads;
    p.n = p.b < B && p.r < T ? (T - p.r + axial - 1) / axial : 0;
    return p;
}

// tile[rows][KS] = x rows i0 .. of the place, from an argument with x_o, x_s
#define LOAD(tile, rows, p, x, i0)                                                               \
    for (uint e0 = gl_LocalInvocationIndex; e0 < (rows) * KU; e0 += 4 * TX * TY)                 \
        [[unroll]] for (uint u = 0; u < 4; u++) {                                                \
            uint e = e0 + u * TX * TY, i = (i0) + e / KU, c = e % KU;                            \
            if (e < (rows) * KU)                                                                 \
                tile[e / KU * KS + c] = i < p.n && c < K ? x[ROW(p, x, i) + c] : 0;              \
        }
// first element of class row i at the place's head
#define ROW(p, x, i) (x##_o + (p.b * T + p.r + (i) * axial) * x##_s + p.h * K)
// where row i's statistics are in l[B,heads,T]
#define STAT(p, i) ((p.b * heads + p.h) * T + p.r + (i) * axial)

// s[a][b] = x row ty + TY a . y row tx + TX b
#define DOTS(s, RT, CT, x, y)                                                                    \
    [[unroll]] for (uint a = 0; a < RT; a++)                                                     \
        [[unroll]] for (uint b = 0; b < CT; b++) s[a][b] = 0;                                    \
    for (uint c0 = 0; c0 < KU; c0 += 8)                                                          \
        [[unroll]] for (uint u = 0; u < 8; u++) {                                                \
            float yy[CT];                                                                        \
            [[unroll]] for (uint b = 0; b < CT; b++) yy[b] = y[(tx + TX * b) * KS + c0 + u];     \
            [[unroll]] for (uint a = 0; a < RT; a++) {                                           \
                float xx = x[(ty + TY * a) * KS + c0 + u];                                       \
                [[unroll]] for (uint b = 0; b < CT; b++) s[a][b] += xx * yy[b];                  \
            }                                                                                    \
        }

// acc[a][b] += sum over j < n of w(j, ty + TY a) y[j][tx + TX b]; n a multiple of 4
#define MIX(acc, RT, n, w, y)                                                                    \
    for (uint j0 = 0; j0 < n; j0 += 4)                                                           \
        [[unroll]] for (uint u = 0; u < 4; u++) {                                                \
            float yy[NC];                                                                        \
            [[unroll]] for (uint b = 0; b < NC; b++) yy[b] = y[(j0 + u) * KS + tx + TX * b];     \
            [[unroll]] for (uint a = 0; a < RT; a++) {                                           \
                float ww = w(j0 + u, ty + TY * a);                                               \
                [[unroll]] for (uint b = 0; b < NC; b++) acc[a][b] += ww * yy[b];                \
            }                                                                                    \
        }

#define CLEAR(acc, RT)                                                                           \
    [[unroll]] for (uint a = 0; a < RT; a++)                                                     \
        [[unroll]] for (uint b = 0; b < NC; b++) acc[a][b] = 0;

// x row i0 + ty + TY a = acc[a] f(a)
#define STORE(p, x, i0, acc, RT, f)                                                              \
    [[unroll]] for (uint a = 0; a < RT; a++)                                                     \
        [[unroll]] for (uint b = 0; b < NC; b++) {                                               \
            uint i = (i0) + ty + TY * a, c = tx + TX * b;                                        \
            if (i < p.n && c < K) x[ROW(p, x, i) + c] = acc[a][b] * f(a);                        \
        }
