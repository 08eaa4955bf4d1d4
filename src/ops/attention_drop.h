// attention_drop.h - attention that leaves weights out: one rule makes attn_NAME_drop, its dq and its dkv. They
// have rows of tiles alone: what is left out is drawn again by every kernel that needs a weight, and stored
// nowhere. Lanes and matrix units have no such rows.
#pragma once
#include "attention.h"

#define ATTN_DROP_MATH "m_ij = 0 with chance drop, else stays, "
#define ATTN_DROP_SOURCE "Srivastava et al. 2014; as in torch's scaled_dot_product_attention"
// Patterns have their samples in the plain operators; these are for what is drawn.
#define ATTN_DROP_CHECK                                                                          \
    "B=1 N=1 M=1 D=2 heads=1; B=2 N=9 M=9 D=16 heads=2 w=2 drop=0; B=2 N=70 M=70 D=16 heads=2 w=33 -gone drop=0.5 " \
    "stays=2 spot=3; B=1 N=33 M=47 D=48 heads=3 axial=2 w=7 stays=1.25; B=1 N=21 M=21 D=200 heads=1 w=9 drop=0.9;" \
    "B=1 N=34 M=86 D=64 heads=4 axial=2 share=2 w=40 drop=0.3"
#define ATTN_DROP_FUZZ " spot=0..500"
#define ATTN_DROP_SAME(NAME, WRONGS)                                                             \
    .attrs = attn_drop_fields, .attrs_size = sizeof(attn_drop_attrs),                            \
    .wrong_if = NAME##_drop_wrong, .wrong = WRONGS ATTN_WRONG_KV, .bench = ATTN_BENCH

