// tape.h - applied operators, in order. A tape knows shapes and where values live, no data.
#pragma once
#include "op.h"

// Where a value's memory comes from.
typedef enum {
    HX_TEMP,                               // planned, reused
    HX_PARAM, HX_GRAD, HX_MOM1, HX_MOM2, HX_EMA,   // parallel arenas: element i is the same weight
    HX_INPUT,                              // written by the host before every run
    HX_CONST,                              // data given at tape time, uploaded once
    HX_OUTPUT,                             // kept until the host has read it
    HX_STATE, HX_NEXT,                     // what the step before left, what the next one gets
    HX_N_PLACES
} hx_place;

// A stretch of memory that values are views of.
typedef struct hx_storage {
    hx_place    place;
    int64_t     elems;                     // 4 bytes each
    int64_t     at;                        // bytes into the place's arena (not HX_TEMP)
    const void *data;                      // HX_CONST: borrowed from the tape's arena
} hx_storage;

typedef struct hx_value {
    int      rank;
    int64_t  shape[HX_MAX_RANK];
    bool     is_int, wants_grad;
    bool     recompute;                    // made again in the backward pass instead of kept
    bool     alone;                        // made again after all that is on the tape by then
    bool     kept;                         // hx_keep: replay begins from it
    bool     gone;                         // overwritten in place: nobody may read it any more
    int      storage;
    int64_t  off, ld;                      // first element and row distance within the storage
    int      node;                         // the node that makes it; -1: given from outside
    int      readers;                      // nodes that read it so far
    int      grad;                         // value id of its gradient; 0: none yet
    int      held;                         // as a gradient: how many still need it as it is
    int      again;                        // value id of its second making; 0: none
    int      narrow;                       // value id of its copy for readers that round; 0: none
    int      eights;                       // value id of its copy in whole eights; 0: none
} hx_value;

// An applied operator: what vjp, planner and interpreter see.
struct hx_node {
    const hx_op  *op;
    const hx_sig *sig;                     // NULL for views
    int           n_in, n_out;
    int64_t       dim[HX_MAX_DIMS];
    _Alignas(8) char attrs[HX_MAX_ATTRS];
    hx_t          arg[HX_MAX_ARGS];        // inputs, then outputs; HX_NONE where left out
    hx_t          grad[HX_MAX_ARGS];       // in vjp: gradient of each output, HX_NONE if none
    bool          want[HX_MAX_ARGS];       // in vjp: input i wants a gradient
    int           after;                   // runs after this node; -1: as soon as inputs are there
};

// Nothing; what operators call `.cheap`; also products in front of activations, each a product more.
typedef enum { HX_KEEP_ALL, HX_KEEP_DEAR, HX_KEEP_LEAST } hx_thrift;

struct hx_tape {
    hx_arena   *arena;
    hx_storage *storage; int n_storage, cap_storage;
    hx_value   *value;   int n_value, cap_value;      // value 0 is the poisoned tensor
    hx_node    *node;    int n_node, cap_node;
    int64_t     const_bytes;               // of the HX_CONST arena
    hx_result   err;                       // the first failure; `message` says what
    char        message[512];
    int         backward_from;             // first node of the backward pass; -1: none yet
    float       smooth;                    // label smoothing of its cross entropies
    hx_thrift   frugal;                    // what the backward pass makes again instead of keeping
    int         replayed;                  // nodes that are made again: later ones of the forward pass
                                           // run after them, or all would be in memory at once
    int64_t     grads_within;              // > 0: so many bytes of gradients may lie at the beginning of
                                           // HX_TEMP, where they take over memory: see hx_plan
    bool        narrow;                    // products round their factors: see t_narrow
    int         force_row;                 // kernel row to use where it exists, for tests; -1: best
    const hx_op *force_op;                 // of this operator only; NULL: of all
};

