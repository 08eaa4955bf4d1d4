// test_plan.c - what the planner makes of random tapes: every read finds the value that the tape means,
// steps of one level do not touch each other, no step waits for nothing, and memory is not wasted.
#include "../src/core/interp.h"
#include "../src/core/plan.h"
#include "../src/ops/t.h"
#include "nth.h"
#include "suite.h"
#include <math.h>

#define ok(expr) ck_assert_msg((expr) == HX_OK, "%s", hx_last_message())
#define fails(expr, code, text)                                                         \
    do {                                                                                \
        ck_assert_int_eq(expr, code);                                                   \
        ck_assert_msg(strstr(hx_last_message(), text) != NULL, "%s", hx_last_message()); \
    } while (0)

enum { MAX_WORDS = 1 << 16, POOL = 40 };
static hx_dev *dev;
static hx_tape *tape;
static uint64_t state;

static void begin(void)
{
    ok(hx_dev_open(&(hx_dev_params){ .select = "null" }, &dev));
    tape = hx_tape_new();
}

static void end(void)
{
    hx_tape_free(&tape);
    hx_dev_close(&dev);
}

static int roll(int n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % (uint64_t)n);
}

static hx_t outside(hx_place place, int64_t at, int64_t rows, int64_t cols)
{
    return hx_external(tape, place, at, false, 2, (int64_t[]){ rows, cols });
}

static void keep(hx_t x, hx_place place, int64_t at)
{
    hx_deliver(x, hx_external(tape, place, at, false, hx_value_of(x)->rank, hx_value_of(x)->shape),
               false);
}

// ---- a machine that has names of writers for numbers ---------------------------------------

// Words of all places, one after the other; logical: storages of HX_TEMP each have words of their own.
typedef struct machine {
    const hx_plan *p;
    int64_t base[HX_N_PLACES], *own;       // first word of a place; of a temporary storage
    int64_t n_own, n;
    int32_t logical[MAX_WORDS], real[MAX_WORDS];
    int32_t wrote[MAX_WORDS], read[MAX_WORDS], writer[MAX_WORDS], reader[MAX_WORDS];
    uint64_t *means;                       // per node: what its reads should find
} machine;

static int64_t word_of(const machine *m, const hx_value *v, int64_t row, int64_t col, bool logical)
{
    const hx_storage *s = &m->p->tape->storage[v->storage];
    int64_t e = v->off + row * v->ld + col;
    if (logical && s->place == HX_TEMP)
        return m->own[v->storage] + e;
    bool within = !logical && m->p->grads_within && s->place == HX_GRAD;
    int64_t base = logical ? m->n_own + m->base[s->place] : within ? 0 : m->base[s->place];
    int64_t w = base + m->p->place[v->storage] / 4 + e;
    ck_assert(m->p->place[v->storage] >= 0 && w < MAX_WORDS);
    return w;
}

// Calls f with every word of the arguments of a step that it reads (or writes).
typedef void word_fn(machine *m, int64_t word, const hx_step *s, void *user);
static void each_word(machine *m, const hx_step *s, bool write, bool logical, word_fn *f, void *user)
{
    const hx_node *n = &m->p->tape->node[s->node];
    for (int k = write ? n->n_in : 0; k < n->n_in + (write ? n->n_out : 0); k++) {
        const hx_value *v = n->arg[k].id ? &m->p->tape->value[n->arg[k].id] : NULL;
        int64_t cols = !v ? 0 : v->rank ? v->shape[v->rank - 1] : 1, rows = v ? 1 : 0;
        for (int r = 0; v && r < v->rank - 1; r++)
            rows *= v->shape[r];
        for (int64_t i = 0; i < rows * cols; i++)
            f(m, word_of(m, v, i / cols, i % cols, logical), s, user);
    }
}

typedef struct sight { int32_t *memory; uint64_t hash, n; } sight;

static void see(machine *m, int64_t word, const hx_step *s, void *user)
{
    (void)m, (void)s;
    sight *see = user;
    see->hash += (uint64_t)(uint32_t)see->memory[word] * (2 * see->n++ + 0x9E3779B97F4A7C15u);
}

static void leave(machine *m, int64_t word, const hx_step *s, void *user)
{
    (void)m;
    ((int32_t *)user)[word] = s->node + 1;
}

