// causal.c - every token up to and including the query: all of a memory that came before.
#include "../ops/attention_drop.h"

static bool causal_sees(int64_t i, int64_t j, int64_t first, int64_t n, const attn_attrs *a)
{
    (void)first; (void)n; (void)a;
    return j <= i;
}

static void causal_keys(int64_t i, int64_t first, int64_t n, const attn_attrs *a, int64_t *lo,
                        int64_t *hi)
{
    (void)first; (void)a;
    *lo = 0;
    *hi = hx_min(i + 1, n);
}

static void causal_queries(int64_t j, int64_t first, int64_t n, const attn_attrs *a, int64_t *lo,
                           int64_t *hi)
{
    (void)a;
    *lo = hx_min(hx_max(j, first), n);
    *hi = n;
}

#define CAUSAL_FLOPS(n) n "*B*D*N*M/axial-" n "*B*D*N*N/axial/2"
HX_MASK(causal, "over j <= i of i's residue class modulo axial", CAUSAL_FLOPS,
    attn_wrong_past, ATTN_WRONG ATTN_WRONG_PAST, ATTN_CHECK);
HX_MASK_DROP(causal, "over j <= i of i's residue class modulo axial", CAUSAL_FLOPS,
    ATTN_WRONG ATTN_WRONG_PAST);
