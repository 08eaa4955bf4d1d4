// backward.c - the gradient of a tape: a walk over its nodes, and where gradients land.
#include "tape_parts.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const hx_op hx_op_add, hx_op_copy;

void hx_recompute(hx_t x)
{
    if (x.id)
        val(x)->recompute = val(x)->alone = true;
}

hx_t hx_keep(hx_t x)
{
    if (!x.id)
        return x;
    hx_t flat = hx_reshape(x, 2, (int64_t[]){ hx_rows(x), hx_dim(x, -1) }), y;
    hx_apply(&hx_op_copy, NULL, &flat, &y);
    if (!y.id)
        return y;
    val(y)->kept = true;
    val(y)->readers++;                     // never made within something larger, which it would keep
    const hx_value *v = val(x);
    y = shaped_as(y, v);
    if (y.id)
        val(y)->kept = true;
    return y;
}

void hx_replay(hx_tape *t, int from)
{
    for (int i = hx_max(from, 1); i < t->n_value && !t->err; i++) {
        hx_t x = { t, i };
        val(x)->recompute |= !val(x)->kept && hx_elems(x) > 1;
    }
    t->replayed = t->n_node;
}

void hx_after(hx_t x, hx_t y)
{
    if (x.id && y.id && val(y)->node >= 0 && val(x)->node > val(y)->node)
        x.tape->node[val(x)->node].after = val(y)->node;
}

// the optional input of n that is added to its output 0, if it is free; -1 otherwise
static int free_addend(const hx_node *n)
{
    int k = n->op->adds ? hx_sig_arg(n->sig, n->op->adds) : -1;
    return k >= 0 && !hx_is(n->arg[k]) ? k : -1;
}

// Whether more than `own` still need x, or what it is a reshape of, as it is: y = a + b gives both
// the same gradient, and one of them must not grow by what only the other has.
static bool is_shared(hx_t x, int own)
{
    hx_tape *t = x.tape;
    int id = x.id, held = t->value[id].held;
    while (hx_value_is_reshape(t, id)) {
        id = t->node[t->value[id].node].arg[0].id;
        held += t->value[id].held;
    }
    return held > own;
}

// Makes the node behind g, which `own` hold, add `old` to what it makes. False when that cannot be.
static bool add_in_maker(hx_t g, hx_t old, int own)
{
    hx_tape *t = g.tape;
    int id = hx_value_maker(g, 0);
    if (!id || is_shared(g, own))
        return false;
    int node = t->value[id].node, made = val(old)->node;
    int k = free_addend(&t->node[node]);
    if (k < 0 || hx_node_output(&t->node[node], id) != t->node[node].n_in || made >= node)
        return false;
    const hx_value *v = &t->value[id];
    bool strided = t->node[node].sig->flags[k] & HX_ARG_STRIDED;
    if (hx_elems(old) != hx_elems(g) || (strided ? !is_dense(old) && last_dim(val(old)) != last_dim(v) : !is_plain(old)))
        return false;
    // a view of the right shape, without a node: gradients do not flow through it
    hx_t c = hx_tape_value(t, val(old)->storage, false, v->rank, v->shape, made);
    if (!c.id)
        return false;
    val(c)->off = val(old)->off;
    if (!is_dense(old))
        val(c)->ld = val(old)->ld;
    t->node[node].arg[k] = c;
    val(old)->readers++;
    return true;
}

static void add_grad(hx_t x, hx_t g)
{
    hx_tape *t = x.tape;
    hx_value *v = val(x);
    if (!g.id)
        return;
    g = shaped_as(g, v);
    int old = val(x)->grad;
    if (old && g.id && !add_in_maker(g, (hx_t){ t, old }, 0)) {
        int64_t flat[2] = { hx_rows(g), last_dim(val(g)) };
        hx_t sum[2] = { 0 }, in[2] = { hx_reshape((hx_t){ t, old }, 2, flat), hx_reshape(g, 2, flat) };
        hx_apply(&hx_op_add, NULL, in, sum);
        v = val(x);
        g = shaped_as(sum[0], v);
    }
    val((hx_t){ t, old })->held--;
    val(x)->grad = g.id;
    val(g)->held++;
}

static hx_t zeros_like(hx_t x)
{
    hx_tape *t = x.tape;
    float *zero = calloc((size_t)hx_elems(x), sizeof *zero);
    hx_t z = zero ? hx_constant(t, false, val(x)->rank, val(x)->shape, zero) : hx_tape_no_memory(t);
    free(zero);
    return z;
}