static void in_order(machine *m)
{
    for (int node = 0; node < m->p->tape->n_node; node++)
        for (int i = 0; i < m->p->n_step; i++) {
            const hx_step *s = &m->p->step[i];
            if (s->node != node)
                continue;
            sight a = { m->logical, 0, 0 };
            each_word(m, s, false, true, see, &a);
            m->means[node] = a.hash;
            each_word(m, s, true, true, leave, m->logical);
        }
}

// A word that another step of this level has; `why`: one of the level before, which is worth waiting for.
static void look(machine *m, int64_t word, const hx_step *s, void *user)
{
    bool *why = user;
    ck_assert_msg(m->wrote[word] != s->level || m->writer[word] == s->node,
                  "step %d reads what step %d of its level writes", s->node, m->writer[word]);
    *why |= m->wrote[word] == s->level - 1;
}

static void touch(machine *m, int64_t word, const hx_step *s, void *user)
{
    bool *why = user;
    ck_assert_msg(m->wrote[word] != s->level, "two steps of a level write the same");
    ck_assert_msg(m->read[word] != s->level || m->reader[word] == s->node,
                  "step %d writes what step %d of its level reads", s->node, m->reader[word]);
    *why |= m->wrote[word] == s->level - 1 || m->read[word] == s->level - 1;
}

static void note_read(machine *m, int64_t word, const hx_step *s, void *user)
{
    (void)user;
    m->reader[word] = m->read[word] == s->level && m->reader[word] != s->node ? -2 : s->node;
    m->read[word] = s->level;
}

static void note_write(machine *m, int64_t word, const hx_step *s, void *user)
{
    (void)user;
    m->wrote[word] = s->level;
    m->writer[word] = s->node;
}

// plain: no columns of others' rows, so that ranges say all and a level without a cause is a mistake.
static void by_levels(machine *m, bool plain)
{
    int before = 0;
    for (int i = 0; i < m->p->n_step; i++) {
        const hx_step *s = &m->p->step[i];
        sight a = { m->real, 0, 0 };
        bool why = s->level == 0 || m->p->tape->node[s->node].after >= 0 || !plain;
        ck_assert(s->level == before || s->level == before + 1);
        before = s->level;
        each_word(m, s, false, false, look, &why);
        each_word(m, s, true, false, touch, &why);
        ck_assert_msg(why, "step %d waits for level %d without need", s->node, s->level - 1);
        each_word(m, s, false, false, see, &a);
        ck_assert_msg(a.hash == m->means[s->node], "step %d (%s) finds other values", s->node,
                      m->p->tape->node[s->node].op->name);
        each_word(m, s, false, false, note_read, NULL);
        each_word(m, s, true, false, note_write, NULL);
        each_word(m, s, true, false, leave, m->real);
    }
    ck_assert_int_eq(m->p->n_level, before + 1);
}

static void check_plan(const hx_plan *p, bool plain)
{
    static const int64_t room = 4096;      // words of each place outside
    machine *m = calloc(1, sizeof *m);
    m->p = p;
    m->own = calloc((size_t)p->tape->n_storage + 1, sizeof *m->own);
    m->means = calloc((size_t)p->tape->n_node + 1, sizeof *m->means);
    for (int s = 0; s < p->tape->n_storage; s++) {
        m->own[s] = m->n_own;
        m->n_own += p->tape->storage[s].place == HX_TEMP ? p->tape->storage[s].elems : 0;
    }
    int64_t at = p->temp_bytes / 4;
    for (int k = 1; k < HX_N_PLACES; k++, at += room)
        m->base[k] = at;
    ck_assert(m->n_own + at < MAX_WORDS);
    for (int64_t w = 0; w < MAX_WORDS; w++) {
        m->wrote[w] = m->read[w] = -9;
        // what is outside has a name, the same in both; temporary memory holds nothing
        if (w >= m->base[1])
            m->real[w] = (int32_t)(-1 - (w - m->base[1]));
        if (w >= m->n_own + m->base[1])
            m->logical[w] = (int32_t)(-1 - (w - m->n_own - m->base[1]));
    }
    // what was there before, for tapes that do not write it first
    for (int64_t e = 0; p->grads_within && e < p->tape->grads_within / 4; e++)
        m->real[e] = m->logical[m->n_own + m->base[HX_GRAD] + e];
    in_order(m);
    by_levels(m, plain);
    free(m->own);
    free(m->means);
    free(m);
}

