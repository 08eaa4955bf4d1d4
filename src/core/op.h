// op.h - what an operator is. Registry, shape checks, dispatch, tests, benches and documentation
// all read it off this one struct. A backward is an operator too.
#pragma once
#include "../../runtime/arena.h"
#include "../../runtime/kernel.h"

enum { HX_MAX_DIMS = 10, HX_MAX_ARGS = 16, HX_MAX_RANK = 4, HX_MAX_ATTRS = 40, HX_MAX_ROWS = 20 };
typedef double real;                       // references are the definition: fp64

// A signature such as "x:[R,I] w[O,I] b?[O] -> y:[R,O]", parsed once. After an argument's name:
//   :  rows may be strided (columns of a wider tensor): kernels get <name>_o and <name>_s,
//      the offset of the first element and the distance between rows, both in elements
//   ?  may be left out (inputs: HX_NONE; outputs: not wanted): kernels get a mask `opts`
//   #  int32 instead of fp32
// Shapes are expressions of dims, attributes and integers with + - * / (rounds up). A "row" is
// everything but the last dimension: x[B,T,D] has B*T rows of D elements.
enum { HX_ARG_STRIDED = 1, HX_ARG_OPT = 2, HX_ARG_INT = 4 };
typedef struct hx_sig {
    int     n_dim, n_in, n_out;
    char    dim[HX_MAX_DIMS][12];          // names, in order of first appearance
    char    name[HX_MAX_ARGS][16];         // inputs, then outputs
    uint8_t flags[HX_MAX_ARGS];
    int     rank[HX_MAX_ARGS];
    char    shape[HX_MAX_ARGS][HX_MAX_RANK][32];
} hx_sig;

typedef struct hx_op   hx_op;
typedef struct hx_tape hx_tape;
typedef struct hx_node hx_node;
// A tensor on a tape. {0} is "none"; a tape with id 0 is the poisoned tensor.
typedef struct hx_t { hx_tape *tape; int id; } hx_t;
#define HX_NONE ((hx_t){ NULL, 0 })
static inline bool hx_is(hx_t x) { return x.tape != NULL; }

// What a reference is given: contiguous fp64 arrays, inputs then outputs (NULL: left out).
// int32 arguments arrive as doubles that hold integers.
typedef struct hx_ref { const int64_t *dim; const void *attrs; real *const *a; } hx_ref;

// What a fast host function is given: fp32 (or int32) arrays with strided rows.
typedef struct hx_call {
    const hx_op   *op;
    const hx_sig  *sig;
    int64_t        dim[HX_MAX_DIMS];
    const void    *attrs;
    void          *a[HX_MAX_ARGS];         // first element, offset applied; NULL: left out
    int64_t        ld[HX_MAX_ARGS];        // elements from row to row; last dimension if not strided
    hx_pool       *pool;
} hx_call;

// One way to run an operator on a Vulkan device: shaders/<name>.comp. The last row whose needs
// the device meets, whose `fits` (if any) agrees, and whose shared memory is there, wins.
// Rows with a precision round some arguments to 16 bits; they are for devices opened with that
// precision (HX_AUTO: with either). In those that need matrix units, constant 0 is a number of
// subgroups, for which the shader gets invocations, and M, N, K of the device's matrices follow
// their own constants. Rows with `half` get one constant more, last: a bit for each argument that
// lies in memory in 16 bits, and HX_HALF_BF where those are bf16. A value lies so when all who read
// it round it, when all who write and read it can, and when its rows are whole eights of elements.
enum { HX_HALF_EIGHT = 8, HX_HALF_BF = 1 << 30 };
typedef struct hx_row {
    const char *name;
    uint32_t    needs;                     // HX_CAP_* bits
    const char *grid;                      // workgroups, overrides hx_op.grid
    const char *spec;                      // specialization constants: "64, D/heads"
    bool      (*fits)(const int64_t *dim, const void *attrs);
    hx_precision precision;                // HX_FP32: rounds nothing
    uint32_t    rounds;                    // bit i: argument i is rounded to `precision`
    const struct hx_spirv *module;         // NULL: the one of this name; tests put broken ones here
    uint32_t    half;                      // bit i: argument i may lie in 16 bits; inputs: in `rounds`
    uint32_t    rough;                     // bit i: output i sums numbers that were rounded so on
                                           // the way
    int         places;                    // 1: four more constants say where elements of matrices
                                           // are (places.h); 2: for devices where factors lie as
                                           // sums do, too
} hx_row;

