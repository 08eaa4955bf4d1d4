// block_recurrent.c - BlockRecurrentTransformer: blocks of tokens that attend to the block before
// and to recurrent states, which every block renews through a learnt gate.
//
// After lucidrains' block-recurrent-transformer-pytorch 0.4.4, whose constructor arguments,
// parameter names and initial distributions these are. Letters: w tokens of a block, L of a segment
// (max_seq_len), n of the block at hand, M keys, S states, K the width of a head, B batch rows.
//
// Rows are in the order of time: row t*B + b is token t of batch row b, so that the batch rows are
// the residue classes of attention and rotary embedding, and a memory is the rows above a block:
// keys and values of all blocks lie one below the other and nothing is copied to be remembered.
#include "block_recurrent.h"
#include "by_time.h"
#include "parts.h"
#include "../ops/t.h"
#include <math.h>
#include <string.h>

// ---- the model ---------------------------------------------------------------------------

// What a segment leaves behind: keys and values [M*B, 2K] of each layer, states [1, S*B, D] of each
// container. HX_NONE: nothing yet.
typedef struct { hx_t raw[MAX_DEPTH], packed[MAX_DEPTH], state[MAX_DEPTH]; } memory;
// A container as the block at hand reads it.
typedef struct { hx_t hat, k, v; } view;
typedef struct { hx_t table; int64_t n; int xpos; } table;
typedef struct run {
    const block_recurrent_conf *k;
    const block_recurrent      *m;
    hx_graph *g;
    int64_t   B;
    memory   *mem;
    view      view[MAX_DEPTH];
    hx_t      out[MAX_DEPTH];              // to_state_out, columns in the order of self | cross
    hx_t      pos[MAX_DEPTH];              // state_pos_ids of every batch row
    hx_t      line[MAX_DEPTH];             // [T*B, 2K]: keys and values of all blocks, or HX_NONE
    int64_t   head, line_rows;             // head: tokens in front of those of this step
    hx_t      age;                         // [B], of the memory at the start of the segment; HX_NONE:
                                           // known without looking, because every row has the same
    hx_t      gone;                        // one token alone: so many keys of its past are not seen
    table     tables[MAX_TABLES];
    int       n_table;
} run;

static hx_t linear(hx_t x, hx_t w) { return t_linear(x, w, HX_NONE, HX_ACT_NONE, HX_NONE); }
static hx_t rows3(hx_t x) { return hx_reshape(x, 3, (int64_t[]){ 1, hx_rows(x), hx_dim(x, -1) }); }
static hx_t layernorm(run *r, hx_t x, norm p) { return t_layernorm(x, P(p.g), P(p.b), 0); }

// The rotary table for the last n positions: the newest token is always the last of them.
static hx_t positions(run *r, int64_t n, int xpos)
{
    for (int i = 0; i < r->n_table; i++)
        if (r->tables[i].n == n && r->tables[i].xpos == xpos)
            return r->tables[i].table;
    int64_t all = (int64_t)r->k->block_width * (r->k->use_compressed_mem ? 3 : 2);
    hx_t t = t_rotary_span(r->g->tape, all - n, n, all, r->k->dim_head, xpos);
    if (r->n_table < MAX_TABLES)
        r->tables[r->n_table++] = (table){ t, n, xpos };
    return t;
}

// x / |x| g per head of K channels
static hx_t normed(run *r, hx_t x, hx_p g)
{
    if (!g)
        return x;
    int64_t K = r->k->dim_head, rows = hx_rows(x), width = hx_dim(x, -1);
    hx_t heads = hx_reshape(x, 3, (int64_t[]){ 1, rows * (width / K), K });
    hx_t y = t_rmsnorm(heads, t_scale(P(g), (float)(1 / sqrt((double)K))), 0);
    return hx_reshape(y, 3, (int64_t[]){ 1, rows, width });
}

static void keys_values(run *r, hx_t kv, hx_t *k, hx_t *v)
{
    hx_t part[2] = { HX_NONE, HX_NONE };
    int64_t K = r->k->dim_head;
    hx_split(1, rows3(kv), 2, (int64_t[]){ K, K }, part);
    *k = part[0];
    *v = part[1];
}

