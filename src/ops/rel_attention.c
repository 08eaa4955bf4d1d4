// rel_attention.c - attention by contents and by distance: what it means (fp64, plain loops), its
// gradient, kernels, and the door for models.
#include "rel_attention.h"
#include <math.h>
#include <string.h>

#define FIELDS                                                                                   \
    { "heads", HX_I32, offsetof(rel_attrs, heads), "1", 1, 65535, "heads" },                     \
    { "band", HX_I32, offsetof(rel_attrs, band), "0", 0, 1 << 30, "newest keys seen; 0: all" },  \
    { "read", HX_I32, offsetof(rel_attrs, read), "0", 0, 1 << 20, "slots before the tokens" },   \
    { "write", HX_I32, offsetof(rel_attrs, write), "0", 0, 1 << 20, "slots behind the tokens" }, \
    { "cache", HX_I32, offsetof(rel_attrs, cache), "0", 0, 1, "slots see older keys" },          \
    { "slide", HX_I32, offsetof(rel_attrs, slide), "0", 0, 1, "row d + gone for distance d" },
static const hx_field rel_fields[] = {
    FIELDS
    { 0 }
};

static const hx_field rel_drop_fields[] = {
    FIELDS
    ATTN_CHANCE_FIELDS(rel_drop_attrs)
    { 0 }
};

static const char *rel_wrong(const int64_t *dim, const void *attrs)
{
    const rel_attrs *a = attrs;
    if (a->heads < 1 || dim[REL_D] % a->heads) return "heads must divide the width of q";
    if (dim[REL_D] / a->heads > REL_MAX_K) return "a head is at most 256 channels wide";
    if (dim[REL_M] < dim[REL_N]) return "there must be as many keys as queries";
    if (a->band && (a->read || a->write)) return "slots and a band exclude each other";
    if (a->slide && (a->read || a->write)) return "slots and sliding rows exclude each other";
    if ((int64_t)a->read + a->write > dim[REL_N]) return "there are more slots than queries";
    return NULL;
}

static const char *rel_drop_wrong(const int64_t *dim, const void *attrs)
{
    const char *wrong = rel_wrong(dim, attrs);
    return wrong ? wrong : dim[REL_N] > UINT32_MAX / hx_ceil_div(dim[REL_M], 4)
        ? "at most 2^34 weights of a head can be left out one by one" : NULL;
}

// ---- the rule ------------------------------------------------------------------------------

static bool is_read(const rel_attrs *a, int64_t i) { return i < a->read; }
static bool is_write(const int64_t *dim, const rel_attrs *a, int64_t i)
{
    return i >= dim[REL_N] - a->write;
}

void rel_keys(const int64_t *dim, const rel_attrs *a, int64_t gone, int64_t i, int64_t *lo,
              int64_t *hi)
{
    int64_t past = dim[REL_M] - dim[REL_N];
    bool slot = is_read(a, i) || is_write(dim, a, i);
    *lo = slot && !a->cache ? past : a->band ? hx_max(0, i + past + 1 - a->band) : 0;
    *lo = hx_max(*lo, hx_min(gone, past));
    *hi = is_write(dim, a, i) ? dim[REL_M] : is_read(a, i) ? past + a->read : i + past + 1;
}

int64_t rel_row(const int64_t *dim, int64_t *i, int64_t j)
{
    int64_t d = *i + dim[REL_M] - dim[REL_N] - j;
    if (d >= 0) return d;
    ++*i;
    return d == -1 ? -1 : dim[REL_M] + 1 + d;
}

int64_t rel_slide(const int64_t *dim, const rel_attrs *a, int64_t gone)
{
    return a->slide ? hx_max(0, hx_min(gone, dim[REL_M] - dim[REL_N])) : 0;
}

// ---- references ----------------------------------------------------------------------------

// where channels of head h of token t of batch row b begin
static int64_t spot(const hx_ref *r, int64_t t, int64_t b, int64_t h)
{
    const rel_attrs *a = r->attrs;
    int64_t D = r->dim[REL_D];
    return (t * r->dim[REL_B] + b) * D + h * (D / a->heads);
}

