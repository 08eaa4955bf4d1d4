// gru.glsl - the gates of a GRU.
float share_of(float b) { return 1 / (1 + exp(-b)); }

// without cancellation near 0: the series there
float tanh_of(float x)
{
    float q = x * x, m = abs(x);
    float near = x + x * q * (-1.0 / 3 + q * (2.0 / 15 + q * (-17.0 / 315 + q * (62.0 / 2835
                 - q * (1382.0 / 155925)))));
    float far = 1 - 2 / (exp(2 * m) + 1);
    return m < 0.3 ? near : x < 0 ? -far : far;
}
