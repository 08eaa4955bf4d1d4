// pretok.h - how text falls into pieces within which byte pairs are merged.
#pragma once
#include "../../runtime/base.h"

// A rule of a published tokenizer, found by the regular expression that its file has.
typedef struct hx_pretok {
    const char *name, *regex;
    // End of the piece that begins at byte `at` < n. Bytes that are no UTF-8 count as signs.
    int64_t (*next)(const uint8_t *s, int64_t n, int64_t at);
} hx_pretok;
extern const hx_pretok hx_pretoks[];       // ends with a zero row; the first is GPT-2's
