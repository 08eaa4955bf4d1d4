// view.c - values that are other values seen differently, and where values are made.
#include "tape_parts.h"
#include <stdio.h>
#include <string.h>

// what views leave on a tape, so that gradients find their way
const hx_op hx_op_concat = { .name = "concat", .view = true };
const hx_op hx_op_split = { .name = "split", .view = true };
const hx_op hx_op_reshape = { .name = "reshape", .view = true };
const hx_op hx_op_detach = { .name = "detach", .view = true };

// a node that moves nothing: outputs are views made by the caller
static void view_node(const hx_op *op, int axis, int n_in, const hx_t *in, int n_out,
                      const hx_t *out)
{
    hx_tape *t = in[0].tape;
    hx_node *n = hx_tape_node(t, op);
    if (!n)
        return;
    n->n_in = n_in;
    n->n_out = n_out;
    n->dim[0] = axis;
    bool wants_grad = false;
    for (int i = 0; i < n_in; i++) {
        n->arg[i] = in[i];
        val(in[i])->readers++;
        wants_grad |= val(in[i])->wants_grad;
    }
    for (int i = 0; i < n_out; i++) {
        n->arg[n_in + i] = out[i];
        val(out[i])->node = t->n_node;
        val(out[i])->wants_grad = wants_grad;
    }
    t->n_node++;
}

hx_t hx_reshape(hx_t x, int rank, const int64_t *shape)
{
    hx_tape *t = x.tape;
    if (!x.id)
        return x;
    int64_t n;
    if (!hx_tape_shape_ok(t, rank, shape, &n))
        return poison(t);
    const hx_value *v = val(x);
    if (v->rank == rank && !memcmp(v->shape, shape, (size_t)rank * sizeof *shape))
        return x;
    bool keeps_last = rank && shape[rank - 1] == last_dim(v);
    if (n != hx_elems(x)) {
        char have[64];
        hx_tape_fail(t, HX_E_SHAPE, "reshape: %s has %lld elements, %lld are wanted [E-SHAPE]",
            hx_tape_shape_text(v, have), (long long)hx_elems(x), (long long)n);
        return poison(t);
    }
    if (!is_dense(x) && !keeps_last) {
        x = hx_tape_dense(x);
        if (!x.id)
            return x;
    }
    hx_t y = hx_tape_value(t, val(x)->storage, val(x)->is_int, rank, shape, -1);
    if (!y.id)
        return y;
    val(y)->off = val(x)->off;
    if (keeps_last)
        val(y)->ld = val(x)->ld;
    view_node(&hx_op_reshape, 0, 1, &x, 1, &y);
    return y;
}

hx_t hx_detach(hx_t x)
{
    hx_tape *t = x.tape;
    if (!x.id)
        return x;
    hx_t y = hx_tape_value(t, val(x)->storage, val(x)->is_int, val(x)->rank, val(x)->shape, -1);
    if (!y.id)
        return y;
    val(y)->off = val(x)->off;
    val(y)->ld = val(x)->ld;
    view_node(&hx_op_detach, 0, 1, &x, 1, &y);
    val(y)->wants_grad = false;
    return y;
}

bool hx_value_is_reshape(const hx_tape *t, int id)
{
    int n = t->value[id].node;
    return n >= 0 && t->node[n].op == &hx_op_reshape;
}

int hx_node_output(const hx_node *n, int id)
{
    int k = n->n_in;
    while (n->arg[k].id != id)
        k++;
    return k;
}

// The value that a kernel writes and `x` is a reshape of, when nothing else reads any of them:
// 0 if there is none. `readers` is how many readers x itself may have.
int hx_value_maker(hx_t x, int readers)
{
    hx_tape *t = x.tape;
    int id = x.id;
    if (t->value[id].readers > readers)
        return 0;
    while (hx_value_is_reshape(t, id)) {
        id = t->node[t->value[id].node].arg[0].id;
        if (t->value[id].readers > 1)
            return 0;
    }
    int n = t->value[id].node;
    return n >= 0 && !t->node[n].op->view ? id : 0;
}

