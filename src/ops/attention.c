// attention.c - what attention means (fp64, plain loops), its gradient, and the door for models.
#include "attention.h"
#include "philox.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FIELDS                                                                                   \
    { "heads", HX_I32, offsetof(attn_attrs, heads), "1", 1, 65535, "heads" },                    \
    { "axial", HX_I32, offsetof(attn_attrs, axial), "1", 1, 1 << 30, "residue classes of tokens" },\
    { "w", HX_I32, offsetof(attn_attrs, w), "0", 0, 1 << 30, "tokens before itself (band)" },    \
    { "share", HX_I32, offsetof(attn_attrs, share), "1", 1, 65535, "heads of q for one of k and v" },
const hx_field attn_fields[] = {
    FIELDS
    { 0 }
};

const hx_field attn_kv_fields[] = {
    FIELDS
    { "parts", HX_I32, offsetof(attn_attrs, parts), "1", 1, 65535, "sums over share/parts heads" },
    { 0 }
};

const hx_field attn_drop_fields[] = {
    FIELDS
    { "parts", HX_I32, offsetof(attn_attrs, parts), "1", 1, 65535, "of dkv: sums over share/parts heads" },
    ATTN_CHANCE_FIELDS(attn_drop_attrs)
    { 0 }
};

const char *attn_wrong(const int64_t *dim, const void *attrs)
{
    const attn_attrs *a = attrs;
    if (a->heads < 1 || dim[ATTN_D] % a->heads) return "heads must divide the width of q";
    if (a->share < 1 || a->heads % a->share) return "share must divide heads";
    if (a->axial < 1) return "axial must be at least 1";
    if ((dim[ATTN_M] - dim[ATTN_N]) % a->axial) return "axial must divide the tokens between first"
        " key and first query";
    if (a->w < 0) return "w must be at least 0";
    if (dim[ATTN_D] / a->heads > ATTN_MAX_K) return "a head is at most 256 channels wide";
    return NULL;
}

// gone: none, some, as many as a class has and more, and less than none, which is none
real attn_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)i;
    int64_t n = hx_ceil_div(dim[ATTN_M], ((const attn_attrs *)attrs)->axial);
    return arg == 3 || arg == 6 ? (real)((int64_t)(rnd % (uint32_t)(n + 4)) - 2) : NAN;
}

real attn_drop_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    return arg == 4 ? (real)(int32_t)rnd : attn_fill(arg, i, rnd, dim, attrs);
}

real attn_drop_back_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    return arg == 7 ? (real)(int32_t)rnd : arg == 6 ? attn_fill(arg, i, rnd, dim, attrs) : NAN;
}

// every weight of a class has a number
const char *attn_wrong_many(const int64_t *dim, const void *attrs)
{
    int64_t axial = ((const attn_attrs *)attrs)->axial, fours = hx_ceil_div(hx_ceil_div(dim[ATTN_M], axial), 4);
    return hx_ceil_div(dim[ATTN_N], axial) > UINT32_MAX / fours
        ? "at most 2^34 weights of a head can be left out one by one" : NULL;
}

const char *attn_wrong_parts(const void *attrs)
{
    const attn_attrs *a = attrs;
    return a->parts < 1 || a->share % a->parts ? "parts must divide share" : NULL;
}

const char *attn_wrong_past(const int64_t *dim, const void *attrs)
{
    const char *wrong = attn_wrong(dim, attrs);
    return !wrong && dim[ATTN_M] < dim[ATTN_N] ? "there must be as many keys as queries" : wrong;
}

bool attn_fits(const attn_rule *rule, const int64_t *dim, const void *attrs, int64_t K,
               int64_t most)
{
    const attn_attrs *a = attrs;
    int64_t n = hx_ceil_div(dim[ATTN_M], a->axial), first = n - hx_ceil_div(dim[ATTN_N], a->axial);
    int64_t lo, hi;
    if (dim[ATTN_D] / a->heads > K) return false;
    if (!most) return true;
    // the last query of a class sees the most; the first key that is not older than all queries is
    // seen by the most, in every head that shares it
    rule->keys(n - 1, first, n, a, &lo, &hi);
    if (hi - lo > most) return false;
    rule->queries(hx_max(first, 0), first, n, a, &lo, &hi);
    return (hi - lo) * a->share <= most;
}

bool attn_eights(const int64_t *dim, const void *attrs)
{
    return dim[ATTN_D] / ((const attn_attrs *)attrs)->heads % 8 == 0;
}

