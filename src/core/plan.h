// plan.h - a tape turned into levels of dispatches with memory assigned; runs on any device.
#pragma once
#include "../../runtime/dev.h"
#include "memory.h"
#include "tape.h"

typedef struct hx_step {
    int           node;
    int           level;                   // steps of one level do not depend on each other
    const hx_row *row;                     // chosen kernel; NULL on host and null devices
    hx_kernel     kernel;
    uint32_t      groups[3];
    char          push[HX_MAX_PUSH];
    double        flops;
    int64_t       bytes;                   // read and written
} hx_step;

typedef struct hx_plan {
    const hx_tape *tape;                   // borrowed
    hx_arena      *arena;
    hx_dev        *dev;
    hx_step       *step;    int n_step;    // in order of execution
    int            n_level;
    int64_t       *place;                  // per storage: bytes into its arena; -1: not used
    bool          *half;                   // per storage: its elements have 16 bits
    int           *first, *last;           // per storage: levels in which its owner is alive; -1
    int           *owner;                  // per storage: the one whose memory it has
    const hx_row **row;                    // per node: the kernel that was chosen, as in hx_step
    int64_t        temp_bytes;             // of the HX_TEMP arena
    bool           grads_within;           // HX_GRAD is the beginning of HX_TEMP: give the same memory
                                           // for both. So where the tape allows it and writes all
                                           // of it before reading, or writes none of it
    int64_t        bound_bytes;            // the least that liveness allows
    int64_t        block_bytes;            // arenas are cut into buffers of at most this
    double         flops;
    int64_t        bytes;
} hx_plan;

// Chooses kernels, drops steps that no kept value needs (kept: everything outside HX_TEMP),
// finds levels, assigns memory. Fails with HX_E_SHAPE, HX_E_NODEVICE (an operator has no kernel
// this device can run), HX_E_NOMEM (a tensor is larger than one binding may cover).
hx_result hx_plan_new(const hx_tape *t, hx_dev *dev, hx_plan **out);
void      hx_plan_free(hx_plan **p);

// Writes the HX_CONST arena.
hx_result hx_plan_upload(const hx_plan *p, hx_memory *consts);

// Appends the plan to a program that is being recorded. mem[place] for every place in use;
// shift[place] bytes are added to offsets there (a slot of the input arena, say).
// cut_flops > 0: a piece is cut whenever about this much work has been recorded.
hx_result hx_plan_record(const hx_plan *p, hx_memory *const mem[HX_N_PLACES],
                         const int64_t shift[HX_N_PLACES], double cut_flops, hx_prog *prog);
// One line per step, for people and golden files; allocated in `a`.
char     *hx_plan_dump(const hx_plan *p, hx_arena *a);
// What HX_TEMP holds at the level where most of it is alive: bytes by operator that made it, largest
// first, for people; allocated in `a`.
char     *hx_plan_peak(const hx_plan *p, hx_arena *a);
// Can this device run this row of the operator when forced to: needs met, module built in, shape
// accepted? HX_CAP_GPU is a preference that no device lacks.
bool      hx_row_usable(const hx_dev *d, const hx_op *op, int row, const int64_t *dim, const void *attrs);
