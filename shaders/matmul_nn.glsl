// matmul_nn.glsl - y = a b + c: buffers, epilogue and elements.
#include "hx.glsl"
layout(push_constant) uniform push {
    uint M, K, N;
    uint a_o, a_s, b_o, b_s, c_o, c_s, y_o, y_s, opts;
};
IN(0, a);  IN(1, b);  IN(2, c);  OUT(3, y);

void put(uint m, uint n, float s)
{
    if (HAS(2))
        s += c[c_o + m * c_s + n];
    y[y_o + m * y_s + n] = s;
}

#include "matmul_nn_at.glsl"
#define A_BY_K true
#define B_BY_K false
#define PUT put
