// attention.h - softmax attention over the keys that a query can see. A pattern is a rule of a few
// lines in src/masks; references, gradients, host functions and kernels are shared by all rules.
#pragma once
#include "t.h"

// parts: of dkv alone, see attn_kv_fields
typedef struct attn_attrs { int32_t heads, axial, w, share, parts; } attn_attrs;
// Weights that are left out: which is drawn by Philox from dice, an input of the operator, `spot`, class, head,
// query and key.
typedef struct attn_chance { float drop, stays; int32_t spot; } attn_chance;
#define ATTN_CHANCE_FIELDS(type)                                                                 \
    { "drop", HX_F32, offsetof(type, chance.drop), "0.1", 0, 0.999, "chance of every weight" },  \
    { "stays", HX_F32, offsetof(type, chance.stays), "1", 0, 1e4, "factor of those that stay" }, \
    { "spot", HX_I32, offsetof(type, chance.spot), "0", 0, INT32_MAX,                            \
      "which of the model's dropouts" },
typedef struct attn_drop_attrs { attn_attrs at; attn_chance chance; } attn_drop_attrs;
attn_chance attn_chance_of(hx_left_out less);
// 0 or stays: what the weight of query i for key j of at most n is multiplied with; line: (batch row *
// classes + class) * heads + head. 1 where c is NULL.
real attn_kept(const attn_chance *c, const int32_t *dice, int64_t line, int64_t i, int64_t j, int64_t n);
enum { ATTN_B, ATTN_N, ATTN_D, ATTN_M };   // dims of every operator: batch, queries, width, keys

// A rule speaks of positions within one residue class of n keys. The last query is as new as the
// last key, so that queries stand at positions first .. n-1: first is the number of keys that are
// older than every query (a memory), 0 without, negative where there are more queries than keys.
// What a query sees is a stretch without holes: `sees(i, j)` holds exactly for lo <= j < hi of
// keys(i), and for lo <= i < hi of queries(j). Both ends never decrease from one token to the next,
// so that a tile of tokens sees from the lo of its first to the hi of its last. lo <= hi; keys are
// within 0 .. n, queries within first .. n.
//
// gone[b,r]: so many of the oldest keys of class r are not there, as if the memory were that much
// shorter: the result has the same bits. Left out: none.
typedef struct attn_rule {
    bool (*sees)(int64_t i, int64_t j, int64_t first, int64_t n, const attn_attrs *a);
    void (*keys)(int64_t i, int64_t first, int64_t n, const attn_attrs *a, int64_t *lo,
                 int64_t *hi);
    void (*queries)(int64_t j, int64_t first, int64_t n, const attn_attrs *a, int64_t *lo,
                    int64_t *hi);
} attn_rule;

enum { ATTN_MAX_K = 256 };                 // widest head that the kernels have tiles for

void attn_ref(const attn_rule *rule, const hx_ref *r);
void attn_dq_ref(const attn_rule *rule, const hx_ref *r);
void attn_dkv_ref(const attn_rule *rule, const hx_ref *r);
void attn_host(const attn_rule *rule, const hx_call *c);
void attn_dq_host(const attn_rule *rule, const hx_call *c);
void attn_dkv_host(const attn_rule *rule, const hx_call *c);
void attn_drop_ref(const attn_rule *rule, const hx_ref *r);
void attn_drop_dq_ref(const attn_rule *rule, const hx_ref *r);
void attn_drop_dkv_ref(const attn_rule *rule, const hx_ref *r);
// plain: the operator that leaves nothing out
void attn_drop_host(const attn_rule *rule, const hx_op *plain, const hx_call *c);
void attn_drop_dq_host(const attn_rule *rule, const hx_op *plain, const hx_call *c);
void attn_drop_dkv_host(const attn_rule *rule, const hx_op *plain, const hx_call *c);
void attn_vjp(const hx_op *dq, const hx_op *dkv, const hx_node *n, hx_t *d);
void attn_drop_vjp(const hx_op *dq, const hx_op *dkv, const hx_node *n, hx_t *d);
real attn_drop_back_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs);
real attn_drop_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs);
real attn_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs);
const char *attn_wrong(const int64_t *dim, const void *attrs);
const char *attn_wrong_many(const int64_t *dim, const void *attrs);  // weights that cannot be counted
const char *attn_wrong_parts(const void *attrs);
const char *attn_wrong_past(const int64_t *dim, const void *attrs);  // no query before all keys
// Is a head at most K wide, and does no token see, or is seen by, more than `most` others (0: any
// number)? Software Vulkan ends an invocation in silence after 65,535 rounds of its loops.
bool attn_fits(const attn_rule *rule, const int64_t *dim, const void *attrs, int64_t K,
               int64_t most);
