// lanes.h - host arithmetic on sixteen numbers at a time. The number is fixed, so that sums have
// the same bits on every processor; a function marked HX_SIMD is compiled for several and the
// best one is taken at run time.
#pragma once
#include <stdint.h>
#include <string.h>

enum { HX_LANES = 16 };

typedef float   hx_lanes __attribute__((vector_size(64)));
typedef int32_t hx_mask __attribute__((vector_size(64)));   // -1 where true, as comparisons give

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
#define HX_SIMD __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define HX_SIMD
#endif
#define HX_INLINE static inline __attribute__((always_inline))

HX_INLINE hx_lanes hx_load(const float *p)
{
    hx_lanes x;
    memcpy(&x, p, sizeof x);
    return x;
}

HX_INLINE void hx_store(float *p, hx_lanes x) { memcpy(p, &x, sizeof x); }

// The first n < 16 numbers at p; `rest` in the other lanes.
HX_INLINE hx_lanes hx_load_some(const float *p, int64_t n, float rest)
{
    hx_lanes x = rest - (hx_lanes){ 0 };
    memcpy(&x, p, (size_t)n * sizeof *p);
    return x;
}

HX_INLINE hx_lanes hx_pick(hx_mask m, hx_lanes yes, hx_lanes no)
{
    return (hx_lanes)((m & (hx_mask)yes) | (~m & (hx_mask)no));
}

HX_INLINE hx_lanes hx_lanes_max(hx_lanes a, hx_lanes b) { return hx_pick(a > b, a, b); }

HX_INLINE hx_lanes hx_lanes_sqrt(hx_lanes x)
{
    for (int i = 0; i < HX_LANES; i++)
        x[i] = __builtin_sqrtf(x[i]);
    return x;
}

// Sum of all lanes, in a tree.
HX_INLINE float hx_lanes_sum(hx_lanes x)
{
    float s[HX_LANES];
    memcpy(s, &x, sizeof s);
    for (int n = HX_LANES / 2; n; n /= 2)
        for (int i = 0; i < n; i++)
            s[i] += s[i + n];
    return s[0];
}

HX_INLINE float hx_lanes_top(hx_lanes x)
{
    float m = x[0];
    for (int i = 1; i < HX_LANES; i++)
        m = x[i] > m ? x[i] : m;
    return m;
}

// e^x = 2^n e^r with n = round(x / ln 2) and |r| <= ln 2 / 2, where the Taylor polynomial of
// degree 7 is off by less than 1e-8. Under 1.5 ulp; 0 below -87.3, infinity above 88.7.
HX_INLINE hx_lanes hx_lanes_exp(hx_lanes x)
{
    const hx_lanes zero = { 0 }, round = zero + 0x1.8p23f, inf = zero + __builtin_inff();
    hx_mask low = x < -87.3f, high = x > 88.7f;
    hx_lanes in = hx_pick(low | high, zero, x);
    hx_lanes t = in * 0x1.715476p0f + round, n = t - round;
    // ln 2 in two parts, the first with few enough bits that n times it is exact
    hx_lanes r = in - n * 0x1.62ep-1f - n * 0x1.0bfbe8p-15f;
    hx_lanes p = r * (1 / 5040.f) + 1 / 720.f;
    p = p * r + 1 / 120.f;
    p = p * r + 1 / 24.f;
    p = p * r + 1 / 6.f;
    p = p * r + 0.5f;
    p = p * r * r + r + 1;
    hx_lanes two_n = (hx_lanes)(((hx_mask)t - (hx_mask)round + 127) << 23);
    return hx_pick(low, zero, hx_pick(high, inf, p * two_n));
}
