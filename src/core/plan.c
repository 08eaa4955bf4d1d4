#include "layout.h"
#include "places.h"
#include "plan.h"
#include "param.h"
#include "tape_parts.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// One argument's stretch of memory, in elements of its object: a storage of HX_TEMP (storages
// that share memory count as one), or a whole place.
typedef struct {
    int64_t lo, hi, ld, col, cols;         // [lo, hi); columns [col, col + cols) of rows ld apart
    int     storage, level, next;          // next: earlier one of the same list, -1: none
    bool    write;
} access;

typedef struct {
    const hx_tape *t;
    hx_plan *p;
    int     *rep;                          // storage -> storage whose memory it uses
    int     *last_read;                    // storage -> last needed node that reads it
    bool    *needed;                       // node
    int     *level;                        // node
    int     *head;                         // list_of() -> its newest access
    access  *acc; int n_acc;
    int     *first, *last;                 // storage -> levels in which it is alive
} work;

static const hx_value *value_of(const work *w, hx_t x) { return &w->t->value[x.id]; }
static int size_of(const hx_plan *p, int storage) { return p->half[storage] ? 2 : 4; }
static bool is_temp(const work *w, int storage) { return w->t->storage[storage].place == HX_TEMP; }

static int64_t dense_elems(const hx_value *v)
{
    int64_t n = 1;
    for (int i = 0; i < v->rank; i++)
        n *= v->shape[i];
    return n;
}

static int64_t columns(const hx_value *v) { return v->rank ? v->shape[v->rank - 1] : 1; }
static int64_t row_count(const hx_value *v) { return dense_elems(v) / columns(v); }

// one past the last element that the value touches, counted from its first
static int64_t extent(const hx_value *v) { return (row_count(v) - 1) * v->ld + columns(v); }

// ---- what must run -----------------------------------------------------------------------

static hx_result find_needed(work *w)
{
    const hx_tape *t = w->t;
    bool *wanted = hx_new(w->p->arena, bool, t->n_storage + 1);
    if (!wanted)
        return HX_E_NOMEM;
    for (int s = 0; s < t->n_storage; s++)
        w->last_read[s] = -1;
    for (int i = t->n_node - 1; i >= 0; i--) {
        const hx_node *n = &t->node[i];
        for (int k = n->n_in; k < n->n_in + n->n_out && !n->op->view; k++)
            if (hx_is(n->arg[k])) {
                int s = value_of(w, n->arg[k])->storage;
                w->needed[i] |= wanted[s] || !is_temp(w, s);
            }
        for (int k = 0; k < n->n_in && w->needed[i]; k++)
            if (hx_is(n->arg[k])) {
                int s = value_of(w, n->arg[k])->storage;
                wanted[s] = true;
                if (w->last_read[s] < i)
                    w->last_read[s] = i;
            }
    }
    return HX_OK;
}

// ---- kernels, and what they make of elements -----------------------------------------------

static int n_rows(const hx_op *op)
{
    int n = 0;
    while (n < HX_MAX_ROWS && op->kernels[n].name)
        n++;
    return n;
}

static const hx_spirv *module_of(const hx_row *r) { return r->module ? r->module : hx_spirv_find(r->name); }

static bool usable(const hx_dev_caps *c, uint32_t has, const hx_row *r, const int64_t *dim,
                   const void *attrs)
{
    hx_precision precision = c->precision;
    bool round = r->precision == HX_AUTO ? precision != HX_FP32 : !r->precision || r->precision == precision;
    return !(r->needs & ~has) && round &&
           (r->places < 2 || c->places[r->precision - HX_BF16][3]) &&
           (!r->fits || r->fits(dim, attrs)) && module_of(r);
}

// Does it run kernel rows? The null device pretends to, when it stands for one with matrix units.
static bool has_rows(const hx_dev_caps *c)
{
    return !strcmp(c->kind, "vulkan") || (!strcmp(c->kind, "null") && c->precision != HX_FP32);
}

bool hx_row_usable(const hx_dev *d, const hx_op *op, int row, const int64_t *dim, const void *attrs)
{
    const hx_dev_caps *c = hx_dev_get_caps(d);
    return row < n_rows(op) && usable(c, c->has | HX_CAP_GPU, &op->kernels[row], dim, attrs);
}

static const hx_row *choose_row(const hx_dev_caps *c, const hx_node *n, int force)
{
    const hx_row *best = NULL;
    for (int i = 0; i < n_rows(n->op); i++) {
        if (i == force && usable(c, c->has | HX_CAP_GPU, &n->op->kernels[i], n->dim, n->attrs))
            return &n->op->kernels[i];
        if (usable(c, c->has, &n->op->kernels[i], n->dim, n->attrs))
            best = &n->op->kernels[i];
    }
    return best;
}

