// text.h - training text: bytes of files, or tokens of prepared sets (set.h), in a fixed order, cut
// into splits and windows.
#pragma once
#include "../../runtime/file.h"

// Where one file's bytes lie in the whole.
typedef struct hx_text_part { const char *path; int64_t at; } hx_text_part;
typedef struct hx_text {
    hx_arena     *arena;
    uint8_t      *data;                    // size tokens of `width` bytes
    int64_t       size;
    int           width;                   // 1: bytes are tokens; 2, 4: integers of this machine
    int64_t       num_tokens;              // ids are below this; 256 for bytes
    int64_t       source_bytes;            // that the tokens were made from
    uint8_t      *mask;                    // 1 for labels that are trained on; NULL: all are
    int64_t      *doc, n_doc;              // first token of each document, where lengths vary
    int64_t       doc_tokens;              // of every document; 0: they differ
    const char   *tokenizer;               // path of tokenizer.json; NULL: tokens are bytes
    hx_text_part *part;
    int           n_part, cap_part;
    int64_t       cap, limit;
} hx_text;
// Tokens [at, at + n) of a text; doc: of so many tokens is every document, windows are whole
// documents then; 0: windows are cut anywhere.
typedef struct hx_span { int64_t at, n, doc; } hx_span;

enum { HX_TEXT_LIMIT_GIB = 64 };
// Files, and directories with everything below them in byte order of names (hidden names left out);
// .gz and .zst are unpacked. Or prepared sets, see hx_set_read. `limit` bytes in all; 0:
// HX_TEXT_LIMIT_GIB. HX_E_INPUT: missing, broken, empty or too long.
hx_result hx_text_read(const hx_strs *paths, int64_t limit, hx_text **out);   // yours
void      hx_text_free(hx_text **t);
hx_span   hx_text_whole(const hx_text *t);
static inline int32_t hx_text_token(const hx_text *t, int64_t i)
{
    return t->width == 1 ? t->data[i] : t->width == 2 ? ((const uint16_t *)(const void *)t->data)[i]
                                      : ((const int32_t *)(const void *)t->data)[i];
}
// Three neighbouring ranges in the given proportions, which sum to at most 1; whole documents where
// they have one length.
hx_result hx_text_split(const hx_text *t, const hx_reals *share, hx_span out[3]);
// Every byte must be a token: HX_E_INPUT [E-TOKEN-RANGE] names file and offset.
hx_result hx_text_check(const hx_text *t, int64_t num_tokens);
// Windows have seq_len + 1 tokens. HX_E_INPUT when the span is shorter or its documents have
// another length; `what` names it ("train").
hx_result hx_span_check(const char *what, hx_span s, int64_t seq_len);
// First token of window `index` in random order: a pure function of its arguments.
int64_t   hx_window_random(hx_span s, int64_t seq_len, uint64_t seed, int64_t index);
// Windows in sequence, each starting at the last token of the one before, or documents.
int64_t   hx_window_count(hx_span s, int64_t seq_len);
int64_t   hx_window_at(hx_span s, int64_t seq_len, int64_t index);
// seq_len + 1 tokens from token `at`.
void      hx_window_ids(const hx_text *t, int64_t at, int64_t seq_len, int32_t *out);
// The same as labels: `ignore` where the mask leaves them out.
void hx_window_labels(const hx_text *t, int64_t at, int64_t seq_len, int32_t ignore, int32_t *out);
