// test_head.c - the output head and its loss: chunks change nothing but the memory they take.
#include "src/core/interp.h"
#include "src/core/plan.h"
#include "src/ops/t.h"
#include "suite.h"
#include <math.h>

#define ok(e) ck_assert_msg((e) == HX_OK, "%s", hx_last_message())

// R rows of e, each with C labels out of V classes.
enum { R = 200, D = 3, V = 5, C = 2, IGNORE = 4, N_E = R * D, N_W = C * V * D };
typedef struct { real loss, de[N_E], dw[N_W]; } results;

static real e[N_E], w[N_W];
static int32_t labels[R * C];

static void fill_inputs(void)
{
    for (int i = 0; i < N_E; i++)
        e[i] = sin(1 + 7.3 * i);
    for (int i = 0; i < N_W; i++)
        w[i] = cos(2 + 3.7 * i);
    for (int i = 0; i < R * C; i++)
        labels[i] = i * 7 / 3 % V;
}

// Plain loops: mean of -log softmax over the labels that count, and its derivative.
static void by_hand(results *r)
{
    *r = (results){ 0 };
    int count = 0;
    for (int i = 0; i < R * C; i++)
        count += labels[i] != IGNORE;
    for (int i = 0; i < R * C; i++) {
        const real *x = e + i / C * D, *u = w + i % C * V * D;
        real z[V], sum = 0;
        for (int v = 0; v < V; v++) {
            z[v] = 0;
            for (int d = 0; d < D; d++)
                z[v] += x[d] * u[v * D + d];
            sum += exp(z[v]);
        }
        if (labels[i] == IGNORE)
            continue;
        r->loss += (log(sum) - z[labels[i]]) / count;
        for (int v = 0; v < V; v++) {
            real dz = (exp(z[v]) / sum - (v == labels[i])) / count;
            for (int d = 0; d < D; d++) {
                r->de[i / C * D + d] += dz * u[v * D + d];
                r->dw[(i % C * V + v) * D + d] += dz * x[d];
            }
        }
    }
}

static void by_tape(int64_t chunk_bytes, results *r)
{
    hx_tape *t = hx_tape_new();
    hx_t te = hx_external(t, HX_PARAM, 0, false, 2, (int64_t[]){ R, D });
    hx_t tw = hx_external(t, HX_PARAM, 1 << 20, false, 2, (int64_t[]){ C * V, D });
    hx_t ty = hx_constant(t, true, 2, (int64_t[]){ R, C }, labels);
    hx_t loss = t_cross_entropy_head(te, tw, ty, IGNORE, chunk_bytes);
    hx_backward(loss);
    ok(hx_tape_error(t));
    hx_interp *in = hx_interp_new(t);
    hx_interp_set(in, te, e);
    hx_interp_set(in, tw, w);
    ok(hx_interp_run(in));
    hx_interp_get(in, loss, &r->loss);
    hx_interp_get(in, hx_grad(te), r->de);
    hx_interp_get(in, hx_grad(tw), r->dw);
    hx_interp_free(&in);
    hx_tape_free(&t);
}

// One chunk, chunks of 64 rows, of 7 rows, and more chunks of single rows than a node has outputs.
static const int64_t chunks[] = { 0, 64 * 4 * C * V, 7 * 4 * C * V, 1 };
START_TEST(chunks_agree)
{
    results want, got;
    fill_inputs();
    by_hand(&want);
    for (int k = 0; k < HX_COUNT(chunks); k++) {
        by_tape(chunks[k], &got);
        ck_assert_double_eq_tol(got.loss, want.loss, 1e-12);
        for (int i = 0; i < N_E; i++)
            ck_assert_double_eq_tol(got.de[i], want.de[i], 1e-12);
        for (int i = 0; i < N_W; i++)
            ck_assert_double_eq_tol(got.dw[i], want.dw[i], 1e-12);
    }
}
END_TEST

// Bytes of the plan of a head over 4096 rows and 1000 classes: 16 MB of logits in one piece.
static int64_t planned_bytes(int64_t chunk_bytes)
{
    enum { ROWS = 4096, WIDTH = 8, CLASSES = 1000 };
    hx_dev *d;
    hx_plan *p;
    hx_tape *t = hx_tape_new();
    hx_t x = hx_external(t, HX_PARAM, 0, false, 2, (int64_t[]){ ROWS, WIDTH });
    hx_t u = hx_external(t, HX_PARAM, 1 << 20, false, 2, (int64_t[]){ CLASSES, WIDTH });
    hx_t y = hx_external(t, HX_INPUT, 0, true, 1, (int64_t[]){ ROWS });
    hx_t loss = t_cross_entropy_head(x, u, y, 0, chunk_bytes);
    hx_backward(loss);
    hx_deliver(loss, hx_external(t, HX_OUTPUT, 0, false, 1, (int64_t[]){ 1 }), false);
    hx_deliver(hx_grad(x), hx_external(t, HX_GRAD, 0, false, 2, (int64_t[]){ ROWS, WIDTH }), false);
    hx_deliver(hx_grad(u), hx_external(t, HX_GRAD, 1 << 20, false, 2,
                                       (int64_t[]){ CLASSES, WIDTH }), false);
    ok(hx_tape_error(t));
    ok(hx_dev_open(&(hx_dev_params){ .select = "null" }, &d));
    ok(hx_plan_new(t, d, &p));
    int64_t bytes = p->temp_bytes;
    hx_plan_free(&p);
    hx_dev_close(&d);
    hx_tape_free(&t);
    return bytes;
}

START_TEST(chunks_bound_memory)
{
    int64_t logits = 4096 * 1000 * 4, chunk = 1 << 20;
    ck_assert_int_ge(planned_bytes(0), logits);
    // a chunk of logits and its gradient, what the products need, and a few numbers a row
    ck_assert_int_le(planned_bytes(chunk), 3 * chunk + 4096 * 64);
}
END_TEST

START_TEST(no_label_counts)
{
    results got;
    fill_inputs();
    for (int i = 0; i < R * C; i++)
        labels[i] = IGNORE;
    by_tape(0, &got);
    ck_assert(isnan(got.loss));
    for (int i = 0; i < N_E; i++)
        ck_assert(got.de[i] == 0);
}
END_TEST

START_TEST(labels_do_not_fit)
{
    hx_tape *t = hx_tape_new();
    hx_t x = hx_external(t, HX_PARAM, 0, false, 2, (int64_t[]){ R, D });
    hx_t u = hx_external(t, HX_PARAM, 1 << 20, false, 2, (int64_t[]){ V, D });
    hx_t y = hx_external(t, HX_INPUT, 0, true, 1, (int64_t[]){ R + 1 });
    ck_assert_int_eq(t_cross_entropy_head(x, u, y, 0, 0).id, 0);
    ck_assert_int_eq(hx_tape_error(t), HX_E_SHAPE);
    ck_assert_ptr_nonnull(strstr(hx_last_message(), "201 labels"));
    hx_tape_free(&t);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { chunks_agree, chunks_bound_memory, no_label_counts,
                                   labels_do_not_fit };
    return run_suite("head", NULL, NULL, tests, HX_COUNT(tests));
}
