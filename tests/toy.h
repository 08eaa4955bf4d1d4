// toy.h - a registry of one small model and two optimizers, so that tests of files and formats do
// not depend on the real ones. Include it in one file of a test: it takes the registry's place.
#pragma once
#include "../src/core/model.h"
#include "../src/optim/optim.h"
#include <string.h>

typedef struct toy_conf {
    int32_t num_tokens, seq_len, heads;
    hx_ints dim, window_sizes, tie;
    bool    causal;
    float   rate;
    double  eps;
    const char *depth, *kind;
    hx_strs pools;
    hx_reals shares;
} toy_conf;
#define TOY(m, type, def, min, max) { #m, type, offsetof(toy_conf, m), def, min, max, "of the toy" }
static const hx_field toy_fields[] = {
    TOY(num_tokens, HX_I32, NULL, 1, 1 << 24), TOY(seq_len, HX_I32, "64", 1, 1 << 20), TOY(heads, HX_I32, "8", 1, 64),
    TOY(dim, HX_INTS, "512", 1, 65536), TOY(window_sizes, HX_INTS, "null", 0, 0), TOY(tie, HX_INTS, "[]", 0, 1),
    TOY(causal, HX_BOOL, "true", 0, 0), TOY(rate, HX_F32, "0.1", 0, 1), TOY(depth, HX_STR, "[1, 2]", 0, 0),
    TOY(kind, HX_STR, "", 0, 0), TOY(pools, HX_STRS, "[]", 0, 0), TOY(shares, HX_REALS, "[0.5, 0.25]", 0, 1),
    { "router.eps", HX_F64, offsetof(toy_conf, eps), "0.03", 0, 1, "dotted" },
    { 0 } };

static hx_result toy_check(void *conf)
{
    const toy_conf *c = conf;
    return c->seq_len % c->heads ? hx_fail(HX_E_SHAPE, "seq_len %d is not a multiple of heads %d [E-TOY]", c->seq_len,
                                           c->heads) : HX_OK;
}

static int64_t toy_size(const void *conf, const char *what)
{
    const toy_conf *c = conf;
    if (!strcmp(what, "segment"))
        return !strcmp(c->kind, "no segments") ? -1 : hx_min(c->seq_len, 48);
    if (!strcmp(c->kind, "no length") || !strcmp(c->kind, "long"))
        return c->kind[0] == 'n' ? -1 : 1ll << 40;
    return what[0] == 's' ? c->seq_len : what[0] == 'n' ? c->num_tokens : -1;
}

static const hx_model toy = { .name = "toy", .fields = toy_fields, .conf_size = sizeof(toy_conf),
                              .check = toy_check, .size = toy_size };
// without a rule, but opened
static hx_result toy_open(hx_arena *a, void *conf)
{
    const toy_conf *c = conf;
    (void)a;
    return c->heads == 63 ? hx_fail(HX_E_INPUT, "63 heads cannot be opened [E-TOY]") : HX_OK;
}
static const hx_model bare = { .name = "bare", .fields = toy_fields, .conf_size = sizeof(toy_conf), .open = toy_open,
                               .size = toy_size };
const hx_model *const hx_models[] = { &toy, &bare };
const int hx_n_models = 2;
static const hx_optim toy_adamw = { .name = "adamw" }, toy_sgd = { .name = "sgd" };
const hx_optim *const hx_optims[] = { &toy_adamw, &toy_sgd };
const int hx_n_optims = 2;
const hx_op *const hx_ops[] = { NULL };
const int hx_n_ops = 0;