// queries of x against all keys, no positions
static hx_t look(run *r, hx_t q, hx_t k, hx_t v, scales s)
{
    return t_attention_full(normed(r, q, s.q), normed(r, k, s.k), v, r->k->heads, (int)r->B);
}

// the state that every sequence starts with: [1, S*B, D]
static hx_t initial(run *r, int c)
{
    int64_t S = r->k->S, shape[3] = { 1, S, r->k->dim };
    return t_repeat(hx_reshape(P(r->m->state[c].init), 3, shape), S * r->B, (int)r->B);
}

// old where flag > 0, else init (HX_NONE: zeros), row by row; x has its rows in the order of time
static hx_t choose(run *r, hx_t flag, hx_t old, hx_t init)
{
    int64_t shape[HX_MAX_RANK], n = hx_rows(old) / r->B, W = hx_dim(old, -1);
    int rank = hx_value_of(old)->rank;
    memcpy(shape, hx_value_of(old)->shape, sizeof shape);
    hx_t x[2] = { old, init };
    for (int i = 0; i < 2; i++)
        if (hx_is(x[i]))
            x[i] = hx_reshape(x[i], 3, (int64_t[]){ n, r->B, W });
    return hx_reshape(t_renew(flag, x[0], x[1]), rank, shape);
}

// How container c looks at the start of a block: normed, with the ids of its places.
static void view_state(run *r, int c)
{
    const container *p = &r->m->state[c];
    int64_t S = r->k->S, D = r->k->dim, shape[3] = { 1, S, D };
    if (!hx_is(r->mem->state[c]))
        r->mem->state[c] = initial(r, c);
    if (!hx_is(r->pos[c]))
        r->pos[c] = t_repeat(hx_reshape(P(p->pos), 3, shape), S * r->B, (int)r->B);
    view *w = &r->view[c];
    w->hat = t_add(layernorm(r, r->mem->state[c], p->norm), r->pos[c]);
    keys_values(r, linear(w->hat, P(p->to_kv)), &w->k, &w->v);
}

// s' from what was made of y: f z + (1-f) s, or sigmoid(f + 1) s + sigmoid(i - 1) tanh z
static hx_t gated(run *r, const gate *p, hx_t y, hx_t s)
{
    int64_t D = r->k->dim;
    hx_t z = t_linear(y, P(p->w), P(p->b), HX_ACT_NONE, HX_NONE), part[3];
    if (!r->k->lstm)
        return t_ema(z, s, P(p->beta));
    hx_split(1, t_flat(z), 3, (int64_t[]){ D, D, D }, part);
    return t_lstm_gate(part[0], part[1], part[2], s);
}

static hx_t to_state_out(run *r, int c, hx_t seen)
{
    int64_t D = r->k->dim, H = r->k->heads, K = r->k->dim_head;
    // the reference's input features alternate by head: h*2K + (self | cross)
    if (!hx_is(r->out[c]))
        r->out[c] = hx_reshape(t_swap(hx_reshape(P(r->m->state[c].out), 4, (int64_t[]){ D, H, 2, K })), 2,
                               (int64_t[]){ D, 2 * H * K });
    return linear(seen, r->out[c]);
}

// The next state, from the states themselves and from the block's own keys and values.
static void write_state(run *r, int c, hx_t kv)
{
    const container *p = &r->m->state[c];
    const view *w = &r->view[c];
    hx_t k, v, s = r->mem->state[c];
    keys_values(r, kv, &k, &v);
    hx_t part[2] = { look(r, linear(w->hat, P(p->to_q)), w->k, w->v, p->self),
                     look(r, linear(w->hat, P(p->q_from_state)), k, v, p->from_state) };
    hx_t y = hx_concat(1, 2, part);
    if (!r->k->ff || r->k->dual)
        y = to_state_out(r, c, y);
    if (r->k->dual) {
        s = gated(r, &p->first, y, s);
        y = t_layernorm(s, P(p->ff_norm.g), HX_NONE, 0);
    }
    if (r->k->ff)
        y = t_geglu_layer(y, P(p->w1), P(p->w2), HX_NONE);
    r->mem->state[c] = gated(r, &p->gate, y, s);
}