bool attn_many(const int64_t *dim, const void *attrs)
{
    const attn_attrs *a = attrs;
    int64_t tiles = hx_ceil_div(hx_ceil_div(dim[ATTN_N], a->axial), 128);
    return tiles * a->axial * a->heads * dim[ATTN_B] >= 264;
}

// widths: D of queries, E of keys; K of a head
typedef struct walk {
    const hx_ref *r;
    const attn_attrs *a;
    int64_t N, M, D, E, K;
    const attn_chance *c;
    const int32_t *dice;
} walk;

static walk walk_of(const hx_ref *r, const attn_chance *c, const int32_t *dice)
{
    const attn_attrs *a = r->attrs;
    int64_t D = r->dim[ATTN_D];
    return (walk){ r, a, r->dim[ATTN_N], r->dim[ATTN_M], D, D / a->share, D / a->heads, c, dice };
}

real attn_kept(const attn_chance *c, const int32_t *dice, int64_t line, int64_t i, int64_t j, int64_t n)
{
    if (!c)
        return 1;
    int64_t at = i * hx_ceil_div(n, 4) + j / 4;
    uint32_t key = ((uint32_t)dice[1] ^ HX_DRAW_WEIGHTS) + (uint32_t)c->spot;
    philox4x32_ctr_t w = hx_words(dice, key, (uint32_t)at, (uint32_t)line);
    return w.v[j % 4] < hx_least(c->drop) ? 0 : c->stays;
}

// what is made of the weight of key u for query t
static real kept(const walk *w, int64_t b, int64_t h, int64_t t, int64_t u)
{
    int64_t A = w->a->axial;
    return attn_kept(w->c, w->dice, (b * A + t % A) * w->a->heads + h, t / A, u / A, hx_ceil_div(w->M, A));
}

// gone: of this batch row, by class; NULL: every key is there
static bool sees(const attn_rule *rule, const walk *w, const real *gone, int64_t t, int64_t u)
{
    int64_t A = w->a->axial;
    int64_t first = (w->M - w->N) / A, n = hx_ceil_div(w->M - t % A, A);
    return t % A == u % A && (!gone || (real)(u / A) >= gone[u % A])
           && rule->sees(t / A + first, u / A, first, n, w->a);
}

static const real *gone_of(const walk *w, int arg, int64_t b)
{
    return w->r->a[arg] ? w->r->a[arg] + b * w->a->axial : NULL;
}

static real dot(const real *x, const real *y, int64_t n)
{
    real s = 0;
    for (int64_t i = 0; i < n; i++) s += x[i] * y[i];
    return s;
}

// y_t and l_t of one head; q, k, v, y begin at the head's channels of token 0
static void attend(const attn_rule *rule, const walk *w, int64_t b, int64_t h, int64_t t, const real *q,
                   const real *k, const real *v, real *y, real *l)
{
    const real *gone = gone_of(w, 3, b);
    int64_t D = w->D, E = w->E, K = w->K;
    real top = -INFINITY, sum = 0, root = sqrt((real)K);
    for (int64_t u = 0; u < w->M; u++)
        if (sees(rule, w, gone, t, u)) top = fmax(top, dot(q + t*D, k + u*E, K) / root);
    for (int64_t c = 0; c < K; c++) y[t*D + c] = 0;
    for (int64_t u = 0; u < w->M; u++) {
        if (!sees(rule, w, gone, t, u)) continue;
        real p = exp(dot(q + t*D, k + u*E, K) / root - top);
        sum += p;
        p *= kept(w, b, h, t, u);
        for (int64_t c = 0; c < K; c++) y[t*D + c] += p * v[u*E + c];
    }
    for (int64_t c = 0; c < K && sum > 0; c++) y[t*D + c] /= sum;
    *l = sum > 0 ? top + log(sum) : -3e38;
}

static void forward(const attn_rule *rule, const hx_ref *r, const attn_chance *chance, const int32_t *dice)
{
    walk w = walk_of(r, chance, dice);
    for (int64_t b = 0; b < r->dim[ATTN_B]; b++)
        for (int64_t h = 0; h < w.a->heads; h++)
            for (int64_t t = 0; t < w.N; t++) {
                int64_t o = b*w.N*w.D + h*w.K, p = b*w.M*w.E + h/w.a->share*w.K;
                attend(rule, &w, b, h, t, r->a[0] + o, r->a[1] + p, r->a[2] + p,
                       r->a[4] + o, r->a[5] + (b*w.a->heads + h)*w.N + t);
            }
}

