// scratch.h - a directory of a test's own, and small helpers around files.
#pragma once
#include "../runtime/fault.h"
#include "../runtime/file.h"
#include "suite.h"
#include <stdio.h>
#include <unistd.h>

#ifdef HX_FAULTS
enum { HAVE_FAULTS = 1 };
#else
enum { HAVE_FAULTS = 0 };                  // tests of faults return at once
#endif

static hx_arena *arena;
static char scratch[64];

static void setup(void)
{
    arena = hx_arena_new();
    // in memory where that can be had: thousands of fsyncs would wear a disk for nothing
    strcpy(scratch,
           access("/dev/shm", W_OK) ? "/tmp/htxvk-test-XXXXXX" : "/dev/shm/htxvk-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(scratch));
    hx_fault_set("");
}

static void teardown(void)
{
    hx_fault_set("");
    hx_dir_remove(scratch);
    hx_arena_free(&arena);
}

static inline const char *at(const char *name) { return hx_sprintf(arena, "%s/%s", scratch, name); }

static inline const char *put(const char *name, const void *data, size_t n)
{
    const char *path = at(name);
    ck_assert_int_eq(hx_file_write(path, data, (int64_t)n), HX_OK);
    return path;
}

static inline bool says(const char *part) { return strstr(hx_last_message(), part) != NULL; }
#define ck_says(part) ck_assert_msg(says(part), "'%s' does not say '%s'", hx_last_message(), part)
#define ck_ok(expr) ck_assert_msg((expr) == HX_OK, "%s", hx_last_message())