// The newest `keep` tokens of a memory, and what is older.
static hx_t newest(run *r, hx_t x, int64_t keep, hx_t *older)
{
    int64_t have = hx_rows(x) / r->B, W = hx_dim(x, -1);
    hx_t part[2] = { HX_NONE, x };
    if (have > keep)
        hx_split(0, hx_reshape(x, 2, (int64_t[]){ have * r->B, W }), 2,
                 (int64_t[]){ (have - keep) * r->B, keep * r->B }, part);
    if (older)
        *older = part[0];
    return part[1];
}

// r tokens of keys (half 0) or values into one: a convolution whose windows do not overlap
static hx_t pack(run *r, int l, hx_t x, int half)
{
    const layer *p = &r->m->layer[l];
    int64_t K = r->k->dim_head, f = r->k->compressed_mem_factor, m = hx_rows(x) / r->B / f;
    hx_t part[2], bias[2], w = hx_reshape(P(p->conv), 2, (int64_t[]){ 2 * K, K * f });
    hx_split(0, w, 2, (int64_t[]){ K, K }, part);
    hx_split(1, P(p->conv_b), 2, (int64_t[]){ K, K }, bias);
    // [out, in, tap] to [out, tap, in], and the tokens of a window side by side
    w = t_swap(hx_reshape(part[half], 4, (int64_t[]){ K, K, f, 1 }));
    x = t_swap(hx_reshape(x, 4, (int64_t[]){ m, f, r->B, K }));
    return t_linear(hx_reshape(x, 2, (int64_t[]){ m * r->B, f * K }),
        hx_reshape(w, 2, (int64_t[]){ K, f * K }), bias[half], HX_ACT_NONE, HX_NONE);
}

// What leaves the memory of layer l is packed; as much as half a block is kept.
static void keep_packed(run *r, int l, hx_t old)
{
    int64_t f = r->k->compressed_mem_factor, n = hx_rows(old) / r->B;
    hx_t k, v, half[2], both[2], use = newest(r, old, n / f * f, NULL);
    keys_values(r, use, &k, &v);
    half[0] = pack(r, l, k, 0);
    half[1] = pack(r, l, v, 1);
    hx_t *to = &r->mem->packed[l], made = hx_concat(1, 2, half);
    both[0] = *to;
    both[1] = made;
    *to = newest(r, hx_is(*to) ? hx_concat(0, 2, both) : made, r->k->block_width / 2, NULL);
}

// kv of a full block becomes the memory of layer l.
static void remember(run *r, int l, hx_t kv)
{
    hx_t old = r->mem->raw[l];
    r->mem->raw[l] = kv;
    if (r->k->use_compressed_mem && hx_is(old))
        keep_packed(r, l, old);
}

// keys and values of the memory and of the block: [M*B, 2K]
static hx_t with_memory(const run *r, int l, hx_t kv)
{
    hx_t part[3];
    int n = 0;
    if (hx_is(r->mem->packed[l])) part[n++] = r->mem->packed[l];
    if (hx_is(r->mem->raw[l])) part[n++] = r->mem->raw[l];
    part[n++] = kv;
    return hx_concat(0, n, part);
}

// How many keys of layer l's memory are not there yet for a block that begins `in` tokens after the
// start of its segment: [1, B], or HX_NONE when all are.
static hx_t not_yet(run *r, int l, int64_t in)
{
    int64_t w = r->k->block_width;
    hx_t raw = r->mem->raw[l], packed = r->mem->packed[l], n = HX_NONE;
    if (hx_is(r->gone))
        return r->gone;
    if (!hx_is(r->age) || !hx_is(raw))
        return HX_NONE;
    if (in < w)
        n = t_gone(r->age, HX_NONE, hx_rows(raw) / r->B, in, 1, 1);
    if (hx_is(packed))
        n = t_gone(r->age, n, hx_rows(packed) / r->B, in - w, w, w / r->k->compressed_mem_factor);
    return hx_is(n) ? hx_reshape(n, 2, (int64_t[]){ 1, r->B }) : n;
}

