// bpe.h - byte-level byte-pair encoding from a tokenizer.json of Hugging Face's tokenizers.
#pragma once
#include "../../runtime/file.h"

typedef struct hx_bpe hx_bpe;
// HX_E_INPUT [E-BPE-...]: not such a file, or it asks for what is not done here: a normalizer,
// another pre-tokenizer than those of pretok.h, prefixes and suffixes of words, dropout, stripping
// added tokens. What comes after encoding in the file (templates, truncation, padding) is left
// alone.
hx_result hx_bpe_read(const char *path, hx_bpe **out);     // yours
void      hx_bpe_free(hx_bpe **b);         // accepts NULL, writes NULL
int64_t   hx_bpe_num_tokens(const hx_bpe *b);              // ids are below this

// A growing list of tokens.
typedef struct hx_ids { int32_t *v; int64_t n, cap; } hx_ids;
void      hx_ids_free(hx_ids *ids);
// Appends the tokens of n bytes of text, added tokens in it recognised. HX_E_INPUT: a byte has no
// token.
hx_result hx_bpe_encode(const hx_bpe *b, const void *text, int64_t n, hx_ids *out);
// The bytes of a token, *n of them, 0 for ids without a token.
const uint8_t *hx_bpe_bytes(const hx_bpe *b, int32_t id, int64_t *n);
