// bpe.c - text to tokens: added tokens, then pieces, then pairs of them merged in the order of
// rank.
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "bpe_parts.h"

void hx_bpe_free(hx_bpe **b)
{
    if (!b || !*b)
        return;
    hx_arena *a = (*b)->arena;
    *b = NULL;
    hx_arena_free(&a);
}

int64_t hx_bpe_num_tokens(const hx_bpe *b) { return b->n_token; }

const uint8_t *hx_bpe_bytes(const hx_bpe *b, int32_t id, int64_t *n)
{
    *n = id >= 0 && id < b->n_token ? b->token[id].n : 0;
    return *n ? b->token[id].s : (const uint8_t *)"";
}

int32_t hx_bpe_find(const hx_bpe *b, const uint8_t *s, int64_t n)
{
    uint64_t mask = (uint64_t)b->n_by_bytes - 1, i = XXH3_64bits(s, (size_t)n) & mask;
    for (;; i = (i + 1) & mask) {
        int32_t id = b->by_bytes[i];
        if (id < 0 || (b->token[id].n == n && !memcmp(b->token[id].s, s, (size_t)n)))
            return id;
    }
}

uint64_t hx_bpe_slot(int32_t left, int32_t right)
{
    uint64_t x = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    return x ^ x >> 29;
}

static const merge *find_merge(const hx_bpe *b, int32_t left, int32_t right)
{
    uint64_t mask = (uint64_t)b->n_slot - 1, i = hx_bpe_slot(left, right) & mask;
    for (;; i = (i + 1) & mask) {
        const merge *m = &b->merges[i];
        if (m->rank < 0)
            return NULL;
        if (m->left == left && m->right == right)
            return m;
    }
}

// ---- lists ----------------------------------------------------------------------------------
void hx_ids_free(hx_ids *ids)
{
    free(ids->v);
    *ids = (hx_ids){ 0 };
}

static hx_result room(hx_ids *o, int64_t more)
{
    if (o->n + more <= o->cap)
        return HX_OK;
    int64_t cap = hx_max(o->n + more, 2 * o->cap);
    int32_t *v = realloc(o->v, (size_t)cap * sizeof *v);
    if (!v)
        return hx_fail(HX_E_NOMEM, "no memory for %lld tokens [E-NOMEM]", (long long)cap);
    o->v = v;
    o->cap = cap;
    return HX_OK;
}

// ---- merging --------------------------------------------------------------------------------
// Symbols of one piece in a linked list, and a heap of pairs that may be merged, the lowest rank
// first, of equals the leftmost. A pair that changed since it was put there is skipped.
typedef struct symbol { int32_t id; int64_t before, after; } symbol;
typedef struct pair { int32_t rank, left, right, id; int64_t at; } pair;
typedef struct work {
    const hx_bpe *b;
    symbol *sym;
    pair   *heap;
    int64_t n_heap, cap; // cap: symbols that there is room for; pairs: three times
} work;

static bool first(const pair *x, const pair *y)
{
    return x->rank != y->rank ? x->rank < y->rank : x->at < y->at;
}

