// embedding.c - rows of a table chosen by token ids, and the gradient of the table.
#include "t.h"
#include <math.h>
#include <string.h>

enum { B, N, V, D };
typedef struct embedding_attrs { int32_t take; } embedding_attrs;
static const hx_field embedding_fields[] = {
    { "take", HX_I32, offsetof(embedding_attrs, take), NULL, 1, INT32_MAX,
      "tokens of each sequence that are looked up" },
    { 0 }
};

// An id outside the vocabulary reads row 0: whoever brings ids in has refused such ones before.
static int64_t row_of(int64_t id, int64_t vocabulary)
{
    return id >= 0 && id < vocabulary ? id : 0;
}

static void embedding_ref(const hx_ref *r)
{
    int64_t take = ((const embedding_attrs *)r->attrs)->take, n = r->dim[N], d = r->dim[D];
    for (int64_t i = 0; i < r->dim[B] * take; i++) {
        int64_t id = row_of((int64_t)r->a[0][i / take * n + i % take], r->dim[V]);
        for (int64_t j = 0; j < d; j++)
            r->a[2][i * d + j] = r->a[1][id * d + j];
    }
}

enum { ROWS = 64 };                        // tokens a task
static void embedding_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t take = ((const embedding_attrs *)c->attrs)->take, d = c->dim[D];
    const int32_t *ids = c->a[0];
    const float *e = c->a[1];
    float *x = c->a[2];
    int64_t last = hx_min(c->dim[B] * take, (task + 1) * ROWS);
    for (int64_t i = task * ROWS; i < last; i++) {
        int64_t id = row_of(ids[i / take * c->dim[N] + i % take], c->dim[V]);
        memcpy(x + i * c->ld[2], e + id * d, (size_t)d * sizeof *x);
    }
}

static void embedding_host(const hx_call *c)
{
    int64_t rows = c->dim[B] * ((const embedding_attrs *)c->attrs)->take;
    hx_pool_run(c->pool, hx_ceil_div(rows, ROWS), embedding_task, (void *)c);
}

static const char *embedding_wrong(const int64_t *dim, const void *attrs)
{
    bool fits = ((const embedding_attrs *)attrs)->take <= dim[N];
    return fits ? NULL : "more tokens are taken than a sequence has";
}

static real embedding_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs)
{
    (void)i, (void)attrs;
    return arg == 0 ? rnd % (uint32_t)dim[V] : NAN;
}

// ---- gradient ----------------------------------------------------------------------------
enum { BT = 2, BD };                       // its dims: B N T D
enum { MAX_TOKENS = 400000 };              // loop budget of the shader, see there
typedef struct embedding_bwd_attrs { int32_t rows; } embedding_bwd_attrs;
static const hx_field embedding_bwd_fields[] = {
    { "rows", HX_I32, offsetof(embedding_bwd_attrs, rows), NULL, 1, INT32_MAX, "of the table" },
    { 0 }
};

static void embedding_bwd_ref(const hx_ref *r)
{
    int64_t rows = ((const embedding_bwd_attrs *)r->attrs)->rows;
    int64_t n = r->dim[N], t = r->dim[BT], d = r->dim[BD];
    const real *c = r->a[2];
    for (int64_t i = 0; i < rows * d; i++)
        r->a[3][i] = c ? c[i] : 0;
    for (int64_t i = 0; i < r->dim[B] * t; i++) {
        int64_t id = row_of((int64_t)r->a[0][i / t * n + i % t], rows);
        for (int64_t j = 0; j < d; j++)
            r->a[3][id * d + j] += r->a[1][i * d + j];
    }
}

// One task: COLS columns of the whole table, tokens in order.
enum { COLS = 32 };
static void embedding_bwd_task(void *ctx, int64_t task)
{
    const hx_call *c = ctx;
    int64_t rows = ((const embedding_bwd_attrs *)c->attrs)->rows, t = c->dim[BT], d = c->dim[BD];
    int64_t from = task * COLS, n = hx_min(COLS, d - from);
    const int32_t *ids = c->a[0];
    const float *add = c->a[2];
    float *de = c->a[3];
    for (int64_t i = 0; i < rows; i++) {
        float *y = de + i * d + from;
        if (!add)
            memset(y, 0, (size_t)n * sizeof *y);
        else if (add != de)
            memcpy(y, add + i * d + from, (size_t)n * sizeof *y);
    }
    for (int64_t i = 0; i < c->dim[B] * t; i++) {
        int64_t id = row_of(ids[i / t * c->dim[N] + i % t], rows);
        const float *x = (const float *)c->a[1] + i * c->ld[1] + from;
        float *y = de + id * d + from;
        for (int64_t j = 0; j < n; j++)
            y[j] += x[j];
    }
}