// 16 rows of 16: 1024 bytes each.
static hx_t layer(hx_t x, int i)
{
    return t_linear(x, outside(HX_PARAM, 1024 * i, 16, 16), HX_NONE, HX_ACT_NONE, HX_NONE);
}

// ---- random tapes --------------------------------------------------------------------------

static hx_t one_op(hx_t *pool, int n, int64_t cols, bool plain)
{
    hx_t x = pool[roll(n)], y = pool[roll(n)], half[2];
    switch (roll(plain ? 6 : 9)) {
    case 0: return t_add(x, y);
    case 1: return t_scale(x, 2);
    case 2: return t_axpy(x, y, 3);
    case 3: case 4:
        return t_linear(x, outside(HX_PARAM, 1024 * roll(8), cols, cols), HX_NONE,
                        roll(2) ? HX_ACT_GELU : HX_ACT_NONE, roll(2) ? y : HX_NONE);
    case 5: return t_flat(hx_reshape(x, 3, (int64_t[]){ 1, hx_dim(x, 0), cols }));
    case 6: case 7:
        hx_split(1, x, 2, (int64_t[]){ 4, cols - 4 }, half);
        return hx_concat(1, 2, (hx_t[]){ roll(2) ? t_scale(half[0], 2) : half[0], t_scale(half[1], 3) });
    default: return hx_concat(0, 2, (hx_t[]){ x, y });
    }
}

static void random_tape(bool plain)
{
    int64_t rows = 1 + roll(5), cols = 8 + 4 * roll(3);
    hx_t pool[POOL], w = outside(HX_PARAM, 0, cols, cols);
    int n = 2, most = 6 + roll(20);
    pool[0] = outside(HX_INPUT, 0, rows, cols);
    pool[1] = t_linear(pool[0], w, HX_NONE, HX_ACT_NONE, HX_NONE);
    while (n < most) {
        hx_t x = one_op(pool, n, cols, plain);
        if (hx_dim(x, 0) == rows)
            pool[n++] = x;
        else
            keep(x, HX_OUTPUT, 8192);
    }
    if (roll(2))
        keep(pool[roll(n)], HX_STATE, 0);
    hx_t loss = t_sum(pool[n - 1]);
    if (roll(4)) {
        hx_backward(loss);
        if (hx_is(hx_grad(w))) {
            // at the beginning of temporary memory, if it is written before it is read
            tape->grads_within = roll(2) ? 4 * cols * cols : 0;
            hx_deliver(hx_grad(w), outside(HX_GRAD, 0, cols, cols), !roll(4));
        }
    }
    keep(loss, HX_OUTPUT, 0);
    ok(hx_tape_error(tape));
}

static void random_plans(bool plain, int64_t block)
{
    int within = 0;
    for (int i = 0; i < 150; i++) {
        state = (uint64_t)i * 77 + plain;
        ((hx_dev_caps *)(uintptr_t)hx_dev_get_caps(dev))->max_buffer = block;
        hx_plan *p;
        random_tape(plain);
        nth_arm("memory", 0, 0);           // looks for writes behind allocations
        ok(hx_plan_new(tape, dev, &p));
        nth_disarm();
        within += p->grads_within;
        check_plan(p, plain);
        ck_assert(p->bound_bytes <= p->temp_bytes);
        for (int s = 0; s < tape->n_storage && block < 1 << 20; s++)
            if (tape->storage[s].place == HX_TEMP && p->place[s] >= 0)
                ck_assert_int_eq(p->place[s] / p->block_bytes,
                                 (p->place[s] + 4 * tape->storage[s].elems - 1) / p->block_bytes);
        hx_plan_free(&p);
        hx_tape_free(&tape);
        tape = hx_tape_new();
    }
    ck_assert(within > 15 && within < 135);
}

// All bytes, steps and levels of the plans of a thousand tapes: what was once reached. Fewer is fine.
START_TEST(none_wasted)
{
    int64_t bytes = 0, steps = 0, levels = 0, bound = 0, moved = 0;
    for (int i = 0; i < 1000; i++) {
        state = (uint64_t)i * 131 + 7;
        hx_plan *p;
        random_tape(i % 2);
        ok(hx_plan_new(tape, dev, &p));
        bytes += p->temp_bytes;
        bound += p->bound_bytes;
        steps += p->n_step;
        levels += p->n_level;
        moved += p->bytes;
        hx_plan_free(&p);
        hx_tape_free(&tape);
        tape = hx_tape_new();
    }
    ck_assert_int_le(bytes, 1558656);
    ck_assert_int_le(steps, 13640);
    ck_assert_int_le(levels, 6092);
    ck_assert_int_le(moved, 6104388);
    ck_assert_int_le(bound, bytes);
}
END_TEST