// Are heads whole eights of channels?
bool attn_eights(const int64_t *dim, const void *attrs);
// Are there workgroups of 128 queries for two on each processor of a large GPU?
bool attn_many(const int64_t *dim, const void *attrs);
// of attn_NAME and dq; and of dkv, whose result has `parts` sums over as many of the heads that share
// keys each: part k of batch row b is its batch row k B + b
extern const hx_field attn_fields[], attn_kv_fields[], attn_drop_fields[];
enum { ATTN_SIZE = offsetof(attn_attrs, parts) };
extern const hx_op hx_op_attn_causal, hx_op_attn_band, hx_op_attn_full, hx_op_attn_slots;
extern const hx_op hx_op_attn_causal_drop, hx_op_attn_band_drop, hx_op_attn_full_drop, hx_op_attn_slots_drop;
extern const hx_op hx_op_attn_delta;
extern const hx_op hx_op_rotary;

// Samples of every rule: one token, tiles not full, classes of unequal length, windows beside
// every edge, wide and odd heads, memories, keys shared by heads.
#define ATTN_CHECK                                                                               \
    "B=1 N=1 M=1 D=2 heads=1; B=2 N=9 M=9 D=16 heads=2 w=2; B=1 N=5 M=5 D=6 heads=3 w=0;"        \
    "B=1 N=33 M=33 D=48 heads=3 axial=2 w=7; B=2 N=31 M=31 D=32 heads=2 axial=3 w=3;"            \
    "B=1 N=34 M=34 D=8 heads=1 axial=4 w=4; B=1 N=3 M=3 D=16 heads=1 axial=4 w=1;"               \
    "B=1 N=65 M=65 D=64 heads=1 w=31; B=1 N=66 M=66 D=128 heads=2 w=32;"                         \
    "B=1 N=67 M=67 D=60 heads=3 w=33; B=1 N=40 M=40 D=128 heads=1 w=15;"                         \
    "B=1 N=33 M=33 D=256 heads=2 w=40; B=1 N=21 M=21 D=200 heads=1 w=9;"                         \
    "B=1 N=130 M=130 D=20 heads=1 w=64; B=1 N=200 M=200 D=64 heads=1 axial=3 w=17;"              \
    "B=1 N=19 M=19 D=14 heads=2 w=5; B=1 N=1 M=2 D=8 heads=4 share=4; "                          \
    "B=2 N=33 M=70 D=12 heads=3 share=3 w=36; B=1 N=34 M=86 D=16 heads=4 axial=2 share=2 w=40;"  \
    "B=1 N=3 M=20 D=256 heads=2 share=2 w=2; B=1 N=2 M=11 D=20 heads=1 axial=3 w=1;"             \
    "B=1 N=66 M=66 D=128 heads=2 w=32 -gone; B=1 N=34 M=86 D=16 heads=4 axial=2 share=2 -gone"
#define ATTN_CHECK_KV                                                                            \
    "; B=2 N=34 M=86 D=64 heads=4 axial=2 share=4 parts=2 w=40; B=2 N=9 M=9 D=12 heads=3 share=3 parts=3"
// for rules that have a meaning with fewer keys than queries
#define ATTN_CHECK_FEW                                                                           \
    "; B=1 N=9 M=2 D=16 heads=2; B=2 N=70 M=33 D=12 heads=3 share=3;"                            \
    "B=1 N=66 M=6 D=16 heads=4 axial=4"