// which of dkv's sums head h is in
static int64_t part_of(const walk *w, int64_t h)
{
    return h % w->a->share / (w->a->share / w->a->parts);
}

// Adds what the pairs that see each other contribute to dq, or to dk and dv (NULL: not wanted).
static void backward(const attn_rule *rule, const hx_ref *r, const attn_chance *chance, const int32_t *dice,
                     real *dq, real *dk, real *dv)
{
    walk w = walk_of(r, chance, dice);
    int64_t B = r->dim[ATTN_B], N = w.N, M = w.M, K = w.K, H = w.a->heads;
    real root = sqrt((real)K);
    for (int64_t b = 0; b < B; b++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t t = 0; t < N; t++)
                for (int64_t u = 0; u < M; u++) {
                    if (!sees(rule, &w, gone_of(&w, 6, b), t, u)) continue;
                    int64_t i = (b*N + t)*w.D + h*K, j = (b*M + u)*w.E + h/w.a->share*K;
                    int64_t row = (b*H + h)*N + t, to = dq ? 0 : j + part_of(&w, h)*B*M*w.E;
                    const real *q = r->a[0] + i, *k = r->a[1] + j, *v = r->a[2] + j;
                    const real *dy = r->a[3] + i;
                    real p = exp(dot(q, k, K) / root - r->a[4][row]);
                    real stays = kept(&w, b, h, t, u);
                    real ds = p * (stays * dot(dy, v, K) - r->a[5][row]) / root;
                    for (int64_t c = 0; c < K; c++) {
                        if (dq) dq[i + c] += ds * k[c];
                        if (dk) dk[to + c] += ds * q[c];
                        if (dv) dv[to + c] += p * stays * dy[c];
                    }
                }
}

static void clear(real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = 0;
}

static void dq_ref(const attn_rule *rule, const hx_ref *r, const attn_chance *c, const int32_t *dice)
{
    clear(r->a[7], r->dim[ATTN_B] * r->dim[ATTN_N] * r->dim[ATTN_D]);
    backward(rule, r, c, dice, r->a[7], NULL, NULL);
}

static void dkv_ref(const attn_rule *rule, const hx_ref *r, const attn_chance *c, const int32_t *dice)
{
    const attn_attrs *a = r->attrs;
    for (int i = 7; i < 9; i++)
        clear(r->a[i], a->parts * r->dim[ATTN_B] * r->dim[ATTN_M] * (r->dim[ATTN_D] / a->share));
    backward(rule, r, c, dice, NULL, r->a[7], r->a[8]);
}

void attn_ref(const attn_rule *rule, const hx_ref *r) { forward(rule, r, NULL, NULL); }
void attn_dq_ref(const attn_rule *rule, const hx_ref *r) { dq_ref(rule, r, NULL, NULL); }
void attn_dkv_ref(const attn_rule *rule, const hx_ref *r) { dkv_ref(rule, r, NULL, NULL); }

// The same with weights left out: `dice` comes behind the inputs of the plain operator, n in number.
static void without(const attn_rule *rule, const hx_ref *r, int n,
                    void (*plain)(const attn_rule *, const hx_ref *, const attn_chance *, const int32_t *))
{
    real *a[HX_MAX_ARGS] = { 0 };
    int32_t dice[4];
    for (int i = 0; i < 4; i++) dice[i] = (int32_t)r->a[n][i];
    memcpy(a, r->a, (size_t)n * sizeof *a);
    memcpy(a + n, r->a + n + 1, 2 * sizeof *a);
    hx_ref bare = { r->dim, r->attrs, a };
    plain(rule, &bare, &((const attn_drop_attrs *)r->attrs)->chance, dice);
}

void attn_drop_ref(const attn_rule *rule, const hx_ref *r) { without(rule, r, 4, forward); }
void attn_drop_dq_ref(const attn_rule *rule, const hx_ref *r) { without(rule, r, 7, dq_ref); }
void attn_drop_dkv_ref(const attn_rule *rule, const hx_ref *r) { without(rule, r, 7, dkv_ref); }

// ---- e = y.dy per head, what softmax's gradient subtracts -----------------------------------
typedef struct delta_attrs { int32_t heads; } delta_attrs;
static const hx_field delta_fields[] = {
    { "heads", HX_I32, offsetof(delta_attrs, heads), "1", 1, 65535, "heads" }, { 0 }
};

