// spirv_mutants.h - single mistakes put into a compiled shader: what a tired programmer, or a
// compiler, might do. Every mutant is a valid module.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef enum {
    MUT_NONE, MUT_PLUS, MUT_TIMES, MUT_INDEX, MUT_BOUND, MUT_BARRIER, MUT_CONSTANT, MUT_NUMBER,
        MUT_BRANCH,
    MUT_FUNCTION, MUT_N
} mutation;
static const char *const mutation_names[MUT_N] = {
    "none", "+ becomes -", "* becomes +", "index arithmetic", "< becomes <=", "barrier left out",
        "constant + 1",
    "float constant * 1.5", "condition negated", "another function"
};
typedef struct { mutation kind; uint32_t at, now; } site;      // at: word; now: what it becomes

enum {
    OP_NOP = 0, OP_EXT_INST = 12, OP_TYPE_INT = 21, OP_TYPE_FLOAT = 22, OP_TYPE_ARRAY = 28,
    OP_CONSTANT = 43, OP_ACCESS_CHAIN = 65, OP_BARRIER = 224, OP_BRANCH_IF = 250
};

// the opcode that this one is mistaken for, and what kind of mistake that is
static uint32_t mistaken(uint32_t op, mutation *kind)
{
    static const struct { uint16_t op, now; mutation kind; } swaps[] = {
        { 129, 131, MUT_PLUS },  { 131, 129, MUT_PLUS },  { 133, 129, MUT_TIMES },
        { 136, 133, MUT_TIMES }, { 128, 130, MUT_INDEX },
        { 130, 128, MUT_INDEX }, { 132, 128, MUT_INDEX }, { 134, 132, MUT_INDEX },
        { 137, 134, MUT_INDEX }, { 176, 178, MUT_BOUND }, { 178, 176, MUT_BOUND },
        { 177, 179, MUT_BOUND }, { 174, 172, MUT_BOUND }, { 172, 174, MUT_BOUND },
        { 184, 188, MUT_BOUND }, { 186, 190, MUT_BOUND }, { 170, 171, MUT_BOUND },
    };
    for (size_t i = 0; i < sizeof swaps / sizeof *swaps; i++)
        if (swaps[i].op == op) {
            *kind = swaps[i].kind;
            return swaps[i].now;
        }
    *kind = MUT_NONE;
    return op;
}

// GLSL.std.450 functions of one argument, or two, that fit each other's place
static uint32_t other_function(uint32_t f)
{
    static const uint8_t pairs[][2] = { { 27, 29 }, { 28, 30 }, { 31, 32 }, { 32, 31 }, { 40,
        37 }, { 37, 40 },
                                        { 4, 6 }, { 38, 41 }, { 41, 38 }, { 8, 9 } };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (pairs[i][0] == f)
            return pairs[i][1];
    return f;
}

// how a constant is used: 1 arithmetic or comparison, 2 in types and access chains, 0 otherwise
static int use_of(uint32_t op)
{
    if (op == OP_TYPE_ARRAY || op == OP_ACCESS_CHAIN || op == 66)
        return 2;
    return (op >= 128 && op <= 142) || (op >= 170 && op <= 191) || (op >= 194 && op <= 199);
}

// All sites of a module; returns how many, at most cap.
static int find_sites(const uint32_t *w, size_t n, site *out, int cap)
{
    uint32_t bound = w[3], count = 0;
    uint8_t *use = calloc(bound, 1), *is_float = calloc(bound, 1), *is_int = calloc(bound, 1);
    for (size_t i = 5; i < n && use && is_float && is_int; i += w[i] >> 16) {
        uint32_t op = w[i] & 0xffff, len = w[i] >> 16;
        if (op == OP_TYPE_FLOAT)
            is_float[w[i + 1]] = 1;
        if (op == OP_TYPE_INT)
            is_int[w[i + 1]] = 1;
        for (uint32_t k = 3; k < len && use_of(op); k++)
            if (w[i + k] < bound)
                use[w[i + k]] |= (uint8_t)use_of(op);
    }
    for (size_t i = 5; i < n && (int)count < cap && use && is_float && is_int; i += w[i] >> 16) {
        uint32_t op = w[i] & 0xffff, len = w[i] >> 16;
        mutation kind;
        uint32_t now = mistaken(op, &kind);
        if (kind != MUT_NONE)
            out[count++] = (site){ kind, (uint32_t)i, len << 16 | now };
        else if (op == OP_BARRIER)
            out[count++] = (site){ MUT_BARRIER, (uint32_t)i, 0 };
        else if (op == OP_BRANCH_IF)
            out[count++] = (site){ MUT_BRANCH, (uint32_t)i, 0 };
        else if (op == OP_CONSTANT && len == 4 && is_int[w[i + 1]] && use[w[i + 2]] == 1)
            out[count++] = (site){ MUT_CONSTANT, (uint32_t)i + 3, w[i + 3] + 1 };
        else if (op == OP_CONSTANT && len == 4 && is_float[w[i + 1]] && w[i + 3] &&
            use[w[i + 2]] == 1) {
            float f;
            memcpy(&f, &w[i + 3], 4);
            f *= 1.5f;
            memcpy(&now, &f, 4);
            out[count++] = (site){ MUT_NUMBER, (uint32_t)i + 3, now };
        } else if (op == OP_EXT_INST && other_function(w[i + 4]) != w[i + 4])
            out[count++] = (site){ MUT_FUNCTION, (uint32_t)i + 4, other_function(w[i + 4]) };
    }
    free(use);
    free(is_float);
    free(is_int);
    return (int)count;
}

static void mutate(uint32_t *w, const site *s)
{
    if (s->kind == MUT_BARRIER) {
        for (uint32_t k = 0, len = w[s->at] >> 16; k < len; k++)
            w[s->at + k] = 1u << 16 | OP_NOP;
    } else if (s->kind == MUT_BRANCH) {
        uint32_t yes = w[s->at + 2];
        w[s->at + 2] = w[s->at + 3];
        w[s->at + 3] = yes;
    } else {
        w[s->at] = s->now;
    }
}
