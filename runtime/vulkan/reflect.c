// reflect.c - reads the declarations of a SPIR-V module (everything before its first function).
//
// Numbers of operations, decorations and classes: SPIR-V 1.6 specification, section 3.
#include "reflect.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OP_NAME = 5, OP_MEMBER_NAME = 6, OP_EXECUTION_MODE = 16, OP_CAPABILITY = 17,
    OP_TYPE_BOOL = 20, OP_TYPE_INT = 21, OP_TYPE_FLOAT = 22, OP_TYPE_VECTOR = 23,
    OP_TYPE_MATRIX = 24, OP_TYPE_ARRAY = 28, OP_TYPE_RUNTIME_ARRAY = 29, OP_TYPE_STRUCT = 30,
    OP_TYPE_POINTER = 32, OP_TRUE = 41, OP_FALSE = 42, OP_CONSTANT = 43,
    OP_CONSTANT_COMPOSITE = 44, OP_SPEC_TRUE = 48, OP_SPEC_FALSE = 49,
    OP_SPEC_CONSTANT = 50, OP_SPEC_COMPOSITE = 51, OP_SPEC_OP = 52,
    OP_FUNCTION = 54, OP_FUNCTION_END = 56, OP_VARIABLE = 59, OP_DECORATE = 71,
    OP_MEMBER_DECORATE = 72,
    OP_COMPOSITE_EXTRACT = 81, OP_IADD = 128, OP_ISUB = 130, OP_IMUL = 132, OP_UDIV = 134,
    OP_SDIV = 135, OP_UMOD = 137,
    OP_OR = 166, OP_AND = 167, OP_SELECT = 169, OP_EQUAL = 170, OP_NOT_EQUAL = 171,
    // unsigned; the next number is the signed one
    OP_GREATER = 172, OP_GREATER_EQUAL = 174, OP_LESS = 176, OP_LESS_EQUAL = 178,
    OP_SHR = 194, OP_SHL = 196, OP_EXECUTION_MODE_ID = 331,

    DECO_SPEC_ID = 1, DECO_BUILTIN = 11, DECO_NON_WRITABLE = 24, DECO_NON_READABLE = 25,
    DECO_BINDING = 33, DECO_SET = 34, DECO_OFFSET = 35,
    BUILTIN_WORKGROUP_SIZE = 25, MODE_LOCAL_SIZE = 17, MODE_LOCAL_SIZE_ID = 38,
    CLASS_UNIFORM_CONSTANT = 0, CLASS_UNIFORM = 2, CLASS_WORKGROUP = 4, CLASS_PUSH = 9,
    CLASS_STORAGE = 12, CAP_COOPMAT_NV = 5357, CAP_COOPMAT_KHR = 6022,
    MAX_IDS = 1 << 20, MAX_DEPTH = 16, MAX_VISITS = 1 << 16,
};

// One result id: the instruction that made it, and its own decorations.
typedef struct id_info {
    const uint32_t *def;                   // NULL: not a declaration
    const char *name;
    int  set, binding, spec_id;            // -1: none
    bool readonly, writeonly, is_workgroup_size;
} id_info;

typedef struct module {
    const char *name;
    const uint32_t *code, *spec;
    size_t n_words, n_decl;                // words before the first function
    int n_spec;
    uint32_t bound;
    id_info *id;
    int64_t *visits;                       // of types and constants: one may name another often
} module;

static hx_result damaged(const module *m, const char *what)
{
    return hx_fail(HX_E_INTERNAL, "shader %s: %s [E-SPIRV]", m->name, what);
}

static uint32_t op_of(const uint32_t *w)
{
    return w[0] & 0xffff;
}

static uint32_t len_of(const uint32_t *w)
{
    return w[0] >> 16;
}

// The text at w[at], inside the instruction; NULL when it does not end there.
static const char *text_at(const uint32_t *w, uint32_t at)
{
    const char *s = (const char *)(w + at);
    size_t max = (len_of(w) - at) * 4;
    return strnlen(s, max) < max ? s : NULL;
}

