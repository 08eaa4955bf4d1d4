// slots.c - causal, between w memory slots at either end: all see the first w tokens, the last w see
// all. Keys that are older than the first slot are seen by everyone.
#include "../ops/attention_drop.h"

static bool slots_sees(int64_t i, int64_t j, int64_t first, int64_t n, const attn_attrs *a)
{
    return j <= i || j < first + a->w || i >= n - a->w;
}

static void slots_keys(int64_t i, int64_t first, int64_t n, const attn_attrs *a, int64_t *lo,
                       int64_t *hi)
{
    *lo = 0;
    *hi = i >= n - a->w ? n : hx_min(hx_max(i + 1, first + a->w), n);
}

static void slots_queries(int64_t j, int64_t first, int64_t n, const attn_attrs *a, int64_t *lo,
                          int64_t *hi)
{
    int64_t from = j < first + a->w ? first : hx_min(j, n - a->w);
    *lo = hx_min(hx_max(from, first), n);
    *hi = n;
}

#define SLOTS_FLOPS(n) n "*B*D*N*M/axial-" n "*B*D*N*N/axial/2"
HX_MASK(slots, "over j <= i, and the first and last w, of i's residue class modulo axial",
    SLOTS_FLOPS, attn_wrong_past, ATTN_WRONG ATTN_WRONG_PAST, ATTN_CHECK);
HX_MASK_DROP(slots, "over j <= i, and the first and last w, of i's residue class modulo axial",
    SLOTS_FLOPS, ATTN_WRONG ATTN_WRONG_PAST);
