// set.c - fuzz target: a prepared data set: manifest, two shards of tokens, their masks, documents.
#include "../../src/data/set.h"
#include "../../src/data/stream.h"
#include "fuzz.h"

enum { LIMIT = 1 << 16 };

// What was taken can be walked through: every id below num_tokens, every window inside.
static void walk(const hx_text *t)
{
    hx_span span[3];
    hx_stream *s;
    for (int64_t i = 0; i < t->size; i++)
        if (hx_text_token(t, i) < 0 || hx_text_token(t, i) >= t->num_tokens)
            abort();
    if (hx_text_split(t, &(hx_reals){ 3, false, { 0.5, 0.25, 0.25 } }, span) ||
        hx_stream_new(t, span[0], "", 3, 2, 1, &s))
        return;
    int32_t ids[4], labels[4];
    for (int64_t step = 0; step < 4; step++)
        for (int64_t row = 0; row < 2; row++)
            hx_stream_fill(s, hx_stream_piece(s, row, step, 0), -100, ids, labels);
    hx_stream_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[64];
    part p[MAX_PARTS];
    split(data, size, p);
    fresh_dir(dir);
    part manifest = with_hashes(p);
    put(dir, "MANIFEST.json", manifest);
    put(dir, "tokens-00000.bin", p[1]);
    put(dir, "tokens-00001.bin", p[2]);
    put(dir, "mask-00000.bin", p[3]);
    put(dir, "mask-00001.bin", p[4]);
    put(dir, "documents.bin", p[5]);
    free((void *)(uintptr_t)manifest.data);
    hx_text *t = NULL;
    hx_set_facts facts;
    hx_arena *a = hx_arena_new();
    bool is = false;
    if (hx_set_is(dir, &is) || (!hx_set_facts_read(a, dir, &facts) && !is))
        abort();
    if (!hx_set_read(&(hx_strs){ 2, { dir, dir } }, LIMIT, &t))
        walk(t);
    hx_text_free(&t);
    hx_arena_free(&a);
    hx_dir_remove(dir);
    return 0;
}