// A chain of steps that may work in place has the memory of one; where the old value is still needed, of two.
START_TEST(in_place)
{
    hx_plan *p;
    hx_t x = layer(outside(HX_INPUT, 0, 16, 16), 0), first = x;
    for (int i = 0; i < 3; i++)
        x = t_scale(x, 2);
    keep(layer(x, 1), HX_OUTPUT, 0);
    ok(hx_plan_new(tape, dev, &p));
    ck_assert_int_eq(p->temp_bytes, 1024);
    ck_assert_int_eq(p->n_step, 5);
    ck_assert_int_eq(p->owner[hx_value_of(x)->storage], hx_value_of(first)->storage);
    check_plan(p, true);
    hx_plan_free(&p);
    keep(layer(first, 2), HX_OUTPUT, 1024);
    ok(hx_plan_new(tape, dev, &p));
    ck_assert_int_eq(p->temp_bytes, 2048);
    ck_assert_int_ne(p->owner[hx_value_of(x)->storage], hx_value_of(first)->storage);
    check_plan(p, true);
    hx_plan_free(&p);
}
END_TEST

START_TEST(rows) { random_plans(true, INT64_MAX / 4); } END_TEST
START_TEST(columns_too) { random_plans(false, INT64_MAX / 4); } END_TEST
START_TEST(in_blocks) { random_plans(false, 1024); } END_TEST

// ---- known plans ---------------------------------------------------------------------------

START_TEST(known_memory)
{
    hx_plan *p;
    hx_t x = layer(outside(HX_INPUT, 0, 16, 16), 0), first = x;
    layer(x, 6);                           // nobody wants this one
    for (int i = 1; i < 5; i++)
        x = layer(x, i);
    // the first stays alive for the sum: three at once; the sum takes over the place of one
    keep(t_scale(t_add(x, first), 2), HX_OUTPUT, 0);
    ok(hx_plan_new(tape, dev, &p));
    ck_assert_int_eq(p->n_step, 7);
    ck_assert_int_eq(p->n_level, 7);
    ck_assert_int_eq(p->bound_bytes, 3 * 1024);
    ck_assert_int_eq(p->temp_bytes, 3 * 1024);
    ck_assert_double_eq(p->flops, 5 * 2.0 * 16 * 16 * 16 + 2 * 256);
    ck_assert_int_eq(p->bytes, 5 * 3 * 1024 + 3 * 1024 + 2 * 1024);
    check_plan(p, true);
    hx_plan_free(&p);
}
END_TEST

// Parts of parameters and of rows that do not meet need not wait for each other.
START_TEST(known_levels)
{
    hx_plan *p;
    hx_t in = outside(HX_INPUT, 0, 16, 16), part[2], y[4];
    for (int i = 0; i < 4; i++) {
        y[i] = layer(in, i);
        keep(y[i], HX_GRAD, 1024 * i);
    }
    hx_split(1, layer(in, 4), 2, (int64_t[]){ 8, 8 }, part);
    keep(t_scale(part[0], 2), HX_OUTPUT, 0);
    keep(t_scale(part[1], 2), HX_OUTPUT, 512);
    ok(hx_plan_new(tape, dev, &p));
    ck_assert_int_eq(p->n_step, 7);
    ck_assert_int_eq(p->n_level, 2);
    check_plan(p, true);
    hx_plan_free(&p);
}
END_TEST

static int64_t barriers(const hx_plan *p)
{
    hx_memory memory[HX_N_PLACES] = { 0 }, *mem[HX_N_PLACES];
    hx_prog *prog;
    int64_t shift[HX_N_PLACES] = { 0 }, before = hx_dev_get_stats(dev).barriers;
    for (int k = 0; k < HX_N_PLACES; k++) {
        ok(hx_memory_new(dev, k ? 1 << 16 : hx_max(p->temp_bytes, 256), HX_BUF_DEVICE, "test", &memory[k]));
        mem[k] = &memory[k];
    }
    ok(hx_prog_new(dev, false, "test", &prog));
    ok(hx_plan_record(p, mem, shift, 0, prog));
    uint64_t ticket;
    ok(hx_prog_end(prog));
    ok(hx_dev_submit(dev, &prog, 1, false, &ticket));
    ok(hx_dev_wait(dev, ticket, 1000));
    hx_prog_free(&prog);
    for (int k = 0; k < HX_N_PLACES; k++)
        hx_memory_free(&memory[k]);
    return hx_dev_get_stats(dev).barriers - before;
}

