// places.c - which elements of a matrix each lane of a matrix unit holds: asked of the device once,
// by a kernel that loads a matrix of marks, and put into constants for kernels that use it.
#include "places.h"
#include <string.h>

enum { SLOTS = 32 };                       // numbers per lane: 16 elements of sums, 16 of factors

// Every bit of `lane` adds its own place, and so does every bit of `e`.
static int sum_of_bits(const int32_t *base, int n, int number)
{
    int at = 0;
    for (int i = 0; i < n; i++)
        at += number >> i & 1 ? base[i] : 0;
    return at;
}

static int bits_of(int n)
{
    int b = 0;
    while (1 << b < n)
        b++;
    return b;
}

bool hx_places_read(const int32_t *found, int lanes, uint32_t out[4])
{
    int32_t lane[6] = {0}, elem[4] = {0}, turn[4] = {0};
    int n = 0, rows = 0;
    memset(out, 0, 4 * sizeof *out);
    while (n < 16 && found[n] >= 0)
        n++;
    int nl = bits_of(lanes), ne = bits_of(n);
    if (1 << nl != lanes || nl > 6 || !n || 1 << ne != n || ne > 4)
        return false;
    for (int i = 0; i < nl; i++)
        lane[i] = found[(1 << i) * SLOTS];
    for (int i = 0; i < ne; i++)
        elem[i] = found[1 << i];
    // a bit moves along a row or along a column
    for (int i = 0; i < nl + ne; i++) {
        int at = i < nl ? lane[i] : elem[i - nl];
        if (at <= 0 || (rows & at) || (at & (at - 1)))
            return false;
        rows |= at;
    }
    for (int l = 0; l < lanes; l++)
        for (int e = 0; e < n; e++)
            if (found[l * SLOTS + e] != sum_of_bits(lane, nl, l) + sum_of_bits(elem, ne, e))
                return false;
    // the kernels' bytes: row in the low half
    for (int i = 0; i < nl; i++)
        out[i / 4] |= (uint32_t)(lane[i] >> 4 | (lane[i] & 15) << 4) << i % 4 * 8;
    for (int i = 0; i < ne; i++)
        out[2] |= (uint32_t)(elem[i] >> 4 | (elem[i] & 15) << 4) << i * 8;
    // factors, where they are conversions of sums without moving anything between lanes
    for (int i = 0; i < ne; i++)
        for (int e = 0; e < n; e++)
            turn[i] = found[e] == found[16 + (1 << i)] ? e : turn[i];
    bool same = n == 16 || found[16 + n] < 0;
    for (int l = 0; l < lanes; l++) {
        same = same && found[lanes * SLOTS + l] == 1;
        for (int e = 0; e < n; e++)
            same = same && found[l * SLOTS + 16 + e] == found[l * SLOTS + sum_of_bits(turn, ne, e)];
    }
    for (int i = 0; i < ne && same; i++)
        out[3] |= (uint32_t)turn[i] << i * 4;
    return true;
}

static hx_result ask(hx_dev *d, const hx_kernel *k, hx_buf *b, int32_t *found, int64_t bytes)
{
    hx_prog *p = NULL;
    uint64_t ticket;
    hx_result r = hx_prog_new(d, false, "places", &p);
    r = r ? r : hx_prog_dispatch(p, k, &(hx_binding){ b, 0, bytes }, NULL, (uint32_t[]){ 1, 1, 1 });
    r = r ? r : hx_prog_end(p);
    r = r ? r : hx_dev_submit(d, &p, 1, false, &ticket);
    r = r ? r : hx_dev_wait(d, ticket, 120000);
    r = r ? r : hx_buf_read(b, 0, found, bytes);
    hx_prog_free(&p);
    return r;
}

hx_result hx_places_of(hx_dev *d, hx_precision precision, uint32_t out[4])
{
    const hx_dev_caps *c = hx_dev_get_caps(d);
    int i = precision - HX_BF16;
    const hx_spirv *m = hx_spirv_find(i ? "places.coop_fp16" : "places.coop_bf16");
    if (!c->asked_places[i] && m && c->subgroup_max <= 64 && c->matrix[i][0] <= 16 &&
        c->matrix[i][1] <= 16 && c->matrix[i][2] <= 16) {
        int32_t found[64 * (SLOTS + 1)] = {0};
        int64_t bytes = 4 * (int64_t)c->subgroup_max * (SLOTS + 1);
        uint32_t places[4];
        hx_buf *b = NULL;
        hx_kernel k = { .name = m->name, .spirv = m->words, .n_words = m->n_words, .n_bindings = 1,
            .writes = 1, .n_spec = 4, .spec = { (uint32_t)c->subgroup_max, c->matrix[i][0],
                                                c->matrix[i][1], c->matrix[i][2] } };
        HX_TRY(hx_buf_new(d, bytes, HX_BUF_DOWN, "places", &b));
        hx_result r = ask(d, &k, b, found, bytes);
        hx_buf_free(&b);
        HX_TRY(r);
        hx_places_read(found, c->subgroup_max, places);
        hx_dev_note_places(d, precision, places);
    }
    memcpy(out, c->places[i], sizeof c->places[i]);
    return HX_OK;
}