static void embedding_bwd_host(const hx_call *c)
{
    hx_pool_run(c->pool, hx_ceil_div(c->dim[BD], COLS), embedding_bwd_task, (void *)c);
}

static const char *embedding_bwd_wrong(const int64_t *dim, const void *attrs)
{
    (void)attrs;
    if (dim[BT] > dim[N])
        return "more tokens are taken than a sequence has";
    return dim[B] * dim[BT] <= MAX_TOKENS ? NULL : "a batch has more than 400000 tokens";
}

static real embedding_bwd_fill(int arg, int64_t i, uint32_t rnd, const int64_t *dim,
                               const void *attrs)
{
    (void)i, (void)dim;
    return arg == 0 ? rnd % (uint32_t)((const embedding_bwd_attrs *)attrs)->rows : NAN;
}

// How many columns a workgroup takes: the fewer, the more lanes share the tokens of its row out;
// the more, the fewer times each id is compared, which counts on processors and where the table
// has many rows. The loop budget allows as many tokens as there are lanes for.
static bool wide_rows(const int64_t *dim, const void *attrs)
{
    (void)attrs;
    return dim[BD] > 64 && dim[B] * dim[BT] <= 100000;
}

static bool many_rows(const int64_t *dim, const void *attrs)
{
    return ((const embedding_bwd_attrs *)attrs)->rows >= 4096 && dim[B] * dim[BT] <= 50000;
}

HX_OP(embedding_bwd,
    .math = "de[v] = c[v] + sum over (b,t) with ids[b,t] = v of dx[b,t]",
    .source = "differentiated from embedding",
    .sig = "ids#[B,N] dx:[B,T,D] c?[rows,D] -> de[rows,D]",
    .attrs = embedding_bwd_fields, .attrs_size = sizeof(embedding_bwd_attrs),
    .ref = embedding_bwd_ref, .host = embedding_bwd_host, .wrong_if = embedding_bwd_wrong,
    .fill = embedding_bwd_fill, .grid = "rows, D/32", .terms = "B*T", .flops = "B*T*D",
    .adds = "c", .alias = "de=c",
    .kernels = {
        { "embedding_bwd", .spec = "32" },
        { "embedding_bwd", .grid = "rows, D/128", .spec = "128", .fits = wide_rows },
        { "embedding_bwd", HX_CAP_GPU, .spec = "32" },
        { "embedding_bwd", .grid = "rows, D/256", .spec = "256", .fits = many_rows } },
    .check = "B=1 N=1 T=1 D=1 rows=1; B=2 N=7 T=6 D=33 rows=5 -c; B=3 N=300 T=300 D=40 rows=3; "
             "B=40 N=33 T=31 D=70 rows=2; B=1 N=9 T=5 D=257 rows=4100",
    .wrong = "B=1 N=3 T=4 D=5 rows=2: more tokens are taken than a sequence has",
    .fuzz = "D=1..300 T=1..N rows=1..64", .exact = "3",
    .bench = "B=4 N=1025 T=1024 D=256 rows=256; B=4 N=1025 T=1024 D=512 rows=20000");

static void embedding_vjp(const hx_node *n, hx_t *d)
{
    if (n->want[1])
        hx_apply(&hx_op_embedding_bwd, &(embedding_bwd_attrs){ (int32_t)n->dim[V] },
                 (hx_t[]){ n->arg[0], n->grad[0], HX_NONE }, &d[1]);
}

HX_OP(embedding,
    .math = "x[b,t] = e[ids[b,t]],  t < take", .source = "definition",
    .sig = "ids#[B,N] e[V,D] -> x:[B,take,D]",
    .attrs = embedding_fields, .attrs_size = sizeof(embedding_attrs),
    .ref = embedding_ref, .vjp = embedding_vjp, .host = embedding_host,
    .wrong_if = embedding_wrong, .fill = embedding_fill, .grid = "B*take/4", .flops = "0",
    .kernels = { { "embedding" } },
    .check = "B=1 N=1 V=1 D=1 take=1; B=2 N=9 V=5 D=33 take=8; B=3 N=70 V=300 D=130 take=70",
    .wrong = "B=1 N=3 V=2 D=5 take=4: more tokens are taken than a sequence has",
    .fuzz = "take=1..N", .exact = "2",
    .bench = "B=4 N=1025 V=256 D=512 take=1024");

hx_t t_embedding(hx_t ids, hx_t e, int64_t take)
{
    hx_t x;
    hx_apply(&hx_op_embedding, &(embedding_attrs){ (int32_t)take }, (hx_t[]){ ids, e }, &x);
    return x;
}
