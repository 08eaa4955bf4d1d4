// dev.h - a device: buffers, kernels and recorded programs behind one table of functions.
//
// The wrappers hx_dev_*, hx_buf_*, hx_prog_* check every rule and leave messages in the user's
// words; a device behind the table trusts them. Devices: host (C functions over threads), null
// (counts, runs nothing), vulkan.
#pragma once
#include "kernel.h"

typedef struct hx_dev  hx_dev;
typedef struct hx_buf  hx_buf;
typedef struct hx_prog hx_prog;

typedef enum { HX_DEV_CPU, HX_DEV_INTEGRATED, HX_DEV_DISCRETE, HX_DEV_VIRTUAL, HX_DEV_OTHER } hx_dev_type;

typedef struct hx_dev_caps {
    char        kind[8];                   // "host", "null" or "vulkan"
    char        name[256], driver[256];    // as the driver reports them
    uint8_t     uuid[16];
    hx_dev_type type;
    uint32_t    vendor, device, driver_version, api_version;
    uint32_t    has;                       // HX_CAP_* bits, after HTXVK_CAPS masking and quirks
    int         tier;                      // 0..6, performance.md 2.1; -1 for host and null
    int64_t     max_range;                 // bytes one binding may cover
    int64_t     max_buffer;                // bytes of one buffer
    int64_t     offset_align;              // bytes, of a binding's offset
    int64_t     memory_bytes;              // of the heap that device buffers come from
    int64_t     max_groups[3];
    int         max_invocations, shared_bytes, push_bytes;
    int         subgroup_min, subgroup_max;
    hx_precision precision;                // what the device was opened for, never HX_AUTO
    uint32_t    matrix[2][3];              // M, N, K of its matrix units for bf16, fp16; 0: none
    bool        asked_places[2];           // of the same: where elements are, src/core/places.h
    uint32_t    places[2][4];
    double      timestamp_ns;              // per tick; 0: no timestamps
    bool        whole_ranges;              // its checks know byte ranges only: two accesses to
                                           // overlapping ones need a barrier if one is a write
    double      flops_guess;               // FLOP/s to plan the length of submits with; 0: no limit
} hx_dev_caps;

// A row of `htxvk devices`. `why_not` is empty for a device that can be used, and names the
// missing feature or limit, with both numbers, otherwise.
typedef struct hx_dev_info { char selector[32]; hx_dev_caps caps; char why_not[256]; } hx_dev_info;

// Lists up to `cap` devices: host first, then Vulkan devices in the loader's order. `n` counts
// what was written. No Vulkan loader or driver is not a failure; `note` (borrowed, may be NULL)
// then says what is missing and how to get it.
hx_result hx_dev_list(hx_dev_info *out, int cap, int *n, const char **note);

typedef struct hx_dev_params {
    const char *select;      // auto (default) | host | null | N | name:TEXT | uuid:HEX; borrowed
    int         threads;     // of the host device; 0: all processors
    bool        validation;  // Vulkan's validation layer; its messages fail the run
    bool        no_cache;    // do not read or write the pipeline cache on disk
    bool        compile_only;// for hx_dev_facts: compiles kernels and runs none, so that a driver
                             // without hardware will do
    hx_precision precision;  // default fp32. HX_AUTO: bf16 where matrix units take it, else fp32.
                             // HX_E_NODEVICE where the device does not have the one asked for
} hx_dev_params;
// auto: best discrete, then integrated, then other GPU, then software Vulkan, then host with a
// warning. "host" and "null" never load Vulkan. NULL params take every default.
hx_result hx_dev_open(const hx_dev_params *p, hx_dev **out);
void      hx_dev_close(hx_dev **d);        // accepts NULL, writes NULL
const hx_dev_caps *hx_dev_get_caps(const hx_dev *d);
// Keeps in its caps what was found out about its matrix units.
void      hx_dev_note_places(hx_dev *d, hx_precision precision, const uint32_t places[4]);

// What the null and the Vulkan device count; all zero after opening. objects: of Vulkan, that exist
// now: memory, buffers, pipelines, pools and what was taken from them.
typedef struct hx_dev_stats {
    int64_t submits, dispatches, barriers, bytes_now, bytes_peak, objects, validation_messages;
} hx_dev_stats;
hx_dev_stats hx_dev_get_stats(const hx_dev *d);

// Where a buffer lives: DEVICE for bulk, UP for what the host writes every step, DOWN for what
// it reads back. UP and DOWN can be written and read without a copy program.
typedef enum { HX_BUF_DEVICE, HX_BUF_UP, HX_BUF_DOWN } hx_buf_kind;
// bytes > 0. Contents are zero. HX_E_NOMEM says how much was asked, what is free, what would fit.
hx_result hx_buf_new(hx_dev *d, int64_t bytes, hx_buf_kind kind, const char *name, hx_buf **out);
void      hx_buf_free(hx_buf **b);         // accepts NULL, writes NULL; waits for nothing
int64_t   hx_buf_bytes(const hx_buf *b);
// Blocking copies, any kind of buffer; wait for submitted programs first where they touch it.
hx_result hx_buf_write(hx_buf *b, int64_t offset, const void *src, int64_t bytes);
hx_result hx_buf_read(hx_buf *b, int64_t offset, void *dst, int64_t bytes);

