// arena.h - memory by scope: allocate freely, free the whole scope at once.
#pragma once
#include "base.h"

hx_arena *hx_arena_new(void);              // yours; NULL when memory is out
void      hx_arena_free(hx_arena **a);     // accepts NULL, writes NULL
// Zeroed memory, aligned to 64 bytes, that lives as long as the arena. NULL when memory is out
// (the message is left for hx_last_message); a NULL arena gives NULL.
void     *hx_alloc(hx_arena *a, size_t bytes);
char     *hx_strdup(hx_arena *a, const char *s);
char     *hx_sprintf(hx_arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
size_t    hx_arena_bytes(const hx_arena *a);   // handed out so far
#define hx_new(arena, type, n) ((type *)hx_alloc(arena, sizeof(type) * (size_t)(n)))
