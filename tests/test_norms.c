// test_norms.c - norms, shifts and the cosine loss where they meet a tape: gradients that add up,
// the loss of a single token, rows below the clamp.
#include "src/core/interp.h"
#include "src/ops/t.h"
#include "suite.h"
#include <math.h>

enum { B = 2, T = 5, D = 3, N = B * T * D };

static hx_t param(hx_tape *t, int i, int rank, const int64_t *shape)
{
    return hx_external(t, HX_PARAM, (int64_t)i << 20, false, rank, shape);
}

// every operator of this family, each reading what the one before made, x read by four of them
typedef struct chain { hx_tape *t; hx_t x, g, b, loss; } chain;
static chain chain_new(void)
{
    chain c = { .t = hx_tape_new() };
    c.x = param(c.t, 0, 3, (int64_t[]){ B, T, D });
    c.g = param(c.t, 1, 1, (int64_t[]){ D });
    c.b = param(c.t, 2, 1, (int64_t[]){ D });
    hx_t u = t_add(t_rmsnorm(c.x, c.g, 1), c.x);
    u = t_add(t_layernorm(u, c.g, c.b, 2), t_shift(u, 1));
    u = t_add(t_layernorm(u, c.g, HX_NONE, 0), t_rmsnorm(c.x, c.b, 0));
    c.loss = t_cosine_loss(u, c.x);
    return c;
}

static double chain_loss(const real *x, const real *g, const real *b)
{
    chain c = chain_new();
    hx_interp *in = hx_interp_new(c.t);
    hx_interp_set(in, c.x, x);
    hx_interp_set(in, c.g, g);
    hx_interp_set(in, c.b, b);
    ck_assert_msg(hx_interp_run(in) == HX_OK, "%s", hx_last_message());
    real loss;
    hx_interp_get(in, c.loss, &loss);
    hx_interp_free(&in);
    hx_tape_free(&c.t);
    return loss;
}

START_TEST(chain_gradient)
{
    real v[N + 2 * D], d[N + 2 * D];
    for (int i = 0; i < N + 2 * D; i++) v[i] = sin(1 + 7.3 * i);
    real *x = v, *g = v + N, *b = v + N + D;
    chain c = chain_new();
    hx_backward(c.loss);
    ck_assert_msg(hx_tape_error(c.t) == HX_OK, "%s", hx_last_message());
    hx_interp *in = hx_interp_new(c.t);
    hx_interp_set(in, c.x, x);
    hx_interp_set(in, c.g, g);
    hx_interp_set(in, c.b, b);
    ck_assert_msg(hx_interp_run(in) == HX_OK, "%s", hx_last_message());
    hx_interp_get(in, hx_grad(c.x), d);
    hx_interp_get(in, hx_grad(c.g), d + N);
    hx_interp_get(in, hx_grad(c.b), d + N + D);
    for (int i = 0; i < N + 2 * D; i++) {
        const real h = 1e-6;
        real was = v[i];
        v[i] = was + h;
        real up = chain_loss(x, g, b);
        v[i] = was - h;
        real down = chain_loss(x, g, b);
        v[i] = was;
        ck_assert_double_eq_tol(d[i], (up - down) / (2 * h), 1e-7);
    }
    hx_interp_free(&in);
    hx_tape_free(&c.t);
}
END_TEST

START_TEST(single_token)
{
    hx_tape *t = hx_tape_new();
    hx_t x = param(t, 0, 3, (int64_t[]){ B, 1, D }), loss = t_cosine_loss(x, x);
    hx_interp *in = hx_interp_new(t);
    hx_interp_set(in, x, (real[B * D]){ 1, 2, 3, 4, 5, 6 });
    ck_assert_int_eq(hx_interp_run(in), HX_OK);
    real v = 0;
    hx_interp_get(in, loss, &v);
    ck_assert_double_nan(v);
    hx_interp_free(&in);
    hx_tape_free(&t);
}
END_TEST

// a row of zeros gives zeros, and a gradient through the constant 1/1e-12
START_TEST(zero_row)
{
    hx_tape *t = hx_tape_new();
    hx_t x = param(t, 0, 3, (int64_t[]){ 1, 1, 4 }), g = param(t, 1, 1, (int64_t[]){ 4 });
    hx_t y = t_rmsnorm(x, g, 0), sum = t_sum(y);
    hx_backward(sum);
    hx_interp *in = hx_interp_new(t);
    hx_interp_set(in, x, (real[4]){ 0 });
    const real gain[4] = { 1, -2, 3, 0.5 };
    hx_interp_set(in, g, gain);
    ck_assert_msg(hx_interp_run(in) == HX_OK, "%s", hx_last_message());
    real v[4], d[4];
    hx_interp_get(in, y, v);
    hx_interp_get(in, hx_grad(x), d);
    for (int i = 0; i < 4; i++) {
        ck_assert_double_eq(v[i], 0);
        ck_assert_double_eq_tol(d[i], gain[i] * 2e12, 1e-2);
    }
    hx_interp_free(&in);
    hx_tape_free(&t);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { chain_gradient, single_token, zero_row };
    return run_suite("norms", NULL, NULL, tests, HX_COUNT(tests));
}
