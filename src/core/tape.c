// tape.c - tapes, values, and the application of operators.
#include "tape_parts.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const hx_op hx_op_copy;


static bool grow(void **p, int n, int *cap, size_t size)
{
    if (n < *cap)
        return true;
    int bigger = *cap ? 2 * *cap : 256;
    void *q = realloc(*p, (size_t)bigger * size);
    if (!q)
        return false;
    *p = q;
    *cap = bigger;
    return true;
}

hx_tape *hx_tape_new(void)
{
    hx_tape *t = calloc(1, sizeof *t);
    if (!t || !(t->arena = hx_arena_new()) ||
        !grow((void **)&t->value, 0, &t->cap_value, sizeof *t->value)) {
        hx_tape_free(&t);
        return NULL;
    }
    t->value[0] = (hx_value){ .node = -1 };
    t->n_value = 1;
    t->backward_from = t->force_row = -1;
    return t;
}

void hx_tape_free(hx_tape **t)
{
    if (!t || !*t)
        return;
    hx_arena_free(&(*t)->arena);
    free((*t)->storage);
    free((*t)->value);
    free((*t)->node);
    free(*t);
    *t = NULL;
}

hx_result hx_tape_error(const hx_tape *t)
{
    return t->err ? hx_fail(t->err, "%s", t->message) : HX_OK;
}

void hx_tape_fail(hx_tape *t, hx_result r, const char *fmt, ...)
{
    if (t->err)
        return;
    t->err = r;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->message, sizeof t->message, fmt, ap);
    va_end(ap);
}


hx_t hx_tape_no_memory(hx_tape *t)
{
    hx_tape_fail(t, HX_E_NOMEM, "no memory for a tape of %d nodes [E-NOMEM]", t->n_node);
    return poison(t);
}

// ---- sizes -------------------------------------------------------------------------------

static int64_t product(int n, const int64_t *shape)
{
    int64_t p = 1;
    for (int i = 0; i < n; i++)
        if (shape[i] < 0 || !hx_mul(p, shape[i], &p))
            return -1;
    return p;
}

int64_t hx_elems(hx_t x)
{
    const hx_value *v = hx_value_of(x);
    return product(v->rank, v->shape);
}

int64_t hx_rows(hx_t x)
{
    const hx_value *v = hx_value_of(x);
    return v->rank ? product(v->rank - 1, v->shape) : 1;
}

int64_t hx_dim(hx_t x, int i)
{
    const hx_value *v = hx_value_of(x);
    i += i < 0 ? v->rank : 0;
    return i >= 0 && i < v->rank ? v->shape[i] : 1;
}

const char *hx_tape_shape_text(const hx_value *v, char buf[64])
{
    size_t n = (size_t)snprintf(buf, 64, "[");
    for (int i = 0; i < v->rank && n < 50; i++)
        n += (size_t)snprintf(buf + n, 64 - n, "%s%lld", i ? "," : "", (long long)v->shape[i]);
    snprintf(buf + n, 64 - n, "]");
    return buf;
}

// ---- values ------------------------------------------------------------------------------

static int new_storage(hx_tape *t, hx_place place, int64_t elems, int64_t at, const void *data)
{
    if (!grow((void **)&t->storage, t->n_storage, &t->cap_storage, sizeof *t->storage))
        return -1;
    t->storage[t->n_storage] = (hx_storage){ place, elems, at, data };
    return t->n_storage++;
}

hx_t hx_tape_value(hx_tape *t, int storage, bool is_int, int rank, const int64_t *shape, int node)
{
    hx_value v = { .rank = rank, .is_int = is_int, .storage = storage, .node = node };
    memcpy(v.shape, shape, (size_t)rank * sizeof *shape);   // may be another value's, which moves
    v.ld = last_dim(&v);
    if (storage < 0 || !grow((void **)&t->value, t->n_value, &t->cap_value, sizeof *t->value))
        return hx_tape_no_memory(t);
    t->value[t->n_value] = v;
    return (hx_t){ t, t->n_value++ };
}

