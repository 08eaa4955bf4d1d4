#include "tape.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const hx_op hx_op_copy, hx_op_add;

// what views leave on a tape, so that gradients find their way
static const hx_op hx_op_concat = { .name = "concat", .view = true };
static const hx_op hx_op_split = { .name = "split", .view = true };
static const hx_op hx_op_reshape = { .name = "reshape", .view = true };
static const hx_op hx_op_detach = { .name = "detach", .view = true };

enum { ALIGN_ELEMS = 64 };                 // 256 bytes: what any device asks of a binding's offset

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

static hx_t poison(hx_tape *t) { return (hx_t){ t, 0 }; }
static hx_value *val(hx_t x) { return &x.tape->value[x.id]; }

static hx_t no_memory(hx_tape *t)
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

static int64_t last_dim(const hx_value *v) { return v->rank ? v->shape[v->rank - 1] : 1; }
int64_t hx_elems(hx_t x) { return product(val(x)->rank, val(x)->shape); }
int64_t hx_rows(hx_t x) { return val(x)->rank ? product(val(x)->rank - 1, val(x)->shape) : 1; }

int64_t hx_dim(hx_t x, int i)
{
    const hx_value *v = val(x);
    i += i < 0 ? v->rank : 0;
    return i >= 0 && i < v->rank ? v->shape[i] : 1;
}

static bool is_dense(hx_t x) { return hx_rows(x) == 1 || val(x)->ld == last_dim(val(x)); }

// can be bound as it is by an argument that takes no strides?
static bool is_plain(hx_t x) { return is_dense(x) && val(x)->off % ALIGN_ELEMS == 0; }

static const char *shape_text(const hx_value *v, char buf[64])
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

static hx_t new_value(hx_tape *t, int storage, bool is_int, int rank, const int64_t *shape, int node)
{
    hx_value v = { .rank = rank, .is_int = is_int, .storage = storage, .node = node };
    memcpy(v.shape, shape, (size_t)rank * sizeof *shape);   // may be another value's, which moves
    v.ld = last_dim(&v);
    if (storage < 0 || !grow((void **)&t->value, t->n_value, &t->cap_value, sizeof *t->value))
        return no_memory(t);
    t->value[t->n_value] = v;
    return (hx_t){ t, t->n_value++ };
}

static bool good_shape(hx_tape *t, int rank, const int64_t *shape, int64_t *elems)
{
    *elems = rank < 0 || rank > HX_MAX_RANK ? -1 : product(rank, shape);
    int64_t bytes;
    if (*elems < 1 || !hx_mul(*elems, 4, &bytes) || *elems > UINT32_MAX) {
        hx_value v = { .rank = rank < 0 || rank > HX_MAX_RANK ? 0 : rank };
        memcpy(v.shape, shape, (size_t)v.rank * sizeof *shape);
        char text[64];
        hx_tape_fail(t, HX_E_SHAPE, "a tensor of shape %s cannot exist: it must hold 1 to "
            "4294967295 elements [E-SIZE]", shape_text(&v, text));
    }
    return !t->err;
}

hx_t hx_external_strided(hx_tape *t, hx_place place, int64_t at, bool is_int, int rank,
                         const int64_t *shape, int64_t off, int64_t ld, int64_t elems)
{
    int64_t n;
    if (!good_shape(t, rank, shape, &n))
        return poison(t);
    int s = 0;
    while (s < t->n_storage && (t->storage[s].place != place || t->storage[s].at != at ||
                                t->storage[s].elems != elems))
        s++;
    hx_t x = new_value(t, s < t->n_storage ? s : new_storage(t, place, elems, at, NULL),
                       is_int, rank, shape, -1);
    val(x)->off = off;
    val(x)->ld = ld;
    val(x)->wants_grad = place == HX_PARAM;
    return x;
}

hx_t hx_external(hx_tape *t, hx_place place, int64_t at, bool is_int, int rank, const int64_t *shape)
{
    return hx_external_strided(t, place, at, is_int, rank, shape, 0, rank ? shape[rank - 1] : 1,
                               product(rank, shape));
}

