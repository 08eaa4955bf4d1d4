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

// Whether the halves of a row [B,T,D] are whole eights, as kernels for 16 bits want them.
static inline bool hx_pairs(const int64_t *dim, const void *attrs)
{
    (void)attrs;
    return dim[2] % 16 == 0;
}

// For references: the element of x[.,T,D] that s[row,j] is, or -1 where s is 0.
static inline int64_t hx_shift_from(int64_t row, int64_t j, int64_t T, int64_t D, int64_t shift)
{
    if (j < (D + 1) / 2) return row * D + j;
    return row % T < shift ? -1 : (row - shift) * D + j;
}

// A stretch of n elements, read from x or, where there is nothing to read, from zeros.
typedef struct hx_part {
    int64_t      at, n;                    // first channel, channels
    int64_t      row;                      // of x
    bool         there;
    const float *x;                        // element i is x[i & mask]
    int64_t      mask;
} hx_part;

static const float hx_zeros[HX_V16];
#define HX_PART(type, h) (*(const type *)((h).x + (i & (h).mask)))

HX_INLINE hx_part hx_part_of(const float *x, int64_t ld, int64_t row, int64_t at, int64_t n)
{
    if (!x) return (hx_part){ at, n, row, false, hx_zeros, 0 };
    return (hx_part){ at, n, row, true, x + row * ld + at, -1 };
}

// The halves of s[row]. Rows that are too early to read anything in their second half stand for as
// many at the sequence's end whose second half nothing reads: over all rows, h[k].row names each
// row of x once, so that gradients are written once.
HX_INLINE void hx_halves(const float *x, int64_t ld, int64_t row, int64_t T, int64_t D,
                         int64_t shift, hx_part h[2])
{
    int64_t first = (D + 1) / 2, late = hx_min(shift, T);
    h[0] = hx_part_of(x, ld, row, 0, first);
    if (row % T >= late)
        h[1] = hx_part_of(x, ld, row - late, first, D - first);
    else
        h[1] = hx_part_of(NULL, 0, row + T - late, first, D - first);
}

// dx where no token reads x: what is added, c.
HX_INLINE void hx_unread(const hx_part *c, float *dx)
{
#define UNREAD(type) HX_AT(type, dx) = HX_PART(type, *c)
    HX_EACH(c->n, UNREAD);
#undef UNREAD
}