bool hx_tape_shape_ok(hx_tape *t, int rank, const int64_t *shape, int64_t *elems)
{
    *elems = rank < 0 || rank > HX_MAX_RANK ? -1 : product(rank, shape);
    int64_t bytes;
    if (*elems < 1 || !hx_mul(*elems, 4, &bytes) || *elems > UINT32_MAX) {
        hx_value v = { .rank = rank < 0 || rank > HX_MAX_RANK ? 0 : rank };
        memcpy(v.shape, shape, (size_t)v.rank * sizeof *shape);
        char text[64];
        hx_tape_fail(t, HX_E_SHAPE, "a tensor of shape %s cannot exist: it must hold 1 to "
            "4294967295 elements [E-SIZE]", hx_tape_shape_text(&v, text));
    }
    return !t->err;
}

hx_t hx_external_strided(hx_tape *t, hx_place place, int64_t at, bool is_int, int rank,
                         const int64_t *shape, int64_t off, int64_t ld, int64_t elems)
{
    int64_t n;
    if (!hx_tape_shape_ok(t, rank, shape, &n))
        return poison(t);
    int s = 0;
    while (s < t->n_storage && (t->storage[s].place != place || t->storage[s].at != at ||
                                t->storage[s].elems != elems))
        s++;
    hx_t x = hx_tape_value(t, s < t->n_storage ? s : new_storage(t, place, elems, at, NULL),
                       is_int, rank, shape, -1);
    val(x)->off = off;
    val(x)->ld = ld;
    val(x)->wants_grad = place == HX_PARAM;
    return x;
}

hx_t hx_external(hx_tape *t, hx_place place, int64_t at, bool is_int, int rank,
                 const int64_t *shape)
{
    return hx_external_strided(t, place, at, is_int, rank, shape, 0, rank ? shape[rank - 1] : 1,
                               product(rank, shape));
}

hx_t hx_constant(hx_tape *t, bool is_int, int rank, const int64_t *shape, const void *data)
{
    int64_t n;
    if (!hx_tape_shape_ok(t, rank, shape, &n))
        return poison(t);
    void *copy = hx_alloc(t->arena, (size_t)n * 4);
    if (!copy)
        return hx_tape_no_memory(t);
    memcpy(copy, data, (size_t)n * 4);
    int64_t at = t->const_bytes;
    t->const_bytes = hx_align(at + n * 4, 256);
    return hx_tape_value(t, new_storage(t, HX_CONST, n, at, copy), is_int, rank, shape, -1);
}

hx_t hx_blank(hx_tape *t, bool is_int, int rank, const int64_t *shape)
{
    int64_t n;
    if (!hx_tape_shape_ok(t, rank, shape, &n))
        return poison(t);
    return hx_tape_value(t, new_storage(t, HX_TEMP, n, 0, NULL), is_int, rank, shape, -1);
}

// ---- applying operators ------------------------------------------------------------------

hx_node *hx_tape_node(hx_tape *t, const hx_op *op)
{
    if (!grow((void **)&t->node, t->n_node, &t->cap_node, sizeof *t->node)) {
        hx_tape_no_memory(t);
        return NULL;
    }
    hx_node *n = &t->node[t->n_node];
    *n = (hx_node){ .op = op, .after = -1 };
    return n;
}

// the tape of the arguments, NULL when one is poisoned
hx_tape *hx_tape_of(int n, const hx_t *in)
{
    hx_tape *t = NULL;
    for (int i = 0; i < n; i++)
        if (hx_is(in[i])) {
            t = in[i].tape;
            if (!in[i].id || t->err)
                return NULL;
        }
    return t;
}

