// attn.glsl - what the kernels of every attention rule share: one workgroup has some tokens of one
// residue class of one head; row i of a class is token r + axial i.
#include "hx.glsl"
layout(constant_id = 0) const uint K = 64;

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

// first element of class row i at the place's head
#define ROW(p, x, i) (x##_o + (p.b * T + p.r + (i) * axial) * x##_s + p.h * K)
// where row i's statistics are in l[B,heads,T]
#define STAT(p, i) ((p.b * heads + p.h) * T + p.r + (i) * axial)