// Rows of whole eights, so that nobody writes half a word, where a binding can start.
static bool in_eights(const hx_value *v, bool strided)
{
    return !v->is_int && !((v->off | v->ld | columns(v)) % HX_HALF_EIGHT) &&
        (strided || v->off * 2 % HX_UNIT == 0);
}

// A value of HX_TEMP that all who read it round, and that all who touch it can take in 16 bits, is
// stored so: results are the same, and half the bytes move.
static void find_halves(work *w)
{
    const hx_tape *t = w->t;
    hx_plan *p = w->p;
    const hx_dev_caps *c = hx_dev_get_caps(p->dev);
    if (!has_rows(c))
        return;
    for (int s = 0; s < t->n_storage; s++)
        p->half[s] = c->precision != HX_FP32 && is_temp(w, s);
    for (int i = 0; i < t->n_node; i++) {
        const hx_node *n = &t->node[i];
        if (!w->needed[i])
            continue;
        p->row[i] = choose_row(c, n, t->force_op && t->force_op != n->op ? -1 : t->force_row);
        for (int k = 0; k < n->n_in + n->n_out; k++) {
            const hx_value *v = hx_is(n->arg[k]) ? value_of(w, n->arg[k]) : NULL;
            if (v && !(p->row[i] && p->row[i]->half >> k & 1 && in_eights(v, n->sig->flags[k] & HX_ARG_STRIDED)))
                p->half[v->storage] = false;
        }
    }
}

// ---- memory shared in place --------------------------------------------------------------

// does the value fill its storage?
static bool fills(const work *w, const hx_value *v)
{
    return is_temp(w, v->storage) && !v->off && v->ld == columns(v) &&
        dense_elems(v) == w->t->storage[v->storage].elems;
}

// The storage whose memory s has; paths are halved on the way.
static int owner(work *w, int s)
{
    for (; w->rep[s] != s; s = w->rep[s])
        w->rep[s] = w->rep[w->rep[s]];
    return s;
}

static void share(work *w, int node, int out, int in)
{
    const hx_node *n = &w->t->node[node];
    if (!hx_is(n->arg[out]) || !hx_is(n->arg[in]))
        return;
    const hx_value *y = value_of(w, n->arg[out]), *x = value_of(w, n->arg[in]);
    int from = owner(w, x->storage), old = owner(w, y->storage);
    if (!fills(w, y) || !fills(w, x) || dense_elems(x) != dense_elems(y) || old == from ||
        w->p->half[y->storage] != w->p->half[x->storage])
        return;
    // nothing may read x afterwards, under any name, nor through another argument here
    if (w->last_read[from] > node)
        return;
    for (int k = 0; k < n->n_in + n->n_out; k++)
        if (k != in && k != out && hx_is(n->arg[k]) &&
            owner(w, value_of(w, n->arg[k])->storage) == from)
            return;
    w->rep[old] = from;
    w->last_read[from] = w->last_read[from] > w->last_read[old] ? w->last_read[from] : w->last_read[old];
}

static void share_in_place(work *w)
{
    for (int s = 0; s < w->t->n_storage; s++)
        w->rep[s] = s;
    for (int i = 0; i < w->t->n_node; i++) {
        const hx_node *n = &w->t->node[i];
        for (const char *p = w->needed[i] ? n->op->alias : NULL; p && *p;) {
            char out[16] = "", in[16] = "";
            int used = 0;
            if (sscanf(p, " %15[^=]=%15[^ ]%n", out, in, &used) < 2)
                break;
            int o = hx_sig_arg(n->sig, out), k = hx_sig_arg(n->sig, in);
            if (o >= 0 && k >= 0)
                share(w, i, o, k);
            p += used;
        }
    }
    for (int s = 0; s < w->t->n_storage; s++)
        w->rep[s] = owner(w, s);
}

// ---- levels ------------------------------------------------------------------------------

static access access_of(const work *w, const hx_value *v, bool write)
{
    const hx_storage *s = &w->t->storage[v->storage];
    int64_t base = s->place == HX_TEMP ? 0 : s->at / 4;
    int64_t lo = base + v->off;
    return (access){ .lo = lo, .hi = lo + extent(v), .ld = v->ld, .col = v->off % (v->ld ? v->ld : 1),
                     .cols = columns(v), .storage = v->storage, .write = write };
}

