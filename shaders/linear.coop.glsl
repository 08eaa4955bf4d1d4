// linear.coop.glsl - h = x w^T + b,  y = act(h) + r for matmul.coop.glsl.
#include "coop.glsl"
#include "act.glsl"
layout(push_constant) uniform push {
    uint R, I, O;
    int act;
    uint x_o, x_s, r_o, r_s, y_o, y_s, opts;
};
IN(0, x);  IN(1, w);  IN(2, b);  IN(3, r);  OUT(4, y);  OUT(5, h);

#define FOURS (O % 4 == 0 && (y_o | y_s) % 4 == 0 && (!HAS(3) || (r_o | r_s) % 4 == 0))

void put4(uint i, uint o, vec4 s)
{
    if (HAS(2))
        s += b[o / 4];
    if (HAS(5))
        h[(i * O + o) / 4] = s;
    if (act != 0)
        [[unroll]] for (uint c = 0; c < 4; c++)
            s[c] = act_of(uint(act), s[c]);
    if (HAS(3))
        s += r[(r_o + i * r_s + o) / 4];
    y[(y_o + i * y_s + o) / 4] = s;
}

void put1(uint i, uint o, float s)
{
    if (HAS(2))
        s += ELEM_OF(b, o);
    if (HAS(5))
        ELEM_OF(h, i * O + o) = s;
    s = act_of(uint(act), s);
    if (HAS(3))
        s += ELEM_OF(r, r_o + i * r_s + o);
    ELEM_OF(y, y_o + i * y_s + o) = s;
}

#define A x
#define A_AT(m, k) x_o + (m) * x_s + (k)
#define A_STEP 1
#define B w
#define B_AT(k, n) (n) * I + (k)
#define B_STEP 1
#define A_BY_K 1
#define B_BY_K 1
#define PUT4 put4
#define PUT1 put1