// kv of the block that begins at token `at`, made at its place in the line
static hx_t in_line(run *r, int l, hx_t kv, int64_t at)
{
    if (!hx_is(r->line[l]) || at < -r->head || (at < 0 && !r->head))
        return kv;
    at += r->head;
    int64_t n = hx_rows(kv), size[3] = { at * r->B, n, r->line_rows - at * r->B - n };
    hx_t part[3];
    int first = size[0] == 0, count = 3 - first - (size[2] == 0);
    hx_split(0, r->line[l], count, size + first, part);
    hx_deliver(kv, part[!first], false);
    return kv;
}

// u + attention of the block to itself, to the memory before it and to states. It begins at token
// `at` of the step, -1: of no line, and `in` tokens after the start of its segment.
static hx_t attend(run *r, int l, hx_t x, int64_t at, int64_t in)
{
    const layer *p = &r->m->layer[l];
    const block_recurrent_conf *c = r->k;
    bool alone = hx_is(r->gone);
    int B = (int)r->B;
    hx_t u = layernorm(r, x, p->norm), k, v, part[MAX_DEPTH + 1];
    hx_t q = normed(r, linear(u, P(p->q)), p->s.q);
    hx_t kv = in_line(r, l, t_flat(linear(u, P(p->kv))), at), all = with_memory(r, l, kv);
    hx_t gone = not_yet(r, l, in);
    keys_values(r, all, &k, &v);
    q = t_rotary(q, positions(r, hx_rows(q) / B, 1), c->heads, B);
    k = t_rotary_copy(normed(r, k, p->s.k), positions(r, hx_rows(all) / B, -1), 1, B);
    int n = 0;
    part[n++] = t_attention_after(q, k, v, c->heads, B, -1, gone);
    for (int i = 0; i < c->C; i++) {
        if (c->read[i] != l)
            continue;
        if (!alone)
            view_state(r, i);
        hx_t ask = linear(u, P(r->m->state[i].q_to_state));
        part[n++] = look(r, ask, r->view[i].k, r->view[i].v, r->m->state[i].to_state);
    }
    int writes = hx_block_recurrent_writes(c, l);
    if (writes >= 0 && !alone)
        write_state(r, writes, kv);
    if (alone)
        r->mem->raw[l] = newest(r, all, hx_rows(all) / B - 1, NULL);
    else if (hx_rows(kv) == (int64_t)c->block_width * B)
        remember(r, l, kv);
    return t_linear(hx_concat(1, n, part), P(p->out), HX_NONE, HX_ACT_NONE, x);
}

static hx_t feed_forward(run *r, const layer *p, hx_t u)
{
    return t_geglu_layer(layernorm(r, u, p->ff_norm), P(p->w1), P(p->w2), u);
}

// Token `from` and the n - 1 after it: [1, n*B, D]
static hx_t tokens(run *r, int64_t from, int64_t n)
{
    hx_t ids = hx_reshape(t_turn_ids(r->g->ids, from, n), 2, (int64_t[]){ 1, n * r->B });
    return t_embedding(ids, P(r->m->E), n * r->B);
}

static hx_t layers(run *r, hx_t x, int64_t at, int64_t in)
{
    for (int l = 0; l < r->k->depth; l++)
        x = feed_forward(r, &r->m->layer[l], attend(r, l, x, at, in));
    return x;
}

// n tokens from `from` on, block after block: [1, n*B, D] before the head. Only tokens of a line
// have a place in it: `line` says whether these do.
static hx_t segment(run *r, int64_t from, int64_t n, bool line)
{
    int64_t w = r->k->block_width, D = r->k->dim, count = hx_ceil_div(n, w);
    hx_t *block = hx_new(r->g->tape->arena, hx_t, count);
    if (!block) {
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "no memory for %lld blocks [E-NOMEM]", (long long)count);
        return (hx_t){ r->g->tape, 0 };
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t at = from + i * w, size = hx_min(w, n - i * w);
        block[i] = t_flat(layers(r, tokens(r, at, size), line ? at : -1, i * w));
    }
    return hx_reshape(hx_concat(0, (int)count, block), 3, (int64_t[]){ 1, n * r->B, D });
}

// ---- results -----------------------------------------------------------------------------