void hx_tape_poison(int n_in, const hx_t *in, int n_out, hx_t *out)
{
    hx_tape *t = NULL;
    for (int i = 0; i < n_in && !t; i++)
        t = in[i].tape;
    if (t)
        hx_tape_fail(t, HX_E_INTERNAL, "an operator was given a poisoned tensor [E-POISON]");
    for (int i = 0; i < n_out; i++)
        out[i] = poison(t);
}

// reads the dims off the inputs; false with the tape poisoned when an input does not fit
static bool bind(hx_tape *t, hx_node *n, const hx_t *in)
{
    const hx_sig *s = n->sig;
    char have[64];
    for (int i = 0; i < s->n_in; i++) {
        if (!hx_is(in[i])) {
            if (!(s->flags[i] & HX_ARG_OPT))
                hx_tape_fail(t, HX_E_SHAPE, "%s: argument %s is missing [E-SHAPE]", n->op->name,
                             s->name[i]);
            continue;
        }
        const hx_value *v = val(in[i]);
        if (v->rank != s->rank[i] || v->is_int != !!(s->flags[i] & HX_ARG_INT))
            hx_tape_fail(t, HX_E_SHAPE, "%s: argument %s does not fit: it is %s%s, the signature is "
                "'%s' [E-SHAPE]", n->op->name, s->name[i], hx_tape_shape_text(v, have),
                v->is_int ? " of integers" : "", n->op->sig);
        for (int r = 0; r < v->rank && !t->err; r++)
            for (int d = 0; d < s->n_dim; d++)
                if (!n->dim[d] && !strcmp(s->dim[d], s->shape[i][r]))
                    n->dim[d] = v->shape[r];
    }
    for (int i = 0; i < s->n_in && !t->err; i++)
        for (int r = 0; hx_is(in[i]) && r < s->rank[i]; r++) {
            int64_t want = hx_eval(s->shape[i][r], n->op, n->dim, n->attrs);
            if (want != val(in[i])->shape[r])
                hx_tape_fail(t, HX_E_SHAPE, "%s: argument %s does not fit: it is %s where %s is %lld, "
                    "the signature is '%s' [E-SHAPE]", n->op->name, s->name[i],
                    hx_tape_shape_text(val(in[i]), have), s->shape[i][r], (long long)want, n->op->sig);
        }
    for (int d = 0; d < s->n_dim && !t->err; d++)
        if (n->dim[d] < 1)
            hx_tape_fail(t, HX_E_SHAPE, "%s: nothing tells the size of %s in '%s' [E-SHAPE]",
                n->op->name, s->dim[d], n->op->sig);
    const char *wrong = !t->err && n->op->wrong_if ? n->op->wrong_if(n->dim, n->attrs) : NULL;
    if (wrong)
        hx_tape_fail(t, HX_E_SHAPE, "%s: %s [E-SHAPE]", n->op->name, wrong);
    return !t->err;
}

hx_t hx_tape_dense(hx_t x)
{
    hx_t flat, y;
    flat = hx_reshape(x, 2, (int64_t[]){ hx_rows(x), last_dim(val(x)) });
    if (!flat.id)
        return flat;
    bool is_int = val(flat)->is_int;
    val(flat)->is_int = false;             // the copy moves words and does not look at them
    hx_apply(&hx_op_copy, NULL, &flat, &y);
    val(flat)->is_int = is_int;
    if (!y.id)
        return y;
    val(y)->is_int = is_int;
    hx_value *v = val(x);
    return shaped_as(y, v);
}

