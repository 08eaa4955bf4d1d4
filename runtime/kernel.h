// kernel.h - what a kernel is: one piece of work that a device can run over buffers.
#pragma once
#include "pool.h"

enum { HX_MAX_BINDINGS = 16, HX_MAX_PUSH = 128, HX_MAX_SPEC = 16 };

// What a device needs for a kernel row beyond the floor (Vulkan 1.2, 32 KiB shared memory, 256
// invocations, 128 bytes of push constants, no fp16): name and text, one bit each.
#define HX_CAPS(X)                                                   \
    X(SUBGROUP,   "subgroup arithmetic and shuffle in compute shaders") \
    X(SHARED48,   "48 KiB of shared memory")                         \
    X(SHARED64,   "64 KiB of shared memory")                         \
    X(WIDE,       "1024 invocations a workgroup")                    \
    X(STORE16,    "16-bit storage buffers")                          \
    X(FP16,       "fp16 arithmetic")                                 \
    X(COOPMAT,    "KHR cooperative matrix fp16 -> fp32")             \
    X(COOPMAT_BF, "KHR cooperative matrix bf16 -> fp32")             \
    X(COOPMAT2,   "NV cooperative matrix 2, workgroup scope")        \
    X(GPU,        "not a processor: prefers few, large workgroups") \
    X(FACTORS,    "registers for matrix factors of 2 x 16 x 128 a subgroup") \
    X(LANES,      "a processor whose subgroups are vectors of 8 or more lanes")
enum {
#define X(name, text) HX_CAP_BIT_##name,
    HX_CAPS(X)
#undef X
    HX_N_CAPS
};
enum {
#define X(name, text) HX_CAP_##name = 1 << HX_CAP_BIT_##name,
    HX_CAPS(X)
#undef X
};
extern const char *const hx_cap_names[HX_N_CAPS];   // "subgroup", "shared48", ...

// What matrix products round their factors to. Whatever is summed or stored is fp32.
typedef enum hx_precision { HX_FP32, HX_BF16, HX_FP16, HX_AUTO, HX_N_PRECISIONS } hx_precision;
extern const char *const hx_precision_names[HX_N_PRECISIONS];
int hx_precision_find(const char *name);   // -1: there is none of this name

// What a host function is given for one dispatch.
typedef struct hx_host_args {
    void       *buf[HX_MAX_BINDINGS];      // start of each bound range
    const void *push;                      // push constants as a shader would see them
    const void *user;                      // hx_kernel.user
    hx_pool    *pool;
} hx_host_args;

typedef struct hx_kernel {
    const char     *name;
    const uint32_t *spirv;                 // borrowed; NULL: the host device only
    size_t          n_words;
    void          (*host)(const hx_host_args *a);   // NULL: Vulkan devices only
    const void     *user;
    int             n_bindings;
    uint16_t        writes;                // bit i: binding i is written
    int             push_bytes;
    int             n_spec;                // specialization constants, ids 0 .. n_spec-1
    uint32_t        spec[HX_MAX_SPEC];
} hx_kernel;