static void delta_ref(const hx_ref *r)
{
    int64_t T = r->dim[1], D = r->dim[2], H = ((const delta_attrs *)r->attrs)->heads, K = D / H;
    for (int64_t b = 0; b < r->dim[0]; b++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t t = 0; t < T; t++) {
                int64_t x = (b*T + t)*D + h*K, row = (b*H + h)*T + t;
                r->a[3][row] = dot(r->a[0] + x, r->a[1] + x, K) - (r->a[2] ? r->a[2][row] : 0);
            }
}

static const char *delta_wrong(const int64_t *dim, const void *attrs)
{
    int32_t heads = ((const delta_attrs *)attrs)->heads;
    return heads < 1 || dim[2] % heads ? "heads must divide the width of y and dy" : NULL;
}

static void delta_task(void *ctx, int64_t at)
{
    const hx_call *c = ctx;
    int64_t T = c->dim[1], D = c->dim[2], H = ((const delta_attrs *)c->attrs)->heads, K = D / H;
    const float *dl = c->a[2];
    float *e = c->a[3];
    int64_t end = hx_min((at + 1) * 64, c->dim[0] * T);
    for (int64_t x = at * 64; x < end; x++)
        for (int64_t h = 0; h < H; h++) {
            const float *y = (const float *)c->a[0] + x*c->ld[0] + h*K;
            const float *dy = (const float *)c->a[1] + x*c->ld[1] + h*K;
            int64_t row = (x / T * H + h)*T + x % T, k = 0;
            // eight running sums, added as a tree: the same order whatever the vector width
            float s[8] = { 0 };
            for (; k + 8 <= K; k += 8)
                for (int i = 0; i < 8; i++) s[i] += y[k + i] * dy[k + i];
            for (int i = 0; k + i < K; i++) s[i] += y[k + i] * dy[k + i];
            float sum = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
            e[row] = sum - (dl ? dl[row] : 0);
        }
}

static void delta_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[0] * c->dim[1], 64), delta_task, (void *)c);
}

static bool delta_eights(const int64_t *dim, const void *attrs)
{
    return dim[2] / ((const delta_attrs *)attrs)->heads % 8 == 0;
}

HX_OP(attn_delta,
    .math = "e = y.dy - dl per head: what the gradient of softmax subtracts in each row",
    .source = "FlashAttention, Dao et al. 2022, algorithm 4, line 19",
    .sig = "y:[B,T,D] dy:[B,T,D] dl?[B,heads,T] -> e[B,heads,T]",
    .attrs = delta_fields, .attrs_size = sizeof(delta_attrs), .ref = delta_ref,
    .wrong_if = delta_wrong, .host = delta_host, .grid = "B*T*heads/64", .terms = "D/heads",
    .flops = "2*B*T*D",
    .kernels = { { "attn_delta" }, { "attn_delta.half", .fits = delta_eights,
                   .precision = HX_AUTO, .rounds = 3, .half = 3 } },
    .check = "B=1 T=1 D=2 heads=1 -dl; B=2 T=33 D=60 heads=3; B=1 T=70 D=256 heads=1 -dl;"
             "B=3 T=5 D=34 heads=2",
    .wrong = "B=1 T=4 D=6 heads=4: heads must divide",
    .fuzz = "heads=1..5 D=heads..heads*256:heads", .exact = "1",
    .bench = "B=2 T=2048 D=512 heads=8 -dl");

extern const hx_op hx_op_sum_parts;

// Few heads of keys make few workgroups: parts that make some hundreds, as large GPUs need.
static int parts_of(const int64_t *dim, const attn_attrs *a)
{
    int64_t tiles = hx_ceil_div(dim[ATTN_M], 64) * (a->heads / a->share) * dim[ATTN_B];
    int parts = 1;
    while (tiles * parts < 400 && a->share % (2 * parts) == 0)
        parts *= 2;
    return parts;
}

// the sum of what dkv made in parts, like x
static hx_t joined(hx_t p, hx_t x, int parts)
{
    hx_t y;
    hx_apply(&hx_op_sum_parts, NULL,
             (hx_t[]){ hx_reshape(p, 2, (int64_t[]){ parts, hx_elems(x) }), HX_NONE }, &y);
    return hx_reshape(y, 3, (int64_t[]){ hx_dim(x, 0), hx_dim(x, 1), hx_dim(x, 2) });
}

