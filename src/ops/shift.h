// shift.h - the token shift inside other operators: s[b,t,j] = x[b,t,j] for j < ceil(D/2), else
// x[b,t-shift,j], 0 for t < shift.
#pragma once
#include "rows.h"

enum { HX_ROWS_P = 16 };                   // rows behind one row of partial sums; also in shaders
typedef struct hx_shift_attrs { int32_t shift; } hx_shift_attrs;
static const hx_field hx_shift_fields[] = {
    { "shift", HX_I32, offsetof(hx_shift_attrs, shift), "0", 0, 1 << 30,
      "tokens by which the second half of the channels is delayed" },
    {0}
};

// For references: the element of x[.,T,D] that s[row,j] is, or -1 where s is 0.
static inline int64_t hx_shift_from(int64_t row, int64_t j, int64_t T, int64_t D, int64_t shift)
{
    if (j < (D + 1) / 2) return row * D + j;
    return row % T < shift ? -1 : (row - shift) * D + j;
}

// For host functions: one half of the channels of row s[row], read from x or from zeros.
typedef struct hx_half {
    int64_t      at, n;                    // first channel, channels
    int64_t      row;                      // of x; -1: zeros
    const float *x;                        // element i is x[i & mask]
    int64_t      mask;
} hx_half;

static const float hx_zeros[HX_V16];
#define HX_HALF(type, h) (*(const type *)((h).x + (i & (h).mask)))

HX_INLINE void hx_halves(const float *x, int64_t ld, int64_t row, int64_t T, int64_t D,
                         int64_t shift, hx_half h[2])
{
    int64_t first = (D + 1) / 2;
    h[0] = (hx_half){ 0, first, row, x + row * ld, -1 };
    h[1] = (hx_half){ first, D - first, -1, hx_zeros, 0 };
    if (row % T >= shift)
        h[1] = (hx_half){ first, D - first, row - shift, x + (row - shift) * ld + first, -1 };
}

// A row that may be missing (c == NULL): its part from column `at`, read like a half.
HX_INLINE hx_half hx_maybe(const float *c, int64_t ld, int64_t row, int64_t at, int64_t n)
{
    if (!c) return (hx_half){ at, n, -1, hx_zeros, 0 };
    return (hx_half){ at, n, row, c + row * ld + at, -1 };
}

// dx of the second half of row `row` where no later token has read it: only what is added.
HX_INLINE void hx_shift_rest(float *dx, int64_t ld_dx, const float *c, int64_t ld_c, int64_t row,
                             int64_t T, int64_t D, int64_t shift)
{
    int64_t first = (D + 1) / 2;
    if (row % T + shift < T) return;
    hx_half add = hx_maybe(c, ld_c, row, first, D - first);
    float *to = dx + row * ld_dx + first;
#define REST(type) HX_AT(type, to) = HX_HALF(type, add)
    HX_EACH(add.n, REST);
#undef REST
}