// Definition of an id when it is one of `op`; NULL otherwise.
static const uint32_t *def_of(const module *m, uint32_t id, uint32_t op)
{
    const uint32_t *w = id < m->bound ? m->id[id].def : NULL;
    return w && (!op || op_of(w) == op) ? w : NULL;
}

// Where the result id of a declaration stands; 0: the instruction declares nothing we need.
static uint32_t result_at(uint32_t op)
{
    if (op >= OP_TYPE_BOOL && op <= OP_TYPE_POINTER)
        return 1;
    if ((op >= OP_TRUE && op <= OP_SPEC_OP) || op == OP_VARIABLE)
        return 2;
    return 0;
}

// Fewest words of instructions that are read further than their result id.
static uint32_t least_words(uint32_t op)
{
    switch (op) {
    case OP_DECORATE: case OP_TYPE_FLOAT: case OP_EXECUTION_MODE: return 3;
    case OP_MEMBER_DECORATE: case OP_MEMBER_NAME: case OP_TYPE_INT: case OP_TYPE_VECTOR:
    case OP_TYPE_MATRIX: case OP_TYPE_ARRAY: case OP_TYPE_POINTER: case OP_CONSTANT:
    case OP_SPEC_CONSTANT: case OP_SPEC_OP: case OP_VARIABLE: return 4;
    default: return 2;
    }
}

static void decorate(module *m, const uint32_t *w)
{
    if (w[1] >= m->bound)
        return;
    id_info *i = &m->id[w[1]];
    uint32_t value = len_of(w) > 3 ? w[3] : 0;
    int small = (int)(value < INT32_MAX ? value : INT32_MAX);
    switch (w[2]) {
    case DECO_SPEC_ID:      i->spec_id = small; break;
    case DECO_BINDING:      i->binding = small; break;
    case DECO_SET:          i->set = small; break;
    case DECO_NON_WRITABLE: i->readonly = true; break;
    case DECO_NON_READABLE: i->writeonly = true; break;
    case DECO_BUILTIN:      i->is_workgroup_size = value == BUILTIN_WORKGROUP_SIZE; break;
    default: break;
    }
}

// Every instruction lies inside the module, and the last one ends a function.
static hx_result check_lengths(module *m)
{
    uint32_t op = 0;
    m->n_decl = 0;
    for (size_t at = 5; at < m->n_words; at += len_of(m->code + at)) {
        op = op_of(m->code + at);
        if (!len_of(m->code + at) || len_of(m->code + at) > m->n_words - at)
            return damaged(m, "an instruction runs over the end of the module");
        if (op == OP_FUNCTION && !m->n_decl)
            m->n_decl = at;
    }
    return op == OP_FUNCTION_END ? HX_OK : damaged(m, "the end of the module is missing");
}

static hx_result scan(module *m, hx_reflect *out)
{
    HX_TRY(check_lengths(m));
    for (size_t at = 5; at < m->n_decl; at += len_of(m->code + at)) {
        const uint32_t *w = m->code + at;
        uint32_t op = op_of(w), n = len_of(w), result = result_at(op);
        if (op != OP_CAPABILITY && n < least_words(op) && (result || op == OP_DECORATE ||
            op == OP_MEMBER_DECORATE || op == OP_MEMBER_NAME || op == OP_EXECUTION_MODE))
            return damaged(m, "an instruction is too short");
        if (result && w[result] < m->bound)
            m->id[w[result]].def = w;
        if (op == OP_NAME && n > 2 && w[1] < m->bound)
            m->id[w[1]].name = text_at(w, 2);
        if (op == OP_DECORATE)
            decorate(m, w);
        if (op == OP_CAPABILITY && n > 1 && (w[1] == CAP_COOPMAT_KHR || w[1] == CAP_COOPMAT_NV))
            out->coopmat = true;
    }
    return HX_OK;
}

