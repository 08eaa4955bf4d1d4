// generate.c - padded contexts of a few lengths, each planned once; sampling on the host.
#include "generate.h"
#include "walk.h"

#include <Random123/philox.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SHORTEST = 32, MAX_LENGTHS = 40 };

struct hx_generator {
    hx_arena     *arena;
    hx_dev       *dev;
    const hx_net *net;
    hx_memory    *shared[HX_N_PLACES];
    int64_t       V, seq_len;
    int           n;
    int64_t       length[MAX_LENGTHS];     // SHORTEST, doubled each time, the last is seq_len
    hx_pass      *pass[MAX_LENGTHS];       // made on first use
    hx_walk      *walk;                    // a model that goes on token by token needs no contexts
    float        *logits;
    int32_t      *ids;
    const hx_bpe *bpe;                     // NULL: tokens are bytes
};

// ---- sampling -----------------------------------------------------------------------------

// Uniform in [0, 1) with 53 random bits.
static double uniform(uint64_t seed, int64_t index)
{
    philox4x32_ctr_t c = {{ (uint32_t)index, (uint32_t)((uint64_t)index >> 32), 0x73616d70, 0 }};
    philox4x32_key_t k = {{ (uint32_t)seed, (uint32_t)(seed >> 32) }};
    philox4x32_ctr_t r = philox4x32(c, k);
    return ((double)(r.v[0] >> 5) * 67108864.0 + (double)(r.v[1] >> 6)) / 9007199254740992.0;
}

typedef struct choice { double logit; int64_t token; } choice;

// Most likely first; of equals the smaller token first, so that the order is defined.
static int by_logit(const void *a, const void *b)
{
    const choice *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->token < y->token ? -1 : x->token > y->token;
}

// How many of n sorted choices stay: the fewest whose probabilities reach top_p.
static int64_t nucleus(const choice *c, int64_t n, const hx_sampling *s)
{
    double total = 0, sum = 0;
    for (int64_t i = 0; i < n; i++)
        total += exp((c[i].logit - c[0].logit) / s->temp);
    for (int64_t i = 0; i < n; i++) {
        sum += exp((c[i].logit - c[0].logit) / s->temp);
        if (sum >= s->top_p * total)
            return i + 1;
    }
    return n;
}

// How many of n sorted choices have at least min_p of the first one's probability.
static int64_t likely(const choice *c, int64_t n, const hx_sampling *s)
{
    int64_t k = 1;
    while (k < n && exp((c[k].logit - c[0].logit) / s->temp) >= s->min_p)
        k++;
    return k;
}

int64_t hx_sample_token(const float *logits, int64_t V, const hx_sampling *s, int64_t index)
{
    choice *c = malloc(sizeof *c * (size_t)V);
    if (!c)
        return 0;
    for (int64_t i = 0; i < V; i++)
        c[i] = (choice){ isnan(logits[i]) ? -INFINITY : logits[i], i };
    qsort(c, (size_t)V, sizeof *c, by_logit);
    int64_t n = s->top_k > 0 ? hx_min(s->top_k, V) : V, pick = 0;
    if (s->temp > 0) {
        if (s->top_p < 1)
            n = nucleus(c, n, s);
        if (s->min_p > 0)
            n = likely(c, n, s);
        double total = 0, sum = 0;
        for (int64_t i = 0; i < n; i++)
            total += exp((c[i].logit - c[0].logit) / s->temp);
        double at = uniform(s->seed, index) * total;
        for (pick = 0; pick < n - 1; pick++) {
            sum += exp((c[pick].logit - c[0].logit) / s->temp);
            if (sum > at)
                break;
        }
    }
    int64_t token = c[pick].token;
    free(c);
    return token;
}

// ---- contexts -----------------------------------------------------------------------------

static hx_result init(hx_generator *g)
{
    const hx_model *m = g->net->model;
    g->V = m->size(g->net->conf, "num_tokens");
    g->seq_len = m->size(g->net->conf, "seq_len");
    if (hx_can_walk(g->net))
        HX_TRY(hx_walk_new(g->dev, g->net, 1, g->shared, &g->walk));
    for (int64_t n = SHORTEST; n < g->seq_len && g->n < MAX_LENGTHS - 1; n *= 2)
        g->length[g->n++] = n;
    g->length[g->n++] = g->seq_len;
    g->logits = hx_new(g->arena, float, g->V);
    g->ids = hx_new(g->arena, int32_t, g->seq_len);
    return g->logits && g->ids ? HX_OK : HX_E_NOMEM;
}

hx_result hx_generator_new(hx_dev *dev, const hx_net *net, hx_memory *const shared[HX_N_PLACES],
                           hx_generator **out)
{
    *out = NULL;
    hx_arena *arena = hx_arena_new();
    hx_generator *g = arena ? hx_new(arena, hx_generator, 1) : NULL;
    if (!g) {
        hx_arena_free(&arena);
        return HX_E_NOMEM;
    }
    g->arena = arena;
    g->dev = dev;
    g->net = net;
    g->shared[HX_PARAM] = shared[HX_PARAM];
    g->shared[HX_TEMP] = shared[HX_TEMP];
    hx_result r = init(g);
    if (r)
        hx_generator_free(&g);
    *out = g;
    return r;
}

void hx_generator_free(hx_generator **gp)
{
    hx_generator *g = *gp;
    if (!g)
        return;
    for (int i = 0; i < g->n; i++)
        hx_pass_free(&g->pass[i]);
    hx_walk_free(&g->walk);
    hx_arena *arena = g->arena;
    hx_arena_free(&arena);
    *gp = NULL;
}

void hx_generator_use(hx_generator *g, const hx_bpe *bpe) { g->bpe = bpe; }