// Head widths are few: each makes pipelines of its own. What a query does not see is multiplied
// with 0 where it shares a tile with what is seen, and a score of -infinity is a very small one:
// NaN and infinity in k and v may reach, or spare, other tokens of their tile.
#define ATTN_FUZZ                                                                                \
    "heads=1..4 share=1|heads D=heads*5|heads*16|heads*64|heads*66|heads*200"                    \
    " axial=1..5 M=N..N+axial*20:axial w=0..M+1 -nan -inf"
#define ATTN_WRONG                                                                               \
    "B=1 N=4 M=4 D=6 heads=4: heads must divide; B=1 N=4 M=4 D=600 heads=2: at most 256;"        \
    "B=1 N=4 M=4 D=12 heads=6 share=4: share must divide;"                                       \
    "B=1 N=4 M=7 D=8 axial=2: axial must divide"
#define ATTN_WRONG_KV "; B=1 N=4 M=4 D=8 heads=4 share=2 parts=4: parts must divide"
#define ATTN_WRONG_PAST "; B=1 N=4 M=3 D=8: as many keys as queries"
#define ATTN_BENCH                                                                               \
    "B=2 N=2048 M=2048 D=512 heads=8 w=32 -gone; B=2 N=2048 M=2048 D=512 heads=8 axial=4 w=64 -gone;"        \
    "B=1 N=2048 M=4096 D=512 heads=8 axial=4 share=8 w=64 -gone"

// Kernel rows. Tiles (attn_tile.glsl): specialization constants are the head width, queries and
// keys of a tile, and invocations along keys and along queries; wider heads have smaller tiles, so
// that each fits 32 KiB of shared memory, or 48 KiB. Lanes (attn_lanes.glsl): head width and tokens
// of a lane. OWN is the number of rows that a workgroup has.
#define ATTN_GRID(OWN) "N/axial/" #OWN "*axial*heads*B"
#define ATTN_KEY_GRID(OWN) "M/axial/" #OWN "*axial*heads/share*B*parts"
#define ATTN_ROW(OP, NEEDS, OWN, SPEC, FITS)                                                     \
    { .name = OP, .needs = NEEDS, .grid = ATTN_GRID(OWN), .spec = "D/heads, " SPEC, .fits = FITS }
#define ATTN_KEY_ROW(OP, NEEDS, OWN, SPEC, FITS)                                                 \
    { .name = OP, .needs = NEEDS, .grid = ATTN_KEY_GRID(OWN), .spec = "D/heads, " SPEC,          \
      .fits = FITS }
#define ATTN_GPU (HX_CAP_GPU | HX_CAP_SHARED48)
// The same on matrix units (attn_coop.glsl), for both types. Spec: subgroups, head width,
// subgroups, own rows, rows met at a time. IN: arguments that are rounded to 16 bits; OUTS: outputs
// that are sums of numbers rounded so on the way; PLACES: see hx_row.
#define ATTN_MATRIX(ROW, OP, NEEDS, OWN, SPEC, FITS, IN, OUTS, PLACES)                           \
    ATTN_MATRIX_ROW(ROW, OP "_fp16", HX_CAP_COOPMAT | NEEDS, OWN, SPEC, FITS, HX_FP16, IN,       \
                    OUTS, PLACES),                                                               \
    ATTN_MATRIX_ROW(ROW, OP "_bf16", HX_CAP_COOPMAT_BF | NEEDS, OWN, SPEC, FITS, HX_BF16,        \
                    IN, OUTS, PLACES)
#define ATTN_MATRIX_ROW(ROW, OP, NEEDS, OWN, SPEC, FITS, TYPE, IN, OUTS, PLACES)                 \
    { .name = OP, .needs = NEEDS | HX_CAP_SUBGROUP, .grid = ROW(OWN), .spec = SPEC,              \
      .fits = FITS, .precision = TYPE, .rounds = IN, .rough = OUTS, .half = (IN) | (OUTS),       \
      .places = PLACES }
