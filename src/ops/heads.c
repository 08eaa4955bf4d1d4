// heads.c - matrix products head by head: each head of each batch row has a matrix of its own, as
// memories have that linear attention writes and reads.
#include "gemm.h"
#include "t.h"

// Dims: B T D N of nn, B T N D of nt, B T D C of tn. K = D/heads rows and N = C/heads columns make
// the matrix of a head; the matrices of a batch row lie one below the other.
enum { B, T, D, C };
enum { MAX_Z = 65535 };                    // workgroups in one dimension
typedef struct heads_attrs { int32_t heads; } heads_attrs;
static const hx_field heads_fields[] = {
    { "heads", HX_I32, offsetof(heads_attrs, heads), "1", 1, 65535, "heads" }, { 0 }
};
static int64_t heads_of(const void *attrs) { return ((const heads_attrs *)attrs)->heads; }

static hx_t product(const hx_op *op, const void *attrs, hx_t a, hx_t b)
{
    hx_t y = HX_NONE;
    hx_apply(op, attrs, (hx_t[]){ a, b, HX_NONE }, &y);
    return y;
}

static const char *wrong_rows(const int64_t *dim, const void *attrs)
{
    if (heads_of(attrs) < 1 || dim[D] % heads_of(attrs)) return "heads must divide the width of a";
    return dim[B] * heads_of(attrs) > MAX_Z ? "at most 65535 matrices" : NULL;
}

static const char *wrong_both(const int64_t *dim, const void *attrs)
{
    const char *wrong = wrong_rows(dim, attrs);
    return !wrong && dim[C] % heads_of(attrs) ? "heads must divide the width of y" : wrong;
}

extern const hx_op hx_op_heads_nn, hx_op_heads_nt, hx_op_heads_tn;

// ---- y = a m ------------------------------------------------------------------------------
static void nn_ref(const hx_ref *r)
{
    int64_t H = heads_of(r->attrs), K = r->dim[D] / H, N = r->dim[3], rows = r->dim[B] * r->dim[T];
    for (int64_t row = 0; row < rows; row++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t n = 0; n < N; n++) {
                real s = 0;
                for (int64_t k = h * K; k < (h + 1) * K; k++)
                    s += r->a[0][row * r->dim[D] + k]
                         * r->a[1][(row / r->dim[T] * r->dim[D] + k) * N + n];
                r->a[2][(row * H + h) * N + n] = s;
            }
}

static void nn_host(const hx_call *c)
{
    int64_t H = heads_of(c->attrs), K = c->dim[D] / H, N = c->dim[3], t = c->dim[T];
    for (int64_t i = 0; i < c->dim[B] * H; i++) {
        int64_t b = i / H, h = i % H;
        hx_gemm_run(&(hx_gemm){ .M = t, .K = K, .N = N,
            .a = (float *)c->a[0] + b * t * c->ld[0] + h * K, .lda = c->ld[0],
            .b = (float *)c->a[1] + i * K * c->ld[1], .ldb = c->ld[1],
            .y = (float *)c->a[2] + b * t * c->ld[2] + h * N, .ldy = c->ld[2] }, c->pool);
    }
}

// da = dy m^T,  dm = a^T dy
static void nn_vjp(const hx_node *n, hx_t *d)
{
    if (n->want[0]) d[0] = product(&hx_op_heads_nt, n->attrs, n->grad[0], n->arg[1]);
    if (n->want[1]) d[1] = product(&hx_op_heads_tn, n->attrs, n->arg[0], n->grad[0]);
}

#define FUZZ "heads=1..5 D=heads..heads*70:heads"
HX_OP(heads_nn,
    .math = "y[b,t,h] = a[b,t,h] m[b,h]", .source = "definition",
    .sig = "a:[B,T,D] m:[B,D,N] -> y:[B,T,heads*N]",
    .attrs = heads_fields, .attrs_size = sizeof(heads_attrs), .wrong_if = wrong_rows,
    .ref = nn_ref, .vjp = nn_vjp, .host = nn_host, .terms = "D/heads", .flops = "2*B*T*D*N",
    .exact = "3", .fuzz = FUZZ,
    .kernels = { { "heads_nn", 0, "N/64, T/64, B*heads", "64, 64, 16, 4, 4", NULL } },
    .check = "B=1 T=1 D=1 N=1; B=2 T=5 D=12 N=7 heads=3; B=1 T=70 D=66 N=130 heads=2;"
             "B=3 T=33 D=40 N=65 heads=5",
    .wrong = "B=1 T=4 D=8 N=4 heads=3: must divide",
    .bench = "B=4 T=1024 D=512 N=65 heads=8");

// ---- a = y m^T ----------------------------------------------------------------------------
static void nt_ref(const hx_ref *r)
{
    int64_t H = heads_of(r->attrs), N = r->dim[2], d = r->dim[3], t = r->dim[T], K = d / H;
    for (int64_t row = 0; row < r->dim[B] * t; row++)
        for (int64_t k = 0; k < d; k++) {
            real s = 0;
            for (int64_t n = 0; n < N; n++)
                s += r->a[0][(row * H + k / K) * N + n] * r->a[1][(row / t * d + k) * N + n];
            r->a[2][row * d + k] = s;
        }
}

static void nt_host(const hx_call *c)
{
    int64_t H = heads_of(c->attrs), N = c->dim[2], K = c->dim[3] / H, t = c->dim[T];
    for (int64_t i = 0; i < c->dim[B] * H; i++) {
        int64_t b = i / H, h = i % H;
        hx_gemm_run(&(hx_gemm){ .tb = true, .M = t, .K = N, .N = K,
            .a = (float *)c->a[0] + b * t * c->ld[0] + h * N, .lda = c->ld[0],
            .b = (float *)c->a[1] + i * K * c->ld[1], .ldb = c->ld[1],
            .y = (float *)c->a[2] + b * t * c->ld[2] + h * K, .ldy = c->ld[2] }, c->pool);
    }
}