static bool conflict(const access *a, const access *b)
{
    if ((!a->write && !b->write) || a->hi <= b->lo || b->hi <= a->lo)
        return false;
    bool side_by_side = a->storage == b->storage && a->ld == b->ld &&
        a->col + a->cols <= a->ld && b->col + b->cols <= b->ld &&
        (a->col + a->cols <= b->col || b->col + b->cols <= a->col);
    return !side_by_side;
}

static int object_of(const work *w, int storage)
{
    return is_temp(w, storage) ? w->rep[storage] : w->t->n_storage + (int)w->t->storage[storage].place;
}

// Reads and writes of an object (a storage, or behind them a place) are two lists: reads only wait
// for writes, and parameters have thousands of reads.
static int list_of(const work *w, int storage, bool write)
{
    return 2 * object_of(w, storage) + write;
}

static int level_after(const work *w, const access *a, bool write, int level)
{
    for (int e = w->head[list_of(w, a->storage, write)]; e >= 0; e = w->acc[e].next)
        if (w->acc[e].level >= level && conflict(a, &w->acc[e]))
            level = w->acc[e].level + 1;
    return level;
}

static void find_level(work *w, int node)
{
    const hx_node *n = &w->t->node[node];
    int level = 0, after = n->after;
    while (after >= 0 && !w->needed[after])
        after--;
    if (after >= 0)
        level = w->level[after] + 1;
    int start = w->n_acc;
    for (int k = 0; k < n->n_in + n->n_out; k++) {
        if (!hx_is(n->arg[k]))
            continue;
        const hx_value *v = value_of(w, n->arg[k]);
        if (w->t->storage[v->storage].place == HX_CONST)
            continue;
        access a = access_of(w, v, k >= n->n_in);
        level = level_after(w, &a, true, level);
        if (a.write)
            level = level_after(w, &a, false, level);
        w->acc[w->n_acc++] = a;
    }
    w->level[node] = level;
    for (int e = start; e < w->n_acc; e++) {
        int *head = &w->head[list_of(w, w->acc[e].storage, w->acc[e].write)];
        w->acc[e].level = level;
        w->acc[e].next = *head;
        *head = e;
        int s = w->rep[w->acc[e].storage];
        if (w->first[s] < 0 || level < w->first[s])
            w->first[s] = level;
        if (level > w->last[s])
            w->last[s] = level;
    }
    if (level >= w->p->n_level)
        w->p->n_level = level + 1;
}

// ---- placing -----------------------------------------------------------------------------

static int by_place(const void *a, const void *b)
{
    const hx_item *x = a, *y = b;
    return x->at != y->at ? (x->at > y->at) - (x->at < y->at) : x->id - y->id;
}

// Fills for each gradient whether the first that happens to it is that it is written; NULL: no memory.
static const bool *begin_written(const work *w)
{
    const hx_tape *t = w->t;
    bool *seen = hx_new(w->p->arena, bool, t->n_storage + 1), *written = hx_new(w->p->arena, bool, t->n_storage + 1);
    for (int i = 0; seen && written && i < t->n_node; i++) {
        const hx_node *n = &t->node[i];
        for (int k = 0; w->needed[i] && k < n->n_in + n->n_out; k++) {
            const hx_value *v = hx_is(n->arg[k]) ? value_of(w, n->arg[k]) : NULL;
            if (!v || seen[v->storage])
                continue;
            seen[v->storage] = true;
            written[v->storage] = k >= n->n_in && dense_elems(v) == t->storage[v->storage].elems;
        }
    }
    return seen ? written : NULL;
}

// Gradients at the beginning of HX_TEMP are alive from when they are written to the end. Where one
// is not written by this tape, or there are gaps, which stay zero, they lie in memory of their own;
// one that writes none only leaves them alone. The number of items, -1 for memory of their own.
static int fix_gradients(const work *w, const bool *written, hx_item *fixed)
{
    const hx_tape *t = w->t;
    int n = 0, last = w->p->n_level;
    int64_t end = 0;
    bool writes = false;
    for (int s = 0; s < t->n_storage; s++)
        if (t->storage[s].place == HX_GRAD && w->first[s] >= 0) {
            writes |= written[s];
            fixed[n++] = (hx_item){ s, written[s] ? w->first[s] : -1, last, t->storage[s].elems * 4, t->storage[s].at };
        }
    if (!writes) {
        fixed[0] = (hx_item){ -1, 0, last, t->grads_within, 0 };
        return 1;
    }
    qsort(fixed, (size_t)n, sizeof *fixed, by_place);
    for (int i = 0; i < n; end += fixed[i++].bytes)
        if (fixed[i].at != end || fixed[i].first < 0)
            return -1;
    return end == t->grads_within ? n : -1;
}

