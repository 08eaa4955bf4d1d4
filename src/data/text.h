// text.h - training text: bytes of files in a fixed order, cut into splits and windows.
#pragma once
#include "../../runtime/file.h"

// Where one file's bytes lie in the whole.
typedef struct hx_text_part { const char *path; int64_t at; } hx_text_part;
typedef struct hx_text {
    hx_arena     *arena;
    uint8_t      *data;
    int64_t       size;
    hx_text_part *part;
    int           n_part, cap_part;
    int64_t       cap, limit;
} hx_text;
typedef struct hx_span { int64_t at, n; } hx_span;            // bytes [at, at + n) of a text

enum { HX_TEXT_LIMIT_GIB = 64 };
// Files, and directories with everything below them in byte order of names (hidden names left out);
// .gz and .zst are unpacked. `limit` bytes in all; 0: HX_TEXT_LIMIT_GIB. HX_E_INPUT: missing,
// broken, empty or too long.
hx_result hx_text_read(const hx_strs *paths, int64_t limit, hx_text **out);   // yours
void      hx_text_free(hx_text **t);
// Three neighbouring ranges in the given proportions, which sum to at most 1.
hx_result hx_text_split(const hx_text *t, const hx_reals *share, hx_span out[3]);
// Every byte must be a token: HX_E_INPUT [E-TOKEN-RANGE] names file and offset.
hx_result hx_text_check(const hx_text *t, int64_t num_tokens);
// Windows have seq_len + 1 bytes. HX_E_INPUT when the span is shorter; `what` names it ("train").
hx_result hx_span_check(const char *what, hx_span s, int64_t seq_len);
// First byte of window `index` in random order: a pure function of its arguments.
int64_t   hx_window_random(hx_span s, int64_t seq_len, uint64_t seed, int64_t index);
// Windows in sequence, each starting at the last byte of the one before.
int64_t   hx_window_count(hx_span s, int64_t seq_len);
int64_t   hx_window_at(hx_span s, int64_t seq_len, int64_t index);
// seq_len + 1 tokens from byte `at`.
void      hx_window_ids(const hx_text *t, int64_t at, int64_t seq_len, int32_t *out);
