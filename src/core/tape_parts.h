// tape_parts.h - what tape.c, view.c and backward.c share.
#pragma once
#include "tape.h"
#include <string.h>

enum { HX_ALIGN_ELEMS = 64 };              // 256 bytes: what any device asks of a binding's offset
extern const hx_op hx_op_concat, hx_op_split, hx_op_reshape, hx_op_detach;

static inline hx_t poison(hx_tape *t) { return (hx_t){ t, 0 }; }
static inline hx_value *val(hx_t x) { return &x.tape->value[x.id]; }
static inline int64_t last_dim(const hx_value *v) { return v->rank ? v->shape[v->rank - 1] : 1; }
static inline bool is_dense(hx_t x) { return hx_rows(x) == 1 || val(x)->ld == last_dim(val(x)); }
// Can it be bound as it is by an argument that takes no strides?
static inline bool is_plain(hx_t x) { return is_dense(x) && val(x)->off % HX_ALIGN_ELEMS == 0; }
// x in the shape of v, which may move meanwhile.
static inline hx_t shaped_as(hx_t x, const hx_value *v)
{
    int64_t shape[HX_MAX_RANK];
    memcpy(shape, v->shape, sizeof shape);
    return hx_reshape(x, v->rank, shape);
}

// Poisons the tape for want of memory; returns the poisoned tensor.
hx_t hx_tape_no_memory(hx_tape *t);
// "[2,3]", in buf.
const char *hx_tape_shape_text(const hx_value *v, char buf[64]);
// A new value of a storage, dense from its start. node: what makes it, -1 if given.
hx_t hx_tape_value(hx_tape *t, int storage, bool is_int, int rank, const int64_t *shape,
    int node);
// False, with the tape poisoned, when a tensor of this shape cannot exist.
bool hx_tape_shape_ok(hx_tape *t, int rank, const int64_t *shape, int64_t *elems);
// The next node, not yet counted in n_node; NULL with the tape poisoned.
hx_node *hx_tape_node(hx_tape *t, const hx_op *op);
// The tape of the arguments; NULL when one is poisoned.
hx_tape *hx_tape_of(int n, const hx_t *in);
// Outputs of what cannot be applied.
void hx_tape_poison(int n_in, const hx_t *in, int n_out, hx_t *out);
// A dense copy of x.
hx_t hx_tape_dense(hx_t x);
bool hx_value_is_reshape(const hx_tape *t, int id);
// Which argument of the node the value is.
int hx_node_output(const hx_node *n, int id);
// The value that a kernel writes and x is a reshape of, when nothing else reads any of them; 0 if
// there is none. readers: how many x itself may have.
int hx_value_maker(hx_t x, int readers);
// Lets x, and what it is a reshape of, be made at another place. False when it cannot be.
bool hx_value_move(hx_t x, int storage, int64_t off, int64_t ld);
// Appends a copy of x that lands at the given place.
void hx_value_copy(hx_t x, int storage, int64_t off, int64_t ld);
// One of the two.
void hx_value_place(hx_t x, int storage, int64_t off, int64_t ld);