static int64_t gone_of(const hx_ref *r, int64_t b)
{
    return r->a[REL_GONE] ? (int64_t)r->a[REL_GONE][b] : 0;
}

static real dot(const real *x, const real *add, const real *y, int64_t n)
{
    real s = 0;
    for (int64_t i = 0; i < n; i++) s += (x[i] + add[i]) * y[i];
    return s;
}

static real score(const hx_ref *r, int64_t i, int64_t j, int64_t b, int64_t h)
{
    int64_t K = r->dim[REL_D] / ((const rel_attrs *)r->attrs)->heads, at = i;
    int64_t row = rel_row(r->dim, &at, j), slide = rel_slide(r->dim, r->attrs, gone_of(r, b));
    real s = dot(r->a[REL_Q] + spot(r, i, b, h), r->a[REL_U] + h * K,
                 r->a[REL_K] + spot(r, j, b, h), K);
    if (row >= 0)
        s += dot(r->a[REL_Q] + spot(r, at, b, h), r->a[REL_W] + h * K,
                 r->a[REL_R] + (row + slide) * r->dim[REL_D] + h * K, K);
    return s / sqrt((real)K);
}

// What is left out: chance NULL: nothing.
typedef struct without { const attn_chance *chance; int32_t dice[4]; } without;

static real kept(const hx_ref *r, const without *o, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return attn_kept(o->chance, o->dice, b * ((const rel_attrs *)r->attrs)->heads + h, i, j, r->dim[REL_M]);
}

static void attend(const hx_ref *r, const without *o, int64_t i, int64_t b, int64_t h)
{
    const rel_attrs *a = r->attrs;
    int64_t K = r->dim[REL_D] / a->heads, lo, hi;
    real *y = r->a[REL_OUT] + spot(r, i, b, h), top = -INFINITY, sum = 0;
    rel_keys(r->dim, a, gone_of(r, b), i, &lo, &hi);
    for (int64_t j = lo; j < hi; j++) top = fmax(top, score(r, i, j, b, h));
    for (int64_t c = 0; c < K; c++) y[c] = 0;
    for (int64_t j = lo; j < hi; j++) {
        const real *v = r->a[REL_V] + spot(r, j, b, h);
        real p = exp(score(r, i, j, b, h) - top);
        sum += p;
        p *= kept(r, o, b, h, i, j);
        for (int64_t c = 0; c < K; c++) y[c] += p * v[c];
    }
    for (int64_t c = 0; c < K; c++) y[c] /= sum;
    r->a[REL_OUT + 1][(h * r->dim[REL_N] + i) * r->dim[REL_B] + b] = top + log(sum);
}

static void forward(const hx_ref *r, const without *o)
{
    for (int64_t h = 0; h < ((const rel_attrs *)r->attrs)->heads; h++)
        for (int64_t i = 0; i < r->dim[REL_N]; i++)
            for (int64_t b = 0; b < r->dim[REL_B]; b++)
                attend(r, o, i, b, h);
}

// Where gradients are summed; NULL: not wanted.
typedef struct sums { real *da, *dc, *dk, *dv, *dr; } sums;

static void one_pair(const hx_ref *r, const without *o, const sums *to, int64_t i, int64_t j, int64_t b, int64_t h)
{
    int64_t D = r->dim[REL_D], B = r->dim[REL_B], K = D / ((const rel_attrs *)r->attrs)->heads;
    int64_t stat = (h * r->dim[REL_N] + i) * B + b, at = i, row = rel_row(r->dim, &at, j);
    row += row < 0 ? 0 : rel_slide(r->dim, r->attrs, gone_of(r, b));
    const real *q = r->a[REL_Q] + spot(r, i, b, h), *k = r->a[REL_K] + spot(r, j, b, h);
    const real *dy = r->a[REL_DY] + spot(r, i, b, h), *v = r->a[REL_V] + spot(r, j, b, h);
    real p = exp(score(r, i, j, b, h) - r->a[REL_L][stat]), dp = 0;
    for (int64_t c = 0; c < K; c++) dp += dy[c] * v[c];
    real stays = kept(r, o, b, h, i, j), ds = p * (stays * dp - r->a[REL_E][stat]) / sqrt((real)K);
    for (int64_t c = 0; c < K; c++) {
        if (to->da) to->da[spot(r, i, b, h) + c] += ds * k[c];
        if (to->dk) to->dk[spot(r, j, b, h) + c] += ds * (q[c] + r->a[REL_U][h * K + c]);
        if (to->dv) to->dv[spot(r, j, b, h) + c] += p * stays * dy[c];
        if (row < 0) continue;
        if (to->dc) to->dc[spot(r, at, b, h) + c] += ds * r->a[REL_R][row * D + h * K + c];
        if (to->dr)
            to->dr[(b * r->dim[REL_M] + row) * D + h * K + c] +=
                ds * (r->a[REL_Q][spot(r, at, b, h) + c] + r->a[REL_W][h * K + c]);
    }
}

