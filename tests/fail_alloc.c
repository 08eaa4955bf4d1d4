// fail_alloc.c - preloaded by a test: the N-th allocation of the program itself fails.
//
//   HTXVK_ALLOC_FAIL=N    that call of malloc, calloc, realloc, aligned_alloc or strdup gives NULL
//   HTXVK_ALLOC_COUNT=FILE  how many there were, written at the end
//
// Calls from libraries are left alone: what they do without memory is theirs.
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);
static struct { uintptr_t from, to; long fail, seen; } state;

// The first object is the program.
static int find_program(struct dl_phdr_info *o, size_t bytes, void *user)
{
    (void)bytes, (void)user;
    state.from = UINTPTR_MAX;
    for (int i = 0; i < o->dlpi_phnum; i++) {
        uintptr_t at = o->dlpi_addr + o->dlpi_phdr[i].p_vaddr;
        if (o->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        state.from = at < state.from ? at : state.from;
        state.to = at + o->dlpi_phdr[i].p_memsz;
    }
    return 1;
}

__attribute__((constructor)) static void begin(void)
{
    const char *n = getenv("HTXVK_ALLOC_FAIL");
    dl_iterate_phdr(find_program, NULL);
    state.fail = n ? atol(n) : 0;
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("HTXVK_ALLOC_COUNT");
    FILE *f = path ? fopen(path, "w") : NULL;
    if (f) {
        fprintf(f, "%ld\n", state.seen);
        fclose(f);
    }
}

static bool fails(const void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    bool ours = at >= state.from && at < state.to;
    if (!ours || __atomic_add_fetch(&state.seen, 1, __ATOMIC_RELAXED) != state.fail)
        return false;
    errno = ENOMEM;
    return true;
}

#define OR_NULL(call) return fails(__builtin_return_address(0)) ? NULL : (call)
void *malloc(size_t n) { OR_NULL(__libc_malloc(n)); }
void *calloc(size_t n, size_t size) { OR_NULL(__libc_calloc(n, size)); }
void *realloc(void *p, size_t n) { OR_NULL(__libc_realloc(p, n)); }
void *aligned_alloc(size_t align, size_t n) { OR_NULL(__libc_memalign(align, n)); }

char *strdup(const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = fails(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
    return copy ? memcpy(copy, text, n) : NULL;
}