#define ATTN_FITS(NAME, ROW, K, MOST)                                                            \
    static bool NAME##_##ROW(const int64_t *dim, const void *attrs)                              \
    {                                                                                            \
        return attn_fits(&NAME##_rule, dim, attrs, K, MOST);                                     \
    }
#define ATTN_FITS_EIGHTS(NAME, ROW, K)                                                           \
    static bool NAME##_##ROW(const int64_t *dim, const void *attrs)                              \
    {                                                                                            \
        return attn_eights(dim, attrs) && attn_fits(&NAME##_rule, dim, attrs, K, 0);             \
    }
// Measured on an H200, heads of 64: more own rows mean fewer loads of what they meet, fewer mean
// more workgroups at once; keys meet 64 queries at a time.
#define ATTN_MATRICES(GRID, OP, NAME, NEEDS, IN, OUTS)                                           \
    ATTN_MATRIX(GRID, OP ".coop", NEEDS, 64, "4, D/heads, 4, 64, 16", NAME##_coop_128, IN, OUTS, 1), \
    ATTN_MATRIX(GRID, OP ".coop", 0, 64, "4, D/heads, 4, 64, 32", NAME##_coop, IN, OUTS, 1),     \
    ATTN_MATRIX(GRID, OP ".coop", NEEDS | ATTN_GPU, 64, "4, D/heads, 4, 64, 32", NAME##_coop_128, IN, \
                OUTS, 1)
#define ATTN_MANY(OP, NAME, IN, OUTS)                                                            \
    ATTN_MATRIX(ATTN_GRID, OP ".coop", ATTN_GPU, 128, "8, D/heads, 8, 128, 32", NAME##_many, IN, OUTS, 1)
#define ATTN_MANY_KEYS(OP, NAME)                                                                 \
    ATTN_MATRIX(ATTN_KEY_GRID, OP ".coop", ATTN_GPU, 64, "4, D/heads, 4, 64, 64", NAME##_coop, 15, 384, 1)
// Own rows in shared memory: few registers.
#define ATTN_OWN(GRID, OP, NAME, OUTS)                                                           \
    ATTN_MATRIX(GRID, OP ".coop_own", 0, 16, "1, D/heads, 1, 16, 16", NAME##_coop_128, 15, OUTS, 1), \
    ATTN_MATRIX(GRID, OP ".coop_own", HX_CAP_SHARED48, 32, "2, D/heads, 2, 32, 16",              \
                NAME##_coop_128, 15, OUTS, 1)
#define ATTN_LANES(ROW, OP, NAME)                                                                \
    ROW(OP, HX_CAP_LANES, 8, "1", NAME##_lanes),                                                 \
    ROW(OP, HX_CAP_LANES, 16, "2", NAME##_lanes_64)

// One rule makes three operators: attn_NAME, attn_NAME_dq and attn_NAME_dkv. FLOPS(n): an
// expression of n operations for each channel of each pair that sees each other; WRONG, WRONGS and
// CHECK: what the rule refuses, samples that it refuses, and those that it takes.
#define HX_MASK(NAME, MATH, FLOPS, WRONG, WRONGS, CHECK)                                         \
    static const attn_rule NAME##_rule = { NAME##_sees, NAME##_keys, NAME##_queries };           \
    ATTN_FITS(NAME, small, 256, 7000)                                                            \
    ATTN_FITS(NAME, small_64, 64, 32000)                                                         \
    ATTN_FITS(NAME, gpu_64, 64, 0)                                                               \
    ATTN_FITS(NAME, gpu_128, 128, 0)                                                             \
    ATTN_FITS_EIGHTS(NAME, coop, 64)                                                             \
    static const char *NAME##_dkv_wrong(const int64_t *dim, const void *attrs)                   \
    {                                                                                            \
        const char *wrong = WRONG(dim, attrs);                                                   \
        return wrong ? wrong : attn_wrong_parts(attrs);                                          \
    }                                                                                            \
    static bool NAME##_many(const int64_t *dim, const void *attrs)                               \
    {                                                                                            \
        return NAME##_coop(dim, attrs) && attn_many(dim, attrs);                                 \
    }                                                                                            \
    ATTN_FITS_EIGHTS(NAME, coop_128, 128)                                                        \
    ATTN_FITS(NAME, lanes, 128, 60000)                                                           \
    ATTN_FITS(NAME, lanes_64, 64, 60000)                                                         \
    static void NAME##_ref(const hx_ref *r) { attn_ref(&NAME##_rule, r); }                       \
    static void NAME##_dq_ref(const hx_ref *r) { attn_dq_ref(&NAME##_rule, r); }                 \
    static void NAME##_dkv_ref(const hx_ref *r) { attn_dkv_ref(&NAME##_rule, r); }               \
    static void NAME##_host(const hx_call *c) { attn_host(&NAME##_rule, c); }                    \
    static void NAME##_dq_host(const hx_call *c) { attn_dq_host(&NAME##_rule, c); }              \
    static void NAME##_dkv_host(const hx_call *c) { attn_dkv_host(&NAME##_rule, c); }            \
    HX_OP(attn_##NAME##_dq,                                                                      \
        .math = "dq_i = sum_j ds_ij k_j / sqrt K, ds_ij = exp(s_ij - l_i) (dy_i.v_j - e_i), "    \
                "s_ij = q_i.k_j / sqrt K, K = D/heads, " MATH,                                   \
        .source = "FlashAttention, Dao et al. 2022, algorithm 4",                                \
        .sig = "q:[B,N,D] k:[B,M,D/share] v:[B,M,D/share] dy:[B,N,D] l[B,heads,N] e[B,heads,N] " \
               "gone?#[B,axial] -> dq:[B,N,D]",                                                  \
        .fill = attn_fill, .attrs = attn_fields, .attrs_size = ATTN_SIZE, .ref = NAME##_dq_ref,  \
        .wrong_if = WRONG, .host = NAME##_dq_host, .terms = "M+2*D/heads+8",                     \
        .flops = FLOPS("6"), .check = CHECK, .wrong = WRONGS, .bench = ATTN_BENCH,               \
        .fuzz = ATTN_FUZZ " -huge",                                                              \
        .kernels = {                                                                             \
            ATTN_ROW("attn_" #NAME "_dq", 0, 8, "8, 8, 8, 4", NAME##_small),                     \
            ATTN_ROW("attn_" #NAME "_dq", 0, 32, "32, 32, 8, 4", NAME##_small_64),               \
            ATTN_ROW("attn_" #NAME "_dq", HX_CAP_GPU, 8, "8, 8, 8, 4", NULL),                    \
            ATTN_ROW("attn_" #NAME "_dq", HX_CAP_GPU, 32, "32, 32, 8, 8", NAME##_gpu_64),        \
            ATTN_ROW("attn_" #NAME "_dq", ATTN_GPU, 32, "32, 16, 8, 8", NAME##_gpu_128),         \
            ATTN_ROW("attn_" #NAME "_dq", ATTN_GPU, 32, "32, 32, 8, 8", NAME##_gpu_64),          \
            ATTN_OWN(ATTN_GRID, "attn_" #NAME "_dq", NAME, 128),                                 \
            ATTN_MATRICES(ATTN_GRID, "attn_" #NAME "_dq", NAME, HX_CAP_FACTORS, 15, 128),        \
            ATTN_MANY("attn_" #NAME "_dq", NAME, 15, 128),                                       \
            ATTN_LANES(ATTN_ROW, "attn_" #NAME "_dq" ".lanes", NAME) });                         \
    HX_OP(attn_##NAME##_dkv,                                                                     \
        .math = "dk_j = sum_i ds_ij q_i / sqrt K, dv_j = sum_i exp(s_ij - l_i) dy_i, "           \
                "ds and s as in attn_" #NAME "_dq, " MATH,                                       \
        .source = "FlashAttention, Dao et al. 2022, algorithm 4",                                \
        .sig = "q:[B,N,D] k:[B,M,D/share] v:[B,M,D/share] dy:[B,N,D] l[B,heads,N] e[B,heads,N] " \
               "gone?#[B,axial] -> dk:[parts*B,M,D/share] dv:[parts*B,M,D/share]",               \
        .fill = attn_fill, .attrs = attn_kv_fields, .attrs_size = sizeof(attn_attrs),            \
        .ref = NAME##_dkv_ref, .wrong_if = NAME##_dkv_wrong, .host = NAME##_dkv_host,            \
        .terms = "N*share/parts+2*D/heads+8", .flops = FLOPS("8"), .check = CHECK ATTN_CHECK_KV, \
        .wrong = WRONGS ATTN_WRONG_KV, .bench = ATTN_BENCH,                                      \
        .fuzz = ATTN_FUZZ " parts=1|share -huge",                                                \
        .kernels = {                                                                             \
            ATTN_KEY_ROW("attn_" #NAME "_dkv", 0, 8, "4, 8, 8, 4", NAME##_small),                \
            ATTN_KEY_ROW("attn_" #NAME "_dkv", 0, 32, "16, 32, 8, 4", NAME##_small_64),          \
            ATTN_KEY_ROW("attn_" #NAME "_dkv", HX_CAP_GPU, 8, "4, 8, 8, 4", NULL),               \
            ATTN_KEY_ROW("attn_" #NAME "_dkv", HX_CAP_GPU, 32, "16, 32, 8, 4", NAME##_gpu_64),   \
            ATTN_KEY_ROW("attn_" #NAME "_dkv", ATTN_GPU, 16, "16, 16, 8, 8", NAME##_gpu_128),    \
            ATTN_KEY_ROW("attn_" #NAME "_dkv", ATTN_GPU, 32, "32, 32, 8, 8", NAME##_gpu_64),     \
            ATTN_OWN(ATTN_KEY_GRID, "attn_" #NAME "_dkv", NAME, 384),                            \
            ATTN_MATRICES(ATTN_KEY_GRID, "attn_" #NAME "_dkv", NAME, HX_CAP_FACTORS, 15, 384),   \
            ATTN_MANY_KEYS("attn_" #NAME "_dkv", NAME),                                          \
            ATTN_LANES(ATTN_KEY_ROW, "attn_" #NAME "_dkv" ".lanes", NAME) });                    \
    static void NAME##_vjp(const hx_node *n, hx_t *d)                                            \
    {                                                                                            \
        attn_vjp(&hx_op_attn_##NAME##_dq, &hx_op_attn_##NAME##_dkv, n, d);                       \
    }                                                                                            \
    HX_OP(attn_##NAME,                                                                           \
        .math = "y_i = sum_j exp(s_ij - l_i) v_j, l_i = log sum_j exp s_ij, "                    \
                "s_ij = q_i.k_j / sqrt K, K = D/heads, " MATH,                                   \
        .source = "Attention Is All You Need, Vaswani et al. 2017, eq. 1",                       \
        .sig = "q:[B,N,D] k:[B,M,D/share] v:[B,M,D/share] gone?#[B,axial] "                      \
               "-> y:[B,N,D] l[B,heads,N]",                                                      \
        .fill = attn_fill, .attrs = attn_fields, .attrs_size = ATTN_SIZE, .ref = NAME##_ref,     \
        .vjp = NAME##_vjp, .wrong_if = WRONG, .host = NAME##_host, .terms = "M+D/heads+8",       \
        .flops = FLOPS("4"), .check = CHECK, .wrong = WRONGS, .bench = ATTN_BENCH,               \
        .fuzz = ATTN_FUZZ,                                                                       \
        .kernels = {                                                                             \
            ATTN_ROW("attn_" #NAME, 0, 8, "8, 16, 8, 4", NAME##_small),                          \
            ATTN_ROW("attn_" #NAME, 0, 32, "32, 32, 8, 4", NAME##_small_64),                     \
            ATTN_ROW("attn_" #NAME, HX_CAP_GPU, 8, "8, 16, 8, 4", NULL),                         \
            ATTN_ROW("attn_" #NAME, HX_CAP_GPU, 32, "32, 32, 8, 8", NAME##_gpu_64),              \
            ATTN_ROW("attn_" #NAME, ATTN_GPU, 32, "32, 32, 8, 8", NAME##_gpu_128),               \
            ATTN_ROW("attn_" #NAME, ATTN_GPU, 64, "64, 32, 8, 16", NAME##_gpu_64),               \
            ATTN_MATRICES(ATTN_GRID, "attn_" #NAME, NAME, 0, 7, 16),                             \
            ATTN_MANY("attn_" #NAME, NAME, 7, 16),                                               \
            ATTN_LANES(ATTN_ROW, "attn_" #NAME ".lanes", NAME) })