hx_t hx_constant(hx_tape *t, bool is_int, int rank, const int64_t *shape, const void *data)
{
    int64_t n;
    if (!good_shape(t, rank, shape, &n))
        return poison(t);
    void *copy = hx_alloc(t->arena, (size_t)n * 4);
    if (!copy)
        return no_memory(t);
    memcpy(copy, data, (size_t)n * 4);
    int64_t at = t->const_bytes;
    t->const_bytes = hx_align(at + n * 4, 256);
    return new_value(t, new_storage(t, HX_CONST, n, at, copy), is_int, rank, shape, -1);
}

hx_t hx_blank(hx_tape *t, bool is_int, int rank, const int64_t *shape)
{
    int64_t n;
    if (!good_shape(t, rank, shape, &n))
        return poison(t);
    return new_value(t, new_storage(t, HX_TEMP, n, 0, NULL), is_int, rank, shape, -1);
}

// ---- applying operators ------------------------------------------------------------------

static hx_node *new_node(hx_tape *t, const hx_op *op)
{
    if (!grow((void **)&t->node, t->n_node, &t->cap_node, sizeof *t->node)) {
        no_memory(t);
        return NULL;
    }
    hx_node *n = &t->node[t->n_node];
    *n = (hx_node){ .op = op, .after = -1 };
    return n;
}

// the tape of the arguments, NULL when one is poisoned
static hx_tape *tape_of(int n, const hx_t *in)
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

static void poison_all(int n_in, const hx_t *in, int n_out, hx_t *out)
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
                hx_tape_fail(t, HX_E_SHAPE, "%s: argument %s is missing [E-SHAPE]", n->op->name, s->name[i]);
            continue;
        }
        const hx_value *v = val(in[i]);
        if (v->rank != s->rank[i] || v->is_int != !!(s->flags[i] & HX_ARG_INT))
            hx_tape_fail(t, HX_E_SHAPE, "%s: argument %s does not fit: it is %s%s, the signature is "
                "'%s' [E-SHAPE]", n->op->name, s->name[i], shape_text(v, have),
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
                    shape_text(val(in[i]), have), s->shape[i][r], (long long)want, n->op->sig);
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

static hx_t dense_copy(hx_t x)
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
    return hx_reshape(y, v->rank, (int64_t[HX_MAX_RANK]){ v->shape[0], v->shape[1], v->shape[2], v->shape[3] });
}

void hx_apply(const hx_op *op, const void *attrs, const hx_t *in, hx_t *out)
{
    const hx_sig *s = hx_sig_of(op);
    hx_tape *t = s ? tape_of(s->n_in, in) : NULL;
    if (!t) {
        if (s)
            poison_all(s->n_in, in, s->n_out, out);
        return;
    }
    bool want_out[HX_MAX_ARGS];
    for (int i = 0; i < s->n_out; i++) {
        want_out[i] = !(s->flags[s->n_in + i] & HX_ARG_OPT) || hx_is(out[i]);
        out[i] = want_out[i] ? poison(t) : HX_NONE;
    }
    hx_node local = { .op = op, .sig = s, .n_in = s->n_in, .n_out = s->n_out, .after = -1 };
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
            hx_tape_fail(t, HX_E_INTERNAL, "%s: argument %s was overwritten [E-GONE]", op->name, s->name[i]);
    for (int i = 0; i < s->n_in && !t->err; i++)
        local.arg[i] = hx_is(in[i]) && !(s->flags[i] & HX_ARG_STRIDED) && !is_plain(in[i])
            ? dense_copy(in[i]) : in[i];
    if (t->err)
        return;
    hx_node *n = new_node(t, op);
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
        if (!good_shape(t, s->rank[k], shape, &elems))
            return;
        out[i] = n->arg[k] = new_value(t, new_storage(t, HX_TEMP, elems, 0, NULL),
                                       s->flags[k] & HX_ARG_INT, s->rank[k], shape, t->n_node);
        val(out[i])->wants_grad = wants_grad && op->vjp;
    }
    bool forward = t->frugal && t->backward_from < 0 && wants_grad;
    if (forward && op->cheap && hx_is(out[0]) && op->cheap(n))
        val(out[0])->recompute = true;
    t->n_node++;
}

