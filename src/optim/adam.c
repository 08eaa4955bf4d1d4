// adam.c - Adam; weight decay, if any, is added to the gradient.
#include "optim.h"

HX_OPTIM(adam, .update = t_adam);