// Lets x (and what it is a reshape of) be made at another place. False when it cannot be.
bool hx_value_move(hx_t x, int storage, int64_t off, int64_t ld)
{
    hx_tape *t = x.tape;
    int id = hx_value_maker(x, 0);
    if (!id)
        return false;
    const hx_value *v = &t->value[id];
    const hx_storage *s = &t->storage[v->storage];
    const hx_node *n = &t->node[v->node];
    bool strided = n->sig->flags[hx_node_output(n, id)] & HX_ARG_STRIDED;
    bool dense = hx_rows(x) == 1 || ld == last_dim(val(x));
    bool fits = dense || last_dim(v) == last_dim(val(x));
    if (s->place != HX_TEMP || v->off || s->elems != hx_elems(x) || !fits)
        return false;
    if (!strided && (!dense || off % HX_ALIGN_ELEMS))
        return false;
    for (int k = x.id;; k = t->node[t->value[k].node].arg[0].id) {
        hx_value *w = &t->value[k];
        w->storage = storage;
        w->off = off;
        w->ld = dense ? last_dim(w) : ld;
        if (k == id)
            return true;
    }
}

static bool may_alias(const hx_node *n, int out, int in)
{
    char want[40];
    snprintf(want, sizeof want, "%s=%s", n->sig->name[out], n->sig->name[in]);
    const char *at = n->op->alias ? strstr(n->op->alias, want) : NULL;
    return at && (at == n->op->alias || at[-1] == ' ') && (!at[strlen(want)] || at[strlen(want)] == ' ');
}

void hx_in_place(hx_t y, hx_t x)
{
    hx_tape *t = y.tape;
    int id = y.id && x.id && !t->err ? hx_value_maker(y, 0) : 0;
    if (!id)
        return;
    const hx_node *n = &t->node[t->value[id].node];
    int in = 0;
    while (in < n->n_in && n->arg[in].id != x.id)
        in++;
    const hx_value *v = val(x);
    bool ours = t->storage[v->storage].place == HX_TEMP && v->readers == 1 && !v->recompute;
    if (in == n->n_in || !ours || !may_alias(n, hx_node_output(n, id), in) || hx_elems(x) != hx_elems(y))
        return;
    if (hx_value_move(y, v->storage, v->off, v->ld))
        val(x)->gone = true;
}

// appends a copy of x that lands at the given place
void hx_value_copy(hx_t x, int storage, int64_t off, int64_t ld)
{
    hx_t y = hx_tape_dense(x);
    if (y.id && !hx_value_move(y, storage, off, ld))
        hx_tape_fail(x.tape, HX_E_INTERNAL, "a copy cannot be placed at element %lld [E-COPY]", (long long)off);
}

void hx_value_place(hx_t x, int storage, int64_t off, int64_t ld)
{
    if (!hx_value_move(x, storage, off, ld))
        hx_value_copy(x, storage, off, ld);
}

enum { MAX_PARTS = HX_MAX_ARGS - 1 };

// Whether rows of the parts lie one below the other already.
static bool in_line(int n, const hx_t *parts)
{
    const hx_value *a = val(parts[0]);
    int64_t next = a->off;
    for (int i = 0; i < n; i++) {
        const hx_value *v = val(parts[i]);
        if (v->storage != a->storage || v->off != next || v->ld != a->ld)
            return false;
        next += hx_rows(parts[i]) * v->ld;
    }
    return true;
}