static void backward(const hx_ref *r, const without *o, const sums *to, int64_t rows)
{
    const rel_attrs *a = r->attrs;
    real *const all[] = { to->da, to->dc, to->dk, to->dv, to->dr };
    for (int k = 0; k < HX_COUNT(all); k++)
        for (int64_t e = 0; all[k] && e < rows * r->dim[REL_B] * r->dim[REL_D]; e++) all[k][e] = 0;
    for (int64_t h = 0; h < a->heads; h++)
        for (int64_t i = 0; i < r->dim[REL_N]; i++)
            for (int64_t b = 0; b < r->dim[REL_B]; b++) {
                int64_t lo, hi;
                rel_keys(r->dim, a, gone_of(r, b), i, &lo, &hi);
                for (int64_t j = lo; j < hi; j++) one_pair(r, o, to, i, j, b, h);
            }
}

static void dq(const hx_ref *r, const without *o)
{
    backward(r, o, &(sums){ .da = r->a[REL_GRAD], .dc = r->a[REL_GRAD + 1] }, r->dim[REL_N]);
}

static void dkv(const hx_ref *r, const without *o)
{
    backward(r, o, &(sums){ .dk = r->a[REL_GRAD], .dv = r->a[REL_GRAD + 1] }, r->dim[REL_M]);
}

static void dr(const hx_ref *r, const without *o)
{
    backward(r, o, &(sums){ .dr = r->a[REL_GRAD] }, r->dim[REL_M]);
}

static void rel_ref(const hx_ref *r) { forward(r, &(without){ 0 }); }
static void dq_ref(const hx_ref *r) { dq(r, &(without){ 0 }); }
static void dkv_ref(const hx_ref *r) { dkv(r, &(without){ 0 }); }
static void dr_ref(const hx_ref *r) { dr(r, &(without){ 0 }); }

// As the plain operator, whose arguments are these without dice, the last of n inputs.
static void bare(const hx_ref *r, int n, void (*plain)(const hx_ref *, const without *))
{
    real *a[HX_MAX_ARGS] = { 0 };
    without o = { &((const rel_drop_attrs *)r->attrs)->chance, { 0 } };
    for (int i = 0; i < 4; i++) o.dice[i] = (int32_t)r->a[n - 1][i];
    memcpy(a, r->a, (size_t)(n - 1) * sizeof *a);
    memcpy(a + n - 1, r->a + n, 2 * sizeof *a);
    plain(&(hx_ref){ r->dim, r->attrs, a }, &o);
}

static void drop_ref(const hx_ref *r) { bare(r, REL_OUT + 1, forward); }
static void drop_dq_ref(const hx_ref *r) { bare(r, REL_GRAD + 1, dq); }
static void drop_dkv_ref(const hx_ref *r) { bare(r, REL_GRAD + 1, dkv); }
static void drop_dr_ref(const hx_ref *r) { bare(r, REL_GRAD + 1, dr); }

// memories from empty to full
static real rel_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)i, (void)attrs;
    return arg == REL_GONE ? rnd % (uint32_t)(dim[REL_M] - dim[REL_N] + 1) : NAN;
}

static real rel_drop_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    return arg == REL_OUT ? (real)(int32_t)rnd : rel_fill(arg, i, rnd, dim, attrs);
}

static real rel_drop_back_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    return arg == REL_GRAD ? (real)(int32_t)rnd : rel_fill(arg, i, rnd, dim, attrs);
}