void hx_apply(const hx_op *op, const void *attrs, const hx_t *in, hx_t *out)
{
    const hx_sig *s = hx_sig_of(op);
    hx_tape *t = s ? hx_tape_of(s->n_in, in) : NULL;
    if (!s && in[0].tape)                  // there was no memory for signatures
        out[0] = hx_tape_no_memory(in[0].tape);
    if (!t) {
        if (s)
            hx_tape_poison(s->n_in, in, s->n_out, out);
        return;
    }
    bool want_out[HX_MAX_ARGS];
    for (int i = 0; i < s->n_out; i++) {
        want_out[i] = !(s->flags[s->n_in + i] & HX_ARG_OPT) || hx_is(out[i]);
        out[i] = want_out[i] ? poison(t) : HX_NONE;
    }
    hx_node local = { .op = op, .sig = s, .n_in = s->n_in, .n_out = s->n_out,
                      .after = t->backward_from < 0 ? t->replayed - 1 : -1 };
    if (attrs)
        memcpy(local.attrs, attrs, op->attrs_size);
    else if (hx_fields_default(op->attrs, local.attrs))
        hx_tape_fail(t, HX_E_INTERNAL, "%s: %s", op->name, hx_last_message());
    if (!bind(t, &local, in))
        return;
    if (op->expand) {
        op->expand(local.attrs, in, out);
        return;
    }
    for (int i = 0; i < s->n_in; i++)
        if (hx_is(in[i]) && val(in[i])->gone)
            hx_tape_fail(t, HX_E_INTERNAL, "%s: argument %s was overwritten [E-GONE]", op->name,
                         s->name[i]);
    for (int i = 0; i < s->n_in && !t->err; i++)
        local.arg[i] = hx_is(in[i]) && !(s->flags[i] & HX_ARG_STRIDED) && !is_plain(in[i])
            ? hx_tape_dense(in[i]) : in[i];
    if (t->err)
        return;
    hx_node *n = hx_tape_node(t, op);
    if (!n)
        return;
    *n = local;
    bool wants_grad = false;
    for (int i = 0; i < s->n_in; i++)
        if (hx_is(n->arg[i])) {
            val(n->arg[i])->readers++;
            wants_grad |= val(n->arg[i])->wants_grad;
        }
    for (int i = 0, k = s->n_in; i < s->n_out; i++, k++) {
        if (!want_out[i])
            continue;
        int64_t shape[HX_MAX_RANK], elems;
        for (int r = 0; r < s->rank[k]; r++)
            shape[r] = hx_eval(s->shape[k][r], op, n->dim, n->attrs);
        if (!hx_tape_shape_ok(t, s->rank[k], shape, &elems))
            return;
        out[i] = n->arg[k] = hx_tape_value(t, new_storage(t, HX_TEMP, elems, 0, NULL),
                                       s->flags[k] & HX_ARG_INT, s->rank[k], shape, t->n_node);
        val(out[i])->wants_grad = wants_grad && op->vjp;
    }
    bool forward = t->frugal && t->backward_from < 0 && wants_grad;
    if (forward && op->cheap && hx_is(out[0]) && op->cheap(n))
        val(out[0])->recompute = true;
    t->n_node++;
}

hx_t hx_twin(hx_t x)
{
    hx_tape *t = x.tape;
    int id = x.id;
    while (id && hx_value_is_reshape(t, id))
        id = t->node[t->value[id].node].arg[0].id;
    int at = id && t->backward_from >= 0 && !t->err ? t->value[id].node : -1;
    if (at < t->backward_from || at < 0 || t->node[at].op->view || !t->node[at].op->twin)
        return HX_NONE;
    int k = hx_sig_arg(t->node[at].sig, t->node[at].op->twin);
    if (hx_node_output(&t->node[at], id) != t->node[at].n_in)
        return HX_NONE;
    if (!hx_is(t->node[at].arg[k])) {
        int64_t elems = hx_elems((hx_t){ t, id });
        const hx_value *v = &t->value[id];
        hx_t y = hx_tape_value(t, new_storage(t, HX_TEMP, elems, 0, NULL), false, v->rank, v->shape, at);
        if (!y.id)
            return y;
        t->node[at].arg[k] = y;
        t->value[id].readers++;            // from here on it stays what it is
    }
    return shaped_as(t->node[at].arg[k], val(x));
}
