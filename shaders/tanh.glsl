// tanh.glsl - tanh without overflow, and without cancellation near 0.
float hx_tanh(float x)
{
    float e = exp(-2 * abs(x)), t = (1 - e) / (1 + e), s = x * x;
    // the series to x^11: 1 - e would lose up to three bits of what exp leaves
    float near = s * (0.053968254 - s * (0.021869489 - s * 0.008863236));
    return abs(x) < 0.35 ? x * (1 - s * (0.33333333 - s * (0.13333333 - near)))
                         : x < 0 ? -t : t;
}

// 1 - tanh^2, without cancellation far from 0
float hx_tanh_slope(float x)
{
    float e = exp(-2 * abs(x));
    return 4 * e / ((1 + e) * (1 + e));
}