static hx_result assign_memory(work *w)
{
    hx_plan *p = w->p;
    int n = 0;
    hx_item *list = hx_new(p->arena, hx_item, w->t->n_storage + 1), *best = hx_new(p->arena, hx_item, w->t->n_storage + 1);
    hx_item *placed = hx_new(p->arena, hx_item, w->t->n_storage + 2), *fixed = hx_new(p->arena, hx_item, w->t->n_storage + 2);
    int64_t *delta = hx_new(p->arena, int64_t, p->n_level + 2);
    const bool *written = w->t->grads_within > 0 ? begin_written(w) : NULL;
    if (!delta || !list || !best || !placed || !fixed || (w->t->grads_within > 0 && !written))
        return HX_E_NOMEM;
    int n_fixed = written ? fix_gradients(w, written, fixed) : -1;
    p->grads_within = n_fixed >= 0;
    n_fixed = p->grads_within ? n_fixed : 0;
    for (int s = 0; s < w->t->n_storage; s++) {
        p->place[s] = -1;
        if (!is_temp(w, s) || w->rep[s] != s || w->first[s] < 0)
            continue;
        list[n++] = (hx_item){ s, w->first[s], w->last[s], hx_align(w->t->storage[s].elems * size_of(p, s), HX_UNIT), 0 };
        if (list[n - 1].bytes > p->block_bytes)
            return hx_fail(HX_E_NOMEM, "a tensor of %lld bytes does not fit a buffer of this device, which "
                "holds at most %lld; make the batch or the sequence smaller [E-SIZE]",
                (long long)list[n - 1].bytes, (long long)p->block_bytes);
    }
    p->bound_bytes = hx_layout_bound(list, n, fixed, n_fixed, p->n_level, delta);
    p->temp_bytes = hx_layout(list, n, fixed, n_fixed, p->block_bytes, p->bound_bytes, placed, best);
    for (int i = 0; i < n; i++)
        p->place[list[i].id] = list[i].at;
    for (int s = 0; s < w->t->n_storage; s++)
        p->place[s] = is_temp(w, s) ? p->place[w->rep[s]] : w->t->storage[s].at;
    return HX_OK;
}

// ---- kernels on the host ---------------------------------------------------------------------

// an operator without a fast function runs its reference: gather, compute in fp64, scatter
static void run_reference(const hx_call *c)
{
    real *a[HX_MAX_ARGS] = {0};
    const hx_sig *s = c->sig;
    for (int k = 0; k < s->n_in + s->n_out; k++) {
        if (!c->a[k])
            continue;
        int64_t n = hx_arg_count(c->op, c->dim, c->attrs, k);
        int64_t cols = s->rank[k] ? hx_eval(s->shape[k][s->rank[k] - 1], c->op, c->dim, c->attrs) : 1;
        a[k] = malloc((size_t)n * sizeof(real));
        for (int64_t i = 0; k < s->n_in && i < n; i++) {
            int64_t at = i / cols * c->ld[k] + i % cols;
            a[k][i] = s->flags[k] & HX_ARG_INT ? ((int32_t *)c->a[k])[at] : (real)((float *)c->a[k])[at];
        }
    }
    c->op->ref(&(hx_ref){ c->dim, c->attrs, a });
    for (int k = s->n_in; k < s->n_in + s->n_out; k++) {
        int64_t n = a[k] ? hx_arg_count(c->op, c->dim, c->attrs, k) : 0;
        int64_t cols = n && s->rank[k] ? hx_eval(s->shape[k][s->rank[k] - 1], c->op, c->dim, c->attrs) : 1;
        for (int64_t i = 0; i < n; i++) {
            int64_t at = i / cols * c->ld[k] + i % cols;
            if (s->flags[k] & HX_ARG_INT)
                ((int32_t *)c->a[k])[at] = (int32_t)a[k][i];
            else
                ((float *)c->a[k])[at] = (float)a[k][i];
        }
    }
    for (int k = 0; k < HX_MAX_ARGS; k++)
        free(a[k]);
}