// One barrier between levels and one at the end, none inside a level, whatever lies beside.
START_TEST(known_barriers)
{
    hx_plan *p;
    hx_t in = outside(HX_INPUT, 0, 16, 16), part[2], whole;
    whole = hx_concat(1, 2, (hx_t[]){ t_scale(in, 2), layer(in, 4) });
    hx_split(1, whole, 2, (int64_t[]){ 16, 16 }, part);
    keep(t_scale(part[0], 3), HX_OUTPUT, 0);
    keep(t_scale(part[1], 3), HX_OUTPUT, 1024);
    ok(hx_plan_new(tape, dev, &p));
    ck_assert_int_eq(p->n_step, 4);
    ck_assert_int_eq(barriers(p), 2);
    // checks that know whole ranges only are told of more
    ((hx_dev_caps *)(uintptr_t)hx_dev_get_caps(dev))->whole_ranges = true;
    ck_assert_int_ge(barriers(p), 3);
    hx_plan_free(&p);
}
END_TEST

START_TEST(dumped)
{
    hx_plan *p;
    hx_arena *a = hx_arena_new();
    keep(t_scale(layer(outside(HX_INPUT, 0, 16, 16), 0), 2), HX_OUTPUT, 512);
    ok(hx_plan_new(tape, dev, &p));
    const char *text = hx_plan_dump(p, a);
    ck_assert_ptr_nonnull(strstr(text, "steps 2  levels 2  flops 8448  temp 1024 bytes  bound 1024 bytes\n"));
    ck_assert_ptr_nonnull(strstr(text, "   0 linear"));
    ck_assert_ptr_nonnull(strstr(text, " y:temp+0\n"));
    ck_assert_ptr_nonnull(strstr(text, "   1 scale"));
    ck_assert_ptr_nonnull(strstr(text, " y:output+512\n"));
    hx_plan_free(&p);
    hx_arena_free(&a);
}
END_TEST

// ---- 16 bits -------------------------------------------------------------------------------

// Is every argument of 16 bits one that its kernel takes so, with rows that nobody else's words touch?
static int check_halves(const hx_plan *p)
{
    int halves = 0;
    for (int i = 0; i < p->n_step; i++) {
        const hx_node *n = &p->tape->node[p->step[i].node];
        uint32_t mask = 0;
        for (int k = 0; k < n->n_in + n->n_out; k++) {
            const hx_value *v = n->arg[k].id ? &p->tape->value[n->arg[k].id] : NULL;
            if (!v || !p->half[v->storage])
                continue;
            halves++;
            mask |= 1u << k;
            ck_assert(p->step[i].row->half >> k & 1);
            ck_assert_int_eq(p->tape->storage[v->storage].place, HX_TEMP);
            ck_assert_int_eq((v->off | v->ld | v->shape[v->rank - 1]) % HX_HALF_EIGHT, 0);
            ck_assert(n->sig->flags[k] & HX_ARG_STRIDED || v->off * 2 % 256 == 0);
            ck_assert(!v->is_int);
        }
        // told to the kernel as its last constant
        const hx_kernel *kernel = &p->step[i].kernel;
        ck_assert(!p->step[i].row->half || (kernel->spec[kernel->n_spec - 1] & ~HX_HALF_BF) == mask);
    }
    return halves;
}

