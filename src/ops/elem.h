// elem.h - host loops over the elements of arrays whose rows may be strided.
#pragma once
#include "../core/op.h"

// Several versions of one function, the best that the processor has chosen when the program
// starts. Without contraction of a*b+c the vector length does not change an element's bits.
#if defined(__x86_64__) && defined(__gnu_linux__)
#define HX_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define HX_CLONES
#endif
#define HX_INLINE static inline __attribute__((always_inline))

// Element `col` of row `row` of argument `arg`.
static inline float *hx_at(const hx_call *c, int arg, int64_t row, int64_t col)
{
    return (float *)c->a[arg] + row * c->ld[arg] + col;
}

// Calls row_fn for stretches [from, from + n) of rows that together are every element of
// argument `arg`, whose shape is [dim 0, dim 1]; arguments 0 .. arg have that shape. Arrays
// without gaps are one long row. Shares the work over the pool; the cut depends on shapes only.
typedef void (*hx_row_fn)(const hx_call *c, int64_t row, int64_t from, int64_t n);
void hx_each_row(const hx_call *c, int arg, hx_row_fn row_fn);