// ---- views -------------------------------------------------------------------------------

// a node that moves nothing: outputs are views made by the caller
static void view_node(const hx_op *op, int axis, int n_in, const hx_t *in, int n_out, const hx_t *out)
{
    hx_tape *t = in[0].tape;
    hx_node *n = new_node(t, op);
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
    if (!good_shape(t, rank, shape, &n))
        return poison(t);
    const hx_value *v = val(x);
    if (v->rank == rank && !memcmp(v->shape, shape, (size_t)rank * sizeof *shape))
        return x;
    bool keeps_last = rank && shape[rank - 1] == last_dim(v);
    if (n != hx_elems(x)) {
        char have[64];
        hx_tape_fail(t, HX_E_SHAPE, "reshape: %s has %lld elements, %lld are wanted [E-SHAPE]",
            shape_text(v, have), (long long)hx_elems(x), (long long)n);
        return poison(t);
    }
    if (!is_dense(x) && !keeps_last) {
        x = dense_copy(x);
        if (!x.id)
            return x;
    }
    hx_t y = new_value(t, val(x)->storage, val(x)->is_int, rank, shape, -1);
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
    hx_t y = new_value(t, val(x)->storage, val(x)->is_int, val(x)->rank, val(x)->shape, -1);
    if (!y.id)
        return y;
    val(y)->off = val(x)->off;
    val(y)->ld = val(x)->ld;
    view_node(&hx_op_detach, 0, 1, &x, 1, &y);
    val(y)->wants_grad = false;
    return y;
}

static bool is_reshape(const hx_tape *t, int id)
{
    int n = t->value[id].node;
    return n >= 0 && t->node[n].op == &hx_op_reshape;
}

static int output_index(const hx_node *n, int id)
{
    int k = n->n_in;
    while (n->arg[k].id != id)
        k++;
    return k;
}

// The value that a kernel writes and `x` is a reshape of, when nothing else reads any of them:
// 0 if there is none. `readers` is how many readers x itself may have.
static int maker(hx_t x, int readers)
{
    hx_tape *t = x.tape;
    int id = x.id;
    if (t->value[id].readers > readers)
        return 0;
    while (is_reshape(t, id)) {
        id = t->node[t->value[id].node].arg[0].id;
        if (t->value[id].readers > 1)
            return 0;
    }
    int n = t->value[id].node;
    return n >= 0 && !t->node[n].op->view ? id : 0;
}

// Lets x (and what it is a reshape of) be made at another place. False when it cannot be.
static bool move_to(hx_t x, int storage, int64_t off, int64_t ld)
{
    hx_tape *t = x.tape;
    int id = maker(x, 0);
    if (!id)
        return false;
    const hx_value *v = &t->value[id];
    const hx_storage *s = &t->storage[v->storage];
    const hx_node *n = &t->node[v->node];
    bool strided = n->sig->flags[output_index(n, id)] & HX_ARG_STRIDED;
    bool dense = hx_rows(x) == 1 || ld == last_dim(val(x));
    if (s->place != HX_TEMP || v->off || s->elems != hx_elems(x) || (!dense && last_dim(v) != last_dim(val(x))))
        return false;
    if (!strided && (!dense || off % ALIGN_ELEMS))
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
    int id = y.id && x.id && !t->err ? maker(y, 0) : 0;
    if (!id)
        return;
    const hx_node *n = &t->node[t->value[id].node];
    int in = 0;
    while (in < n->n_in && n->arg[in].id != x.id)
        in++;
    const hx_value *v = val(x);
    bool ours = t->storage[v->storage].place == HX_TEMP && v->readers == 1 && !v->recompute;
    if (in == n->n_in || !ours || !may_alias(n, output_index(n, id), in) || hx_elems(x) != hx_elems(y))
        return;
    if (move_to(y, v->storage, v->off, v->ld))
        val(x)->gone = true;
}