// reads a host call off the push constants that a shader would get
static void host_call(const hx_host_args *h)
{
    const hx_op *op = h->user;
    const hx_sig *s = hx_sig_of(op);
    const uint32_t *w = h->push;
    hx_call c = { .op = op, .sig = s, .pool = h->pool };
    for (int d = 0; d < s->n_dim; d++)
        c.dim[d] = *w++;
    _Alignas(8) char attrs[HX_MAX_ATTRS] = {0};
    for (const hx_field *f = op->attrs; f && f->name; f++, w++)
        memcpy(attrs + f->offset, w, f->type == HX_BOOL ? sizeof(bool) : 4);
    c.attrs = attrs;
    uint32_t opts = ~0u;
    int words = hx_push_bytes(op) / 4;
    for (int k = 0; k < s->n_in + s->n_out; k++)
        if (s->flags[k] & HX_ARG_OPT)
            opts = ((const uint32_t *)h->push)[words - 1];
    for (int k = 0; k < s->n_in + s->n_out; k++) {
        bool there = opts >> k & 1;
        c.ld[k] = s->rank[k] ? hx_eval(s->shape[k][s->rank[k] - 1], op, c.dim, attrs) : 1;
        int64_t off = 0;
        if (s->flags[k] & HX_ARG_STRIDED) {
            off = *w++;
            c.ld[k] = *w++;
        }
        c.a[k] = there ? (float *)h->buf[k] + off : NULL;
    }
    (op->host ? op->host : run_reference)(&c);
}

// Where a binding starts within its storage: the last place before the value that can be bound.
static int64_t bind_base(const hx_plan *p, const hx_value *v)
{
    int unit = HX_UNIT / size_of(p, v->storage);
    return v->off / unit * unit;
}

static void fill_push(const hx_plan *p, const hx_node *n, hx_step *s)
{
    const hx_tape *t = p->tape;
    uint32_t w[HX_MAX_PUSH / 4], opts = 0;
    int at = 0;
    for (int d = 0; d < n->sig->n_dim; d++)
        w[at++] = (uint32_t)n->dim[d];
    for (const hx_field *f = n->op->attrs; f && f->name; f++, at++) {
        w[at] = 0;
        memcpy(&w[at], n->attrs + f->offset, f->type == HX_BOOL ? sizeof(bool) : 4);
    }
    bool optional = false;
    for (int k = 0; k < n->n_in + n->n_out; k++) {
        bool there = hx_is(n->arg[k]);
        opts |= (uint32_t)there << k;
        optional |= n->sig->flags[k] & HX_ARG_OPT;
        if (n->sig->flags[k] & HX_ARG_STRIDED) {
            const hx_value *v = there ? &t->value[n->arg[k].id] : NULL;
            w[at++] = v ? (uint32_t)(v->off - bind_base(p, v)) : 0;
            w[at++] = v ? (uint32_t)v->ld : 0;
        }
    }
    if (optional)
        w[at++] = opts;
    memcpy(s->push, w, (size_t)at * 4);
    s->kernel.push_bytes = at * 4;
}

static hx_result fill_groups(const hx_dev_caps *c, const hx_node *n, hx_step *s)
{
    const char *grid = s->row && s->row->grid ? s->row->grid : n->op->grid;
    int64_t g[3] = { 1, 1, 1 }, most = c->max_groups[0] > 0 ? c->max_groups[0] : 65535;
    int k = hx_eval_list(grid ? grid : "1", n->op, n->dim, n->attrs, g, 3);
    if (k == 1 && g[0] > most) {           // folded: hx_group() in the shader
        g[1] = hx_ceil_div(g[0], most);
        g[0] = most;
    }
    for (int i = 0; i < 3; i++) {
        if (g[i] < 1 || (c->max_groups[i] > 0 && g[i] > c->max_groups[i]))
            return hx_fail(HX_E_SHAPE, "%s needs %lld workgroups, this device takes %lld [E-GRID]",
                n->op->name, (long long)g[i], (long long)c->max_groups[i]);
        s->groups[i] = (uint32_t)g[i];
    }
    return HX_OK;
}

// the device's part of the constants of a row for matrix units
static void fill_matrix(const hx_dev_caps *c, hx_precision precision, hx_kernel *k)
{
    k->spec[0] *= (uint32_t)c->subgroup_max;
    for (int i = 0; i < 3; i++)
        k->spec[k->n_spec++] = c->matrix[precision - HX_BF16][i];
}

// which arguments lie in 16 bits
static uint32_t half_args(const hx_plan *p, const hx_node *n)
{
    uint32_t mask = hx_dev_get_caps(p->dev)->precision == HX_BF16 ? HX_HALF_BF : 0;
    for (int k = 0; k < n->n_in + n->n_out; k++)
        if (hx_is(n->arg[k]) && p->half[p->tape->value[n->arg[k].id].storage])
            mask |= 1u << k;
    return mask;
}

static void fill_places(const hx_dev_caps *c, hx_precision precision, hx_kernel *k)
{
    memcpy(&k->spec[k->n_spec], c->places[precision - HX_BF16], sizeof c->places[0]);
    k->n_spec += HX_COUNT(c->places[0]);
}