START_TEST(halves)
{
    hx_plan *p;
    if (!hx_spirv_find("linear.coop_bf16"))
        return;                            // built without a compiler for these
    hx_dev_close(&dev);
    ok(hx_dev_open(&(hx_dev_params){ .select = "null", .precision = HX_BF16 }, &dev));
    // a product of a product: what lies between is rounded anyway, and whole rows of eight
    for (int64_t cols = 64; cols >= 60; cols -= 4) {
        hx_t in = outside(HX_INPUT, 0, 64, cols);
        hx_t x = t_linear(in, outside(HX_PARAM, 0, cols, cols), HX_NONE, HX_ACT_NONE, HX_NONE);
        hx_t y = t_linear(x, outside(HX_PARAM, 65536, cols, cols), HX_NONE, HX_ACT_NONE, HX_NONE);
        keep(y, HX_OUTPUT, 0);
        ok(hx_plan_new(tape, dev, &p));
        ck_assert_int_eq(p->n_step, 2);
        for (int i = 0; i < 2; i++) {
            ck_assert_ptr_nonnull(p->step[i].row);
            ck_assert_int_eq(p->step[i].row->precision, HX_BF16);
        }
        ck_assert_int_eq(check_halves(p), cols % 8 ? 0 : 2);
        ck_assert_int_eq(p->temp_bytes, hx_align(64 * cols * (cols % 8 ? 4 : 2), 256));
        ck_assert_int_eq(p->bytes, (cols % 8 ? 4 : 2) * 2 * 64 * cols + 4 * 2 * 64 * cols + 4 * 2 * cols * cols);
        hx_plan_free(&p);
        hx_tape_free(&tape);
        tape = hx_tape_new();
    }
    // read by what does not round, too: 32 bits
    hx_t x = t_linear(outside(HX_INPUT, 0, 64, 64), outside(HX_PARAM, 0, 64, 64), HX_NONE, HX_ACT_NONE, HX_NONE);
    keep(t_linear(x, outside(HX_PARAM, 65536, 64, 64), HX_NONE, HX_ACT_NONE, HX_NONE), HX_OUTPUT, 0);
    keep(t_scale(x, 2), HX_OUTPUT, 65536);
    ok(hx_plan_new(tape, dev, &p));
    ck_assert_int_eq(check_halves(p), 0);
    hx_plan_free(&p);
}
END_TEST

// Without the units nothing rounds and nothing is stored in 16 bits.
START_TEST(single_precision)
{
    hx_plan *p;
    keep(layer(layer(outside(HX_INPUT, 0, 16, 16), 0), 1), HX_OUTPUT, 0);
    ok(hx_plan_new(tape, dev, &p));
    for (int i = 0; i < p->n_step; i++)
        ck_assert_ptr_null(p->step[i].row);
    for (int s = 0; s < tape->n_storage; s++)
        ck_assert(!p->half[s]);
    hx_plan_free(&p);
}
END_TEST

// ---- gradients -----------------------------------------------------------------------------

enum { SIDE = 16, CELLS = SIDE * SIDE, LAYERS = 6 };

// A random chain of layers, sums and parts; `again`: a random half is made again in the backward pass.
static hx_t chain(uint64_t seed, bool again, hx_t *in, hx_t w[LAYERS])
{
    hx_t x, before, half[2];
    uint64_t marks = seed * 0x9E3779B97F4A7C15u >> 20;
    *in = x = before = outside(HX_PARAM, 0, SIDE, SIDE);
    for (int i = 0; i < LAYERS; i++)
        w[i] = outside(HX_PARAM, 4 * CELLS * (i + 1), SIDE, SIDE);
    state = seed;
    for (int i = 0; i < 14; i++) {
        hx_t old = x;
        switch (roll(7)) {
        case 0: x = t_add(x, before); break;
        case 1: x = t_axpy(before, x, 0.5f); break;
        case 2: x = t_scale(x, 0.75f); break;
        case 3:
            hx_split(1, x, 2, (int64_t[]){ 4, SIDE - 4 }, half);
            x = hx_concat(1, 2, (hx_t[]){ half[0], roll(2) ? half[1] : t_scale(half[1], 3) });
            break;
        case 4: x = t_flat(hx_reshape(x, 3, (int64_t[]){ 2, SIDE / 2, SIDE })); break;
        default: x = t_linear(x, w[roll(LAYERS)], HX_NONE, roll(2) ? HX_ACT_GELU : HX_ACT_NONE, roll(3) ? HX_NONE : before);
        }
        before = roll(3) ? before : old;
        if (again && marks >> i & 1)
            hx_recompute(x);
    }
    return t_sum(x);
}

static real gradient(uint64_t seed, bool again, real *dx, real *dw, const real *values)
{
    hx_t in, w[LAYERS], loss = chain(seed, again, &in, w);
    real sum = 0;
    hx_backward(loss);
    ok(hx_tape_error(tape));
    hx_interp *run = hx_interp_new(tape);
    hx_interp_set(run, in, values);
    for (int i = 0; i < LAYERS; i++)
        hx_interp_set(run, w[i], values + CELLS * (i + 1));
    ok(hx_interp_run(run));
    hx_interp_get(run, loss, &sum);
    memset(dw, 0, sizeof *dw * LAYERS * CELLS);
    memset(dx, 0, sizeof *dx * CELLS);
    if (hx_is(hx_grad(in)))
        hx_interp_get(run, hx_grad(in), dx);
    for (int i = 0; i < LAYERS; i++)
        if (hx_is(hx_grad(w[i])))
            hx_interp_get(run, hx_grad(w[i]), dw + CELLS * i);
    hx_interp_free(&run);
    hx_tape_free(&tape);
    tape = hx_tape_new();
    return sum;
}

