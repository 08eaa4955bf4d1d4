// tanh.glsl - tanh without overflow, and without cancellation near 0.
float hx_tanh(float x)
{
    float e = exp(-2 * abs(x)), t = (1 - e) / (1 + e), s = x * x;
    return abs(x) < 0.1 ? x * (1 - s * (0.33333333 - s * (0.13333333 - s * 0.053968254)))
                        : x < 0 ? -t : t;
}