// ---- kernels -------------------------------------------------------------------------------
// Rounds of loops that an invocation may make: software Vulkan ends it in silence after 65,535. A
// tile of 8 to 16 tokens takes about K/4 rounds for each product, as many for what it loads.
static bool fits(const int64_t *dim, const void *attrs, int64_t K, int64_t most)
{
    const rel_attrs *a = attrs;
    int64_t seen = a->band ? hx_min(dim[REL_M], a->band + 64) : dim[REL_M];
    int64_t K_ = dim[REL_D] / a->heads, slots = (int64_t)a->read + a->write;
    return K_ <= K && (!most || (seen <= most && slots * K_ <= 6400));
}

static bool narrow(const int64_t *dim, const void *attrs) { return fits(dim, attrs, 64, 8000); }
static bool middle(const int64_t *dim, const void *attrs) { return fits(dim, attrs, 128, 3000); }
static bool wide(const int64_t *dim, const void *attrs) { return fits(dim, attrs, 256, 700); }
static bool gpu_narrow(const int64_t *dim, const void *attrs) { return fits(dim, attrs, 64, 0); }
static bool gpu_middle(const int64_t *dim, const void *attrs) { return fits(dim, attrs, 128, 0); }

// Specialization constants are the head width, tokens of a tile, tokens of what streams past, and
// invocations along both. OWN: tokens of a tile.
#define ROW(NAME, NEEDS, T, OWN, SPEC, FITS)                                                     \
    { .name = NAME, .needs = NEEDS, .grid = T "/" #OWN "*heads*B", .spec = "D/heads, " SPEC,     \
      .fits = FITS }
#define BACK_ROWS(NAME, T)                                                                       \
    { ROW(NAME, 0, T, 4, "4, 4, 4, 4", wide), ROW(NAME, 0, T, 8, "8, 8, 8, 8", middle),          \
      ROW(NAME, 0, T, 16, "16, 16, 8, 8", narrow),                                               \
      ROW(NAME, HX_CAP_GPU, T, 4, "4, 4, 4, 4", NULL),                                           \
      ROW(NAME, HX_CAP_GPU, T, 8, "8, 8, 8, 8", gpu_middle),                                     \
      ROW(NAME, HX_CAP_GPU, T, 16, "16, 16, 8, 8", gpu_narrow) }

// One token, tiles not full, heads of every width, bands beside every edge, memories, slots.
#define REL_CHECK                                                                                \
    "N=1 B=1 D=2 M=1 heads=1; N=5 B=2 D=12 M=9 heads=3 -gone; N=17 B=1 D=64 M=40 heads=1;"       \
    "N=33 B=3 D=32 M=33 heads=2 band=7; N=18 B=1 D=66 M=50 heads=1 band=30 -gone;"               \
    "N=21 B=1 D=256 M=30 heads=2; N=9 B=1 D=400 M=21 heads=2; N=10 B=1 D=256 M=13 heads=1;"      \
    "N=12 B=2 D=16 M=20 heads=2 read=3 write=3;"                                                 \
    "N=40 B=1 D=24 M=47 heads=3 read=18 write=19 cache=1 -gone;"                                 \
    "N=20 B=1 D=130 M=20 heads=1 read=5 write=9; N=16 B=2 D=8 M=19 heads=2 read=4 cache=1;"      \
    "N=70 B=1 D=20 M=130 heads=1 read=2 write=40; N=1 B=2 D=6 M=30 heads=1 band=4;"      \
    "N=9 B=3 D=12 M=30 heads=2 slide=1; N=35 B=2 D=66 M=90 heads=1 slide=1; N=3 B=2 D=256 M=40 heads=1 slide=1"
#define REL_WRONG                                                                                \
    "N=4 B=1 D=6 M=4 heads=4: heads must divide; N=4 B=1 D=600 M=4 heads=2: at most 256;"        \
    "N=4 B=1 D=6 M=3: as many keys as queries; N=4 B=1 D=6 M=4 read=3 write=2: more slots;"      \
    "N=4 B=1 D=6 M=4 read=3 band=2: exclude each other; N=4 B=1 D=6 M=4 read=3 slide=1: exclude each other"