static int64_t value_of(const module *m, uint32_t id, int depth);

// A constant that is computed from others; -1 when it is not an integer we can follow.
static int64_t compute(const module *m, const uint32_t *w, int depth)
{
    if (w[3] == OP_COMPOSITE_EXTRACT) {
        const uint32_t *c = len_of(w) == 6 ? def_of(m, w[4], 0) : NULL;
        bool fits = c && (op_of(c) == OP_SPEC_COMPOSITE || op_of(c) == OP_CONSTANT_COMPOSITE) &&
                    w[5] + 3ull < len_of(c);
        return fits ? value_of(m, c[3 + w[5]], depth + 1) : -1;
    }
    if (w[3] == OP_SELECT && len_of(w) == 7) {
        int64_t which = value_of(m, w[4], depth + 1);
        return which < 0 ? -1 : value_of(m, which ? w[5] : w[6], depth + 1);
    }
    if (len_of(w) != 6)
        return -1;
    int64_t a = value_of(m, w[4], depth + 1), b = value_of(m, w[5], depth + 1), r;
    if (a < 0 || b < 0)
        return -1;
    switch (w[3]) {
    case OP_IADD: return a + b <= UINT32_MAX ? a + b : -1;
    case OP_ISUB: return a - b;
    case OP_IMUL: return hx_mul(a, b, &r) && r <= UINT32_MAX ? r : -1;
    case OP_UDIV: case OP_SDIV: return b ? a / b : -1;
    case OP_UMOD: return b ? a % b : -1;
    case OP_SHR: return b < 32 ? a >> b : -1;
    case OP_OR: return a || b;
    case OP_AND: return a && b;
    case OP_EQUAL: return a == b;
    case OP_NOT_EQUAL: return a != b;
    case OP_GREATER: case OP_GREATER + 1: return a > b;
    case OP_GREATER_EQUAL: case OP_GREATER_EQUAL + 1: return a >= b;
    case OP_LESS: case OP_LESS + 1: return a < b;
    case OP_LESS_EQUAL: case OP_LESS_EQUAL + 1: return a <= b;
    case OP_SHL: return b < 32 ? a << b & UINT32_MAX : -1;
    default: return -1;
    }
}

static int64_t value_of(const module *m, uint32_t id, int depth)
{
    const uint32_t *w = def_of(m, id, 0);
    if (!w || depth > MAX_DEPTH || ++*m->visits > MAX_VISITS)
        return -1;
    int spec = m->id[id].spec_id;
    bool given = spec >= 0 && spec < m->n_spec;
    switch (op_of(w)) {
    case OP_CONSTANT:      return w[3];
    case OP_SPEC_CONSTANT: return given ? m->spec[spec] : w[3];
    case OP_SPEC_OP:       return compute(m, w, depth);
    case OP_TRUE: case OP_FALSE: return op_of(w) == OP_TRUE;
    case OP_SPEC_TRUE: case OP_SPEC_FALSE:
        return given ? m->spec[spec] != 0 : op_of(w) == OP_SPEC_TRUE;
    default:               return -1;
    }
}

// Bytes of a type in shared memory; -1 when unknown.
static int64_t bytes_of(const module *m, uint32_t type, int depth)
{
    const uint32_t *w = def_of(m, type, 0);
    int64_t sum = 0, one, n;
    if (!w || depth > MAX_DEPTH || ++*m->visits > MAX_VISITS)
        return -1;
    switch (op_of(w)) {
    case OP_TYPE_BOOL:
        return 4;
    case OP_TYPE_INT: case OP_TYPE_FLOAT:
        return w[2] / 8;
    case OP_TYPE_VECTOR: case OP_TYPE_MATRIX:
        one = bytes_of(m, w[2], depth + 1);
        return one < 0 || w[3] > 4 ? -1 : one * w[3];
    case OP_TYPE_ARRAY:
        one = bytes_of(m, w[2], depth + 1);
        n = value_of(m, w[3], 0);
        return one < 0 || !hx_mul(one, n, &sum) ? -1 : sum;
    case OP_TYPE_STRUCT:
        for (uint32_t i = 2; i < len_of(w); i++) {
            one = bytes_of(m, w[i], depth + 1);
            if (one < 0 || !hx_sum(sum, one, &sum))
                return -1;
        }
        return sum;
    default:
        return -1;
    }
}

