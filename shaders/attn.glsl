// attn.glsl - what the kernels of every attention rule share: one workgroup has some tokens of one
// residue class of one head; row i of a class is token r + axial i. Of n keys, the last of which is
// as new as the last query, query i stands at position i + off; `share` heads of queries look at one
// head of keys. Gradients of keys may be summed in `parts`, each of as many of these heads: part k of
// batch row b is batch row k B + b of the result.
#include "hx.glsl"
#ifndef HEAD_ID
#define HEAD_ID 0
#endif
layout(constant_id = HEAD_ID) const uint K = 64;

// what a workgroup works on: tokens i0 .. i0+rows-1 of class r, which has n of T tokens, of head h
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
// how many of T tokens are in the class
uint class_of(place p, uint T, uint axial) { return p.r < T ? (T - p.r + axial - 1) / axial : 0; }

// how many of the oldest keys of the place's class are not there, by optional argument i
#define GONE(i) (HAS(i) ? uint(max(gone[p.b * axial + p.r], 0)) : 0)

// first element of class row i at head h of an argument with T tokens
#define ROW(p, x, i, T, h) (x##_o + (p.b * (T) + p.r + (i) * axial) * x##_s + (h) * K)
// where query i's statistics are in l[B,heads,N]
#define STAT(p, i, h) ((p.b * heads + (h)) * N + p.r + (i) * axial)
// of a weight that may be left out: its class of head h of its batch row, and the most keys of a class
#define LINE(p, h) ((p.b * axial + p.r) * heads + (h))
#define CLASS_MOST ((M + axial - 1) / axial)