static void named(run *r, const char *what, int64_t s, int i, hx_t x)
{
    hx_arena *a = r->g->tape->arena;
    const char *name = i < 0 ? hx_sprintf(a, "%s.%lld", what, (long long)s)
                             : hx_sprintf(a, "%s.%lld.%d", what, (long long)s, i);
    hx_output(r->g, name ? name : what, x);
}

// rows in the order of time to [B, rows/B, C]
static hx_t by_batch(const run *r, hx_t x)
{
    int64_t n = hx_rows(x) / r->B, W = hx_dim(x, -1);
    hx_t y = t_swap(hx_reshape(x, 4, (int64_t[]){ 1, n, r->B, W }));
    return hx_reshape(y, 3, (int64_t[]){ r->B, n, W });
}

static hx_t logits_of(run *r, hx_t e) { return linear(e, P(r->m->logits)); }

// what the reference returns after a whole segment: keys and values [2, B, M, K], states [B, S, D]
static void show_memory(run *r, int64_t s)
{
    for (int l = 0; l < r->k->depth; l++) {
        hx_t part[2] = { r->mem->packed[l], r->mem->raw[l] }, kv[2];
        hx_t all = hx_is(part[0]) ? hx_concat(0, 2, part) : part[1];
        int64_t K = r->k->dim_head, M = hx_rows(all) / r->B;
        keys_values(r, all, &kv[0], &kv[1]);
        for (int i = 0; i < 2; i++) kv[i] = t_flat(by_batch(r, kv[i]));
        hx_t both = hx_reshape(hx_concat(0, 2, kv), 4, (int64_t[]){ 2, r->B, M, K });
        named(r, "xl_memories", s, l, both);
    }
    for (int c = 0; c < r->k->C; c++)
        named(r, "states", s, c, by_batch(r, r->mem->state[c]));
}

// A segment is over: so are the gradients of what it leaves, unless they are live.
static void detach(run *r)
{
    memory *m = r->mem;
    for (int i = 0; i < r->k->depth && !r->k->live_memories; i++) {
        if (hx_is(m->raw[i])) m->raw[i] = hx_detach(m->raw[i]);
        if (hx_is(m->packed[i])) m->packed[i] = hx_detach(m->packed[i]);
    }
    for (int i = 0; i < r->k->C && !r->k->live_states; i++)
        m->state[i] = hx_detach(m->state[i]);
}

static const char *numbered(run *r, const char *what, int64_t i)
{
    const char *name = hx_sprintf(r->g->tape->arena, "%s.%lld", what, (long long)i);
    return name ? name : what;
}

// What the step before left: states and memories of rows whose document goes on, else the initial
// state and zeros, which count as not there.
static void take_over(run *r)
{
    const block_recurrent_conf *k = r->k;
    int64_t w = k->block_width, B = r->B, W = 2 * k->dim_head;
    for (int l = 0; l < k->depth; l++) {
        hx_t old = hx_carry(r->g, numbered(r, "memory", l), 2, (int64_t[]){ w * B, W });
        hx_t raw = choose(r, r->age, old, HX_NONE);
        r->mem->raw[l] = in_line(r, l, raw, -w);
        if (!k->use_compressed_mem || w / 2 < 1)
            continue;
        old = hx_carry(r->g, numbered(r, "packed", l), 2, (int64_t[]){ w / 2 * B, W });
        r->mem->packed[l] = choose(r, r->age, old, HX_NONE);
    }
    for (int c = 0; c < k->C; c++) {
        hx_t old = hx_carry(r->g, numbered(r, "state", c), 3, (int64_t[]){ 1, k->S * B, k->dim });
        r->mem->state[c] = choose(r, r->age, old, initial(r, c));
    }
}

static void hand_over(run *r)
{
    for (int l = 0; l < r->k->depth; l++) {
        hx_carry_out(r->g, numbered(r, "memory", l), r->mem->raw[l]);
        if (hx_is(r->mem->packed[l]))
            hx_carry_out(r->g, numbered(r, "packed", l), r->mem->packed[l]);
    }
    for (int c = 0; c < r->k->C; c++)
        hx_carry_out(r->g, numbered(r, "state", c), r->mem->state[c]);
}