static hx_result fill_kernel(hx_plan *p, const hx_node *n, hx_step *s)
{
    const hx_dev_caps *c = hx_dev_get_caps(p->dev);
    s->kernel = (hx_kernel){ .name = n->op->name, .user = n->op, .n_bindings = n->n_in + n->n_out };
    for (int k = n->n_in; k < n->n_in + n->n_out; k++)
        s->kernel.writes |= (uint16_t)(1u << k);
    if (has_rows(c)) {
        s->row = p->row[s->node];
        if (!s->row)
            return hx_fail(HX_E_NODEVICE, "%s has no kernel that '%s' can run [E-KERNEL]", n->op->name, c->name);
        const hx_spirv *m = module_of(s->row);
        int64_t spec[HX_MAX_SPEC];
        s->kernel.name = m->name;
        s->kernel.spirv = m->words;
        s->kernel.n_words = m->n_words;
        s->kernel.n_spec = hx_eval_list(s->row->spec, n->op, n->dim, n->attrs, spec, HX_MAX_SPEC);
        for (int i = 0; i < s->kernel.n_spec; i++)
            s->kernel.spec[i] = (uint32_t)spec[i];
        if (s->row->needs & (HX_CAP_COOPMAT | HX_CAP_COOPMAT_BF))
            fill_matrix(c, s->row->precision, &s->kernel);
        if (s->row->places)
            fill_places(c, s->row->precision, &s->kernel);
        if (s->row->half)
            s->kernel.spec[s->kernel.n_spec++] = half_args(p, n);
    } else {
        s->kernel.host = host_call;
    }
    fill_push(p, n, s);
    for (int k = 0; k < n->n_in + n->n_out; k++)
        if (hx_is(n->arg[k]))
            s->bytes += dense_elems(&p->tape->value[n->arg[k].id]) *
                        size_of(p, p->tape->value[n->arg[k].id].storage);
    hx_t out = HX_NONE;
    for (int k = n->n_in; k < n->n_in + n->n_out && !hx_is(out); k++)
        out = n->arg[k];
    s->flops = n->op->flops ? (double)hx_eval(n->op->flops, n->op, n->dim, n->attrs)
                            : hx_is(out) ? (double)dense_elems(&p->tape->value[out.id]) : 0;
    return fill_groups(c, n, s);
}

// Within a level the most work comes first: short dispatches fill in what the last workgroups of long
// ones leave idle.
static int by_level(const void *a, const void *b)
{
    const hx_step *x = a, *y = b;
    if (x->level != y->level)
        return x->level - y->level;
    return x->flops != y->flops ? (x->flops < y->flops ? 1 : -1) : x->node - y->node;
}

static hx_result make_steps(work *w)
{
    hx_plan *p = w->p;
    p->step = hx_new(p->arena, hx_step, w->t->n_node + 1);
    if (!p->step)
        return HX_E_NOMEM;
    for (int i = 0; i < w->t->n_node; i++) {
        if (!w->needed[i])
            continue;
        hx_step *s = &p->step[p->n_step++];
        *s = (hx_step){ .node = i, .level = w->level[i] };
        HX_TRY(fill_kernel(p, &w->t->node[i], s));
        p->flops += s->flops;
        p->bytes += s->bytes;
    }
    qsort(p->step, (size_t)p->n_step, sizeof *p->step, by_level);
    return HX_OK;
}

static hx_result plan(work *w)
{
    const hx_tape *t = w->t;
    hx_arena *a = w->p->arena;
    size_t n_storage = (size_t)t->n_storage + 1, n_node = (size_t)t->n_node + 1;
    w->rep = hx_new(a, int, n_storage);
    w->last_read = hx_new(a, int, n_storage);
    w->first = hx_new(a, int, n_storage);
    w->last = hx_new(a, int, n_storage);
    w->head = hx_new(a, int, 2 * (n_storage + HX_N_PLACES));
    w->needed = hx_new(a, bool, n_node);
    w->level = hx_new(a, int, n_node);
    w->acc = hx_new(a, access, n_node * HX_MAX_ARGS);
    w->p->place = hx_new(a, int64_t, n_storage);
    w->p->half = hx_new(a, bool, n_storage);
    w->p->row = hx_new(a, const hx_row *, n_node);
    if (!w->rep || !w->last_read || !w->first || !w->last || !w->head || !w->needed || !w->level ||
        !w->acc || !w->p->place || !w->p->half || !w->p->row)
        return HX_E_NOMEM;
    for (size_t s = 0; s < 2 * (n_storage + HX_N_PLACES); s++)
        w->head[s] = -1;
    for (size_t s = 0; s < n_storage; s++)
        w->first[s] = w->last[s] = -1;
    HX_TRY(find_needed(w));
    find_halves(w);
    share_in_place(w);
    for (int i = 0; i < t->n_node; i++)
        if (w->needed[i])
            find_level(w, i);
    w->p->first = w->first;
    w->p->last = w->last;
    w->p->owner = w->rep;
    HX_TRY(assign_memory(w));
    return make_steps(w);
}

