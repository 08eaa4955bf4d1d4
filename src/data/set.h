// set.h - prepared data: a directory of token shards, document boundaries and, where only some
// labels are trained on, a mask; whole or not there.
//
// DIR/MANIFEST.json, written last, says what the numbers are and has size and XXH3-128 of every
// other file: tokens-NNNNN.bin (little-endian u8, u16 or u32, the smallest that holds num_tokens),
// mask-NNNNN.bin (one byte a token: 1 is trained on), documents.bin (i64: first token of each;
// absent where all have one length), tokenizer.json (absent where tokens are bytes). docs/data.md
#pragma once
#include "text.h"

// What is known of a set before its tokens are read.
typedef struct hx_set_facts {
    int64_t num_tokens;                    // ids are 0 to num_tokens - 1
    int64_t tokens, documents, shards;
    int64_t document_tokens;               // of every document; 0: they differ
    int64_t source_bytes;                  // that the tokens were made from
    int     width;                         // bytes of a token on disk: 1, 2 or 4
    bool    masked;
    const char *tokenizer;                 // path of its tokenizer.json; NULL: tokens are bytes
    const char *made;                      // JSON object: how it was made
} hx_set_facts;
// Whether it has a MANIFEST.json of this kind; HX_E_NOMEM when that could not be found out.
hx_result hx_set_is(const char *dir, bool *is);
// Texts live in `arena`. HX_E_INPUT: the manifest is broken or of another version.
hx_result hx_set_facts_read(hx_arena *arena, const char *dir, hx_set_facts *out);
// Sets of one tokenizer, one after the other; sizes, hashes and every id are checked. Texts with
// masks and without do not mix, nor do lengths of documents where they are fixed.
hx_result hx_set_read(const hx_strs *dirs, int64_t limit, hx_text **out);      // yours

// A set being written: staged beside `dir`, there once hx_set_end has succeeded.
typedef struct hx_set hx_set;
// facts: num_tokens, document_tokens, masked, tokenizer (a file that is copied), made. A shard
// takes shard_tokens; 0: 2^28. HX_E_USAGE: dir exists.
hx_result hx_set_begin(const char *dir, const hx_set_facts *facts, int64_t shard_tokens,
                       hx_set **out);
// One document; mask (NULL where not masked) has one byte a token. source_bytes are added up.
hx_result hx_set_put(hx_set *s, const int32_t *ids, const uint8_t *mask, int64_t n,
                     int64_t source_bytes);
hx_result hx_set_end(hx_set **s);          // writes NULL
void      hx_set_drop(hx_set **s);         // gives up; accepts NULL, writes NULL
