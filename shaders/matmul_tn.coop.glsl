// matmul_tn.coop.glsl - y = a^T b + c for matmul.coop.glsl.
#include "coop.glsl"
layout(push_constant) uniform push {
    uint K, M, N;
    uint a_o, a_s, b_o, b_s, c_o, c_s, y_o, y_s, opts;
};
IN(0, a);  IN(1, b);  IN(2, c);  OUT(3, y);

#define FOURS (N % 4 == 0 && (y_o | y_s) % 4 == 0 && (!HAS(2) || (c_o | c_s) % 4 == 0))

void put4(uint m, uint n, vec4 s)
{
    if (HAS(2))
        s += c[(c_o + m * c_s + n) / 4];
    y[(y_o + m * y_s + n) / 4] = s;
}

void put1(uint m, uint n, float s)
{
    if (HAS(2))
        s += ELEM_OF(c, c_o + m * c_s + n);
    ELEM_OF(y, y_o + m * y_s + n) = s;
}

#define A a
#define A_AT(m, k) a_o + (k) * a_s + (m)
#define A_STEP a_s
#define B b
#define B_AT(k, n) b_o + (k) * b_s + (n)
#define B_STEP b_s
#define A_BY_K 0
#define B_BY_K 0
#define PUT4 put4
#define PUT1 put1
