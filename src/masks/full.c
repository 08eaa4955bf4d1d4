// full.c - every key, as in cross attention: positions have no meaning.
#include "../ops/attention_drop.h"

static bool full_sees(int64_t i, int64_t j, int64_t first, int64_t n, const attn_attrs *a)
{
    (void)i; (void)j; (void)first; (void)n; (void)a;
    return true;
}

static void full_keys(int64_t i, int64_t first, int64_t n, const attn_attrs *a, int64_t *lo,
                      int64_t *hi)
{
    (void)i; (void)first; (void)a;
    *lo = 0;
    *hi = n;
}

static void full_queries(int64_t j, int64_t first, int64_t n, const attn_attrs *a, int64_t *lo,
                         int64_t *hi)
{
    (void)j; (void)a;
    *lo = first;
    *hi = n;
}

#define FULL_FLOPS(n) n "*B*D*N*M/axial"
HX_MASK(full, "over all j of i's residue class modulo axial", FULL_FLOPS,
    attn_wrong, ATTN_WRONG, ATTN_CHECK ATTN_CHECK_FEW);
HX_MASK_DROP(full, "over all j of i's residue class modulo axial", FULL_FLOPS,
    ATTN_WRONG);