// dl belongs to l as dy belongs to y: p_ij is what l_i gains from s_ij, so dl is taken off e. A weight that
// is left out, or raised, changes dy_i.v_j alike, of which y_i.dy_i is still the mean over p. attrs: of dq;
// n_in: inputs, of which those behind `gone` are given on
static void gradients(const hx_op *dq, const hx_op *dkv, const hx_node *n, int n_in, void *kv, hx_t *d)
{
    const attn_attrs *a = (const attn_attrs *)n->attrs;
    hx_t y = n->arg[n_in], dy = hx_is(n->grad[0]) ? n->grad[0] : t_scale(y, 0), e = HX_NONE;
    hx_apply(&hx_op_attn_delta, &(delta_attrs){ a->heads }, (hx_t[]){ y, dy, n->grad[1] }, &e);
    hx_t in[] = { n->arg[0], n->arg[1], n->arg[2], dy, n->arg[n_in + 1], e, n->arg[3], n->arg[4] };
    int parts = parts_of(n->dim, a);
    ((attn_attrs *)kv)->parts = parts;
    if (n->want[0]) hx_apply(dq, a, in, d);
    if (n->want[1] || n->want[2]) hx_apply(dkv, kv, in, d + 1);
    for (int i = 1; i < 3 && parts > 1; i++)
        if (hx_is(d[i])) d[i] = joined(d[i], n->arg[i], parts);
}

void attn_vjp(const hx_op *dq, const hx_op *dkv, const hx_node *n, hx_t *d)
{
    attn_attrs kv = *(const attn_attrs *)n->attrs;
    gradients(dq, dkv, n, 4, &kv, d);
}

void attn_drop_vjp(const hx_op *dq, const hx_op *dkv, const hx_node *n, hx_t *d)
{
    attn_drop_attrs kv = *(const attn_drop_attrs *)n->attrs;
    gradients(dq, dkv, n, 5, &kv, d);
}

// q, k and v through `op`, or through its twin `drop` where weights are left out
static hx_t attention(const hx_op *op, const hx_op *drop, attn_attrs a, hx_t q, hx_t k, hx_t v, hx_t gone,
                      hx_left_out less)
{
    hx_t out[2] = { HX_NONE, HX_NONE };
    attn_drop_attrs b = { a, attn_chance_of(less) };
    if (hx_is(less.dice))
        hx_apply(drop, &b, (hx_t[]){ q, k, v, gone, less.dice }, out);
    else
        hx_apply(op, &a, (hx_t[]){ q, k, v, gone }, out);
    return out[0];
}

attn_chance attn_chance_of(hx_left_out less)
{
    return (attn_chance){ (float)less.p, (float)(1 / (1 - less.p)), less.place };
}

// as many heads of queries to a head of keys as the widths say
static int share_of(hx_t q, hx_t k)
{
    return (int)(hx_dim(q, -1) / hx_max(hx_dim(k, -1), 1));
}

hx_t t_attention_less(hx_t q, hx_t k, hx_t v, int heads, int axial, int window, hx_t gone, hx_left_out less)
{
    bool band = window >= 0;
    return attention(band ? &hx_op_attn_band : &hx_op_attn_causal,
        band ? &hx_op_attn_band_drop : &hx_op_attn_causal_drop,
        (attn_attrs){ heads, axial, band ? window : 0, share_of(q, k), 1 }, q, k, v, gone, less);
}

hx_t t_attention_after(hx_t q, hx_t k, hx_t v, int heads, int axial, int window, hx_t gone)
{
    return t_attention_less(q, k, v, heads, axial, window, gone, HX_ALL_WEIGHTS);
}

hx_t t_attention(hx_t q, hx_t k, hx_t v, int heads, int axial, int window)
{
    return t_attention_after(q, k, v, heads, axial, window, HX_NONE);
}

hx_t t_attention_full_less(hx_t q, hx_t k, hx_t v, int heads, int axial, hx_left_out less)
{
    return attention(&hx_op_attn_full, &hx_op_attn_full_drop,
        (attn_attrs){ heads, axial, 0, share_of(q, k), 1 }, q, k, v, HX_NONE, less);
}

hx_t t_attention_full(hx_t q, hx_t k, hx_t v, int heads, int axial)
{
    return t_attention_full_less(q, k, v, heads, axial, HX_ALL_WEIGHTS);
}

hx_t t_attention_slots(hx_t q, hx_t k, hx_t v, int heads, int axial, int slots, hx_t gone, hx_left_out less)
{
    return attention(&hx_op_attn_slots, &hx_op_attn_slots_drop,
        (attn_attrs){ heads, axial, slots, share_of(q, k), 1 }, q, k, v, gone, less);
}
