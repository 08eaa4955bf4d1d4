// bpe_read.c - tokenizer.json to tables; everything that would change the result silently is
// refused.
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "bpe_parts.h"

enum { MAX_JSON = 1 << 28, MAX_ID = 1 << 24, MAX_ADDED = 65536 };
typedef struct reader {
    hx_bpe *b;
    const char *path;
    json_t *root, *model;
    int16_t of_char[512];
} reader;

static hx_result bad(const reader *r, const char *what)
{
    return hx_fail(HX_E_INPUT, "'%s': %s [E-BPE-FILE]", r->path, what);
}

static hx_result unknown(const reader *r, const char *what)
{
    return hx_fail(HX_E_INPUT, "'%s' asks for %s, which is not done here [E-BPE-KIND]", r->path,
                   what);
}

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

static bool is_true(const json_t *o, const char *key)
{
    return json_object_get(o, key) == json_true();
}

// ---- the alphabet ---------------------------------------------------------------------------
// Byte-level vocabularies write printable Latin-1 bytes as themselves and the other 68, in order,
// as characters from 256 up.
static void make_alphabet(reader *r)
{
    int next = 256;
    memset(r->of_char, -1, sizeof r->of_char);
    for (int b = 0; b < 256; b++) {
        bool itself = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        r->of_char[itself ? b : next++] = (int16_t)b;
    }
}

// The bytes that a vocabulary's word stands for; false where it has other characters.
static bool word_bytes(const reader *r, const char *word, size_t n, uint8_t *out, int64_t *n_out)
{
    *n_out = 0;
    for (size_t i = 0; i < n;) {
        uint8_t c = (uint8_t)word[i];
        bool two = c >= 0x80 && c < 0xe0;             // whole characters: it was read as UTF-8
        int code = c < 0x80 ? c : two ? (c & 31) << 6 | (word[i + 1] & 63) : 512;
        if (code >= HX_COUNT(r->of_char) || r->of_char[code] < 0)
            return false;
        out[(*n_out)++] = (uint8_t)r->of_char[code];
        i += two ? 2 : 1;
    }
    return true;
}

// ---- vocabulary -----------------------------------------------------------------------------
static hx_result copy_piece(reader *r, const void *s, int64_t n, piece *out)
{
    uint8_t *p = hx_alloc(r->b->arena, (size_t)n + 1);
    if (!p)
        return HX_E_NOMEM;
    memcpy(p, s, (size_t)n);
    *out = (piece){ p, n };
    return HX_OK;
}

static hx_result read_id(const reader *r, const json_t *v, const char *of, int32_t *id)
{
    json_int_t i = json_integer_value(v);
    if (!json_is_integer(v) || i < 0 || i >= MAX_ID)
        return hx_fail(HX_E_INPUT,
                       "'%s': the id of '%.40s' must be an integer from 0 to %d [E-BPE-FILE]",
                       r->path, of, MAX_ID - 1);
    *id = (int32_t)i;
    return HX_OK;
}

static hx_result count_ids(reader *r, json_t *vocab, json_t *list)
{
    int32_t id = 0, most = -1;
    for (void *i = json_object_iter(vocab); i; i = json_object_iter_next(vocab, i)) {
        HX_TRY(read_id(r, json_object_iter_value(i), json_object_iter_key(i), &id));
        most = id > most ? id : most;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        HX_TRY(read_id(r, json_object_get(v, "id"), text_of(v, "content"), &id));
        most = id > most ? id : most;
    }
    r->b->n_token = most + 1;
    r->b->token = hx_new(r->b->arena, piece, most + 2);
    return r->b->token ? HX_OK : HX_E_NOMEM;
}

static void enter(hx_bpe *b, int32_t id)
{
    uint64_t mask = (uint64_t)b->n_by_bytes - 1,
             i = XXH3_64bits(b->token[id].s, (size_t)b->token[id].n) & mask;
    while (b->by_bytes[i] >= 0)
        i = (i + 1) & mask;
    b->by_bytes[i] = id;
}