// arguments as of HX_MASK, which comes before; WRONGS as there
#define HX_MASK_DROP(NAME, MATH, FLOPS, WRONGS)                                    \
    static const char *NAME##_drop_wrong(const int64_t *dim, const void *attrs)                  \
    {                                                                                            \
        const char *wrong = NAME##_dkv_wrong(dim, attrs);                                        \
        return wrong ? wrong : attn_wrong_many(dim, attrs);                                      \
    }                                                                                            \
    static void NAME##_drop_ref(const hx_ref *r) { attn_drop_ref(&NAME##_rule, r); }             \
    static void NAME##_drop_dq_ref(const hx_ref *r) { attn_drop_dq_ref(&NAME##_rule, r); }       \
    static void NAME##_drop_dkv_ref(const hx_ref *r) { attn_drop_dkv_ref(&NAME##_rule, r); }     \
    static void NAME##_drop_host(const hx_call *c)                                               \
    {                                                                                            \
        attn_drop_host(&NAME##_rule, &hx_op_attn_##NAME, c);                                     \
    }                                                                                            \
    static void NAME##_drop_dq_host(const hx_call *c)                                            \
    {                                                                                            \
        attn_drop_dq_host(&NAME##_rule, &hx_op_attn_##NAME##_dq, c);                             \
    }                                                                                            \
    static void NAME##_drop_dkv_host(const hx_call *c)                                           \
    {                                                                                            \
        attn_drop_dkv_host(&NAME##_rule, &hx_op_attn_##NAME##_dkv, c);                           \
    }                                                                                            \
    HX_OP(attn_##NAME##_drop_dq, ATTN_DROP_SAME(NAME, WRONGS),                                   \
        .math = "dq_i = sum_j ds_ij k_j / sqrt K, ds_ij = exp(s_ij - l_i) (m_ij dy_i.v_j - e_i), " \
                ATTN_DROP_MATH "s_ij = q_i.k_j / sqrt K, K = D/heads, " MATH,                    \
        .source = ATTN_DROP_SOURCE,                                                              \
        .sig = "q:[B,N,D] k:[B,M,D/share] v:[B,M,D/share] dy:[B,N,D] l[B,heads,N] e[B,heads,N] " \
               "gone?#[B,axial] dice#[4] -> dq:[B,N,D]",                                         \
        .ref = NAME##_drop_dq_ref, .host = NAME##_drop_dq_host, .terms = "M+2*D/heads+8",        \
        .flops = FLOPS("6"), .check = ATTN_DROP_CHECK, .fill = attn_drop_back_fill,              \
        .fuzz = ATTN_FUZZ ATTN_DROP_FUZZ " -huge",                                               \
        .kernels = {                                                                             \
            ATTN_ROW("attn_" #NAME "_drop_dq", 0, 8, "8, 8, 8, 4", NAME##_small),                \
            ATTN_ROW("attn_" #NAME "_drop_dq", 0, 32, "32, 32, 8, 4", NAME##_small_64),          \
            ATTN_ROW("attn_" #NAME "_drop_dq", HX_CAP_GPU, 8, "8, 8, 8, 4", NULL),               \
            ATTN_ROW("attn_" #NAME "_drop_dq", HX_CAP_GPU, 32, "32, 32, 8, 8", NAME##_gpu_64) }); \
    HX_OP(attn_##NAME##_drop_dkv, ATTN_DROP_SAME(NAME, WRONGS),                                  \
        .math = "dk_j = sum_i ds_ij q_i / sqrt K, dv_j = sum_i m_ij exp(s_ij - l_i) dy_i, "      \
                "ds, m and s as in attn_" #NAME "_drop_dq, " MATH,                               \
        .source = ATTN_DROP_SOURCE,                                                              \
        .sig = "q:[B,N,D] k:[B,M,D/share] v:[B,M,D/share] dy:[B,N,D] l[B,heads,N] e[B,heads,N] " \
               "gone?#[B,axial] dice#[4] -> dk:[parts*B,M,D/share] dv:[parts*B,M,D/share]",      \
        .ref = NAME##_drop_dkv_ref, .host = NAME##_drop_dkv_host,                                \
        .terms = "N*share/parts+2*D/heads+8", .flops = FLOPS("8"),                               \
        .check = ATTN_DROP_CHECK ATTN_CHECK_KV, .fill = attn_drop_back_fill,                     \
        .fuzz = ATTN_FUZZ ATTN_DROP_FUZZ " parts=1|share -huge",                                 \
        .kernels = {                                                                             \
            ATTN_KEY_ROW("attn_" #NAME "_drop_dkv", 0, 8, "4, 8, 8, 4", NAME##_small),           \
            ATTN_KEY_ROW("attn_" #NAME "_drop_dkv", 0, 32, "16, 32, 8, 4", NAME##_small_64),     \
            ATTN_KEY_ROW("attn_" #NAME "_drop_dkv", HX_CAP_GPU, 8, "4, 8, 8, 4", NULL),          \
            ATTN_KEY_ROW("attn_" #NAME "_drop_dkv", HX_CAP_GPU, 32, "16, 32, 8, 4", NAME##_gpu_64) }); \
    static void NAME##_drop_vjp(const hx_node *n, hx_t *d)                                       \
    {                                                                                            \
        attn_drop_vjp(&hx_op_attn_##NAME##_drop_dq, &hx_op_attn_##NAME##_drop_dkv, n, d);        \
    }                                                                                            \
    HX_OP(attn_##NAME##_drop, ATTN_DROP_SAME(NAME, WRONGS),                                      \
        .math = "y_i = sum_j m_ij exp(s_ij - l_i) v_j, l_i = log sum_j exp s_ij, "               \
                ATTN_DROP_MATH "s_ij = q_i.k_j / sqrt K, K = D/heads, " MATH,                    \
        .source = ATTN_DROP_SOURCE,                                                              \
        .sig = "q:[B,N,D] k:[B,M,D/share] v:[B,M,D/share] gone?#[B,axial] dice#[4] "             \
               "-> y:[B,N,D] l[B,heads,N]",                                                      \
        .ref = NAME##_drop_ref, .vjp = NAME##_drop_vjp, .host = NAME##_drop_host,                \
        .terms = "M+D/heads+8", .flops = FLOPS("4"), .check = ATTN_DROP_CHECK, .fill = attn_drop_fill, \
        .fuzz = ATTN_FUZZ ATTN_DROP_FUZZ,                                                        \
        .kernels = {                                                                             \
            ATTN_ROW("attn_" #NAME "_drop", 0, 8, "8, 16, 8, 4", NAME##_small),                  \
            ATTN_ROW("attn_" #NAME "_drop", 0, 32, "32, 32, 8, 4", NAME##_small_64),             \
            ATTN_ROW("attn_" #NAME "_drop", HX_CAP_GPU, 8, "8, 16, 8, 4", NULL),                 \
            ATTN_ROW("attn_" #NAME "_drop", HX_CAP_GPU, 32, "32, 32, 8, 8", NAME##_gpu_64) })
