// matmul_tn.coop.glsl - y = a^T b + c for matmul.coop.glsl.
#include "coop16.glsl"
layout(push_constant) uniform push {
    uint K, M, N;
    uint a_o, a_s, b_o, b_s, c_o, c_s, y_o, y_s, opts;
};
#include "matmul_c.coop.glsl"
#include "matmul_tn_at.glsl"
#define A_BY_K 0
#define B_BY_K 0