static int64_t table_size(int64_t n)
{
    int64_t size = 64;
    while (size < 2 * n)
        size *= 2;
    return size;
}

static hx_result read_vocab(reader *r, json_t *vocab)
{
    hx_bpe *b = r->b;
    b->n_by_bytes = table_size((int64_t)json_object_size(vocab));
    b->by_bytes = hx_new(b->arena, int32_t, b->n_by_bytes);
    if (!b->by_bytes)
        return HX_E_NOMEM;
    memset(b->by_bytes, -1, sizeof *b->by_bytes * (size_t)b->n_by_bytes);
    memset(b->byte, -1, sizeof b->byte);
    for (void *i = json_object_iter(vocab); i; i = json_object_iter_next(vocab, i)) {
        const char *word = json_object_iter_key(i);
        int32_t id = (int32_t)json_integer_value(json_object_iter_value(i));     // looked at by count_ids
        int64_t n;
        size_t len = strlen(word);
        uint8_t *bytes = malloc(len + 1);
        if (!bytes)
            return hx_fail(HX_E_NOMEM, "no memory for a word of '%s' [E-NOMEM]", r->path);
        bool plain = word_bytes(r, word, len, bytes, &n) && n > 0;
        hx_result e =
            b->token[id].s
                ? hx_fail(HX_E_INPUT, "'%s': two words have the id %d [E-BPE-FILE]", r->path, id)
                : copy_piece(r, plain ? (void *)bytes : (void *)(uintptr_t)word,
                             plain ? n : (int64_t)len, &b->token[id]);
        free(bytes);
        HX_TRY(e);
        if (plain)
            enter(b, id);
        if (plain && n == 1)
            b->byte[b->token[id].s[0]] = id;
    }
    return HX_OK;
}

// ---- merges ---------------------------------------------------------------------------------
static int32_t find_word(const reader *r, const char *word, size_t n, uint8_t *room)
{
    int64_t k;
    return n && word_bytes(r, word, n, room, &k) ? hx_bpe_find(r->b, room, k) : -1;
}

// "a b" or ["a", "b"].
static bool split_merge(const json_t *v, const char **a, size_t *na, const char **c, size_t *nc)
{
    bool pair = json_array_size(v) == 2;
    if (pair) {
        *a = json_string_value(json_array_get(v, 0));
        *c = json_string_value(json_array_get(v, 1));
    } else {
        *a = json_string_value(v);
        *c = *a ? strchr(*a, ' ') : NULL;
        *na = *c ? (size_t)(*c - *a) : 0;
        *c = *c ? *c + 1 : NULL;
    }
    if (!*a || !*c)
        return false;
    *na = pair ? strlen(*a) : *na;
    *nc = strlen(*c);
    return true;
}

static hx_result add_merge(reader *r, const json_t *v, int32_t rank)
{
    hx_bpe *b = r->b;
    const char *a, *c;
    size_t na = 0, nc = 0;
    merge m = { .rank = rank, .left = -1, .right = -1, .id = -1 };
    bool two = split_merge(v, &a, &na, &c, &nc);
    uint8_t *room = malloc(na + nc + 1);
    if (!room)
        return hx_fail(HX_E_NOMEM, "no memory for a merge of '%s' [E-NOMEM]", r->path);
    if (two) {
        m.left = find_word(r, a, na, room);
        m.right = find_word(r, c, nc, room);
    }
    if (m.left >= 0 && m.right >= 0) {
        int64_t nl = b->token[m.left].n, nr = b->token[m.right].n;
        memcpy(room, b->token[m.left].s, (size_t)nl);
        memcpy(room + nl, b->token[m.right].s, (size_t)nr);
        m.id = hx_bpe_find(b, room, nl + nr);
    }
    free(room);
    if (m.id < 0)
        return hx_fail(HX_E_INPUT,
                       "'%s': merge %d is not of two words that make a third [E-BPE-MERGE]",
                       r->path, rank);
    uint64_t mask = (uint64_t)b->n_slot - 1, i = hx_bpe_slot(m.left, m.right) & mask;
    while (b->merges[i].rank >= 0 && ((b->merges[i].left ^ m.left) | (b->merges[i].right ^ m.right)))
        i = (i + 1) & mask;
    b->merges[i] = m;
    return HX_OK;
}

