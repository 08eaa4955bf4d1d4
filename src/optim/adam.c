// adam.c - Adam; weight decay, if any, is added to the gradient.
#include "optim.h"

extern const hx_op hx_op_adam;

static void adam_update(hx_tape *t, const hx_optim_conf *k, hx_t step, hx_t factor,
                        hx_t p, hx_t g, hx_t m, hx_t v)
{
    hx_optim_step(t, &hx_op_adam, k, step, factor, p, g, m, v);
}

HX_OPTIM(adam, .update = adam_update);
