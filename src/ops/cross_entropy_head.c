// cross_entropy_head.c - the output head of a language model: logits, in chunks, and their loss.
#include "t.h"

static hx_t flat(hx_t x, int64_t rows, int64_t cols)
{
    return hx_reshape(x, 2, (int64_t[]){ rows, cols });
}

// Loss [n] of each label of some rows of e. The first chunk has nothing `before` it; logits of
// later ones wait for the chunk before. `again`: they are made anew in the backward pass. hits:
// NULL, or where to put which labels are right.
static hx_t chunk_losses(hx_t e, hx_t w, hx_t b, hx_t labels, int ignore, bool again, hx_t before,
                         hx_t *hits)
{
    hx_t z = t_linear(e, w, b, HX_ACT_NONE, HX_NONE);
    int64_t n = hx_elems(labels);
    if (again)
        hx_recompute(z);
    hx_after(z, before);
    z = flat(z, n, hx_elems(z) / hx_max(n, 1));
    labels = hx_reshape(labels, 1, &n);
    if (hits)
        *hits = t_hits(z, labels, ignore);
    return t_cross_entropy(z, labels, ignore);
}

// Rows of e whose logits take at most `bytes`; a multiple of 64 keeps views of labels aligned.
static int64_t chunk_rows(int64_t bytes, int64_t row_bytes)
{
    int64_t n = hx_max(1, (bytes > 0 ? bytes : 64 << 20) / row_bytes);
    return n < 64 ? n : n / 64 * 64;
}

hx_t t_cross_entropy_rows(hx_t e, hx_t w, hx_t b, hx_t labels, int ignore, int64_t chunk_bytes,
                          hx_t *hits)
{
    hx_tape *t = e.tape;
    if (hits)
        *hits = (hx_t){ t, 0 };
    if (!e.id || !w.id || !labels.id)
        return (hx_t){ t, 0 };
    int64_t rows = hx_rows(e), n = hx_elems(labels), classes = hx_dim(w, 0);
    if (n % rows || classes % (n / rows)) {
        hx_tape_fail(t, HX_E_SHAPE, "cross entropy: %lld labels and %lld classes do not fit %lld "
                     "rows [E-SHAPE]", (long long)n, (long long)classes, (long long)rows);
        return (hx_t){ t, 0 };
    }
    int64_t at_once = chunk_rows(chunk_bytes, 4 * classes), parts = hx_ceil_div(rows, at_once);
    int64_t *size = hx_new(t->arena, int64_t, parts);
    hx_t *es = hx_new(t->arena, hx_t, 3 * parts), *ys = es ? es + parts : NULL;
    if (!size || !es) {
        hx_tape_fail(t, HX_E_NOMEM, "%s", hx_last_message());
        return (hx_t){ t, 0 };
    }
    for (int64_t i = 0; i < parts; i++)
        size[i] = hx_min(at_once, rows - i * at_once);
    hx_split(0, flat(e, rows, hx_dim(e, -1)), (int)parts, size, es);
    hx_split(0, flat(labels, rows, n / rows), (int)parts, size, ys);
    hx_t *hs = ys + parts;
    for (int64_t i = 0; i < parts; i++)
        es[i] = chunk_losses(es[i], w, b, ys[i], ignore, parts > 1, i ? es[i - 1] : HX_NONE,
                             hits ? &hs[i] : NULL);
    if (hits)
        *hits = hx_concat(0, (int)parts, hs);
    return hx_concat(0, (int)parts, es);
}

hx_t t_cross_entropy_head_bias(hx_t e, hx_t w, hx_t b, hx_t labels, int ignore,
                               int64_t chunk_bytes)
{
    hx_t n = t_cross_entropy_rows(e, w, b, labels, ignore, chunk_bytes, NULL);
    return n.id ? t_valid_mean(n, hx_reshape(labels, 1, (int64_t[]){ hx_elems(labels) }), ignore)
                : n;
}

hx_t t_cross_entropy_head(hx_t e, hx_t w, hx_t labels, int ignore, int64_t chunk_bytes)
{
    return t_cross_entropy_head_bias(e, w, HX_NONE, labels, ignore, chunk_bytes);
}