// appends a copy of x that lands at the given place
static void copy_to(hx_t x, int storage, int64_t off, int64_t ld)
{
    hx_t y = dense_copy(x);
    if (y.id && !move_to(y, storage, off, ld))
        hx_tape_fail(x.tape, HX_E_INTERNAL, "a copy cannot be placed at element %lld [E-COPY]", (long long)off);
}

static void place_part(hx_t x, int storage, int64_t off, int64_t ld)
{
    if (!move_to(x, storage, off, ld))
        copy_to(x, storage, off, ld);
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
    hx_tape *t = tape_of(n, parts);
    if (!t) {
        hx_t bad;
        poison_all(n, parts, 1, &bad);
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
                shape_text(v, a), shape_text(first, b));
            return poison(t);
        }
        total += columns ? last_dim(v) : v->shape[0];
    }
    if (n == 1)
        return parts[0];
    shape[columns ? first->rank - 1 : 0] = total;
    bool there = !columns && in_line(n, parts);
    hx_t y = there ? new_value(t, first->storage, first->is_int, 2, shape, -1)
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
            place_part(parts[i], val(y)->storage, off, ld);
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
        poison_all(1, &x, n, out);
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
            shape_text(v, have), (long long)total);
        poison_all(1, &x, n, out);
        return;
    }
    int64_t off = v->off, ld = v->ld;
    for (int i = 0; i < n; i++) {
        int64_t shape[HX_MAX_RANK];
        memcpy(shape, val(x)->shape, sizeof shape);
        shape[columns ? val(x)->rank - 1 : 0] = size[i];
        int64_t elems;
        if (!good_shape(t, val(x)->rank, shape, &elems)) {
            poison_all(1, &x, n, out);
            return;
        }
        out[i] = new_value(t, val(x)->storage, val(x)->is_int, val(x)->rank, shape, -1);
        if (!out[i].id)
            return;
        val(out[i])->off = off;
        val(out[i])->ld = ld;
        off += columns ? size[i] : size[i] * ld;
    }
    view_node(&hx_op_split, columns, 1, &x, n, out);
}

// ---- gradients ---------------------------------------------------------------------------

void hx_recompute(hx_t x)
{
    if (x.id)
        val(x)->recompute = true;
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
    while (is_reshape(t, id)) {
        id = t->node[t->value[id].node].arg[0].id;
        held += t->value[id].held;
    }
    return held > own;
}

// Makes the node behind g, which `own` hold, add `old` to what it makes. False when that cannot be.
static bool add_in_maker(hx_t g, hx_t old, int own)
{
    hx_tape *t = g.tape;
    int id = maker(g, 0);
    if (!id || is_shared(g, own))
        return false;
    int node = t->value[id].node, made = val(old)->node;
    int k = free_addend(&t->node[node]);
    if (k < 0 || output_index(&t->node[node], id) != t->node[node].n_in || made >= node)
        return false;
    const hx_value *v = &t->value[id];
    bool strided = t->node[node].sig->flags[k] & HX_ARG_STRIDED;
    if (hx_elems(old) != hx_elems(g) || (strided ? !is_dense(old) && last_dim(val(old)) != last_dim(v) : !is_plain(old)))
        return false;
    // a view of the right shape, without a node: gradients do not flow through it
    hx_t c = new_value(t, val(old)->storage, false, v->rank, v->shape, made);
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
    g = hx_reshape(g, v->rank, (int64_t[HX_MAX_RANK]){ v->shape[0], v->shape[1], v->shape[2], v->shape[3] });
    int old = val(x)->grad;
    if (old && g.id && !add_in_maker(g, (hx_t){ t, old }, 0)) {
        int64_t flat[2] = { hx_rows(g), last_dim(val(g)) };
        hx_t sum, in[2] = { hx_reshape((hx_t){ t, old }, 2, flat), hx_reshape(g, 2, flat) };
        hx_apply(&hx_op_add, NULL, in, &sum);
        v = val(x);
        g = hx_reshape(sum, v->rank, (int64_t[HX_MAX_RANK]){ v->shape[0], v->shape[1], v->shape[2], v->shape[3] });
    }
    val((hx_t){ t, old })->held--;
    val(x)->grad = g.id;
    val(g)->held++;
}