static hx_result read_merges(reader *r, json_t *list)
{
    hx_bpe *b = r->b;
    b->n_slot = table_size((int64_t)json_array_size(list));
    b->merges = hx_new(b->arena, merge, b->n_slot);
    if (!b->merges)
        return HX_E_NOMEM;
    for (int64_t k = 0; k < b->n_slot; k++)
        b->merges[k].rank = -1;
    for (size_t i = 0; i < json_array_size(list); i++)                          // MAX_JSON / 3 at most
        HX_TRY(add_merge(r, json_array_get(list, i), (int32_t)i));
    return HX_OK;
}

// ---- added tokens ---------------------------------------------------------------------------
static int longest_first(const void *x, const void *y)
{
    const added *a = x, *b = y;
    return a->p.n != b->p.n ? (a->p.n < b->p.n) - (a->p.n > b->p.n)
                            : (a->id > b->id) - (a->id < b->id);
}

static hx_result read_added(reader *r, json_t *list)
{
    static const char *const flags[] = { "single_word", "lstrip", "rstrip" };
    hx_bpe *b = r->b;
    if (json_array_size(list) > MAX_ADDED)
        return bad(r, "it has too many added tokens");
    b->add = hx_new(b->arena, added, json_array_size(list) + 1);
    if (!b->add)
        return HX_E_NOMEM;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        const char *s = text_of(v, "content");
        added *a = &b->add[b->n_add++];
        for (int f = 0; f < HX_COUNT(flags); f++)
            if (is_true(v, flags[f]))
                return hx_fail(
                    HX_E_INPUT,
                    "'%s': added token '%.40s' has %s, which is not done here [E-BPE-KIND]",
                    r->path, s, flags[f]);
        if (!s[0])
            return bad(r, "an added token is empty");
        a->id = (int32_t)json_integer_value(json_object_get(v, "id"));           // looked at by count_ids
        HX_TRY(copy_piece(r, s, (int64_t)strlen(s), &a->p));
        a->late = is_true(v, "normalized");
        // the same id may be a word of the vocabulary, but then the same one
        const piece *word = &b->token[a->id];
        if (word->s && (word->n != a->p.n || memcmp(word->s, a->p.s, (size_t)word->n)))
            return hx_fail(HX_E_INPUT,
                           "'%s': added token '%.40s' has the id %d of another word [E-BPE-FILE]",
                           r->path, s, a->id);
        b->token[a->id] = a->p;
        b->starts[a->p.s[0]] = true;
    }
    qsort(b->add, (size_t)b->n_add, sizeof *b->add, longest_first);
    return HX_OK;
}

// ---- rules ----------------------------------------------------------------------------------
static hx_result read_byte_level(reader *r, const json_t *o)
{
    const json_t *regex = json_object_get(o, "use_regex");
    if (strcmp(text_of(o, "type"), "ByteLevel"))
        return unknown(r, "another pre-tokenizer than ByteLevel");
    r->b->prefix_space = is_true(o, "add_prefix_space");
    if (!regex || regex == json_true())
        r->b->rule = r->b->rule ? NULL : &hx_pretoks[0];
    else if (!r->b->rule)
        return HX_OK;
    return r->b->rule ? HX_OK : unknown(r, "two pre-tokenizers in a row");
}

static hx_result read_split(reader *r, const json_t *o)
{
    const char *regex = text_of(json_object_get(o, "pattern"), "Regex");
    bool plain = !strcmp(text_of(o, "type"), "Split") &&
                 !strcmp(text_of(o, "behavior"), "Isolated") && !is_true(o, "invert");
    const hx_pretok *p = hx_pretoks;
    while (p->name && strcmp(p->regex, regex))
        p++;
    if (!plain || !p->name)
        return unknown(
            r, "a way of splitting text that is not GPT-2's, GPT-4's, Llama 3's or Qwen 2's");
    r->b->rule = p;
    return HX_OK;
}

