// adam.glsl - one step of Adam, a workgroup for 1024 elements. k: the step block (learning rate,
// bias corrections b1 and b2). Each element is read before it is written: outputs may be inputs.
layout(local_size_x = 256) in;
layout(push_constant) uniform push { uint N; float beta1, beta2, eps, weight_decay; };
IN(0, p);  IN(1, g);  IN(2, m);  IN(3, v);  IN(4, f);  IN(5, k);
OUT(6, p2);  OUT(7, m2);  OUT(8, v2);

void main()
{
    uint first = hx_group() * 1024 + gl_LocalInvocationID.x;
    float factor = f[0];
    bool keep = factor < 0;                // a step that is left out
    float lr = k[0], rate = lr / k[1], root = inversesqrt(k[2]);
    for (uint i = first; i < min(N, first + 1024); i += 256) {
        float x = p[i], d = g[i] * factor;
        if (DECOUPLED) x *= 1 - lr * weight_decay;
        else if (weight_decay != 0) d += weight_decay * x;
        float mean = beta1 * m[i] + (1 - beta1) * d, square = beta2 * v[i] + (1 - beta2) * d * d;
        float moved = x - rate * mean / (sqrt(square) * root + eps);
        p2[i] = keep ? p[i] : moved;
        m2[i] = keep ? m[i] : mean;
        v2[i] = keep ? v[i] : square;
    }
}