static void push(work *w, int64_t at)
{
    const symbol *s = &w->sym[at];
    const merge *m = s->after < 0 ? NULL : find_merge(w->b, s->id, w->sym[s->after].id);
    if (!m)
        return;
    pair p = { m->rank, m->left, m->right, m->id, at };
    int64_t i = w->n_heap++;
    for (; i > 0 && first(&p, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = p;
}

static pair pop(work *w)
{
    pair top = w->heap[0], p = w->heap[--w->n_heap];
    int64_t i = 0, k;
    for (; (k = 2 * i + 1) < w->n_heap; i = k) {
        if (k + 1 < w->n_heap && first(&w->heap[k + 1], &w->heap[k]))
            k++;
        if (!first(&w->heap[k], &p))
            break;
        w->heap[i] = w->heap[k];
    }
    w->heap[i] = p;
    return top;
}

static void merge_all(work *w)
{
    while (w->n_heap) {
        pair p = pop(w);
        symbol *s = &w->sym[p.at], *r;
        if (s->id != p.left || s->after < 0 || w->sym[s->after].id != p.right)
            continue;
        r = &w->sym[s->after];
        s->id = p.id;
        s->after = r->after;
        r->id = -1;
        if (s->after >= 0)
            w->sym[s->after].before = p.at;
        if (s->before >= 0)
            push(w, s->before);
        push(w, p.at);
    }
}

static hx_result work_room(work *w, int64_t n)
{
    if (n <= w->cap)
        return HX_OK;
    int64_t cap = hx_max(n, 2 * w->cap);
    symbol *s = realloc(w->sym, (size_t)cap * sizeof *s);
    if (s)
        w->sym = s;
    pair *h = s ? realloc(w->heap, (size_t)cap * 3 * sizeof *h) : NULL;
    if (!h)
        return hx_fail(HX_E_NOMEM, "no memory to tokenise a piece of %lld bytes [E-NOMEM]",
                       (long long)n);
    w->heap = h;
    w->cap = cap;
    return HX_OK;
}

// A piece: n > 0 bytes.
static hx_result encode_piece(work *w, const uint8_t *s, int64_t n, hx_ids *out)
{
    const hx_bpe *b = w->b;
    int32_t all = b->whole ? hx_bpe_find(b, s, n) : -1;
    HX_TRY(room(out, n));
    HX_TRY(work_room(w, n));
    if (all >= 0) {
        out->v[out->n++] = all;
        return HX_OK;
    }
    for (int64_t i = 0; i < n; i++) {
        if (b->byte[s[i]] < 0)
            return hx_fail(HX_E_INPUT, "byte %d is in no token of the tokenizer [E-BPE-BYTE]",
                           s[i]);
        w->sym[i] = (symbol){ b->byte[s[i]], i - 1, i + 1 < n ? i + 1 : -1 };
    }
    for (int64_t i = 0; i + 1 < n; i++)
        push(w, i);
    merge_all(w);
    for (int64_t i = 0; i >= 0; i = w->sym[i].after)
        out->v[out->n++] = w->sym[i].id;
    return HX_OK;
}

// ---- pieces ---------------------------------------------------------------------------------
// Text without added tokens.
static hx_result encode_plain(work *w, const uint8_t *s, int64_t n, hx_ids *out)
{
    const hx_bpe *b = w->b;
    uint8_t *spaced = NULL;
    if (!n)
        return HX_OK;
    if (b->prefix_space && s[0] != ' ') {
        spaced = malloc((size_t)n + 1);
        if (!spaced)
            return hx_fail(HX_E_NOMEM, "no memory for %lld bytes of text [E-NOMEM]", (long long)n);
        spaced[0] = ' ';
        memcpy(spaced + 1, s, (size_t)n++);
        s = spaced;
    }
    hx_result r = HX_OK;
    for (int64_t at = 0, end; at < n && !r; at = end) {
        end = b->rule ? b->rule->next(s, n, at) : n;
        r = encode_piece(w, s + at, end - at, out);
    }
    free(spaced);
    return r;
}

// The longest added token at `s`; NULL: none.
static const added *added_at(const hx_bpe *b, const uint8_t *s, int64_t n, bool late)
{
    for (int i = 0; b->starts[s[0]] && i < b->n_add; i++) {
        const added *a = &b->add[i];
        if (a->late == late && a->p.n <= n && a->p.s[0] == s[0] &&
            !memcmp(a->p.s, s, (size_t)a->p.n))
            return a;
    }
    return NULL;
}

// Text between added tokens; those that are looked for late are found in what the others left.
static hx_result encode_between(work *w, const uint8_t *s, int64_t n, bool late, hx_ids *out)
{
    int64_t from = 0;
    for (int64_t at = 0; at < n;) {
        const added *a = added_at(w->b, s + at, n - at, late);
        if (!a) {
            at++;
            continue;
        }
        HX_TRY(late ? encode_plain(w, s + from, at - from, out)
                    : encode_between(w, s + from, at - from, true, out));
        HX_TRY(room(out, 1));
        out->v[out->n++] = a->id;
        from = at += a->p.n;
    }
    return late ? encode_plain(w, s + from, n - from, out)
                : encode_between(w, s + from, n - from, true, out);
}

hx_result hx_bpe_encode(const hx_bpe *b, const void *text, int64_t n, hx_ids *out)
{
    work w = { .b = b };
    hx_result r = encode_between(&w, text, n, false, out);
    free(w.sym);
    free(w.heap);
    return r;
}