static void copy_name(char out[HX_REFLECT_NAME], const char *name)
{
    snprintf(out, HX_REFLECT_NAME, "%s", name ? name : "");
}

// The next member name or decoration of a struct after `w`; NULL: no more.
static const uint32_t *member_next(const module *m, const uint32_t *w, uint32_t op, uint32_t type)
{
    for (w = w ? w + len_of(w) : m->code + 5; w < m->code + m->n_decl; w += len_of(w))
        if (op_of(w) == op && w[1] == type)
            return w;
    return NULL;
}

static hx_result read_buffer(const module *m, const id_info *v, uint32_t type, hx_reflect *out)
{
    if (v->set != 0 || v->binding < 0 || v->binding >= HX_MAX_BINDINGS)
        return hx_fail(HX_E_INTERNAL, "shader %s: buffer at set %d binding %d; kernels have set 0 "
            "and bindings 0 to %d [E-SPIRV]", m->name, v->set, v->binding, HX_MAX_BINDINGS - 1);
    struct hx_reflect_binding *b = &out->binding[v->binding];
    const uint32_t *members = def_of(m, type, OP_TYPE_STRUCT);
    if (!members || b->present)
        return damaged(m, "a buffer is not a block, or two share a binding");
    uint32_t n_members = len_of(members) - 2, n_read = 0, n_write = 0;
    b->present = true;
    copy_name(b->block, m->id[type].name);
    for (const uint32_t *w = NULL; (w = member_next(m, w, OP_MEMBER_NAME, type));)
        if (w[2] == 0)
            copy_name(b->name, text_at(w, 3));
    for (const uint32_t *w = NULL; (w = member_next(m, w, OP_MEMBER_DECORATE, type));) {
        n_read += w[3] == DECO_NON_WRITABLE;
        n_write += w[3] == DECO_NON_READABLE;
    }
    b->readonly = v->readonly || (n_members && n_read >= n_members);
    b->writeonly = v->writeonly || (n_members && n_write >= n_members);
    out->n_binding = (int)hx_max(out->n_binding, v->binding + 1);
    return HX_OK;
}

static hx_result read_push(const module *m, uint32_t type, hx_reflect *out)
{
    const uint32_t *s = def_of(m, type, OP_TYPE_STRUCT);
    if (!s || len_of(s) - 2 > HX_REFLECT_PUSH)
        return damaged(m, "push constants are not one block of few members");
    out->n_push = (int)len_of(s) - 2;
    for (int i = 0; i < out->n_push; i++) {
        struct hx_reflect_push *p = &out->push[i];
        const uint32_t *t = def_of(m, s[2 + i], 0);
        p->bytes = (int)hx_max(bytes_of(m, s[2 + i], 0), 0);
        p->type = !t ? '?' : op_of(t) == OP_TYPE_FLOAT ? 'f'
                : op_of(t) != OP_TYPE_INT ? '?' : t[3] ? 'i' : 'u';
    }
    for (const uint32_t *w = NULL; (w = member_next(m, w, OP_MEMBER_NAME, type));)
        if (w[2] < (uint32_t)out->n_push)
            copy_name(out->push[w[2]].name, text_at(w, 3));
    for (const uint32_t *w = NULL; (w = member_next(m, w, OP_MEMBER_DECORATE, type));)
        if (w[2] < (uint32_t)out->n_push && w[3] == DECO_OFFSET && len_of(w) > 4)
            out->push[w[2]].offset = (int)hx_min(w[4], 1 << 16);
    for (int i = 0; i < out->n_push; i++)
        out->push_bytes = (int)hx_max(out->push_bytes, out->push[i].offset + out->push[i].bytes);
    return HX_OK;
}