// Now and then segment s of training begins without memories or without states.
static void drop(run *r, int64_t s)
{
    const block_recurrent_conf *k = r->k;
    hx_t state = hx_chance(r->g, k->state_dropout, numbered(r, "state_dropout", s));
    hx_t mem = hx_chance(r->g, k->xl_memories_dropout, numbered(r, "xl_memories_dropout", s));
    for (int c = 0; c < k->C && hx_is(state); c++)
        if (hx_is(r->mem->state[c]))
            r->mem->state[c] = choose(r, state, initial(r, c), r->mem->state[c]);
    if (!hx_is(mem) || !hx_is(r->mem->raw[0]))
        return;
    if (!hx_is(r->age)) {
        int32_t *same = hx_new(r->g->tape->arena, int32_t, r->B);
        for (int64_t b = 0; same && b < r->B; b++)
            same[b] = (int32_t)(s * k->max_seq_len);
        if (same)
            r->age = hx_constant(r->g->tape, true, 1, &r->B, same);
    }
    r->age = t_older(r->age, mem, 0);
}

// One call of the reference without any memory, two thirds of a segment long.
static void short_call(run *r)
{
    int64_t L = r->k->max_seq_len, n = L - L / 3;
    if (n > r->g->tokens - 1)
        return;
    *r->mem = (memory){ 0 };
    hx_t e = layernorm(r, segment(r, 0, n, false), r->m->last);
    hx_output(r->g, "short_logits", by_batch(r, logits_of(r, e)));
}

// The mean over T tokens, segment by segment, of what each segment has lost.
static void segments(run *r, int64_t T)
{
    hx_graph *g = r->g;
    int64_t L = r->k->max_seq_len;
    for (int64_t s = 0; s * L < T; s++) {
        int64_t n = hx_min(L, T - s * L);
        drop(r, s);
        hx_t e = layernorm(r, segment(r, s * L, n, true), r->m->last);
        hx_t labels = t_turn_ids(g->labels, s * L + 1, n);
        labels = hx_reshape(labels, 1, (int64_t[]){ n * r->B });
        hx_t ce = hx_loss_part(g, t_flat(e), P(r->m->logits), HX_NONE, labels, r->k->ignore_index, true);
        g->loss = s ? t_add(g->loss, ce) : ce;
        if (g->purpose == HX_FOR_PARITY) {
            named(r, "logits", s, -1, by_batch(r, logits_of(r, e)));
            if (n == L)
                show_memory(r, s);
        }
        detach(r);
        if (hx_is(r->age))
            r->age = t_older(r->age, HX_NONE, n);
    }
    hand_over(r);
    if (g->purpose == HX_FOR_PARITY)
        short_call(r);
    hx_output(g, "loss", g->loss);
}

// Logits behind the token at g->position.
static void one_position(run *r, int64_t T)
{
    int64_t L = r->k->max_seq_len, count = hx_ceil_div(T, L);
    hx_t *part = hx_new(r->g->tape->arena, hx_t, count);
    if (!part) {
        hx_tape_fail(r->g->tape, HX_E_NOMEM, "no memory for %lld segments [E-NOMEM]", (long long)count);
        return;
    }
    for (int64_t s = 0; s < count; s++)
        part[s] = t_flat(segment(r, s * L, hx_min(L, T - s * L), true));
    hx_t at = hx_reshape(r->g->position, 2, (int64_t[]){ 1, 1 });
    hx_t x = t_embedding(at, hx_concat(0, (int)count, part), 1);
    hx_output(r->g, "logits", logits_of(r, layernorm(r, x, r->m->last)));
}

// ---- one token after the other ---------------------------------------------------------------
// What goes from token to token: the keys and values of the newest 2w - 1 tokens of each layer, of
// which a token sees those of its block and of the block before; the states, and their keys and
// values, which stay the same for a whole block. Positions count back from the newest token, as they
// do in blocks, so that nothing depends on how long a text has become.

static hx_t take(run *r, const char *what, int i, int64_t rows, int64_t width)
{
    return hx_carry(r->g, numbered(r, what, i), 2, (int64_t[]){ rows * r->B, width });
}