// A program: recorded once, submitted any number of times. Dispatches between two barriers may
// run in any order or at once; a barrier makes all writes before it visible to all after it.
// profile: timestamps around every dispatch, read with hx_prog_times.
typedef struct hx_binding { hx_buf *buf; int64_t offset, bytes; } hx_binding;
hx_result hx_prog_new(hx_dev *d, bool profile, const char *name, hx_prog **out);
// Copies the kernel record; `k->spirv`, name and user stay borrowed until the device closes.
// groups: workgroups in x, y, z, each >= 1 and within caps.max_groups.
hx_result hx_prog_dispatch(hx_prog *p, const hx_kernel *k, const hx_binding *bind,
                           const void *push, const uint32_t groups[3]);
hx_result hx_prog_barrier(hx_prog *p);
hx_result hx_prog_fill(hx_prog *p, hx_binding b, uint32_t word);
hx_result hx_prog_copy(hx_prog *p, hx_binding from, hx_binding to);     // same bytes
// Ends a piece: pieces of one program may be submitted apart, so that no submit lasts long. No barrier.
hx_result hx_prog_cut(hx_prog *p);
hx_result hx_prog_end(hx_prog *p);
void      hx_prog_free(hx_prog **p);       // accepts NULL, writes NULL
// Milliseconds of each dispatch of the last finished run, in order of recording.
hx_result hx_prog_times(hx_prog *p, double *ms, int cap, int *n);
// The same with the times at which they began, in ms on a clock of the device's own.
hx_result hx_prog_spans(hx_prog *p, double *begin, double *ms, int cap, int *n);

// Submits programs to run one after another (with an implied barrier between), as ONE submit, or
// as one submit per piece when `by_piece`. Returns a ticket to wait for. Does not block, unless one
// of the programs still runs from before. No program may be in the list twice.
hx_result hx_dev_submit(hx_dev *d, hx_prog *const *progs, int n, bool by_piece, uint64_t *ticket);
// Waits at most `timeout_ms` (0: no limit); HX_E_LOST when the device is gone or still busy then.
hx_result hx_dev_wait(hx_dev *d, uint64_t ticket, int64_t timeout_ms);

// What a driver's compiler says about a kernel, in its own words: "VGPRs", 24.
typedef struct hx_fact { char name[64]; double value; } hx_fact;
// Compiles `k` for this device where that was not done and lists up to `cap` facts about it. None
// unless the device was opened to compile_only, and where the driver tells nothing.
hx_result hx_dev_facts(hx_dev *d, const hx_kernel *k, hx_fact *out, int cap, int *n);

// ---- for devices only --------------------------------------------------------------------
typedef struct hx_dev_fns {
    void      (*close)(hx_dev *d);
    hx_result (*buf_new)(hx_dev *d, int64_t bytes, hx_buf_kind kind, const char *name, hx_buf **out);
    void      (*buf_free)(hx_buf *b);
    hx_result (*buf_write)(hx_buf *b, int64_t offset, const void *src, int64_t bytes);
    hx_result (*buf_read)(hx_buf *b, int64_t offset, void *dst, int64_t bytes);
    hx_result (*prog_new)(hx_dev *d, bool profile, const char *name, hx_prog **out);
    hx_result (*prog_dispatch)(hx_prog *p, const hx_kernel *k, const hx_binding *bind,
                               const void *push, const uint32_t groups[3]);
    hx_result (*prog_barrier)(hx_prog *p);
    hx_result (*prog_fill)(hx_prog *p, hx_binding b, uint32_t word);
    hx_result (*prog_copy)(hx_prog *p, hx_binding from, hx_binding to);
    hx_result (*prog_cut)(hx_prog *p);
    hx_result (*prog_end)(hx_prog *p);
    void      (*prog_free)(hx_prog *p);
    hx_result (*prog_times)(hx_prog *p, double *begin, double *ms, int cap, int *n);  // begin: or NULL
    hx_result (*submit)(hx_dev *d, hx_prog *const *progs, int n, bool by_piece, uint64_t *ticket);
    hx_result (*wait)(hx_dev *d, uint64_t ticket, int64_t timeout_ms);
    // NULL: there is no compiler
    hx_result (*facts)(hx_dev *d, const hx_kernel *k, hx_fact *out, int cap, int *n);
} hx_dev_fns;
// Every device's own struct begins with one of these.
struct hx_dev  { const hx_dev_fns *fn; hx_dev_caps caps; hx_dev_stats stats; };
struct hx_buf  { hx_dev *dev; int64_t bytes; hx_buf_kind kind; };
struct hx_prog { hx_dev *dev; bool profile, ended; int n_dispatch; };
// The three openers that hx_dev_open chooses from.
hx_result hx_host_open(const hx_dev_params *p, hx_dev **out);
hx_result hx_null_open(const hx_dev_params *p, hx_dev **out);
hx_result hx_vulkan_list(hx_dev_info *out, int cap, int *n, const char **note);
hx_result hx_vulkan_open(int index, const hx_dev_params *p, hx_dev **out);   // index into hx_vulkan_list