// dy = da m,  dm = da^T y
static void nt_vjp(const hx_node *n, hx_t *d)
{
    if (n->want[0]) d[0] = product(&hx_op_heads_nn, n->attrs, n->grad[0], n->arg[1]);
    if (n->want[1]) d[1] = product(&hx_op_heads_tn, n->attrs, n->grad[0], n->arg[0]);
}

static const char *wrong_nt(const int64_t *dim, const void *attrs)
{
    return wrong_rows((int64_t[]){ dim[B], dim[T], dim[3] }, attrs);
}

HX_OP(heads_nt,
    .math = "a[b,t,h] = y[b,t,h] m[b,h]^T", .source = "definition",
    .sig = "y:[B,T,heads*N] m:[B,D,N] -> a:[B,T,D]",
    .attrs = heads_fields, .attrs_size = sizeof(heads_attrs), .wrong_if = wrong_nt,
    .ref = nt_ref, .vjp = nt_vjp, .host = nt_host, .terms = "N", .flops = "2*B*T*D*N",
    .exact = "3", .fuzz = FUZZ,
    .kernels = { { "heads_nt", 0, "D/heads/64, T/64, B*heads", "64, 64, 16, 4, 4", NULL } },
    .check = "B=1 T=1 D=1 N=1; B=2 T=5 D=12 N=7 heads=3; B=1 T=70 D=66 N=130 heads=2;"
             "B=3 T=33 D=40 N=65 heads=5",
    .wrong = "B=1 T=4 D=8 N=4 heads=3: must divide",
    .bench = "B=4 T=1024 D=512 N=65 heads=8");

// ---- m = a^T y + c ------------------------------------------------------------------------
static void tn_ref(const hx_ref *r)
{
    int64_t H = heads_of(r->attrs), d = r->dim[D], K = d / H, N = r->dim[C] / H, t = r->dim[T];
    for (int64_t b = 0; b < r->dim[B]; b++)
        for (int64_t k = 0; k < d; k++)
            for (int64_t n = 0; n < N; n++) {
                int64_t at = (b * d + k) * N + n;
                real s = r->a[2] ? r->a[2][at] : 0;
                for (int64_t row = b * t; row < (b + 1) * t; row++)
                    s += r->a[0][row * d + k] * r->a[1][(row * H + k / K) * N + n];
                r->a[3][at] = s;
            }
}

static void tn_host(const hx_call *c)
{
    int64_t H = heads_of(c->attrs), K = c->dim[D] / H, N = c->dim[C] / H, t = c->dim[T];
    for (int64_t i = 0; i < c->dim[B] * H; i++) {
        int64_t b = i / H, h = i % H;
        hx_gemm_run(&(hx_gemm){ .ta = true, .M = K, .K = t, .N = N,
            .a = (float *)c->a[0] + b * t * c->ld[0] + h * K, .lda = c->ld[0],
            .b = (float *)c->a[1] + b * t * c->ld[1] + h * N, .ldb = c->ld[1],
            .c = c->a[2] ? (float *)c->a[2] + i * K * c->ld[2] : NULL, .ldc = c->ld[2],
            .y = (float *)c->a[3] + i * K * c->ld[3], .ldy = c->ld[3] }, c->pool);
    }
}

// da = y dm^T,  dy = a dm,  dc = dm
static void tn_vjp(const hx_node *n, hx_t *d)
{
    if (n->want[0]) d[0] = product(&hx_op_heads_nt, n->attrs, n->arg[1], n->grad[0]);
    if (n->want[1]) d[1] = product(&hx_op_heads_nn, n->attrs, n->arg[0], n->grad[0]);
    if (n->want[2]) d[2] = n->grad[0];
}

HX_OP(heads_tn,
    .math = "m[b,h] = sum_t a[b,t,h]^T y[b,t,h] + c[b,h]", .source = "definition",
    .sig = "a:[B,T,D] y:[B,T,C] c?:[B,D,C/heads] -> m:[B,D,C/heads]",
    .attrs = heads_fields, .attrs_size = sizeof(heads_attrs), .wrong_if = wrong_both,
    .ref = tn_ref, .vjp = tn_vjp, .host = tn_host, .terms = "T+1", .flops = "2*B*T*D*C/heads",
    .adds = "c", .alias = "m=c", .exact = "3", .fuzz = FUZZ " C=heads..heads*70:heads",
    .kernels = { { "heads_tn", 0, "C/heads/64, D/heads/64, B*heads", "64, 64, 16, 4, 4", NULL } },
    .check = "B=1 T=1 D=1 C=1; B=2 T=5 D=12 C=21 heads=3 -c; B=1 T=70 D=66 C=260 heads=2;"
             "B=3 T=33 D=40 C=325 heads=5 -c",
    .wrong = "B=1 T=4 D=8 C=4 heads=3: must divide; B=1 T=4 D=9 C=4 heads=3: width of y",
    .bench = "B=4 T=1024 D=512 C=520 heads=8");

hx_t t_heads(hx_t a, hx_t m, int heads)
{
    return product(&hx_op_heads_nn, &(heads_attrs){ heads }, a, m);
}

hx_t t_heads_tn(hx_t a, hx_t y, hx_t c, int heads)
{
    hx_t m = HX_NONE;
    hx_apply(&hx_op_heads_tn, &(heads_attrs){ heads }, (hx_t[]){ a, y, c }, &m);
    return m;
}