static void take_token(run *r, hx_t *recent, hx_t *state, hx_t *looks)
{
    const block_recurrent_conf *k = r->k;
    for (int l = 0; l < k->depth; l++)
        recent[l] = take(r, "recent", l, 2 * k->block_width - 1, 2 * k->dim_head);
    for (int c = 0; c < k->C; c++) {
        state[c] = take(r, "state", c, k->S, k->dim);
        looks[c] = take(r, "view", c, k->S, 2 * k->dim_head);
    }
}

static void pass_token(run *r, const hx_t *recent, const hx_t *state, const hx_t *looks)
{
    for (int l = 0; l < r->k->depth; l++)
        hx_carry_out(r->g, numbered(r, "recent", l), recent[l]);
    for (int c = 0; c < r->k->C; c++) {
        hx_carry_out(r->g, numbered(r, "state", c), state[c]);
        hx_carry_out(r->g, numbered(r, "view", c), looks[c]);
    }
}

typedef struct passed { hx_t recent[MAX_DEPTH], state[MAX_DEPTH], view[MAX_DEPTH]; } passed;

// The logits of one token for each row.
static void one_token(run *r, passed *p)
{
    int64_t w = r->k->block_width;
    take_token(r, p->recent, p->state, p->view);
    hx_t gone = t_gone(r->g->age, HX_NONE, 2 * w - 1, 0, 1, 1);
    r->gone = hx_reshape(gone, 2, (int64_t[]){ 1, r->B });
    for (int l = 0; l < r->k->depth; l++)
        r->mem->raw[l] = p->recent[l];
    for (int c = 0; c < r->k->C; c++)
        keys_values(r, p->view[c], &r->view[c].k, &r->view[c].v);
    hx_t ids = hx_reshape(r->g->ids, 2, (int64_t[]){ 1, r->B });
    hx_t x = layers(r, t_embedding(ids, P(r->m->E), r->B), -1, 0);
    hx_output(r->g, "logits", logits_of(r, layernorm(r, x, r->m->last)));
    pass_token(r, r->mem->raw, p->state, p->view);
}

// A block is full: its states and how the next block looks at them; at age 0 the initial ones.
static void turn(run *r, passed *p)
{
    int64_t w = r->k->block_width, D = r->k->dim, S = r->k->S;
    take_token(r, p->recent, p->state, p->view);
    for (int c = 0; c < r->k->C; c++) {
        r->mem->state[c] = hx_reshape(p->state[c], 3, (int64_t[]){ 1, S * r->B, D });
        view_state(r, c);
        write_state(r, c, newest(r, p->recent[r->k->write[c]], w, NULL));
        r->mem->state[c] = choose(r, r->g->age, r->mem->state[c], initial(r, c));
        view_state(r, c);
        p->state[c] = r->mem->state[c];
        p->view[c] = hx_concat(1, 2, (hx_t[]){ r->view[c].k, r->view[c].v });
    }
    pass_token(r, p->recent, p->state, p->view);
}

static void build(const void *conf, const void *self, hx_graph *g)
{
    const block_recurrent_conf *k = conf;
    int64_t T = g->tokens - (g->purpose == HX_FOR_LOSS || g->purpose == HX_FOR_PARITY);
    run *r = hx_new(g->tape->arena, run, 1);
    memory *mem = hx_new(g->tape->arena, memory, 1);
    if (!r || !mem || T < 1) {
        hx_tape_fail(g->tape, T < 1 ? HX_E_INPUT : HX_E_NOMEM, "a sequence of %lld tokens cannot be "
            "computed [E-LENGTH]", (long long)T);
        return;
    }
    bool alone = g->purpose == HX_FOR_TOKEN || g->purpose == HX_FOR_TURN;
    if (alone) {
        passed *p = hx_new(g->tape->arena, passed, 1);
        if (p && r && mem) {
            *r = (run){ .k = k, .m = self, .g = g, .B = g->batch, .mem = mem };
            (g->purpose == HX_FOR_TOKEN ? one_token : turn)(r, p);
        } else {
            hx_tape_fail(g->tape, HX_E_NOMEM, "no memory for a graph [E-NOMEM]");
        }
        return;
    }
    if (g->carries && T % k->max_seq_len) {
        hx_tape_fail(g->tape, HX_E_INPUT, "train.seq_len: %lld is no multiple of model.max_seq_len %d, "
            "as segments that carry states on must be [E-SEGMENT]", (long long)T, k->max_seq_len);
        return;
    }
    int64_t head = g->carries ? k->block_width : 0;
    *r = (run){ .k = k, .m = self, .g = g, .B = g->batch, .mem = mem, .head = head, .age = g->age,
                .line_rows = (head + T) * g->batch };
    for (int l = 0; l < k->depth && !k->use_compressed_mem; l++)
        r->line[l] = hx_blank(g->tape, false, 2, (int64_t[]){ r->line_rows, 2 * k->dim_head });
    if (g->carries)
        take_over(r);
    if (g->purpose == HX_FOR_LOGITS)
        one_position(r, T);
    else
        segments(r, T);
}