static hx_result read_rule(reader *r)
{
    const json_t *o = json_object_get(r->root, "pre_tokenizer");
    if (strcmp(text_of(o, "type"), "Sequence"))
        return json_is_object(o) ? read_byte_level(r, o) : unknown(r, "no pre-tokenizer");
    const json_t *list = json_object_get(o, "pretokenizers");
    if (json_array_size(list) != 2)
        return unknown(r, "a sequence that is not Split, then ByteLevel");
    HX_TRY(read_split(r, json_array_get(list, 0)));
    HX_TRY(read_byte_level(r, json_array_get(list, 1)));
    // a space would be put before every piece
    return r->b->prefix_space ? unknown(r, "a space before pieces of another rule") : HX_OK;
}

static hx_result read_model(reader *r)
{
    static const char *const words[] = { "continuing_subword_prefix", "end_of_word_suffix" };
    const json_t *m = r->model, *drop = json_object_get(m, "dropout"),
                 *norm = json_object_get(r->root, "normalizer");
    if (strcmp(text_of(m, "type"), "BPE") && text_of(m, "type")[0])
        return unknown(r, "another model than BPE");
    if (json_number_value(drop) > 0)
        return unknown(r, "dropout");
    for (int i = 0; i < HX_COUNT(words); i++)
        if (text_of(m, words[i])[0])
            return unknown(r, words[i]);
    if (is_true(m, "byte_fallback"))
        return unknown(r, "byte_fallback");
    if (norm && !json_is_null(norm))
        return unknown(r, "a normalizer");
    r->b->whole = is_true(m, "ignore_merges");
    return HX_OK;
}

static hx_result read_all(reader *r)
{
    json_t *vocab = json_object_get(r->model, "vocab"),
           *merges = json_object_get(r->model, "merges"),
           *list = json_object_get(r->root, "added_tokens");
    if (!json_object_size(vocab) || !json_is_array(merges))
        return bad(r, "it has no model with vocab and merges");
    if (list && json_typeof(list) != JSON_ARRAY && json_typeof(list) != JSON_NULL)
        return bad(r, "added_tokens is no list");
    HX_TRY(read_model(r));
    HX_TRY(read_rule(r));
    make_alphabet(r);
    HX_TRY(count_ids(r, vocab, list));
    HX_TRY(read_vocab(r, vocab));
    HX_TRY(read_merges(r, merges));
    return read_added(r, list);
}

static hx_result read_json(const char *path, json_t **out)
{
    hx_blob blob;
    json_error_t e;
    HX_TRY(hx_file_read(path, MAX_JSON, 0, &blob));
    *out = json_loadb((const char *)blob.data, (size_t)blob.size, JSON_REJECT_DUPLICATES, &e);
    hx_blob_free(&blob);
    if (json_is_object(*out))
        return HX_OK;
    bool broken = !*out;
    json_decref(*out);
    return broken
               ? hx_fail(HX_E_INPUT, "'%s':%d:%d: %s [E-BPE-JSON]", path, e.line, e.column, e.text)
               : hx_fail(HX_E_INPUT, "'%s' is not a JSON map [E-BPE-JSON]", path);
}

hx_result hx_bpe_read(const char *path, hx_bpe **out)
{
    *out = NULL;
    json_t *root = NULL;
    HX_TRY(read_json(path, &root));
    hx_arena *a = hx_arena_new();
    hx_bpe *b = a ? hx_new(a, hx_bpe, 1) : NULL;
    hx_result r = HX_E_NOMEM;
    if (b) {
        b->arena = a;
        reader in = { .b = b, .path = path, .root = root, .model = json_object_get(root, "model") };
        r = read_all(&in);
    }
    json_decref(root);
    if (r)
        hx_arena_free(&a);
    *out = r ? NULL : b;
    return r;
}