static hx_result read_variable(const module *m, uint32_t id, hx_reflect *out)
{
    const uint32_t *w = m->id[id].def;
    const uint32_t *pointer = def_of(m, w[1], OP_TYPE_POINTER);
    int64_t bytes;
    if (!pointer)
        return damaged(m, "a variable has no type");
    switch (w[3]) {
    case CLASS_STORAGE:
        return read_buffer(m, &m->id[id], pointer[3], out);
    case CLASS_PUSH:
        return read_push(m, pointer[3], out);
    case CLASS_WORKGROUP:
        bytes = bytes_of(m, pointer[3], 0);
        out->shared_bytes = bytes < 0 || out->shared_bytes < 0 ? -1 : out->shared_bytes + bytes;
        return HX_OK;
    case CLASS_UNIFORM: case CLASS_UNIFORM_CONSTANT:
        return damaged(m, "it uses uniforms, images or samplers instead of storage buffers");
    default:
        return HX_OK;
    }
}

static hx_result read_local(const module *m, hx_reflect *out)
{
    for (const uint32_t *w = m->code + 5; w < m->code + m->n_decl; w += len_of(w))
        for (int i = 0; i < 3 && len_of(w) >= 6; i++) {
            if (op_of(w) == OP_EXECUTION_MODE && w[2] == MODE_LOCAL_SIZE)
                out->local[i] = (int)hx_min(w[3 + i], INT32_MAX);
            if (op_of(w) == OP_EXECUTION_MODE_ID && w[2] == MODE_LOCAL_SIZE_ID)
                out->local[i] = (int)hx_min(value_of(m, w[3 + i], 0), INT32_MAX);
        }
    // the built-in constant, where there is one, overrides the execution mode
    for (uint32_t id = 0; id < m->bound; id++) {
        const uint32_t *w = m->id[id].def;
        bool size = m->id[id].is_workgroup_size && w && len_of(w) == 6;
        for (int i = 0; size && i < 3; i++)
            out->local[i] = (int)hx_min(value_of(m, w[3 + i], 0), INT32_MAX);
    }
    for (int i = 0; i < 3; i++)
        if (out->local[i] < 1)
            return damaged(m, "it does not say how large its workgroups are");
    return HX_OK;
}

static hx_result read_all(module *m, hx_reflect *out)
{
    HX_TRY(scan(m, out));
    for (uint32_t id = 0; id < m->bound; id++) {
        const uint32_t *w = m->id[id].def;
        if (w && op_of(w) == OP_VARIABLE)
            HX_TRY(read_variable(m, id, out));
        if (m->id[id].spec_id >= 0)
            out->n_spec = (int)hx_max(out->n_spec, (int64_t)m->id[id].spec_id + 1);
    }
    return read_local(m, out);
}

hx_result hx_reflect_spirv(const char *name, const uint32_t *spirv, size_t n_words,
                           const uint32_t *spec, int n_spec, hx_reflect *out)
{
    int64_t visits = 0;
    module m = { .name = name, .code = spirv, .n_words = n_words, .spec = spec, .n_spec = n_spec,
                 .visits = &visits };
    *out = (hx_reflect){ 0 };
    if (n_words < 5 || spirv[0] != 0x07230203)
        return damaged(&m, "not SPIR-V");
    m.bound = spirv[3];
    if (m.bound > MAX_IDS)
        return damaged(&m, "it has too many ids");
    m.id = calloc(m.bound + 1, sizeof *m.id);
    if (!m.id)
        return hx_fail(HX_E_NOMEM, "no host memory to read shader %s [E-NOMEM]", name);
    for (uint32_t i = 0; i < m.bound; i++)
        m.id[i].set = m.id[i].binding = m.id[i].spec_id = -1;
    hx_result r = read_all(&m, out);
    free(m.id);
    return r;
}
