// matmul_split.glsl - p_s = a^T b over the s-th part of the rows: what each way to multiply shares. A
// workgroup's z is its part.
layout(push_constant) uniform push {
    uint K, M, N;
    int parts;
    uint a_o, a_s, b_o, b_s;
};
// rows of a part, a multiple of 128; the last ones may have fewer or none
uint part_rows() { return ((K + uint(parts) - 1) / uint(parts) + 127) / 128 * 128; }
uint part_first() { return min(gl_WorkGroupID.z * part_rows(), K); }

#define A a
#define A_AT(m, k) a_o + (part_first() + (k)) * a_s + (m)
#define A_STEP a_s
#define B b
#define B_AT(k, n) b_o + (part_first() + (k)) * b_s + (n)
#define B_STEP b_s
#define SUM_AT(m, n) (gl_WorkGroupID.z * M + (m)) * N + (n)
#define MAIN void main() { matmul(M, N, min(part_rows(), K - part_first())); }