// patterns have their samples in the plain operators; these are for what is drawn
#define REL_DROP_CHECK                                                                           \
    "N=1 B=1 D=2 M=1 heads=1; N=33 B=3 D=32 M=33 heads=2 band=7 drop=0.5 stays=2 spot=3;"        \
    "N=21 B=1 D=256 M=30 heads=2 drop=0; N=40 B=1 D=24 M=47 heads=3 read=18 write=19 cache=1 -gone stays=1.1;" \
    "N=9 B=3 D=12 M=30 heads=2 slide=1 drop=0.9; N=35 B=2 D=66 M=90 heads=1 slide=1"
// What a query does not see is multiplied with 0 where it shares a tile with what is seen.
#define REL_FUZZ                                                                                 \
    "heads=1..4 D=heads*5|heads*16|heads*64|heads*66|heads*200 M=N..N+40 band=0|0|1..M "         \
    "read=0|0|0..N write=0|0|0..N-read cache=0..1 slide=0..1 -nan -inf"
#define REL_BENCH "N=512 B=4 D=512 M=1024 heads=8; N=80 B=1 D=512 M=2180 heads=8 band=2100"
#define REL_FLOPS(n) n "*B*D*N*M-" n "*B*D*N*N/2"
#define REL_IN "q:[N,B,D] k:[M,B,D] v:[M,B,D] r:[M,D] u[D] w[D] gone?#[B] "
#define REL_BACK REL_IN "dy:[N,B,D] l[heads,N,B] e[heads,N,B] "
#define REL_S "s_ij = ((q_i+u).k_j + (q_i+w).r_(i+M-N-j)) / sqrt K"
#define REL_DS "ds_ij = exp(s_ij - l_i) (dy_i.v_j - e_i), " REL_S
#define REL_SOURCE "Transformer-XL, Dai et al. 2019, section 3.3"
#define REL_SAME                                                                                 \
    .source = REL_SOURCE, .attrs = rel_fields, .attrs_size = sizeof(rel_attrs),                  \
    .wrong_if = rel_wrong, .fill = rel_fill, .check = REL_CHECK, .wrong = REL_WRONG,             \
    .bench = REL_BENCH

HX_OP(rel_attn_dq, REL_SAME,
    .math = "a_i = sum_j ds_ij k_j / sqrt K, c_i = sum_j ds_ij r_(i+M-N-j) / sqrt K, " REL_DS,
    .sig = REL_BACK "-> a:[N,B,D] c:[N,B,D]",
    .ref = dq_ref, .host = rel_attn_dq_host, .terms = "M+4*D/heads+8", .flops = REL_FLOPS("10"),
    .fuzz = REL_FUZZ " -huge",
    .kernels = BACK_ROWS("rel_attn_dq", "N"));

HX_OP(rel_attn_dkv, REL_SAME,
    .math = "dk_j = sum_i ds_ij (q_i+u) / sqrt K, dv_j = sum_i exp(s_ij - l_i) dy_i, " REL_DS,
    .sig = REL_BACK "-> dk:[M,B,D] dv:[M,B,D]",
    .ref = dkv_ref, .host = rel_attn_dkv_host, .terms = "N+4*D/heads+8", .flops = REL_FLOPS("10"),
    .fuzz = REL_FUZZ " -huge",
    .kernels = BACK_ROWS("rel_attn_dkv", "M"));

HX_OP(rel_attn_dr, REL_SAME,
    .math = "dr_b,d = sum_i ds_(i,i+M-N-d) (q_i+w) / sqrt K of batch row b, " REL_DS,
    .sig = REL_BACK "-> dr[B,M,D]",
    .ref = dr_ref, .host = rel_attn_dr_host, .terms = "N+4*D/heads+8", .flops = REL_FLOPS("8"),
    .fuzz = REL_FUZZ " -huge",
    .kernels = BACK_ROWS("rel_attn_dr", "M"));

#define REL_DROP_SAME                                                                            \
    .source = REL_SOURCE "; Srivastava et al. 2014", .attrs = rel_drop_fields,                   \
    .attrs_size = sizeof(rel_drop_attrs), .wrong_if = rel_drop_wrong, .check = REL_DROP_CHECK,   \
    .wrong = REL_WRONG, .bench = REL_BENCH
