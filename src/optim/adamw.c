// adamw.c - Adam with decoupled weight decay.
#include "optim.h"

extern const hx_op hx_op_adamw;

static void adamw_update(hx_tape *t, const hx_optim_conf *k, hx_t step, hx_t factor,
                         hx_t p, hx_t g, hx_t m, hx_t v)
{
    hx_optim_step(t, &hx_op_adamw, k, step, factor, p, g, m, v);
}

HX_OPTIM(adamw, .update = adamw_update);
