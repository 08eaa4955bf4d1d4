// adamw.c - Adam with decoupled weight decay.
#include "optim.h"

HX_OPTIM(adamw, .update = t_adamw);
