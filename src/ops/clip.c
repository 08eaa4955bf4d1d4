// clip.c - gradient norm and clipping factor from partial sums of squares.
#include "t.h"
#include <math.h>

enum { P };

// The factor of torch.nn.utils.clip_grad_norm_ for gradients that are multiplied by `scale` first;
// -1 for those that are not to be used.
static real clip_factor(real norm, real most, real scale, real limit)
{
    if (!isfinite(norm) || (limit > 0 && norm > limit))
        return -1;
    real f = most / (norm + 1e-6);
    return most > 0 && !(f >= 1) ? scale * f : scale;
}

static void clip_ref(const hx_ref *r)
{
    const real *k = r->a[1];
    real s = 0;
    for (int64_t i = 0; i < r->dim[P]; i++)
        s += r->a[0][i];
    r->a[3][0] = sqrt(s) * fabs(k[HX_STEP_SCALE]);
    r->a[2][0] = clip_factor(r->a[3][0], k[HX_STEP_CLIP], k[HX_STEP_SCALE], k[HX_STEP_LIMIT]);
}

// The same sums as in the shader: 256 side by side, then a tree.
enum { SUMS = 256 };
static void clip_host(const hx_call *c)
{
    const float *p = c->a[0], *k = c->a[1];
    float s[SUMS] = { 0 };
    for (int64_t i = 0; i < c->dim[P]; i++)
        s[i % SUMS] += p[i];
    for (int n = SUMS / 2; n; n /= 2)
        for (int i = 0; i < n; i++)
            s[i] += s[i + n];
    float norm = sqrtf(s[0]) * fabsf(k[HX_STEP_SCALE]);
    *(float *)c->a[3] = norm;
    *(float *)c->a[2] =
        (float)clip_factor(norm, k[HX_STEP_CLIP], k[HX_STEP_SCALE], k[HX_STEP_LIMIT]);
}

// Sums of squares and step blocks that occur: clipping is on, or off by a most <= 0; a limit that
// is far below or far above what three and more sums give.
static real clip_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)attrs;
    real u = (rnd & 0xffff) / 65536.0;
    if (arg == 0)
        return u;
    if (i == HX_STEP_CLIP)
        return dim[P] % 2 ? 0.25 : -1;
    if (i == HX_STEP_LIMIT)
        return dim[P] % 3 == 0 ? 1e-9 : dim[P] % 3 == 1 ? 1e9 : 0;
    return i == HX_STEP_SCALE ? 0.5 : u;
}

static const char *clip_wrong(const int64_t *dim, const void *attrs)
{
    (void)attrs;
    return dim[P] <= 15000000 ? NULL : "more than 15 million partial sums";
}

HX_OP(clip,
    .math = "norm = scale sqrt(sum p),  f = scale min(1, most/(norm + 1e-6)),  most <= 0: f = scale;  "
            "norm > limit > 0 or not finite: f = -1",
    .source = "torch.nn.utils.clip_grad_norm_",
    .sig = "p[P] k[16] -> f[1] norm[1]",
    .ref = clip_ref, .host = clip_host, .fill = clip_fill, .wrong_if = clip_wrong,
    .grid = "1", .terms = "P", .flops = "P",
    .kernels = { { "clip" } },
    .check = "P=1; P=2; P=257; P=300; P=5000",
    .wrong = "P=3 k=[15]: argument k does not fit",
    .bench = "P=65536");

hx_t t_clip(int n, const hx_t *sums, hx_t step, hx_t *norm)
{
    hx_t all = hx_concat(0, n, sums), out[2];
    int64_t count = hx_elems(all);
    hx_apply(&hx_op_clip, NULL, (hx_t[]){ hx_reshape(all, 1, &count), step }, out);
    *norm = out[1];
    return out[0];
}