// Rows may ask where a device keeps the elements of its matrices.
static hx_result know_places(hx_dev *d)
{
    const hx_dev_caps *c = hx_dev_get_caps(d);
    bool units = has_rows(c) && c->precision;
    return units ? hx_places_of(d, c->precision, (uint32_t[4]){ 0 }) : HX_OK;
}

hx_result hx_plan_new(const hx_tape *t, hx_dev *dev, hx_plan **out)
{
    *out = NULL;
    HX_TRY(hx_tape_error(t));
    hx_arena *a = hx_arena_new();
    hx_plan *p = a ? hx_new(a, hx_plan, 1) : NULL;
    if (!p) {
        hx_arena_free(&a);
        return hx_fail(HX_E_NOMEM, "no memory for a plan [E-NOMEM]");
    }
    *p = (hx_plan){ .tape = t, .arena = a, .dev = dev, .block_bytes = hx_block_limit(dev) };
    work w = { .t = t, .p = p };
    hx_result r = know_places(dev);
    r = r ? r : plan(&w);
    if (r)
        hx_plan_free(&p);
    *out = p;
    return r;
}

void hx_plan_free(hx_plan **p)
{
    if (!p || !*p)
        return;
    hx_arena *a = (*p)->arena;
    *p = NULL;
    hx_arena_free(&a);
}

hx_result hx_plan_upload(const hx_plan *p, hx_memory *consts)
{
    for (int s = 0; s < p->tape->n_storage; s++) {
        const hx_storage *st = &p->tape->storage[s];
        if (st->place == HX_CONST)
            HX_TRY(hx_memory_write(consts, st->at, st->data, st->elems * 4));
    }
    return HX_OK;
}

// ---- recording ---------------------------------------------------------------------------

typedef struct { hx_place place; access a; } touch;

typedef struct {
    const hx_plan *p;
    hx_memory *const *mem;
    const int64_t *shift;
    touch *open; int n_open;               // since the last barrier
} recorder;

// `name`: the argument of operator `op` that takes it
static hx_result bind_arg(const recorder *r, const hx_op *op, const char *name, const hx_value *v, hx_binding *b)
{
    const hx_storage *s = &r->p->tape->storage[v->storage];
    hx_memory *m = r->mem[s->place];
    int64_t base = bind_base(r->p, v), size = size_of(r->p, v->storage);
    int64_t at = r->p->place[v->storage] + base * size + r->shift[s->place];
    int64_t bytes = (v->off - base + extent(v)) * size, most = hx_dev_get_caps(r->p->dev)->max_range;
    char text[64];
    if (most > 0 && bytes > most)
        return hx_fail(HX_E_NOMEM, "tensor '%s' of operator %s, %s, has %lld bytes; '%s' binds at most %lld at once: "
            "make the batch, the sequence, the vocabulary or the width smaller [E-RANGE]", name, op->name,
            hx_tape_shape_text(v, text), (long long)bytes, hx_dev_get_caps(r->p->dev)->name, (long long)most);
    if (!m || at % m->block_bytes + bytes > m->block_bytes || at / m->block_bytes >= m->n_block)
        return hx_fail(HX_E_INTERNAL, "no memory is given for place %d, byte %lld [E-RANGE]", s->place, (long long)at);
    *b = (hx_binding){ m->block[at / m->block_bytes], at % m->block_bytes, bytes };
    return HX_OK;
}

// the same in physical units of two bytes: what aliasing and reuse make of it
static touch touch_of(const recorder *r, const hx_value *v, bool write)
{
    const hx_storage *s = &r->p->tape->storage[v->storage];
    int64_t unit = size_of(r->p, v->storage) / 2, ld = v->ld * unit, off = v->off * unit;
    int64_t start = (r->p->place[v->storage] + r->shift[s->place]) / 2, end = start + off + extent(v) * unit;
    hx_place place = s->place == HX_GRAD && r->p->grads_within ? HX_TEMP : s->place;
    if (hx_dev_get_caps(r->p->dev)->whole_ranges)
        return (touch){ place, { .lo = start + bind_base(r->p, v) * unit, .hi = end,
                        .cols = 1, .storage = v->storage, .write = write } };
    return (touch){ place, { .lo = start + off, .hi = end, .ld = ld, .col = off % (ld ? ld : 1),
                    .cols = columns(v) * unit, .storage = v->storage, .write = write } };
}

