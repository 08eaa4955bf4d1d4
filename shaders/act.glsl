// act.glsl - activation functions and their slopes: 0 none, 1 exact (erf) GELU, 2 SiLU, 3 ReLU.

// Phi(x), given e = exp(-x^2/2): Phi(-|x|) = e u P(u) with u = 1 / (1 + 0.35 |x|), relative error
// 4e-8 before rounding for |x| <= 14; the other half by symmetry. No cancellation on either side.
float normal_cdf(float x, float e)
{
    float u = 1 / (1 + 0.35 * abs(x));
    float p = fma(u, -0.029679522, 0.1465458303);
    p = fma(u, p, -0.2609612283);
    p = fma(u, p, 0.1650509959);
    p = fma(u, p, -0.02704660827);
    p = fma(u, p, 0.1071145876);
    p = fma(u, p, 0.1194449168);
    p = fma(u, p, 0.1399122981);
    p = fma(u, p, 0.1396187126);
    float tail = e * (u * p);
    return x > 0 ? 1 - tail : tail;
}

float act_of(uint act, float x)
{
    if (act == 1)
        return x * normal_cdf(x, exp(-0.5 * x * x));
    if (act == 2)
        return x / (1 + exp(min(-x, 80)));
    return act == 3 && x < 0 ? 0 : x;
}

// gelu'(x) = Phi(x) + x phi(x),  silu'(x) = s (1 + x (1 - s)) with 1 - s = exp(-x) s
float act_slope(uint act, float x)
{
    if (act == 1) {
        float e = exp(-0.5 * x * x);
        return fma(x * e, 0.398942280, normal_cdf(x, e));
    }
    if (act == 2) {
        float e = exp(min(-x, 80)), s = 1 / (1 + e);
        return s * (1 + x * (e * s));
    }
    return act == 3 && x <= 0 ? 0 : 1;
}
