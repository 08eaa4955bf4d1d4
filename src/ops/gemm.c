// gemm.c - see gemm.h. Each tile is one single-threaded BLAS call and its epilogue.
#include "gemm.h"
#include "act.h"
#include <cblas.h>
#include <pthread.h>
#include <string.h>

enum { TILE_M = 256, TILE_N = 512 };       // largest; operands of a tile share a level-2 cache
enum { STRIP = 128 };                      // rows of an unsaved h at a time: 256 KiB of stack
enum { ENOUGH = 8 };                       // tiles, so that some processors can share the work
static const int64_t SMALL = 16 << 20;     // multiplications that are not worth a tile of their own

// OpenBLAS must not start threads of its own: ours share out the tiles.
static void one_thread(void) { openblas_set_num_threads(1); }

// What the product is added to: bias and, where no function comes between, c.
static bool start_tile(const hx_gemm *g, int64_t m, int64_t n, int64_t M, int64_t N,
                       const float *c, float *to, int64_t ld)
{
    if (!g->bias && !c)
        return false;
    for (int64_t i = 0; i < M; i++) {
        float *t = to + i * ld;
        const float *ci = c ? c + (m + i) * g->ldc + n : NULL;
        if (!c)
            memcpy(t, g->bias + n, (size_t)N * sizeof *t);
        else if (g->bias)
            for (int64_t j = 0; j < N; j++)
                t[j] = ci[j] + g->bias[n + j];
        else if (t != ci)
            memcpy(t, ci, (size_t)N * sizeof *t);
    }
    return true;
}

static void product(const hx_gemm *g, int64_t m, int64_t n, int64_t M, int64_t N, bool add,
                    float *to, int64_t ld)
{
    const float *a = g->a + (g->ta ? m : m * g->lda), *b = g->b + (g->tb ? n * g->ldb : n);
    cblas_sgemm(CblasRowMajor, g->ta ? CblasTrans : CblasNoTrans, g->tb ? CblasTrans : CblasNoTrans,
                (blasint)M, (blasint)N, (blasint)g->K, 1, a, (blasint)g->lda, b, (blasint)g->ldb,
                add ? 1 : 0, to, (blasint)ld);
}

// One tile of y, when h is neither wanted nor different from what is added to.
static void plain_tile(const hx_gemm *g, int64_t m, int64_t n, int64_t M, int64_t N)
{
    float *y = g->y + m * g->ldy + n;
    bool add = start_tile(g, m, n, M, N, g->c, y, g->ldy);
    product(g, m, n, M, N, add, y, g->ldy);
}

// Up to STRIP rows of a tile of h, in place or on the stack, and y from them.
static void act_strip(const hx_gemm *g, int64_t m, int64_t n, int64_t M, int64_t N)
{
    float own[STRIP * TILE_N];
    float *h = g->h ? g->h + m * g->ldh + n : own;
    int64_t ld = g->h ? g->ldh : TILE_N;
    bool add = start_tile(g, m, n, M, N, NULL, h, ld);
    product(g, m, n, M, N, add, h, ld);
    for (int64_t i = 0; i < M; i++) {
        const float *c = g->c ? g->c + (m + i) * g->ldc + n : NULL;
        hx_act_row(g->act, N, h + i * ld, c, g->y + (m + i) * g->ldy + n);
    }
}

typedef struct cut { const hx_gemm *g; int64_t tile_m, tile_n; } cut;

static int64_t tiles(const cut *c)
{
    return hx_ceil_div(c->g->M, c->tile_m) * hx_ceil_div(c->g->N, c->tile_n);
}

static void task(void *ctx, int64_t i)
{
    const cut *c = ctx;
    const hx_gemm *g = c->g;
    int64_t across = hx_ceil_div(g->N, c->tile_n);
    int64_t m = i / across * c->tile_m, n = i % across * c->tile_n;
    int64_t M = hx_min(c->tile_m, g->M - m), N = hx_min(c->tile_n, g->N - n);
    int64_t step = g->h ? M : STRIP;
    if (!g->act && !g->h)
        plain_tile(g, m, n, M, N);
    else
        for (int64_t s = 0; s < M; s += step)
            act_strip(g, m + s, n, hx_min(step, M - s), N);
}

void hx_gemm_run(const hx_gemm *g, hx_pool *pool)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, one_thread);
    cut c = { g, hx_min(TILE_M, g->M), hx_min(TILE_N, g->N) };
    while (tiles(&c) < ENOUGH && c.tile_m * c.tile_n * g->K > SMALL) {
        if (c.tile_n >= c.tile_m)
            c.tile_n = hx_align(hx_ceil_div(c.tile_n, 2), 16);
        else
            c.tile_m = hx_align(hx_ceil_div(c.tile_m, 2), 16);
    }
    hx_pool_run(pool, tiles(&c), task, &c);
}
