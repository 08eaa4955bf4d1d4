// matmul_nn_at.glsl - where the factors of a b lie, for matmul.glsl and matmul.coop.glsl.
#define A a
#define A_AT(m, k) a_o + (m) * a_s + (k)
#define A_STEP 1
#define B b
#define B_AT(k, n) b_o + (k) * b_s + (n)
#define B_STEP b_s
