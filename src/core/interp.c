#include "interp.h"
#include <stdlib.h>
#include <string.h>

struct hx_interp { const hx_tape *tape; real **data; };      // data: per storage

static bool fill_constant(const hx_tape *t, int s, real *data)
{
    const hx_storage *st = &t->storage[s];
    bool is_int = false;
    for (int v = 1; v < t->n_value; v++)
        if (t->value[v].storage == s)
            is_int |= t->value[v].is_int;
    for (int64_t i = 0; st->data && i < st->elems; i++)
        data[i] = is_int ? ((const int32_t *)st->data)[i] : (real)((const float *)st->data)[i];
    return true;
}

hx_interp *hx_interp_new(const hx_tape *t)
{
    hx_interp *in = calloc(1, sizeof *in);
    if (!in || !(in->data = calloc((size_t)t->n_storage + 1, sizeof *in->data)))
        goto failed;
    in->tape = t;
    for (int s = 0; s < t->n_storage; s++) {
        if (!(in->data[s] = calloc((size_t)t->storage[s].elems, sizeof(real))))
            goto failed;
        fill_constant(t, s, in->data[s]);
    }
    return in;
failed:
    hx_fail(HX_E_NOMEM, "no memory to run a tape of %d nodes in fp64 [E-NOMEM]", t->n_node);
    hx_interp_free(&in);
    return NULL;
}

void hx_interp_free(hx_interp **i)
{
    if (!i || !*i)
        return;
    for (int s = 0; (*i)->data && (*i)->tape && s < (*i)->tape->n_storage; s++)
        free((*i)->data[s]);
    free((*i)->data);
    free(*i);
    *i = NULL;
}

// copies between a value's strided place and a dense array
static void transfer(hx_interp *in, hx_t x, real *dense, bool store)
{
    const hx_value *v = hx_value_of(x);
    int64_t rows = hx_rows(x), cols = hx_dim(x, -1);
    real *at = in->data[v->storage] + v->off;
    for (int64_t r = 0; r < rows; r++, at += v->ld, dense += cols)
        memcpy(store ? at : dense, store ? dense : at, (size_t)cols * sizeof(real));
}

void hx_interp_set(hx_interp *i, hx_t x, const real *v) { transfer(i, x, (real *)v, true); }
void hx_interp_get(hx_interp *i, hx_t x, real *v) { transfer(i, x, v, false); }

static hx_result run_node(hx_interp *in, const hx_node *n)
{
    hx_result r = HX_OK;
    real *a[HX_MAX_ARGS] = {0};
    for (int k = 0; k < n->n_in + n->n_out && !r; k++) {
        if (!hx_is(n->arg[k]))
            continue;
        if (!(a[k] = calloc((size_t)hx_elems(n->arg[k]), sizeof(real))))
            r = hx_fail(HX_E_NOMEM, "no memory to run %s in fp64 [E-NOMEM]", n->op->name);
        else if (k < n->n_in)
            hx_interp_get(in, n->arg[k], a[k]);
    }
    if (!r)
        n->op->ref(&(hx_ref){ n->dim, n->attrs, a });
    for (int k = n->n_in; k < n->n_in + n->n_out && !r; k++)
        if (a[k])
            hx_interp_set(in, n->arg[k], a[k]);
    for (int k = 0; k < HX_MAX_ARGS; k++)
        free(a[k]);
    return r;
}

hx_result hx_interp_run(hx_interp *in)
{
    for (int i = 0; i < in->tape->n_node; i++)
        if (!in->tape->node[i].op->view)
            HX_TRY(run_node(in, &in->tape->node[i]));
    return HX_OK;
}