#define REL_DROP_M ", m_ij = 0 with chance drop, else stays"
#define REL_DROP_DS "ds_ij = exp(s_ij - l_i) (m_ij dy_i.v_j - e_i), " REL_S REL_DROP_M

HX_OP(rel_attn_drop_dq, REL_DROP_SAME,
    .math = "a_i = sum_j ds_ij k_j / sqrt K, c_i = sum_j ds_ij r_(i+M-N-j) / sqrt K, " REL_DROP_DS,
    .sig = REL_BACK "dice#[4] -> a:[N,B,D] c:[N,B,D]", .fill = rel_drop_back_fill,
    .ref = drop_dq_ref, .host = rel_attn_drop_dq_host, .terms = "M+4*D/heads+8", .flops = REL_FLOPS("10"),
    .fuzz = REL_FUZZ " spot=0..500 -huge", .kernels = BACK_ROWS("rel_attn_drop_dq", "N"));

HX_OP(rel_attn_drop_dkv, REL_DROP_SAME,
    .math = "dk_j = sum_i ds_ij (q_i+u) / sqrt K, dv_j = sum_i m_ij exp(s_ij - l_i) dy_i, " REL_DROP_DS,
    .sig = REL_BACK "dice#[4] -> dk:[M,B,D] dv:[M,B,D]", .fill = rel_drop_back_fill,
    .ref = drop_dkv_ref, .host = rel_attn_drop_dkv_host, .terms = "N+4*D/heads+8", .flops = REL_FLOPS("10"),
    .fuzz = REL_FUZZ " spot=0..500 -huge", .kernels = BACK_ROWS("rel_attn_drop_dkv", "M"));

HX_OP(rel_attn_drop_dr, REL_DROP_SAME,
    .math = "dr_b,d = sum_i ds_(i,i+M-N-d) (q_i+w) / sqrt K of batch row b, " REL_DROP_DS,
    .sig = REL_BACK "dice#[4] -> dr[B,M,D]", .fill = rel_drop_back_fill,
    .ref = drop_dr_ref, .host = rel_attn_drop_dr_host, .terms = "N+4*D/heads+8", .flops = REL_FLOPS("8"),
    .fuzz = REL_FUZZ " spot=0..500 -huge", .kernels = BACK_ROWS("rel_attn_drop_dr", "M"));

// ---- gradient ------------------------------------------------------------------------------

// e_i = y_i.dy_i - dl_i per head
static hx_t delta(const hx_node *n, hx_t y, hx_t dy)
{
    int64_t N = n->dim[REL_N], B = n->dim[REL_B], D = n->dim[REL_D];
    int32_t heads = ((const rel_attrs *)n->attrs)->heads;
    int64_t flat[3] = { 1, N * B, D }, stat[3] = { 1, heads, N * B };
    hx_t dl = n->grad[1], e = HX_NONE;
    dl = hx_is(dl) ? hx_reshape(dl, 3, stat) : dl;
    hx_apply(&hx_op_attn_delta, &heads,
             (hx_t[]){ hx_reshape(y, 3, flat), hx_reshape(dy, 3, flat), dl }, &e);
    return hx_reshape(e, 3, (int64_t[]){ heads, N, B });
}