static void view_vjp(const hx_node *n, hx_t *d)
{
    if (n->op == &hx_op_reshape) {
        const hx_value *v = val(n->arg[0]);
        d[0] = shaped_as(n->grad[0], v);
    } else if (n->op == &hx_op_concat) {
        int64_t size[HX_MAX_ARGS];
        for (int i = 0; i < n->n_in; i++)
            size[i] = n->dim[0] ? last_dim(val(n->arg[i])) : val(n->arg[i])->shape[0];
        hx_split((int)n->dim[0], n->grad[0], n->n_in, size, d);
    } else {
        hx_t part[HX_MAX_ARGS];
        for (int i = 0; i < n->n_out; i++)
            part[i] = hx_is(n->grad[i]) ? n->grad[i] : zeros_like(n->arg[n->n_in + i]);
        d[0] = hx_concat((int)n->dim[0], n->n_out, part);
    }
}

// The node behind x's memory, views left aside; -1: none.
static int maker_of(const hx_tape *t, hx_t x)
{
    int n = hx_is(x) ? t->value[x.id].node : -1;
    while (n >= 0 && t->node[n].op->view && t->node[n].n_in == 1)
        n = t->value[t->node[n].arg[0].id].node;
    return n;
}

// What the backward pass makes again for a node should wait until that node's gradient is about to be
// made, so that it is not in memory before, and run beside it: after the newest of what the maker of
// the gradient reads.
static int just_before(const hx_tape *t, const hx_node *n)
{
    int made = -1, before = -1;
    for (int k = 0; k < n->n_out; k++) {
        int m = maker_of(t, n->grad[k]);
        made = m > made ? m : made;
    }
    for (int k = 0; made >= 0 && k < t->node[made].n_in; k++) {
        int m = maker_of(t, t->node[made].arg[k]);
        before = m > before ? m : before;
    }
    return before >= t->backward_from ? before : t->backward_from - 1;
}

// The node that one which makes v again, next on the tape, waits for: the newest for what must be
// alone in memory, such as replayed segments, else `after`.
static int turn_of(const hx_tape *t, const hx_value *v, int after)
{
    return v->alone || t->replayed ? t->n_node - 1 : after;
}

static hx_t reread(hx_t x, int after);

// A view of what is made again.
static hx_t view_again(hx_t x, int after)
{
    hx_tape *t = x.tape;
    hx_node n = t->node[val(x)->node];
    hx_t in[HX_MAX_ARGS], out[HX_MAX_ARGS] = { 0 };
    int64_t size[HX_MAX_ARGS];
    for (int i = 0; i < n.n_in; i++)
        in[i] = reread(n.arg[i], after);
    for (int i = 0; i < n.n_out; i++)
        size[i] = n.dim[0] ? last_dim(val(n.arg[n.n_in + i])) : val(n.arg[n.n_in + i])->shape[0];
    if (n.op == &hx_op_concat) {
        out[0] = hx_concat((int)n.dim[0], n.n_in, in);
    } else if (n.op == &hx_op_reshape) {
        const hx_value *v = val(x);
        out[0] = shaped_as(in[0], v);
    } else if (n.op == &hx_op_split) {
        hx_split((int)n.dim[0], in[0], n.n_out, size, out);
    } else {
        out[0] = hx_detach(in[0]);
    }
    for (int i = 0; i < n.n_out && !t->err; i++)
        val(n.arg[n.n_in + i])->again = out[i].id;
    return t->err ? poison(t) : (hx_t){ t, val(x)->again };
}

// x as the backward pass should read it: itself, or made again once node `after` has run
static hx_t reread(hx_t x, int after)
{
    hx_tape *t = x.tape;
    hx_value *v = val(x);
    if (!v->recompute && hx_value_is_reshape(t, x.id)) {
        hx_t from = t->node[v->node].arg[0], again = reread(from, after);
        if (again.id == from.id)
            return x;
        v = val(x);
        return shaped_as(again, v);
    }
    if (!v->recompute || v->node < 0)
        return x;
    if (v->again)
        return (hx_t){ t, v->again };
    if (t->node[v->node].op->view)
        return view_again(x, after);
    hx_node n = t->node[v->node];
    hx_t in[HX_MAX_ARGS], out[HX_MAX_ARGS];
    int first = t->n_node, turn = turn_of(t, v, after);
    // the short way only where the operator has one: a product without an activation is made anew
    if (!t->replayed && n.op->again && n.op->cheap(&n) && hx_node_output(&n, x.id) == n.n_in) {
        hx_t again = n.op->again(&n);
        if (t->err)
            return poison(t);
        if (t->n_node > first)
            t->node[t->n_node - 1].after = turn;
        val(x)->again = again.id;
        return again;
    }
    for (int i = 0; i < n.n_in; i++)
        in[i] = hx_is(n.arg[i]) ? reread(n.arg[i], after) : HX_NONE;
    memcpy(out, n.arg + n.n_in, sizeof *out * (size_t)n.n_out);
    turn = turn_of(t, val(x), after);
    hx_apply(n.op, n.attrs, in, out);
    if (t->err)
        return poison(t);
    t->node[t->n_node - 1].after = turn;
    for (int i = 0; i < n.n_out; i++)
        if (hx_is(out[i]))
            val(n.arg[n.n_in + i])->again = out[i].id;
    return (hx_t){ t, val(x)->again };
}

