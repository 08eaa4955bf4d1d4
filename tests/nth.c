// nth.c - wrappers (ld --wrap) of what the library allocates and calls: see nth.h.
#include "nth.h"
#include "../runtime/arena.h"
#include <jansson.h>
#include <libfyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <xxhash.h>
#include <zlib.h>
#include <zstd.h>

static struct { const char *what; long at, seen; int error, paused; } nth;

void (*nth_then)(void);

void nth_arm(const char *what, long n, int error)
{
    nth.what = what;
    nth.at = n;
    nth.seen = 0;
    nth.error = error;
    nth.paused = 0;
}

// Behind each allocation of an arena: a mark that nobody may write, while calls are counted.
enum { MARK = 32, MOST_MARKS = 1 << 14 };
static struct { const hx_arena *arena; const uint8_t *at; } marks[MOST_MARKS];
static int n_marks;

static void *marked(hx_arena *a, uint8_t *p, size_t n)
{
    if (p && n_marks < MOST_MARKS) {
        memset(p + n, 0xA5, MARK);
        marks[n_marks].arena = a;
        marks[n_marks++].at = p + n;
    }
    return p;
}

// Looks at the marks of an arena, NULL: of all, and forgets them.
static void check_marks(const hx_arena *a)
{
    int kept = 0;
    for (int k = 0; k < n_marks; k++) {
        for (int i = 0; (!a || marks[k].arena == a) && i < MARK; i++)
            if (marks[k].at[i] != 0xA5) {
                fprintf(stderr, "an allocation was written behind its end\n");
                abort();
            }
        if (a && marks[k].arena != a)
            marks[kept++] = marks[k];
    }
    n_marks = kept;
}

long nth_disarm(void)
{
    check_marks(NULL);
    nth.what = NULL;
    return nth.seen;
}

void nth_pause(bool on) { nth.paused += on ? 1 : -1; }

static bool fails(const char *what)
{
    if (!nth.what || nth.paused || strcmp(nth.what, what) || ++nth.seen != nth.at)
        return false;
    errno = nth.error;
    if (!nth.error)
        nth_then();
    return nth.error != 0;
}

// name, result, parameters, arguments, what a failure returns
#define WRAP(what, type, name, params, args, failed)      \
    extern type __real_##name params;                     \
    extern type __wrap_##name params;                     \
    type __wrap_##name params                             \
    {                                                     \
        return fails(what) ? failed : __real_##name args; \
    }
WRAP("memory", void *, malloc, (size_t n), (n), NULL)
WRAP("memory", void *, calloc, (size_t n, size_t size), (n, size), NULL)
WRAP("memory", void *, realloc, (void *p, size_t n), (p, n), NULL)
WRAP("memory", void *, aligned_alloc, (size_t align, size_t n), (align, n), NULL)
WRAP("memory", char *, strdup, (const char *s), (s), NULL)
WRAP("fstat64", int, fstat64, (int fd, struct stat *st), (fd, st), -1)
WRAP("lstat64", int, lstat64, (const char *path, struct stat *st), (path, st), -1)
WRAP("statvfs64", int, statvfs64, (const char *path, struct statvfs *st), (path, st), -1)
WRAP("ftruncate64", int, ftruncate64, (int fd, off_t n), (fd, n), -1)
WRAP("read", ssize_t, read, (int fd, void *p, size_t n), (fd, p, n), -1)
WRAP("write", ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n), -1)
WRAP("pread64", ssize_t, pread64, (int fd, void *p, size_t n, off_t at), (fd, p, n, at), -1)
WRAP("close", int, close, (int fd), (fd), (__real_close(fd), -1))
WRAP("flock", int, flock, (int fd, int how), (fd, how), -1)
WRAP("realpath", char *, realpath, (const char *path, char *out), (path, out), NULL)
WRAP("fdopendir", void *, fdopendir, (int fd), (fd), NULL)
WRAP("memory", struct fy_parser *, fy_parser_create, (const struct fy_parse_cfg *c), (c), NULL)
WRAP("memory", struct fy_diag *, fy_diag_create, (const struct fy_diag_cfg *c), (c), NULL)
WRAP("memory", int, fy_parser_set_string, (struct fy_parser *p, const char *s, size_t n), (p, s, n), -1)
WRAP("memory", ZSTD_DCtx *, ZSTD_createDCtx, (void), (), NULL)
WRAP("memory", int, inflateInit2_, (z_streamp z, int bits, const char *version, int size),
     (z, bits, version, size), Z_MEM_ERROR)
WRAP("inflate", int, inflate, (z_streamp z, int how), (z, how), Z_MEM_ERROR)
WRAP("fy_diag_errors_iterate", struct fy_diag_error *, fy_diag_errors_iterate, (struct fy_diag *d, void **at), (d, at), NULL)
WRAP("fy_parser_get_stream_error", bool, fy_parser_get_stream_error, (struct fy_parser *p), (p),
     !__real_fy_parser_get_stream_error(p))
WRAP("memory", json_t *, json_array, (void), (), NULL)
WRAP("inflateReset", int, inflateReset, (z_streamp z), (z), Z_STREAM_ERROR)
WRAP("memory", XXH3_state_t *, XXH3_createState, (void), (), NULL)

extern void __real_hx_arena_free(hx_arena **a), __wrap_hx_arena_free(hx_arena **a);
void __wrap_hx_arena_free(hx_arena **a)
{
    if (a && *a)
        check_marks(*a);
    __real_hx_arena_free(a);
}

extern void *__real_hx_alloc(hx_arena *a, size_t n), *__wrap_hx_alloc(hx_arena *a, size_t n);
void *__wrap_hx_alloc(hx_arena *a, size_t n)
{
    if (fails("memory")) {
        hx_fail(HX_E_NOMEM, "no memory, on purpose [E-NOMEM]");
        return NULL;
    }
    bool mark = nth.what && !nth.paused && n < SIZE_MAX / 4;
    return mark ? marked(a, __real_hx_alloc(a, n + MARK), n) : __real_hx_alloc(a, n);
}

// The library says itself how many bytes an arena could not give.
#define WRAP_ARENA(type, name, params, args)                     \
    extern type __real_##name params;                            \
    extern type __wrap_##name params;                            \
    type __wrap_##name params                                    \
    {                                                            \
        if (!fails("memory"))                                    \
            return __real_##name args;                           \
        hx_fail(HX_E_NOMEM, "no memory, on purpose [E-NOMEM]");  \
        return NULL;                                             \
    }
WRAP_ARENA(char *, hx_strdup, (hx_arena *a, const char *s), (a, s))

extern char *__wrap_hx_sprintf(hx_arena *a, const char *fmt, ...);
char *__wrap_hx_sprintf(hx_arena *a, const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    char *out = n < 0 ? NULL : __wrap_hx_strdup(a, text);
    free(text);
    return out;
}

extern int __wrap_asprintf(char **out, const char *fmt, ...);
int __wrap_asprintf(char **out, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = fails("memory") ? -1 : vasprintf(out, fmt, ap);
    va_end(ap);
    return n;
}
