// matmul_tn.coop.glsl - y = a^T b + c for matmul.coop.glsl.
#include "coop16.glsl"
layout(push_constant) uniform push {
    uint K, M, N;
    uint a_o, a_s, b_o, b_s, c_o, c_s, y_o, y_s, opts;
};
IN(0, a);  IN(1, b);  IN(2, c);  OUT(3, y);

#define EIGHTS (N % 8 == 0)

void put8(uint m, uint n, vec4 lo, vec4 hi)
{
    if (HAS(2))
        ADD8(c, c_o + m * c_s + n, lo, hi)
    SET8(3, y, y_o + m * y_s + n, lo, hi)
}

void put1(uint m, uint n, float s)
{
    if (HAS(2))
        s += FLOAT(c, c_o + m * c_s + n);
    SET_FLOAT(y, y_o + m * y_s + n, s);
}

#define A a
#define A_AT(m, k) a_o + (k) * a_s + (m)
#define A_STEP a_s
#define B b
#define B_AT(k, n) b_o + (k) * b_s + (n)
#define B_STEP b_s
#define A_BY_K 0
#define B_BY_K 0