static hx_t zeros_like(hx_t x)
{
    hx_tape *t = x.tape;
    float *zero = calloc((size_t)hx_elems(x), sizeof *zero);
    hx_t z = zero ? hx_constant(t, false, val(x)->rank, val(x)->shape, zero) : no_memory(t);
    free(zero);
    return z;
}

static void view_vjp(const hx_node *n, hx_t *d)
{
    if (n->op == &hx_op_reshape) {
        const hx_value *v = val(n->arg[0]);
        d[0] = hx_reshape(n->grad[0], v->rank, (int64_t[HX_MAX_RANK]){ v->shape[0], v->shape[1], v->shape[2], v->shape[3] });
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

// x as the backward pass should read it: itself, or made again right now
static hx_t reread(hx_t x)
{
    hx_tape *t = x.tape;
    hx_value *v = val(x);
    if (!v->recompute && is_reshape(t, x.id)) {
        hx_t from = t->node[v->node].arg[0], again = reread(from);
        if (again.id == from.id)
            return x;
        v = val(x);
        return hx_reshape(again, v->rank, (int64_t[HX_MAX_RANK]){ v->shape[0], v->shape[1], v->shape[2], v->shape[3] });
    }
    if (!v->recompute || v->node < 0 || t->node[v->node].op->view)
        return x;
    if (v->again)
        return (hx_t){ t, v->again };
    hx_node n = t->node[v->node];
    hx_t in[HX_MAX_ARGS], out[HX_MAX_ARGS];
    int first = t->n_node;
    // the short way only where the operator has one: a product without an activation is made anew
    if (n.op->again && n.op->cheap(&n) && output_index(&n, x.id) == n.n_in) {
        hx_t again = n.op->again(&n);
        if (t->err)
            return poison(t);
        if (t->n_node > first)
            t->node[t->n_node - 1].after = first - 1;
        val(x)->again = again.id;
        return again;
    }
    for (int i = 0; i < n.n_in; i++)
        in[i] = hx_is(n.arg[i]) ? reread(n.arg[i]) : HX_NONE;
    memcpy(out, n.arg + n.n_in, sizeof *out * (size_t)n.n_out);
    int last = t->n_node - 1;
    hx_apply(n.op, n.attrs, in, out);
    if (t->err)
        return poison(t);
    t->node[t->n_node - 1].after = last;
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
        for (int k = 0; !n.op->view && k < n.n_in + n.n_out; k++)
            if (hx_is(n.arg[k]))
                seen.arg[k] = reread(n.arg[k]);
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
    int id = maker(x, 0);
    const hx_op *op = id ? t->node[t->value[id].node].op : NULL;
    bool in_place = op && op->alias && op->adds && strstr(op->alias, "=") &&
        !strcmp(strchr(op->alias, '=') + 1, op->adds);
    if (in_place && t->storage[val(x)->storage].place == HX_TEMP && add_in_maker(x, to, 1)) {
        if (!move_to(x, val(to)->storage, val(to)->off, val(to)->ld))
            copy_to(x, val(to)->storage, val(to)->off, val(to)->ld);
        return;
    }
    int64_t flat[2] = { hx_rows(x), last_dim(val(x)) };
    hx_t sum, in[2] = { hx_reshape(to, 2, flat), hx_reshape(x, 2, flat) };
    hx_apply(&hx_op_add, NULL, in, &sum);
    if (sum.id)
        place_part(sum, val(to)->storage, val(to)->off, val(to)->ld);
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
    x = hx_reshape(x, v->rank, (int64_t[HX_MAX_RANK]){ v->shape[0], v->shape[1], v->shape[2], v->shape[3] });
    if (!x.id)
        return;
    if (add)
        add_to(x, to);
    else
        place_part(x, val(to)->storage, val(to)->off, val(to)->ld);
}
