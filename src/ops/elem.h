// elem.h - host loops over the elements of arrays whose rows may be strided.
#pragma once
#include "../core/op.h"
#include <string.h>

// Several versions of one function, the best that the processor has chosen when the program
// starts. Without contraction of a*b+c the vector length does not change an element's bits.
// ThreadSanitizer is not ready yet where the choice is made.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_THREAD__)
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

// Copies rows of argument `from` to the optional dense argument `to`, if that is there.
static inline void hx_twin_rows(const hx_call *c, int from, int to, int64_t rows, int64_t cols)
{
    for (int64_t r = 0; c->a[to] && r < rows; r++)
        memcpy((float *)c->a[to] + r * cols, hx_at(c, from, r, 0), (size_t)cols * sizeof(float));
}

// Calls row_fn for stretches [from, from + n) of rows that together are every element of
// argument `arg`, whose shape is [dim 0, dim 1]; arguments 0 .. arg have that shape. Arrays
// without gaps are one long row. Shares the work over the pool; the cut depends on shapes only.
typedef void (*hx_row_fn)(const hx_call *c, int64_t row, int64_t from, int64_t n);
void hx_each_row(const hx_call *c, int arg, hx_row_fn row_fn);

// Without branches, so that loops over it become vector code:
// e^z for |z| <= 80, outside clamped (so that nothing here is ever subnormal, which is slow):
// 2^n 2^f with z = n ln 2 + f ln 2, ln 2 in two parts, and a polynomial in f, |f| <= 1/2, of
// relative error 3e-9 before rounding.
HX_INLINE float hx_exp_f(float z)
{
    z = z < -80 ? -80 : z > 80 ? 80 : z;
    float round = 12582912;                // 1.5 2^23: adding it rounds to integers
    float shifted = z * 1.44269504f + round, n = shifted - round;
    float f = ((z - n * 0.693359375f) + n * 2.12194440e-4f) * 1.44269504f;
    float p = 1 + f * (0.6931472067f + f * (0.2402265092f + f * (0.05550327227f
              + f * (0.009618056679f + f * (0.001340042818f + f * 0.000154614447f)))));
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (bits - 0x4b400000u + 127) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

// tanh without overflow, and without cancellation near 0
HX_INLINE float hx_tanh_f(float x)
{
    float m = x < 0 ? -x : x, e = hx_exp_f(-2 * m), t = (1 - e) / (1 + e), s = x * x;
    float rest = s * (0.053968254f - s * (0.021869489f - s * 0.008863236f));
    float near = x * (1 - s * (0.33333333f - s * (0.13333333f - rest)));
    return m < 0.35f ? near : x < 0 ? -t : t;
}

// 1 - tanh^2, without cancellation far from 0; e^-x twice, which goes down to 0
HX_INLINE float hx_tanh_slope_f(float x)
{
    float e = hx_exp_f(x < 0 ? x : -x);
    e *= e;
    return 4 * e / ((1 + e) * (1 + e));
}
