// attention_simd.h - the arithmetic of attention_host.c, included once for each vector width, where
// SIMD(f) names this width's f. No include guard: it is meant to be read several times.

#define INLINE static inline __attribute__((always_inline))

// rows m .. m+R-1 of the product
INLINE void SIMD(product_rows)(int R, int64_t N, const float *a, int64_t am, int64_t an,
                               int64_t ahead, const vec *b, vec *c, bool add)
{
    v16 s0[8], s1[8];
#pragma GCC unroll 8
    for (int m = 0; m < R; m++) {
        s0[m] = add ? c[m].v[0] : (v16){ 0 };
        s1[m] = add ? c[m].v[1] : (v16){ 0 };
    }
    for (int64_t n = 0; n < N; n++) {
        v16 b0 = b[n].v[0], b1 = b[n].v[1];
        if (an == 1 && ahead && n % LINE == 0) {
#pragma GCC unroll 8
            for (int m = 0; m < R; m++) __builtin_prefetch(a + m*am + n + ahead, 0, 2);
        }
#pragma GCC unroll 8
        for (int m = 0; m < R; m++) {
            float x = a[m*am + n*an];
            s0[m] += x * b0;
            s1[m] += x * b1;
        }
    }
#pragma GCC unroll 8
    for (int m = 0; m < R; m++) c[m] = (vec){ { s0[m], s1[m] } };
}

// C[M,32] (+)= A[M,N] B[N,32], A's element (m,n) at a[m*am + n*an]. The rows `ahead` elements
// further are fetched meanwhile; 0: none.
static void SIMD(product)(int64_t M, int64_t N, const float *a, int64_t am, int64_t an,
                           int64_t ahead, const vec *b, vec *c, bool add)
{
    int64_t m = 0, at = 0;
    for (; m + 8 <= M; m += 8) {
        // whole rows where they are not walked along, a share with every 8 results
        for (int64_t end = an != 1 && ahead ? (m + 8) * N / M : 0; at < end; at++)
            for (int64_t k = 0; k < M; k += LINE) __builtin_prefetch(a + at*an + k + ahead, 0, 2);
        SIMD(product_rows)(8, N, a + m*am, am, an, ahead, b, c + m, add);
    }
    for (; m + 4 <= M; m += 4) SIMD(product_rows)(4, N, a + m*am, am, an, ahead, b, c + m, add);
    for (; m < M; m++) SIMD(product_rows)(1, N, a + m*am, am, an, ahead, b, c + m, add);
}

// e^x for |x| < 87: x = n log 2 + r, then the series of e^r to r^7 (next term: 5e-9)
INLINE v16 SIMD(exp16)(v16 x)
{
    const float magic = 12582912;                    // 1.5 * 2^23: adding it rounds to integers
    i16 low = x < -87.0f, high = x > 87.0f;
    x = (v16)(((i16)x & ~(low | high)) | ((i16)((v16){ 0 } - 87.0f) & low)
              | ((i16)((v16){ 0 } + 87.0f) & high));
    v16 t = x * 1.44269504f + magic, n = t - magic;
    v16 r = x - n * 0.693359375f + n * 2.12194440e-4f;
    v16 y = r * (1.0f / 5040) + 1.0f / 720;
    y = y * r + 1.0f / 120;
    y = y * r + 1.0f / 24;
    y = y * r + 1.0f / 6;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    i16 e = (i16)t - (i16)((v16){ 0 } + magic);
    return (v16)((i16)y + (e << 23));
}

INLINE v16 SIMD(pick)(i16 mask, v16 x, float other)
{
    return (v16)(((i16)x & mask) | ((i16)((v16){ 0 } + other) & ~mask));
}

INLINE v16 SIMD(larger)(v16 x, v16 y)
{
    i16 m = x > y;
    return (v16)(((i16)x & m) | ((i16)y & ~m));
}

INLINE i16 SIMD(inside)(const span *s, int half, int64_t j)
{
    return (s->lo[half] <= (int32_t)j) & (s->hi[half] > (int32_t)j);
}