// What is made again changes no gradient, and gradients are those that differences give.
START_TEST(made_again)
{
    static real values[CELLS * (LAYERS + 1)], dx[2][CELLS], dw[2][LAYERS * CELLS];
    for (int i = 0; i < HX_COUNT(values); i++)
        values[i] = 0.3 * sin(1 + 3.1 * i);
    for (uint64_t seed = 1; seed <= 60; seed++) {
        real sum = gradient(seed, false, dx[0], dw[0], values);
        ck_assert(sum == gradient(seed, true, dx[1], dw[1], values));
        ck_assert_mem_eq(dx[0], dx[1], sizeof *dx);
        ck_assert_mem_eq(dw[0], dw[1], sizeof *dw);
        static real scratch_dx[CELLS], scratch_dw[LAYERS * CELLS];
        int at = (int)(seed * 37 % CELLS);
        real old = values[at], up, down, step = 1e-5;
        values[at] = old + step;
        up = gradient(seed, false, scratch_dx, scratch_dw, values);
        values[at] = old - step;
        down = gradient(seed, false, scratch_dx, scratch_dw, values);
        values[at] = old;
        ck_assert_double_eq_tol(dx[0][at], (up - down) / (2 * step), 1e-6 * (1 + fabs(dx[0][at])));
    }
}
END_TEST

// A gradient is added to what is there by the step that makes it, if that can.
START_TEST(added_in_place)
{
    hx_plan *p;
    for (int scaled = 0; scaled < 2; scaled++) {
        hx_t x = layer(outside(HX_INPUT, 0, 16, 16), 0), to = outside(HX_GRAD, 0, 16, 16);
        hx_deliver(scaled ? t_scale(x, 2) : x, to, true);
        ok(hx_plan_new(tape, dev, &p));
        ck_assert_int_eq(p->n_step, scaled ? 3 : 1);
        check_plan(p, true);
        hx_plan_free(&p);
        hx_tape_free(&tape);
        tape = hx_tape_new();
    }
}
END_TEST

// What is kept for good lies by itself, whatever it becomes a part of, and has the same values.
START_TEST(kept)
{
    hx_t x = t_scale(outside(HX_PARAM, 0, 2, 8), 2), y = hx_keep(x), part[2] = { t_scale(x, 3), y };
    hx_t whole = hx_concat(1, 2, part);
    ck_assert_int_eq(hx_value_of(part[0])->storage, hx_value_of(whole)->storage);
    ck_assert_int_ne(hx_value_of(y)->storage, hx_value_of(whole)->storage);
    ck_assert_int_ne(hx_value_of(y)->storage, hx_value_of(x)->storage);
    ck_assert(hx_value_of(y)->kept);
    ck_assert(!hx_is(hx_keep(HX_NONE)));
}
END_TEST

// ---- what cannot be ------------------------------------------------------------------------

