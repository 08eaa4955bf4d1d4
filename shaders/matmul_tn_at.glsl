// matmul_tn_at.glsl - where the factors of a^T b lie, for matmul.glsl and matmul.coop.glsl.
#define A a
#define A_AT(m, k) a_o + (k) * a_s + (m)
#define A_STEP a_s
#define B b
#define B_AT(k, n) b_o + (k) * b_s + (n)
#define B_STEP b_s
