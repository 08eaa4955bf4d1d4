// linear.coop.glsl - h = x w^T + b,  y = act(h) + r for matmul.coop.glsl.
#include "coop16.glsl"
#include "act.glsl"
layout(push_constant) uniform push {
    uint R, I, O;
    int act;
    uint x_o, x_s, r_o, r_s, y_o, y_s, opts;
};
IN(0, x);  IN(1, w);  IN(2, b);  IN(3, r);  OUT(4, y);  OUT(5, h);

#define EIGHTS (O % 8 == 0)

void put8(uint i, uint o, vec4 lo, vec4 hi)
{
    if (HAS(2))
        ADD8(b, o, lo, hi)
    if (HAS(5))
        SET8(5, h, i * O + o, lo, hi)
    if (act != 0)
        [[unroll]] for (uint c = 0; c < 4; c++) {
            lo[c] = act_of(uint(act), lo[c]);
            hi[c] = act_of(uint(act), hi[c]);
        }
    if (HAS(3))
        ADD8(r, r_o + i * r_s + o, lo, hi)
    SET8(4, y, y_o + i * y_s + o, lo, hi)
}

void put1(uint i, uint o, float s)
{
    if (HAS(2))
        s += FLOAT(b, o);
    if (HAS(5))
        SET_FLOAT(h, i * O + o, s);
    s = act_of(uint(act), s);
    if (HAS(3))
        s += FLOAT(r, r_o + i * r_s + o);
    SET_FLOAT(y, y_o + i * y_s + o, s);
}

#define A x
#define A_AT(m, k) x_o + (m) * x_s + (k)
#define A_STEP 1
#define B w
#define B_AT(k, n) (n) * I + (k)
#define B_STEP 1
#define A_BY_K 1
#define B_BY_K 1