START_TEST(too_large)
{
    hx_plan *p;
    hx_dev_caps *caps = (hx_dev_caps *)(uintptr_t)hx_dev_get_caps(dev);
    keep(t_scale(layer(outside(HX_INPUT, 0, 16, 16), 0), 2), HX_OUTPUT, 0);
    caps->max_buffer = 1024;
    ok(hx_plan_new(tape, dev, &p));
    hx_plan_free(&p);
    caps->max_buffer = 768;
    fails(hx_plan_new(tape, dev, &p), HX_E_NOMEM, "a tensor of 1024 bytes");
    ck_assert_ptr_null(p);
    caps->max_buffer = 4096;
    caps->max_range = 1023;
    ok(hx_plan_new(tape, dev, &p));
    hx_memory all[HX_N_PLACES] = { 0 }, *mem[HX_N_PLACES];
    int64_t shift[HX_N_PLACES] = { 0 };
    hx_prog *prog;
    for (int k = 0; k < HX_N_PLACES; k++) {
        ok(hx_memory_new(dev, 1 << 12, HX_BUF_DEVICE, "test", &all[k]));
        mem[k] = &all[k];
    }
    ok(hx_prog_new(dev, false, "test", &prog));
    fails(hx_plan_record(p, mem, shift, 0, prog), HX_E_NOMEM, "tensor 'x' of operator linear, [16,16], has 1024 bytes; 'null (counts, runs nothing)' binds at most 1023 at once");
    caps->max_range = 1024;
    ok(hx_plan_record(p, mem, shift, 0, prog));
    shift[HX_OUTPUT] = 3072;               // the last slot that fits, and the next one
    ok(hx_plan_record(p, mem, shift, 0, prog));
    shift[HX_OUTPUT] = 3076;
    fails(hx_plan_record(p, mem, shift, 0, prog), HX_E_INTERNAL, "no memory is given");
    hx_prog_free(&prog);
    for (int k = 0; k < HX_N_PLACES; k++)
        hx_memory_free(&all[k]);
    hx_plan_free(&p);
}
END_TEST

// No memory for any part of a plan: told, and nothing left behind.
START_TEST(no_memory)
{
    state = 5;
    random_tape(false);
    tape->grads_within = 1 << 12;
    for (long n = 1;; n++) {
        hx_plan *p;
        nth_arm("memory", n, ENOMEM);
        hx_result r = hx_plan_new(tape, dev, &p);
        long seen = nth_disarm();
        if (seen < n) {
            ok(r);
            ck_assert_int_gt(n, 20);
            hx_plan_free(&p);
            break;
        }
        ck_assert_int_eq(r, HX_E_NOMEM);
        ck_assert_ptr_nonnull(strstr(hx_last_message(), "E-NOMEM"));
        ck_assert_ptr_null(p);
    }
}
END_TEST

START_TEST(backward_once)
{
    hx_plan *p;
    hx_t x = outside(HX_PARAM, 0, 2, 2), loss = t_sum(x);
    hx_backward(loss);
    ok(hx_tape_error(tape));
    hx_backward(loss);
    fails(hx_tape_error(tape), HX_E_INTERNAL, "E-BACKWARD");
    fails(hx_plan_new(tape, dev, &p), HX_E_INTERNAL, "E-BACKWARD");
    hx_tape_free(&tape);
    tape = hx_tape_new();
    hx_backward(outside(HX_PARAM, 0, 2, 2));
    fails(hx_tape_error(tape), HX_E_INTERNAL, "E-BACKWARD");
}
END_TEST

// Arenas of several buffers: what is written across their edges is read again.
START_TEST(memory_in_blocks)
{
    enum { SIZE = 5000 };
    hx_dev *host;
    hx_memory m;
    uint8_t want[SIZE] = { 0 }, got[SIZE];
    ok(hx_dev_open(&(hx_dev_params){ .select = "host", .threads = 1 }, &host));
    ((hx_dev_caps *)(uintptr_t)hx_dev_get_caps(host))->max_buffer = 1100;
    ok(hx_memory_new(host, SIZE, HX_BUF_DEVICE, "test", &m));
    ck_assert_int_eq(m.block_bytes, 1024);
    ck_assert_int_eq(m.n_block, 5);
    for (int i = 0; i < 300; i++) {
        int at = roll(SIZE), n = roll(SIZE - at + 1);
        for (int k = 0; k < n; k++)
            want[at + k] = (uint8_t)roll(256);
        ok(hx_memory_write(&m, at, want + at, n));
        at = roll(SIZE), n = roll(SIZE - at + 1);
        ok(hx_memory_read(&m, at, got, n));
        ck_assert_mem_eq(got, want + at, (size_t)n);
    }
    fails(hx_memory_read(&m, 5120, got, 1), HX_E_INTERNAL, "past an arena of 5000");
    ok(hx_memory_zero(&m));
    ok(hx_memory_read(&m, 0, got, SIZE));
    for (int i = 0; i < SIZE; i++)
        ck_assert_int_eq(got[i], 0);
    hx_memory_free(&m);
    hx_dev_close(&host);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { rows, columns_too, in_blocks, none_wasted, in_place, halves,
                                   single_precision, made_again, added_in_place, kept, no_memory, known_memory, known_levels, known_barriers,
                                   dumped, too_large, backward_once, memory_in_blocks };
    return run_suite("plan", begin, end, tests, HX_COUNT(tests));
}