hx_tape  *hx_tape_new(void);               // yours; NULL when memory is out
void      hx_tape_free(hx_tape **t);
// HX_OK, or the first failure with its message left for hx_last_message().
hx_result hx_tape_error(const hx_tape *t);
// Poisons the tape: the first call keeps its message.
void      hx_tape_fail(hx_tape *t, hx_result r, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

// A value that lives outside: `at` bytes into the arena of `place` (not HX_TEMP or HX_CONST).
hx_t hx_external(hx_tape *t, hx_place place, int64_t at, bool is_int, int rank, const int64_t *shape);
// The same with room around: the first element is `off`, rows are `ld` apart, `elems` in all.
hx_t hx_external_strided(hx_tape *t, hx_place place, int64_t at, bool is_int, int rank,
                         const int64_t *shape, int64_t off, int64_t ld, int64_t elems);
// A constant: data (fp32 or int32, as many as the shape says) is copied.
hx_t hx_constant(hx_tape *t, bool is_int, int rank, const int64_t *shape, const void *data);
// Memory without defined contents, to be written through views of it.
hx_t hx_blank(hx_tape *t, bool is_int, int rank, const int64_t *shape);

// Applies `op`: attrs may be NULL (defaults), in[] has sig.n_in entries, out[] gets sig.n_out;
// optional outputs are made only where out[i] is not HX_NONE on entry (any other handle will do:
// use HX_WANT). On a misfit the tape keeps the first message and outputs are poisoned, so that
// model code needs no checks between lines. A strided input of an argument that is not `:` is
// copied first.
void hx_apply(const hx_op *op, const void *attrs, const hx_t *in, hx_t *out);
#define HX_WANT(tape) ((hx_t){ tape, 0 })

// The same elements in another shape of the same number of elements, without a copy; a strided
// value must keep its last dimension.
hx_t hx_reshape(hx_t x, int rank, const int64_t *shape);
// n parts side by side in the last dimension (axis 1) or one below the other in rows (axis 0;
// parts of rank 2 give rank 2, parts of rank 1 are laid end to end). Parts that nothing reads
// yet are made in place: usually no copy. Rows that lie one below the other already stay there.
hx_t hx_concat(int axis, int n, const hx_t *parts);
// The opposite: out[i] has size[i] columns (axis 1) or rows (axis 0); views, no copy. Sizes
// must add up to the whole.
void hx_split(int axis, hx_t x, int n, const int64_t *size, hx_t *out);

// Makes y, which nobody has read yet, take the place of x, which nobody may read again: the node
// that makes y must allow it (`.alias`). Where that cannot be, y stays where it is.
void hx_in_place(hx_t y, hx_t x);

// x once more, written by what makes it where that can (`.twin`), for readers that round: fp32 and 16 bits
// leave in one pass. HX_NONE where it cannot, and in the forward pass, for no gradient comes back.
hx_t hx_twin(hx_t x);

// The same value, through which no gradient flows.
hx_t hx_detach(hx_t x);

// x is made again in the backward pass instead of being kept until then, after all that comes before it
// there, so that large ones are not in memory together.
void hx_recompute(hx_t x);

// A copy of x in memory of its own, which no hx_replay marks.
hx_t hx_keep(hx_t x);
// Everything made from value `from` on (hx_tape.n_value before it was), but single numbers and what
// hx_keep gave, is made again when the backward pass comes to it, from what was made before and kept.
void hx_replay(hx_tape *t, int from);

// The node that makes x runs after the one that makes y although it reads nothing of it, so that
// both need not be in memory at once. Nothing happens unless y was made before x, by nodes.
void hx_after(hx_t x, hx_t y);

// Extends the tape with the gradient of `loss` (one element) for every value that wants one.
void hx_backward(hx_t loss);
hx_t hx_grad(hx_t x);                      // HX_NONE when nothing flowed there
// Makes x's last value land in the external value `to` of the same shape: written there directly
// when possible, else copied; with add, added to what is there.
void hx_deliver(hx_t x, hx_t to, bool add);

// Of HX_NONE: a value without elements.
static inline const hx_value *hx_value_of(hx_t x)
{
    static const hx_value none = { .node = -1 };
    return x.tape ? &x.tape->value[x.id] : &none;
}
int64_t hx_elems(hx_t x);
int64_t hx_dim(hx_t x, int i);             // size of dimension i; negative i counts from the end
int64_t hx_rows(hx_t x);                   // product of all dimensions but the last
