// bpe_parts.h - what bpe_read.c fills and bpe.c uses.
#pragma once
#include "bpe.h"
#include "pretok.h"

typedef struct piece { const uint8_t *s; int64_t n; } piece;
typedef struct added {
    piece   p;
    int32_t id;
    bool    late;                          // looked for after all others
} added;
// Merges by (left, right), open addressing: room is a power of two, rank -1 where a slot is free.
typedef struct merge { int32_t left, right, rank, id; } merge;

struct hx_bpe {
    hx_arena        *arena;
    const hx_pretok *rule;                 // NULL: text is one piece
    bool             prefix_space, whole;  // whole: pieces that are tokens are not merged
    piece           *token;                // by id
    int64_t          n_token;
    int32_t          byte[256];            // token of a single byte; -1: none
    merge           *merges;
    int64_t          n_slot;
    int32_t         *by_bytes;             // ids by hash of their bytes, -1 where free
    int64_t          n_by_bytes;
    added           *add;                  // longest first
    int              n_add;
    bool             starts[256];          // first bytes of added tokens
};
// The token of n bytes; -1: there is none. Added tokens are not among them.
int32_t hx_bpe_find(const hx_bpe *b, const uint8_t *s, int64_t n);
uint64_t hx_bpe_slot(int32_t left, int32_t right);         // hash of a pair
