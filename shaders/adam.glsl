// adam.glsl - one step of Adam, one invocation per element. k: the step block (learning rate, bias
// corrections b1 and b2); each element is read before it is written, so outputs may be the inputs.
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint N; float beta1, beta2, eps, weight_decay; };
IN(0, p);  IN(1, g);  IN(2, m);  IN(3, v);  IN(4, f);  IN(5, k);  OUT(6, p2);  OUT(7, m2);  OUT(8, v2);

void main()
{
    uint i = hx_group() * 256 + gl_LocalInvocationID.x;
    if (i >= N) return;
    float lr = k[0], x = p[i], d = g[i] * f[0];
    if (DECOUPLED) x *= 1 - lr * weight_decay;
    else d += weight_decay * x;
    float mean = beta1 * m[i] + (1 - beta1) * d, square = beta2 * v[i] + (1 - beta2) * d * d;
    p2[i] = x - lr / k[1] * mean / (sqrt(square) / sqrt(k[2]) + eps);
    m2[i] = mean;
    v2[i] = square;
}