// Scores s[n,32] of keys j0.. become weights against the new maximum; sum and acc[K] follow it.
static void SIMD(soften)(vec *s, int64_t n, int64_t j0, const span *see, bool edge, vec *top,
                          vec *sum, vec *acc, int64_t K)
{
    for (int h = 0; h < 2; h++) {
        v16 m = top->v[h];
        for (int64_t j = 0; j < n; j++) {
            if (edge) s[j].v[h] = SIMD(pick)(SIMD(inside)(see, h, j0 + j), s[j].v[h], -3e38f);
            m = SIMD(larger)(m, s[j].v[h]);
        }
        v16 old = SIMD(exp16)(top->v[h] - m), total = sum->v[h] * old;
        for (int64_t j = 0; j < n; j++) {
            v16 p = SIMD(exp16)(s[j].v[h] - m);
            if (edge) p = SIMD(pick)(SIMD(inside)(see, h, j0 + j), p, 0);
            s[j].v[h] = p;
            total += p;
        }
        top->v[h] = m;
        sum->v[h] = total;
        for (int64_t c = 0; c < K; c++) acc[c].v[h] *= old;
    }
}

// s becomes p = exp(s - l), dp becomes ds = p (dp - e), both 0 where nothing is seen. l and e of
// lanes, or of rows when `rows`.
static void SIMD(weigh)(vec *s, vec *dp, int64_t n, int64_t i0, const span *see, bool edge,
                         bool rows, const float *l, const float *e, int64_t step)
{
    for (int h = 0; h < 2; h++) {
        v16 ll = { 0 }, ee = { 0 };
        if (!rows) {
            memcpy(&ll, l + 16*h, sizeof ll);
            memcpy(&ee, e + 16*h, sizeof ee);
        }
        for (int64_t i = 0; i < n; i++) {
            if (rows) {
                ll = (v16){ 0 } + l[i*step];
                ee = (v16){ 0 } + e[i*step];
            }
            v16 p = SIMD(exp16)(s[i].v[h] - ll);
            if (edge) p = SIMD(pick)(SIMD(inside)(see, h, i0 + i), p, 0);
            s[i].v[h] = p;
            dp[i].v[h] = p * (dp[i].v[h] - ee);
        }
    }
}

// t[K,32] = scale x^T of n <= 32 rows; lanes without a row get zero
static void SIMD(turn_in)(vec *t, const float *x, int64_t step, int64_t n, int64_t K,
                          int64_t ahead, float scale)
{
    if (n < LANES) memset(t, 0, (size_t)K * sizeof *t);
    for (int64_t c = 0; c < K; c += 8)
        for (int64_t i = 0; i < n; i++) {
            const float *row = x + i*step + c;
            if (c % LINE == 0) __builtin_prefetch(row + ahead, 0, 2);
            float *to = (float *)(t + c) + i;
            if (c + 8 <= K)
                for (int d = 0; d < 8; d++) to[d*LANES] = scale * row[d];
            else
                for (int64_t d = 0; d < K - c; d++) to[d*LANES] = scale * row[d];
        }
}

// x rows = t^T, lane i times f[i]
static void SIMD(turn_out)(float *x, int64_t step, int64_t n, int64_t K, int64_t ahead,
                           const vec *t, const float *f)
{
    for (int64_t c = 0; c < K; c += 8)
        for (int64_t i = 0; i < n; i++) {
            float *row = x + i*step + c;
            if (c % LINE == 0) __builtin_prefetch(row + ahead, 1);
            const float *from = (const float *)(t + c) + i;
            if (c + 8 <= K)
                for (int d = 0; d < 8; d++) row[d] = from[d*LANES] * f[i];
            else
                for (int64_t d = 0; d < K - c; d++) row[d] = from[d*LANES] * f[i];
        }
}

static const kernels SIMD(kernels) = {
    SIMD(product), SIMD(soften), SIMD(weigh), SIMD(turn_in), SIMD(turn_out)
};
#undef INLINE