hx_t hx_concat(int axis, int n, const hx_t *parts)
{
    hx_tape *t = hx_tape_of(n, parts);
    if (!t) {
        hx_t bad;
        hx_tape_poison(n, parts, 1, &bad);
        return bad;
    }
    if (n > MAX_PARTS) {                   // in groups, then the groups
        int per = (n + MAX_PARTS - 1) / MAX_PARTS, groups = 0;
        hx_t group[MAX_PARTS];
        for (int i = 0; i < n; i += per)
            group[groups++] = hx_concat(axis, (int)hx_min(per, n - i), parts + i);
        return hx_concat(axis, groups, group);
    }
    const hx_value *first = val(parts[0]);
    bool columns = axis == 1 || first->rank == 1;
    int64_t shape[HX_MAX_RANK], total = 0;
    memcpy(shape, first->shape, sizeof shape);
    for (int i = 0; i < n; i++) {
        const hx_value *v = val(parts[i]);
        bool fits = v->rank == first->rank && v->is_int == first->is_int &&
            (columns ? hx_rows(parts[i]) == hx_rows(parts[0]) : v->rank == 2 && last_dim(v) == last_dim(first));
        if (!fits) {
            char a[64], b[64];
            hx_tape_fail(t, HX_E_SHAPE, "concat: part %d is %s beside %s [E-SHAPE]", i,
                hx_tape_shape_text(v, a), hx_tape_shape_text(first, b));
            return poison(t);
        }
        total += columns ? last_dim(v) : v->shape[0];
    }
    if (n == 1)
        return parts[0];
    shape[columns ? first->rank - 1 : 0] = total;
    bool there = !columns && in_line(n, parts);
    hx_t y = there ? hx_tape_value(t, first->storage, first->is_int, 2, shape, -1)
                   : hx_blank(t, first->is_int, first->rank, shape);
    if (!y.id)
        return y;
    if (there) {
        val(y)->off = val(parts[0])->off;
        val(y)->ld = val(parts[0])->ld;
    }
    hx_t in[MAX_PARTS];
    int64_t off = 0, ld = val(y)->ld;
    for (int i = 0; i < n; i++) {
        in[i] = parts[i];
        int64_t step = columns ? last_dim(val(parts[i])) : hx_elems(parts[i]);
        if (!there)
            hx_value_place(parts[i], val(y)->storage, off, ld);
        off += step;
    }
    if (t->err)
        return poison(t);
    view_node(&hx_op_concat, columns, n, in, 1, &y);
    return y;
}

void hx_split(int axis, hx_t x, int n, const int64_t *size, hx_t *out)
{
    hx_tape *t = x.tape;
    if (!x.id || t->err) {
        hx_tape_poison(1, &x, n, out);
        return;
    }
    if (n > MAX_PARTS) {
        int per = (n + MAX_PARTS - 1) / MAX_PARTS, groups = 0;
        int64_t whole[MAX_PARTS] = {0};
        hx_t group[MAX_PARTS];
        for (int i = 0; i < n; i++)
            whole[i / per] += size[i];
        groups = (n + per - 1) / per;
        hx_split(axis, x, groups, whole, group);
        for (int g = 0; g < groups; g++)
            hx_split(axis, group[g], (int)hx_min(per, n - g * per), size + g * per, out + g * per);
        return;
    }
    const hx_value *v = val(x);
    bool columns = axis == 1 || v->rank == 1;
    int64_t total = 0, whole = columns ? last_dim(v) : v->shape[0];
    for (int i = 0; i < n; i++)
        total += size[i];
    if (total != whole || (!columns && v->rank != 2)) {
        char have[64];
        hx_tape_fail(t, HX_E_SHAPE, "split: the parts of %s add up to %lld [E-SHAPE]",
            hx_tape_shape_text(v, have), (long long)total);
        hx_tape_poison(1, &x, n, out);
        return;
    }
    int64_t off = v->off, ld = v->ld;
    for (int i = 0; i < n; i++) {
        int64_t shape[HX_MAX_RANK];
        memcpy(shape, val(x)->shape, sizeof shape);
        shape[columns ? val(x)->rank - 1 : 0] = size[i];
        int64_t elems;
        if (!hx_tape_shape_ok(t, val(x)->rank, shape, &elems)) {
            hx_tape_poison(1, &x, n, out);
            return;
        }
        out[i] = hx_tape_value(t, val(x)->storage, val(x)->is_int, val(x)->rank, shape, -1);
        if (!out[i].id)
            return;
        val(out[i])->off = off;
        val(out[i])->ld = ld;
        off += columns ? size[i] : size[i] * ld;
    }
    view_node(&hx_op_split, columns, 1, &x, n, out);
}
