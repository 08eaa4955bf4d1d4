// bpe.c - fuzz target: a tokenizer.json, merges included, then a text that it encodes: the tokens'
// bytes must be the text again.
#include "../../src/data/bpe.h"
#include "fuzz.h"

static void encode(const hx_bpe *b, part text)
{
    hx_ids ids = { 0 };
    if (hx_bpe_encode(b, text.data, (int64_t)text.size, &ids)) {
        hx_ids_free(&ids);
        return;
    }
    size_t at = 0;
    for (int64_t i = 0; i < ids.n; i++) {
        int64_t n;
        if (ids.v[i] < 0 || ids.v[i] >= hx_bpe_num_tokens(b))
            abort();
        const uint8_t *s = hx_bpe_bytes(b, ids.v[i], &n);
        // a tokenizer may put one space before a text, or before what follows an added token
        for (; n && *s == ' ' && (at == text.size || text.data[at] != ' '); s++, n--)
            ;
        if ((size_t)n > text.size - at || (n && memcmp(s, text.data + at, (size_t)n)))
            abort();
        at += (size_t)n;
    }
    if (at != text.size)
        abort();
    hx_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[80];
    part p[MAX_PARTS];
    split(data, size, p);
    char dir[64];
    put(fresh_dir(dir), "tokenizer.json", p[0]);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    hx_bpe *b;
    if (!hx_bpe_read(path, &b)) {
        encode(b, p[1]);
        hx_bpe_free(&b);
    }
    unlink(path);
    return 0;
}
