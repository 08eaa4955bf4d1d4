// band.c - the query itself and the w tokens before it: w + 1 keys.
#include "../ops/attention_drop.h"

static bool band_sees(int64_t i, int64_t j, int64_t first, int64_t n, const attn_attrs *a)
{
    (void)first; (void)n;
    return j <= i && i - j <= a->w;
}

static void band_keys(int64_t i, int64_t first, int64_t n, const attn_attrs *a, int64_t *lo,
                      int64_t *hi)
{
    (void)first;
    *lo = hx_min(hx_max(i - a->w, 0), n);
    *hi = hx_min(i + 1, n);
}

static void band_queries(int64_t j, int64_t first, int64_t n, const attn_attrs *a, int64_t *lo,
                         int64_t *hi)
{
    *lo = hx_min(hx_max(j, first), n);
    *hi = hx_max(hx_min(j + a->w + 1, n), *lo);
}

#define BAND_FLOPS(n) n "*B*D*N*w+" n "*B*D*N"
HX_MASK(band, "over i - w <= j <= i of i's residue class modulo axial", BAND_FLOPS,
    attn_wrong_past, ATTN_WRONG ATTN_WRONG_PAST, ATTN_CHECK);
HX_MASK_DROP(band, "over i - w <= j <= i of i's residue class modulo axial", BAND_FLOPS,
    ATTN_WRONG ATTN_WRONG_PAST);
