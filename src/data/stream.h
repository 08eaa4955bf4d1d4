// stream.h - documents read from beginning to end by the rows of a batch, piece by piece.
#pragma once
#include "text.h"

// The pieces of all documents lie in a circle, in the order of the text: a document of n tokens has
// ceil((n-1) / seq_len) pieces of seq_len predictions, the last one fewer. Row r begins its walk
// r/rows of the circle after row 0 and goes on by one piece a step.
typedef struct hx_stream {
    hx_arena      *arena;
    const hx_text *text;                   // borrowed
    int64_t        seq_len, rows, start;   // start: the piece that row 0 begins with
    int64_t        n;                      // documents that have a piece
    int64_t       *at, *size;              // of each: its first token, how many
    int64_t       *first;                  // its first piece; [n]: the number of pieces
} hx_stream;

// The documents of a span are: those of a prepared set; in text what lies between separators, each
// of which ends the document that it belongs to; files when the separator is "". The seed chooses
// where row 0 begins, 0: at the first piece. HX_E_INPUT: no document has two tokens.
hx_result hx_stream_new(const hx_text *t, hx_span span, const char *separator, int64_t seq_len,
                        int64_t rows, uint64_t seed, hx_stream **out);     // yours
void      hx_stream_free(hx_stream **s);   // accepts NULL, writes NULL
int64_t   hx_stream_pieces(const hx_stream *s);
// Tells streams apart whose rows are elsewhere at the same step: 1 to 2^53 - 1, of the lengths of
// documents and pieces, the rows and where row 0 begins.
int64_t   hx_stream_mark(const hx_stream *s);

// What row r reads in step `step` (from 0) of a walk that began at step `from`: a pure function of
// these. age: how many tokens of its document the row has been through, 0 at the document's beginning
// and where the walk begins.
typedef struct hx_piece { int64_t at, n, age; } hx_piece;      // predictions n <= seq_len
hx_piece  hx_stream_piece(const hx_stream *s, int64_t row, int64_t step, int64_t from);
// So many steps after its first piece a row comes to the first piece of the row after it.
int64_t   hx_stream_share(const hx_stream *s, int64_t row);
// seq_len + 1 ids and as many labels; behind the document's end ids are 0 and labels `ignore`.
void      hx_stream_fill(const hx_stream *s, hx_piece p, int32_t ignore, int32_t *ids, int32_t *labels);