// dq, dkv, dr: the operators; drops: behind the inputs of rel_attn come dice
static void gradients(const hx_op *const op[3], bool drops, const hx_node *n, hx_t *d)
{
    hx_t y = n->arg[REL_OUT + drops], dy = hx_is(n->grad[0]) ? n->grad[0] : t_scale(y, 0), in[11];
    for (int i = 0; i <= REL_GONE; i++) in[i] = n->arg[i];
    in[REL_DY] = dy;
    in[REL_L] = n->arg[REL_OUT + 1 + drops];
    in[REL_E] = delta(n, y, dy);
    in[REL_GRAD] = n->arg[REL_OUT];
    if (n->want[REL_Q] || n->want[REL_U] || n->want[REL_W]) {
        hx_t part[2];
        hx_apply(op[0], n->attrs, in, part);
        if (n->want[REL_U]) d[REL_U] = t_colsum(part[0]);
        if (n->want[REL_W]) d[REL_W] = t_colsum(part[1]);
        if (n->want[REL_Q]) d[REL_Q] = t_add(part[0], part[1]);
    }
    if (n->want[REL_K] || n->want[REL_V]) {
        hx_t part[2];
        hx_apply(op[1], n->attrs, in, part);
        if (n->want[REL_K]) d[REL_K] = part[0];
        if (n->want[REL_V]) d[REL_V] = part[1];
    }
    if (n->want[REL_R]) {
        int64_t B = n->dim[REL_B], M = n->dim[REL_M], D = n->dim[REL_D];
        hx_t dr;
        hx_apply(op[2], n->attrs, in, &dr);
        dr = B > 1 ? t_colsum(hx_reshape(dr, 2, (int64_t[]){ B, M * D })) : dr;
        d[REL_R] = hx_reshape(dr, 2, (int64_t[]){ M, D });
    }
}

static void rel_vjp(const hx_node *n, hx_t *d)
{
    gradients((const hx_op *const[]){ &hx_op_rel_attn_dq, &hx_op_rel_attn_dkv, &hx_op_rel_attn_dr }, false, n, d);
}

static void drop_vjp(const hx_node *n, hx_t *d)
{
    gradients((const hx_op *const[]){ &hx_op_rel_attn_drop_dq, &hx_op_rel_attn_drop_dkv,
                                      &hx_op_rel_attn_drop_dr }, true, n, d);
}

#define ROWS(NAME)                                                                               \
    { ROW(NAME, 0, "N", 8, "8, 4, 4, 4", wide), ROW(NAME, 0, "N", 16, "16, 8, 8, 8", middle),    \
      ROW(NAME, 0, "N", 16, "16, 16, 8, 8", narrow),                                             \
      ROW(NAME, HX_CAP_GPU, "N", 8, "8, 4, 4, 4", NULL),                                         \
      ROW(NAME, HX_CAP_GPU, "N", 16, "16, 8, 8, 8", gpu_middle),                                 \
      ROW(NAME, HX_CAP_GPU, "N", 32, "32, 16, 8, 8", gpu_narrow) }

HX_OP(rel_attn, REL_SAME,
    .math = "y_i = sum_j exp(s_ij - l_i) v_j, l_i = log sum_j exp s_ij, " REL_S ", K = D/heads, "
            "over the keys j that i sees",
    .sig = REL_IN "-> y:[N,B,D] l[heads,N,B]",
    .ref = rel_ref, .vjp = rel_vjp, .host = rel_attn_host, .terms = "M+2*D/heads+8",
    .flops = REL_FLOPS("6"), .fuzz = REL_FUZZ,
    .kernels = ROWS("rel_attn"));

HX_OP(rel_attn_drop, REL_DROP_SAME,
    .math = "y_i = sum_j m_ij exp(s_ij - l_i) v_j, l_i = log sum_j exp s_ij, " REL_S ", K = D/heads, "
            "over the keys j that i sees" REL_DROP_M,
    .sig = REL_IN "dice#[4] -> y:[N,B,D] l[heads,N,B]", .fill = rel_drop_fill,
    .ref = drop_ref, .vjp = drop_vjp, .host = rel_attn_drop_host, .terms = "M+2*D/heads+8",
    .flops = REL_FLOPS("6"), .fuzz = REL_FUZZ " spot=0..500", .kernels = ROWS("rel_attn_drop"));

hx_t t_rel_attention(hx_t q, hx_t k, hx_t v, hx_t r, hx_t u, hx_t w, hx_t gone,
                     const hx_rel *how)
{
    rel_attrs a = { how->heads, how->band, how->read, how->write, how->cache, how->slide };
    hx_t out[2] = { HX_NONE, HX_NONE };
    rel_drop_attrs b = { a, attn_chance_of(how->less) };
    if (hx_is(how->less.dice))
        hx_apply(&hx_op_rel_attn_drop, &b, (hx_t[]){ q, k, v, r, u, w, gone, how->less.dice }, out);
    else
        hx_apply(&hx_op_rel_attn, &a, (hx_t[]){ q, k, v, r, u, w, gone }, out);
    return out[0];
}