static hx_result barrier_if_needed(recorder *r, const hx_node *n, hx_prog *prog)
{
    int start = r->n_open;
    bool hazard = false;
    for (int k = 0; k < n->n_in + n->n_out; k++) {
        if (!hx_is(n->arg[k]))
            continue;
        touch t = touch_of(r, &r->p->tape->value[n->arg[k].id], k >= n->n_in);
        for (int e = 0; e < start && !hazard; e++)
            hazard = r->open[e].place == t.place && conflict(&r->open[e].a, &t.a);
        if (t.place != HX_CONST)
            r->open[r->n_open++] = t;
    }
    if (!hazard)
        return HX_OK;
    memmove(r->open, r->open + start, (size_t)(r->n_open - start) * sizeof *r->open);
    r->n_open -= start;
    return hx_prog_barrier(prog);
}

static hx_result record_step(recorder *r, const hx_step *s, hx_prog *prog)
{
    const hx_node *n = &r->p->tape->node[s->node];
    hx_binding b[HX_MAX_ARGS];
    // what is left out gets the range of another argument of its side: a read stays a read for the
    // validation layer, and a write stays where the step writes anyway
    int in = 0, out = n->n_in;
    while (out < n->n_in + n->n_out - 1 && !hx_is(n->arg[out]))
        out++;
    while (in < out && !hx_is(n->arg[in]))
        in++;
    for (int k = 0; k < n->n_in + n->n_out; k++) {
        int from = hx_is(n->arg[k]) ? k : k < n->n_in ? in : out;
        HX_TRY(bind_arg(r, n->op, n->sig->name[from], &r->p->tape->value[n->arg[from].id], &b[k]));
    }
    HX_TRY(barrier_if_needed(r, n, prog));
    return hx_prog_dispatch(prog, &s->kernel, b, s->push, s->groups);
}

hx_result hx_plan_record(const hx_plan *p, hx_memory *const mem[HX_N_PLACES],
                         const int64_t shift[HX_N_PLACES], double cut_flops, hx_prog *prog)
{
    recorder r = { p, mem, shift, NULL, 0 };
    if (!(r.open = malloc((size_t)(p->n_step + 1) * HX_MAX_ARGS * sizeof *r.open)))
        return hx_fail(HX_E_NOMEM, "no memory to record %d steps [E-NOMEM]", p->n_step);
    hx_result e = HX_OK;
    double done = 0;
    for (int i = 0; i < p->n_step && !e; i++) {
        if (cut_flops > 0 && done > cut_flops && !(e = hx_prog_cut(prog)))
            done = 0;
        if (!e)
            e = record_step(&r, &p->step[i], prog);
        done += p->step[i].flops;
    }
    free(r.open);
    return e ? e : hx_prog_barrier(prog);
}

// ---- for people --------------------------------------------------------------------------

static const char *const place_names[HX_N_PLACES] = { "temp", "param", "grad", "mom1", "mom2", "ema",
    "input", "const", "output", "state", "next" };

char *hx_plan_dump(const hx_plan *p, hx_arena *a)
{
    char *text = hx_sprintf(a, "steps %d  levels %d  flops %.0f  temp %lld bytes  bound %lld bytes\n", p->n_step,
        p->n_level, p->flops, (long long)p->temp_bytes, (long long)p->bound_bytes);
    size_t cap = (size_t)(p->n_step + 1) * 400, n = 0;
    char *out = hx_alloc(a, cap + strlen(text));
    if (!out)
        return NULL;
    n += (size_t)sprintf(out, "%s", text);
    for (int i = 0; i < p->n_step; i++) {
        const hx_step *s = &p->step[i];
        const hx_node *nd = &p->tape->node[s->node];
        n += (size_t)snprintf(out + n, 100, "%4d %-20s", s->level, s->row ? s->row->name : nd->op->name);
        for (int d = 0; d < nd->sig->n_dim; d++)
            n += (size_t)snprintf(out + n, 32, " %s=%lld", nd->sig->dim[d], (long long)nd->dim[d]);
        n += (size_t)sprintf(out + n, " grid=%ux%ux%u", s->groups[0], s->groups[1], s->groups[2]);
        for (int k = nd->n_in; k < nd->n_in + nd->n_out; k++)
            if (hx_is(nd->arg[k])) {
                const hx_value *v = &p->tape->value[nd->arg[k].id];
                n += (size_t)snprintf(out + n, 48, " %s:%s+%lld", nd->sig->name[k],
                    place_names[p->tape->storage[v->storage].place], (long long)p->place[v->storage]);
            }
        n += (size_t)sprintf(out + n, "\n");
        if (n + 400 > cap)
            break;
    }
    return out;
}