struct hx_op {
    const char *name;
    const char *math;                      // one line, in the letters of `sig`
    const char *source;                    // paper and equation, or "definition"
    const char *sig;
    const hx_field *attrs;                 // HX_I32, HX_F32, HX_BOOL only, 4 bytes each, in order
    size_t      attrs_size;
    void      (*ref)(const hx_ref *r);     // the meaning, in plain loops; or:
    void      (*expand)(const void *attrs, const hx_t *in, hx_t *out);   // in smaller operators
    // Gradient: sets d[i] for the inputs that want one (n->want[i]); see hx_node. NULL: none.
    void      (*vjp)(const hx_node *n, hx_t *d);
    // A further rule on dims and attributes: NULL when met, else what is wrong (static text).
    const char *(*wrong_if)(const int64_t *dim, const void *attrs);
    void      (*host)(const hx_call *c);   // fast host function; NULL: the reference is run
    const char *grid;                      // workgroups: "R", "R/64, O/64", "N, B"; one
                                           // expression is folded into x and y: see hx.glsl
    const char *terms;                     // terms summed per output: sets the tolerance; NULL: 1
    const char *flops;                     // floating-point operations; NULL: elements of output 0
    const char *adds;                      // name of the optional input that is added to output 0:
                                           // gradients are accumulated through it
    const char *twin;                      // name of an optional output without ':' that equals output 0,
                                           // for readers that round it: see hx_twin
    const char *alias;                     // "y=c dz=z": output y may take over the memory of
                                           // input c when nothing reads it afterwards
    hx_row      kernels[HX_MAX_ROWS];      // none: only host and reference
    const char *check;                     // samples: "R=1 C=1; R=33 C=257 eps=1e-3"; opt args are
                                           // given unless named after '-': "R=3 C=5 -b -h"
    const char *wrong;                     // "R=3 C=5 g=[4]: argument g does not fit"
    const char *bench;
    // For random samples: words such as "D=heads..heads*64:heads" (range and step), "K=8|33", set
    // in this order after all other sizes; "-huge" rules a profile of opcheck.h out. NULL: any sizes.
    const char *fuzz;
    // Expression: 1 differences, sums and products only, so that small integers give exact results;
    // 3 the same without minus signs; 2 moves bits; 0 or less: none of these.
    const char *exact;
    // Fills int32 (and special) inputs for tests: returns the value of element i of input `arg`.
    // NULL: int inputs get 0. `rnd` is uniform 32 bits.
    real      (*fill)(int arg, int64_t i, uint32_t rnd, const int64_t *dim, const void *attrs);
    // With hx_tape.frugal: may output 0 of this node be made again in the backward pass instead of
    // being kept? NULL: no. `again` makes it from the node's other arguments where that is cheaper
    // than applying the operator a second time.
    bool      (*cheap)(const hx_node *n);
    hx_t      (*again)(const hx_node *n);
    bool        all_outputs;               // every output has a gradient, not only the first
    bool        view;                      // moves nothing: concat and split, known to the tape
};
bool hx_always_cheap(const hx_node *n);    // for .cheap
bool hx_in_eights(const int64_t *dim, const void *attrs);      // for .fits: rows of [R,C] are whole eights
#define HX_OP(op, ...) const hx_op hx_op_##op = { .name = #op, __VA_ARGS__ }

extern const hx_op *const hx_ops[];        // generated from src/ops/meson.build
extern const int hx_n_ops;
const hx_op *hx_op_find(const char *name); // NULL if there is none

// A compiled shader, embedded. Generated: one per shaders/*.comp that this build's compiler knows.
typedef struct hx_spirv { const char *name; const uint32_t *words; size_t n_words; } hx_spirv;
extern const hx_spirv hx_spirvs[];
extern const char hx_spirvs_left_out[];      // names of kernels that the compiler did not know, or ""
extern const int hx_n_spirvs;
const hx_spirv *hx_spirv_find(const char *name);

hx_result hx_sig_parse(const hx_op *op, hx_sig *out);
// Parsed once, kept for the process; NULL if malformed. A copy of an operator has the original's.
const hx_sig *hx_sig_of(const hx_op *op);
int       hx_sig_arg(const hx_sig *s, const char *name);       // -1 if there is none
// Value of an expression over dims and attributes; '/' rounds up.
int64_t   hx_eval(const char *expr, const hx_op *op, const int64_t *dim, const void *attrs);
// Values of a comma-separated list of expressions; returns how many (at most cap).
int       hx_eval_list(const char *list, const hx_op *op, const int64_t *dim, const void *attrs,
                       int64_t *out, int cap);
int64_t   hx_arg_count(const hx_op *op, const int64_t *dim, const void *attrs, int arg);
int64_t   hx_attr_int(const hx_op *op, const void *attrs, const char *name, bool *found);
// Bytes of push constants, in this order: dims (u32), attributes, then for each strided argument
// <name>_o and <name>_s, then `opts` (bit i: argument i is there) if any argument is optional.
int       hx_push_bytes(const hx_op *op);
// Largest allowed |error| of an fp32 kernel where outputs reach magnitude `scale`:
// 8 * 2^-24 * sqrt(terms) * scale; the relative L2 error must stay under a quarter of that.
double    hx_tolerance(const hx_op *op, const int64_t *dim, const void *attrs, double scale);
