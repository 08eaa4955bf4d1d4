// arena.c - blocks of at least 64 KiB, handed out from the front, freed together.
#include "arena.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, BLOCK = 1 << 16 };      // bytes; larger requests get a block of their own

typedef struct block { struct block *next; size_t used, size; } block;
struct hx_arena { block *head; size_t handed_out; };

static size_t up(size_t n) { return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1); }

hx_arena *hx_arena_new(void)
{
    hx_arena *a = calloc(1, sizeof *a);
    if (!a)
        hx_fail(HX_E_NOMEM, "no memory for %zu bytes [E-NOMEM]", sizeof *a);
    return a;
}

void hx_arena_free(hx_arena **a)
{
    if (!a || !*a)
        return;
    for (block *b = (*a)->head, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(*a);
    *a = NULL;
}

void *hx_alloc(hx_arena *a, size_t bytes)
{
    if (!a)
        return NULL;
    size_t asked = bytes;
    bytes = asked > SIZE_MAX / 2 ? asked : up(asked ? asked : 1);
    block *b = a->head;
    if (!b || b->size - b->used < bytes) {
        size_t head = up(sizeof(block)), size = head + (bytes > BLOCK ? bytes : BLOCK);
        if (asked > SIZE_MAX / 2 || !(b = aligned_alloc(ALIGN, size))) {
            hx_fail(HX_E_NOMEM, "no memory for %zu bytes beside %zu in use [E-NOMEM]", asked,
                    a->handed_out);
            return NULL;
        }
        *b = (block){ a->head, head, size };
        a->head = b;
    }
    void *p = (char *)b + b->used;
    b->used += bytes;
    a->handed_out += bytes;
    return memset(p, 0, bytes);
}

char *hx_strdup(hx_arena *a, const char *s)
{
    char *p = hx_alloc(a, strlen(s) + 1);
    return p ? strcpy(p, s) : NULL;
}

char *hx_sprintf(hx_arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    char *p = n < 0 ? NULL : hx_alloc(a, (size_t)n + 1);
    if (p)
        vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    va_end(ap);
    return p;
}

size_t hx_arena_bytes(const hx_arena *a) { return a->handed_out; }
