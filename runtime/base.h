// base.h - results with messages, and tables of fields: what every file may use.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// One line per result: name, exit code of the command, what it tells the reader.
#define HX_RESULTS(X)                                                     \
    X(OK,          0, "done")                                             \
    X(E_USAGE,     2, "the command line or a call breaks a documented rule") \
    X(E_INPUT,     3, "a file, a text or a configuration is not acceptable") \
    X(E_SHAPE,     3, "shapes or attributes do not fit")                  \
    X(E_NODEVICE,  4, "no usable device, or a feature is missing")        \
    X(E_NUMERIC,   5, "a value that must be finite is not")               \
    X(E_NOMEM,     6, "out of host or device memory")                     \
    X(E_IO,        7, "a file could not be read or written")              \
    X(E_CHECK,     8, "a correctness check failed")                       \
    X(E_INTERNAL, 70, "a defect of htxvk itself")                         \
    X(E_LOST,     75, "the device was lost")                              \
    X(E_STOPPED,  75, "stopped on request; can be resumed")
typedef enum hx_result {
#define X(name, exit, text) HX_##name,
    HX_RESULTS(X)
#undef X
} hx_result;

const char *hx_result_text(hx_result r);
int         hx_result_exit(hx_result r);   // exit code of the command

// Records a message for the calling thread and returns `r`, so that a failure is one line:
//   return hx_fail(HX_E_SHAPE, "rmsnorm: g has %d entries, x has %d columns [E-SHAPE]", n, c);
// The message names the user's thing, both numbers and where possible the remedy; it ends with
// a stable id in brackets.
hx_result hx_fail(hx_result r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// The last message of this thread; "" if there was none. Valid until the next hx_fail.
const char *hx_last_message(void);

#define HX_TRY(expr) do { hx_result try_ = (expr); if (try_) return try_; } while (0)

// Checked size arithmetic: every product or sum of sizes that a caller or a file controls goes
// through these. False when the result does not fit in an int64_t or an operand is negative.
bool hx_mul(int64_t a, int64_t b, int64_t *out);
bool hx_sum(int64_t a, int64_t b, int64_t *out);

static inline int64_t hx_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t hx_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t hx_ceil_div(int64_t a, int64_t b) { return a / b + (a % b > 0); }
static inline int64_t hx_align(int64_t n, int64_t to) { return hx_ceil_div(n, to) * to; }
#define HX_COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

// A field: one named, typed, bounded member of a struct. Configurations and operator attributes
// are arrays of these that end with a zero row.
enum { HX_MAX_LIST = 32 };
#define HX_NULL INT32_MIN                  // `null` in a list of integers
typedef struct hx_ints { int n; bool scalar; int32_t v[HX_MAX_LIST]; } hx_ints;
typedef struct hx_reals { int n; bool scalar; double v[HX_MAX_LIST]; } hx_reals;
typedef struct hx_strs { int n; const char *v[HX_MAX_LIST]; } hx_strs;
typedef enum { HX_I32, HX_I64, HX_F32, HX_F64, HX_BOOL, HX_STR, HX_INTS, HX_REALS, HX_STRS } hx_type;
typedef struct hx_field {
    const char *name;
    hx_type     type;
    size_t      offset;                    // of the member in its struct
    const char *def;                       // default as text; NULL: the key must be given
    double      min, max;                  // bounds of each number; both 0: none
    const char *help;                      // one line, with the unit
} hx_field;

typedef struct hx_arena hx_arena;
// Sets every field to its default (required ones to zero). Texts are borrowed from the table.
hx_result hx_fields_default(const hx_field *f, void *obj);
// Sets one field from text: a number, true, false, null, a word, or a list such as [1, 2, null].
// Strings are copied into `arena`. Fails with HX_E_INPUT when the value does not fit the field,
// and when no field has this name (the message suggests the nearest).
hx_result hx_field_set(const hx_field *f, void *obj, const char *key, const char *text, hx_arena *arena);
const hx_field *hx_field_find(const hx_field *f, const char *key);   // NULL if there is none
// Nearest of n words to `word`, for "did you mean"; NULL when none is near.
const char *hx_nearest(const char *word, const char *const *words, int n);
