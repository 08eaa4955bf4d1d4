// matmul_nn.coop.glsl - y = a b + c for matmul.coop.glsl.
#include "coop16.glsl"
layout(push_constant) uniform push {
    uint M, K, N;
    uint a_o, a_s, b_o, b_s, c_o, c_s, y_o, y_s, opts;
};
#include "matmul_c.coop.glsl"
#include "matmul_nn_at.glsl"
#define A_BY_K 1
#define B_BY_K 0