void hx_backward(hx_t loss)
{
    hx_tape *t = loss.tape;
    if (!loss.id || t->err)
        return;
    if (hx_elems(loss) != 1 || t->backward_from >= 0) {
        hx_tape_fail(t, HX_E_INTERNAL, "backward wants one scalar, once [E-BACKWARD]");
        return;
    }
    int n_forward = t->backward_from = t->n_node;
    add_grad(loss, hx_constant(t, false, 1, (int64_t[]){ 1 }, &(float){ 1 }));
    for (int i = n_forward - 1; i >= 0 && !t->err; i--) {
        hx_node n = t->node[i];
        bool flows = false, wanted = false;
        for (int k = 0; k < n.n_out; k++) {
            hx_t y = n.arg[n.n_in + k];
            int g = hx_is(y) ? val(y)->grad : 0;
            n.grad[k] = g ? (hx_t){ t, g } : HX_NONE;
            flows |= g != 0;
            t->value[g].held--;            // from here on only readers need it
        }
        for (int k = 0; k < n.n_in; k++)
            wanted |= n.want[k] = hx_is(n.arg[k]) && val(n.arg[k])->wants_grad;
        if (!flows || !wanted || (!n.op->vjp && !n.op->view))
            continue;
        hx_node seen = n;
        int after = just_before(t, &n);
        for (int k = 0; !n.op->view && k < n.n_in + n.n_out; k++)
            if (hx_is(n.arg[k]))
                seen.arg[k] = reread(n.arg[k], after);
        hx_t d[HX_MAX_ARGS] = {0};
        (n.op->view ? view_vjp : n.op->vjp)(&seen, d);
        for (int k = 0; k < n.n_in; k++)
            if (n.want[k] && hx_is(d[k]))
                val(d[k])->held++;
        for (int k = 0; k < n.n_in && !t->err; k++)
            if (n.want[k] && hx_is(d[k])) {
                val(d[k])->held--;
                add_grad(n.arg[k], d[k]);
            }
    }
}

hx_t hx_grad(hx_t x)
{
    return x.id && val(x)->grad ? (hx_t){ x.tape, val(x)->grad } : HX_NONE;
}

// x + what is at `to`, made there: by x's own node when it can add, else by a node that adds
static void add_to(hx_t x, hx_t to)
{
    hx_tape *t = x.tape;
    int id = hx_value_maker(x, 0);
    const hx_op *op = id ? t->node[t->value[id].node].op : NULL;
    bool in_place = op && op->alias && op->adds && strstr(op->alias, "=") &&
        !strcmp(strchr(op->alias, '=') + 1, op->adds);
    if (in_place && t->storage[val(x)->storage].place == HX_TEMP && add_in_maker(x, to, 1)) {
        if (!hx_value_move(x, val(to)->storage, val(to)->off, val(to)->ld))
            hx_value_copy(x, val(to)->storage, val(to)->off, val(to)->ld);
        return;
    }
    int64_t flat[2] = { hx_rows(x), last_dim(val(x)) };
    hx_t sum[2] = { 0 }, in[2] = { hx_reshape(to, 2, flat), hx_reshape(x, 2, flat) };
    hx_apply(&hx_op_add, NULL, in, sum);
    if (sum[0].id)
        hx_value_place(sum[0], val(to)->storage, val(to)->off, val(to)->ld);
}

void hx_deliver(hx_t x, hx_t to, bool add)
{
    hx_tape *t = x.tape;
    if (!x.id || !to.id || t->err)
        return;
    if (hx_elems(x) != hx_elems(to)) {
        hx_tape_fail(t, HX_E_INTERNAL, "deliver: %lld elements to a place of %lld [E-DELIVER]",
            (long long)hx_elems(x), (long long)hx_elems(to));
        return;
    }
    hx_value *v = val(to);
    x = shaped_as(x, v);
    if (!x.id)
        return;
    if (add)
        add_to(x, to);
    else
        hx_value_place(x, val(to)->storage, val(to)->off, val(to)->ld);
}
