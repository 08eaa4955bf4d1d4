// parts.h - what the parameters of models have in common: shapes, initial values, pairs of a weight
// and a bias.
#pragma once
#include "../core/model.h"
#include "../ops/t.h"
#include <math.h>

// A shape written down, as hx_param_add takes it: SHAPE(out, in).
#define SHAPE(...) \
    (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)), (int64_t[]){ __VA_ARGS__ }
// torch's default for linear and convolution layers: U(-1/sqrt(fan_in), 1/sqrt(fan_in))
#define LINEAR(fan_in) HX_INIT_UNIFORM, 1 / sqrt((double)(fan_in))
#define NORMAL(sigma) HX_INIT_NORMAL, sigma
#define CONST(value) HX_INIT_CONST, value
#define ONES CONST(1)
#define ZEROS CONST(0)
// A parameter as a value of the graph that `r` builds.
#define P(p) hx_use(r->g, p)

// In training 0 with probability p, else x / (1 - p).
static inline hx_t dropped(hx_graph *g, hx_t x, double p)
{
    int place;
    hx_t dice = hx_dice(g, p, &place);
    return t_dropout(x, dice, p, place);
}

// In training attention weights are 0 with probability p, else multiplied with 1 / (1 - p).
static inline hx_left_out left_out(hx_graph *g, double p)
{
    hx_left_out less = { HX_NONE, p, 0 };
    less.dice = hx_dice(g, p, &less.place);
    return less;
}

// x + y w^T + b, in training with a share p of what is added dropped
static inline hx_t plus_dropped(hx_graph *g, hx_t x, hx_t y, hx_t w, hx_t b, double p)
{
    return g->learns && p > 0 ? t_add(x, dropped(g, t_linear(y, w, b, HX_ACT_NONE, HX_NONE), p))
                              : t_linear(y, w, b, HX_ACT_NONE, x);
}

// y = x w^T + b, or the scale w and the offset b of a norm
typedef struct { hx_p w, b; } pair;

// AT NAME.weight [out,in], AT NAME.bias [out]
static inline pair declare_linear(hx_params *ps, const char *at, const char *name, int64_t out,
                                  int64_t in)
{
    pair p;
    p.w = hx_param_add(ps, LINEAR(in), SHAPE(out, in), "%s%s.weight", at, name);
    p.b = hx_param_add(ps, LINEAR(in), SHAPE(out), "%s%s.bias", at, name);
    return p;
}

// AT NAME.weight [D], AT NAME.bias [D]
static inline pair declare_norm(hx_params *ps, const char *at, const char *name, int64_t D)
{
    pair p;
    p.w = hx_param_add(ps, ONES, SHAPE(D), "%s%s.weight", at, name);
    p.b = hx_param_add(ps, ZEROS, SHAPE(D), "%s%s.bias", at, name);
    return p;
}
