// rel_attention.h - attention by contents and by distance (Transformer-XL): rules, references, and
// what host functions and descriptors share.
#pragma once
#include "attention.h"

typedef struct rel_attrs { int32_t heads, band, read, write, cache, slide; } rel_attrs;
// of operators that leave weights out: dice are their last input
typedef struct rel_drop_attrs { rel_attrs at; attn_chance chance; } rel_drop_attrs;
enum { REL_N, REL_B, REL_D, REL_M };       // dims: queries, batch, width, keys
enum { REL_Q, REL_K, REL_V, REL_R, REL_U, REL_W, REL_GONE, REL_OUT,
       REL_DY = REL_OUT, REL_L, REL_E, REL_GRAD };
enum { REL_MAX_K = 256 };                  // widest head that the kernels have tiles for

// Query i of N stands beside key i + M - N of M: M - N keys are older than every query. It sees the
// keys up to itself, with band > 0 only the newest `band` of them. The first `read` and the last
// `write` queries are slots: each sees all slots of its end, reading ones nothing else, writing
// ones all other queries' keys too; what is older than every query only with `cache`. Of what is
// older the first `gone` keys are seen by none: a memory that is not full yet. Query i sees the
// keys lo <= j < hi.
void rel_keys(const int64_t *dim, const rel_attrs *a, int64_t gone, int64_t i, int64_t *lo,
              int64_t *hi);
// The row of r that the score of (i, j) uses, -1: none; *i becomes the query whose channels meet
// it.
// The reference shifts a matrix of scores in place, which gives keys that are newer than the query
// what is left of the next query's oldest distances; slots see such keys.
// With slide, rows of a batch row with `gone` missing keys are that many further down (see rel_slide).
int64_t rel_row(const int64_t *dim, int64_t *i, int64_t j);
int64_t rel_slide(const int64_t *dim, const rel_attrs *a, int64_t gone);

void rel_attn_host(const hx_call *c);
void rel_attn_dq_host(const hx_call *c);
void rel_attn_dkv_host(const hx_call *c);
void rel_attn_dr_host(const hx_call *c);
// The same without the weights that are left out.
void rel_attn_drop_host(const hx_call *c);
void rel_attn_drop_dq_host(const hx_call *c);
void rel_attn_drop_dkv_host(const hx_call *c);
void rel_attn_drop_dr_host(const hx_call *c);
extern const hx_op hx_op_rel_attn, hx_op_rel_attn_dq, hx_op_rel_attn_dkv, hx_op_rel_attn_dr;