// The shortest context that holds n tokens.
static int length_for(const hx_generator *g, int64_t n)
{
    int i = 0;
    while (i < g->n - 1 && g->length[i] < n)
        i++;
    return i;
}

static hx_result need_pass(hx_generator *g, int i)
{
    if (g->pass[i])
        return HX_OK;
    hx_pass *p = NULL;
    HX_TRY(hx_pass_new(g->dev, g->net, HX_FOR_LOGITS, 1, g->length[i], HX_PASS_FORWARD, &p));
    hx_result r = hx_pass_bind(p, g->shared);
    int out = hx_pass_find(p, "logits");
    if (!r && (out < 0 || hx_elems(p->graph->output[out].t) != g->V))
        r = hx_fail(HX_E_INTERNAL, "model %s gives no logits of one position [E-INTERNAL]",
                    g->net->model->name);
    if (r)
        hx_pass_free(&p);
    g->pass[i] = p;
    return r;
}

hx_result hx_generator_prepare(hx_generator *g, int64_t tokens)
{
    for (int i = 0; !g->walk && i <= length_for(g, hx_min(tokens, g->seq_len)); i++)
        HX_TRY(need_pass(g, i));
    return HX_OK;
}

// Logits behind the last of n tokens, 1 <= n <= seq_len.
static hx_result next_logits(hx_generator *g, int64_t n)
{
    int i = length_for(g, n);
    HX_TRY(need_pass(g, i));
    hx_pass *p = g->pass[i];
    // what follows position n-1 cannot be seen from there
    for (int64_t j = n; j < g->length[i]; j++)
        g->ids[j] = 0;
    HX_TRY(hx_pass_write(p, g->ids, (int32_t)(n - 1)));
    HX_TRY(hx_pass_run(p));
    return hx_pass_read(p, hx_pass_find(p, "logits"), g->logits);
}

// All of a prompt, whatever its length; the logits behind its last token are there then.
static hx_result walk_prompt(hx_generator *g, const int32_t *ids, int64_t n)
{
    hx_walk_restart(g->walk);
    for (int64_t i = 0; i < n; i++)
        HX_TRY(hx_walk_step(g->walk, &ids[i], i + 1 < n ? NULL : g->logits));
    return HX_OK;
}

// The prompt's tokens, at least one of them: text begins as after a line break.
static hx_result encode_prompt(hx_generator *g, const uint8_t *text, int64_t n, hx_ids *out)
{
    const uint8_t first = g->V > '\n' ? '\n' : 0;
    text = n ? text : &first;
    n = n ? n : 1;
    if (g->bpe)
        HX_TRY(hx_bpe_encode(g->bpe, text, n, out));
    else
        out->v = malloc((size_t)n * sizeof *out->v);
    if (!out->v)
        return hx_fail(HX_E_NOMEM, "no memory for a prompt of %lld bytes [E-NOMEM]", (long long)n);
    for (; !g->bpe && out->n < n; out->n++)
        out->v[out->n] = text[out->n];
    for (int64_t i = 0; i < out->n; i++)
        if (out->v[i] >= g->V)
            return hx_fail(
                HX_E_INPUT,
                "the prompt's %s %d at offset %lld is no token: the model knows 0 to %lld "
                "[E-TOKEN-RANGE]",
                g->bpe ? "id" : "byte", out->v[i], (long long)i, (long long)g->V - 1);
    return HX_OK;
}

static hx_result take_prompt(hx_generator *g, const uint8_t *text, int64_t n, int64_t *used)
{
    hx_ids ids = { 0 };
    hx_result r = encode_prompt(g, text, n, &ids);
    if (!r && g->walk)
        r = walk_prompt(g, ids.v, ids.n);
    *used = hx_min(ids.n, g->seq_len);
    if (!r)
        memcpy(g->ids, ids.v + ids.n - *used, sizeof *g->ids * (size_t)*used);
    hx_ids_free(&ids);
    return r;
}

// The token's bytes, one by one; false where the one who takes them has had enough.
static bool emit_token(const hx_generator *g, int64_t token, bool (*emit)(void *, uint8_t), void *user)
{
    int64_t n = 1;
    const uint8_t own = (uint8_t)token, *s = g->bpe ? hx_bpe_bytes(g->bpe, (int32_t)token, &n) : &own;
    for (int64_t i = 0; i < n; i++)
        if (!emit(user, s[i]))
            return false;
    return true;
}

hx_result hx_generate(hx_generator *g, const void *prompt, int64_t n, int64_t length,
                      const hx_sampling *s, bool (*emit)(void *user, uint8_t byte), void *user)
{
    int64_t used = 0;
    HX_TRY(take_prompt(g, prompt, n, &used));
    for (int64_t i = 0; i < length; i++) {
        if (!g->walk)
            HX_TRY(next_logits(g, used));
        for (int64_t v = 0; v < g->V; v++)
            if (isnan(g->logits[v]))
                return hx_fail(
                    HX_E_NUMERIC,
                    "the logit of token %lld is not a number after %lld tokens [E-NUMERIC]",
                    (long long)v, (long long)i);
        int64_t token = hx_sample_token(g->logits, g->V, s, i);
        if (!emit_token(g, token, emit, user))
            return HX_OK;
        if (g->walk) {
            HX_TRY(i + 1 < length ? hx_walk_step(g->walk, &(int32_t){ (int32_t)token }, g->logits) : HX_OK);
            continue;
        }
        if (used == g->seq_len)
            memmove(g->ids, g->ids + 1, sizeof *g->ids * (size_t)--used);
        g->ids[used++] = (int32_t)token;
    }
    return HX_OK;
}