// ---- inside another model ----------------------------------------------------------------

static hx_result trunk_fits(const void *conf, int64_t n, int64_t *width)
{
    const block_recurrent_conf *k = conf;
    *width = k->dim;
    return n <= k->max_seq_len ? HX_OK
        : hx_fail(HX_E_INPUT, "max_seq_len: gradients end after %d rows, and %lld are a segment with its slots "
                  "[E-MODEL]", k->max_seq_len, (long long)n);
}

// Its own memories and states begin anew and end with x.
static hx_t trunk_rows(const void *conf, const void *self, hx_graph *g, hx_t x)
{
    const block_recurrent_conf *k = conf;
    int64_t B = hx_dim(x, 0), n = hx_dim(x, 1), w = k->block_width, count = hx_ceil_div(n, w);
    run *r = hx_new(g->tape->arena, run, 1);
    memory *mem = hx_new(g->tape->arena, memory, 1);
    hx_t *block = hx_new(g->tape->arena, hx_t, count);
    int64_t *size = hx_new(g->tape->arena, int64_t, count);
    if (!r || !mem || !block || !size) {
        hx_tape_fail(g->tape, HX_E_NOMEM, "no memory for %lld blocks [E-NOMEM]", (long long)count);
        return x;
    }
    *r = (run){ .k = k, .m = self, .g = g, .B = B, .mem = mem };
    for (int64_t i = 0; i < count; i++)
        size[i] = hx_min(w, n - i * w) * B;
    block[0] = t_flat(bt_by_time(x));
    if (count > 1)
        hx_split(0, block[0], (int)count, size, block);
    for (int64_t i = 0; i < count; i++)
        block[i] = t_flat(layers(r, rows3(block[i]), -1, i * w));
    x = count > 1 ? hx_concat(0, (int)count, block) : block[0];
    return bt_by_batch(layernorm(r, rows3(x), r->m->last), B);
}

static void trunk_words(const void *self, hx_p *embedding, hx_p *weight, hx_p *bias)
{
    const block_recurrent *m = self;
    *embedding = m->E, *weight = m->logits, *bias = 0;
}

static const hx_trunk trunk = { trunk_fits, trunk_rows, trunk_words };

HX_MODEL(block_recurrent,
    .title = "BlockRecurrentTransformer", .source = "block-recurrent-transformer-pytorch 0.4.4",
    .trunk = &trunk, .fields = hx_block_recurrent_fields, .conf_size = sizeof(block_recurrent_conf),
    .check = hx_block_recurrent_check, .declare = hx_block_recurrent_declare, .build = build,
    .size = hx_block_recurrent_size,
    .samples = "num_tokens=29 dim=20 depth=2 dim_head=8 heads=2 max_seq_len=12 block_width=6 B=2 N=25; "
               "num_tokens=29 dim=16 depth=3 dim_head=8 heads=2 max_seq_len=8 block_width=8 "
               "num_state_vectors=[5] recurrent_layers=[2,3] read_recurrent_layers=[1,3] live_states=true "
               "all_layers_qk_rmsnorm=true B=2 N=25; "
               "num_tokens=29 dim=16 depth=2 dim_head=8 heads=2 max_seq_len=8 block_width=4 "
               "use_compressed_mem=true compressed_mem_factor=2 live_memories=true state_gate=lstm "
               "ignore_index=3 B=1 N=33");
