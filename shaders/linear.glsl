// linear.glsl - h = x w^T + b,  y = act(h) + r: buffers, epilogue and elements.
#include "hx.glsl"
#include "act.glsl"
layout(push_constant) uniform push {
    uint R, I, O;
    int act;
    uint x_o, x_s, r_o, r_s, y_o, y_s, opts;
};
IN(0, x);  IN(1, w);  IN(2, b);  IN(3, r);  OUT(4, y);  OUT(5, h);

void put(uint i, uint o, float s)
{
    if (HAS(2))
        s += b[o];
    if (HAS(5))
        h[i * O + o] = s;
    s = act_of(uint(act), s);
    if (HAS(3))
        s += r[r_o + i * r_s + o];
    y[y_o + i * y_s + o] = s;
}

#define A x
#define A_AT(m, k) x_o + (m) * x_s + (k)
#define A_STEP 1
#define B w
#define B_AT(k, n) (n) * I + (k)
#define B_STEP 1
#define A_BY_K true
#define B_BY_K true
#define PUT put
