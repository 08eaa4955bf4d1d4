// reflect.h - what a compute shader says about itself: bindings, push constants, sizes.
//
// Works on modules as the GLSL compiler emits them (optimizers drop names and unused members).
#pragma once
#include "../kernel.h"

enum { HX_REFLECT_PUSH = HX_MAX_PUSH / 4, HX_REFLECT_NAME = 48 };

typedef struct hx_reflect {
    // storage buffers of descriptor set 0; a gap has present = false
    int n_binding;                         // highest binding + 1
    struct hx_reflect_binding {
        char name[HX_REFLECT_NAME];        // of the block's first member: `float x[]` -> "x"
        char block[HX_REFLECT_NAME];       // "in_x"
        bool present, readonly, writeonly;
    } binding[HX_MAX_BINDINGS];
    // members of the push constant block, in order
    int n_push, push_bytes;
    struct hx_reflect_push {
        char name[HX_REFLECT_NAME];
        int  offset, bytes;
        char type;                         // 'u', 'i' or 'f'; '?' for anything else
    } push[HX_REFLECT_PUSH];
    int     local[3];                      // invocations of a workgroup
    int64_t shared_bytes;                  // with the given specialization constants
    int     n_spec;                        // highest specialization constant id + 1
    bool    coopmat;                       // uses cooperative matrices (KHR or NV)
} hx_reflect;

// Reads `n_words` of SPIR-V; spec replaces the defaults of constants 0 .. n_spec-1. `name` is for
// messages. Fails with HX_E_INTERNAL when the module is damaged or outside what kernels may
// use: other descriptor sets, more than HX_MAX_BINDINGS buffers, other kinds of resources.
hx_result hx_reflect_spirv(const char *name, const uint32_t *spirv, size_t n_words,
                           const uint32_t *spec, int n_spec, hx_reflect *out);
