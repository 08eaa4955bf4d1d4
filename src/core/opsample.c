// opsample.c - samples of an operator as text, and random ones within what its descriptor allows.
#include "opcheck.h"
#include "optrial.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- profiles ----------------------------------------------------------------------------

static const char *const profile_names[HX_N_PROFILES] = {
#define X(name, word, text) word,
    HX_PROFILES(X)
#undef X
};

const char *hx_profile_name(hx_profile p) { return profile_names[p]; }

bool hx_profile_find(const char *name, hx_profile *out)
{
    for (int i = 0; i < HX_N_PROFILES; i++)
        if (!strcmp(name, profile_names[i])) {
            *out = (hx_profile)i;
            return true;
        }
    return false;
}

// ---- text --------------------------------------------------------------------------------

int hx_sample_count(const char *list)
{
    int n = list && *list;
    for (; list && *list; list++)
        n += *list == ';';
    return n;
}

static hx_result odd_shape(const char *p, hx_sample *s)
{
    for (p++; *p && *p != ']' && s->odd_rank < HX_MAX_RANK; p += *p == ',')
        s->odd_shape[s->odd_rank++] = strtoll(p, (char **)&p, 10);
    return HX_OK;
}

static hx_result one_word(const hx_op *op, const hx_sig *sig, const char *word, hx_sample *s)
{
    char key[32] = "";
    const char *eq = strchr(word, '=');
    snprintf(key, sizeof key, "%.*s", eq ? (int)(eq - word) : 31, word[0] == '-' ? word + 1 : word);
    int arg = hx_sig_arg(sig, key);
    if (word[0] == '-' && arg >= 0) {
        s->left_out |= 1u << arg;
        return HX_OK;
    }
    if (!eq)
        return hx_fail(HX_E_USAGE, "%s: '%s' in a sample is no NAME=VALUE [E-SAMPLE]", op->name,
            word);
    if (eq[1] == '[' && arg >= 0) {
        s->odd_arg = arg;
        return odd_shape(eq + 1, s);
    }
    for (int d = 0; d < sig->n_dim; d++)
        if (!strcmp(sig->dim[d], key)) {
            s->dim[d] = strtoll(eq + 1, NULL, 10);
            return HX_OK;
        }
    if (!strcmp(key, "profile") && !hx_profile_find(eq + 1, &s->profile))
        return hx_fail(HX_E_USAGE, "there is no profile '%s' [E-SAMPLE]", eq + 1);
    if (!strcmp(key, "profile"))
        return HX_OK;
    if (!op->attrs || !hx_field_find(op->attrs, key))
        return hx_fail(HX_E_USAGE, "%s has no dimension or attribute '%s' [E-SAMPLE]", op->name, key);
    return hx_field_set(op->attrs, s->attrs, key, eq + 1, NULL);
}

hx_result hx_sample_read(const hx_op *op, const char *list, int i, hx_sample *s)
{
    *s = (hx_sample){ .odd_arg = -1 };
    const hx_sig *sig = hx_sig_of(op);
    HX_TRY(hx_fields_default(op->attrs, s->attrs));
    while (list && i--)
        list = (list = strchr(list, ';')) ? list + 1 : NULL;
    if (!sig)
        return hx_fail(HX_E_NOMEM, "%s: no memory for its signature [E-NOMEM]", op->name);
    if (!list)
        return hx_fail(HX_E_USAGE, "%s has no such sample [E-SAMPLE]", op->name);
    size_t len = strcspn(list, ";");
    const char *colon = memchr(list, ':', len);
    if (colon)
        snprintf(s->says, sizeof s->says, "%.*s", (int)(list + len - colon - 1), colon + 1);
    while (s->says[0] == ' ')
        memmove(s->says, s->says + 1, strlen(s->says));
    snprintf(s->text, sizeof s->text, "%.*s", (int)(colon ? colon - list : (long)len), list);
    char copy[sizeof s->text], *save;
    strcpy(copy, s->text);
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        HX_TRY(one_word(op, sig, w, s));
    for (int d = 0; d < sig->n_dim && !*s->says; d++)
        if (s->dim[d] < 1)
            return hx_fail(HX_E_USAGE, "%s: sample '%s' leaves %s unset [E-SAMPLE]", op->name,
                s->text, sig->dim[d]);
    return HX_OK;
}

void hx_sample_say(const hx_op *op, hx_sample *s)
{
    const hx_sig *sig = hx_sig_of(op);
    size_t n = 0, cap = sizeof s->text;
    for (int d = 0; d < sig->n_dim && n < cap; d++)
        n += (size_t)snprintf(s->text + n, cap - n, "%s%s=%lld", n ? " " : "", sig->dim[d],
                              (long long)s->dim[d]);
    for (const hx_field *f = op->attrs; f && f->name && n < cap; f++) {
        float v;
        memcpy(&v, s->attrs + f->offset, 4);
        if (f->type == HX_F32)
            n += (size_t)snprintf(s->text + n, cap - n, " %s=%.9g", f->name, (double)v);
        else
            n += (size_t)snprintf(s->text + n, cap - n, " %s=%lld", f->name,
                                  (long long)hx_attr_int(op, s->attrs, f->name, NULL));
    }
    for (int k = 0; k < sig->n_in + sig->n_out && n < cap; k++)
        if (s->left_out >> k & 1)
            n += (size_t)snprintf(s->text + n, cap - n, " -%s", sig->name[k]);
}

// ---- random samples ----------------------------------------------------------------------

enum { MOST_ELEMS = 60000, MOST_FLOPS = 1500000 };    // a case takes about a millisecond
typedef struct {
    const hx_op *op; const hx_sig *sig; hx_sample *s;
    uint64_t state;
    int tries;
} dice;

static uint64_t roll(dice *d, uint64_t n) { return (hx_mix(&d->state) >> 16) % n; }

// Sizes at which kernels go wrong: powers of two and their neighbours, primes, and anything.
static int64_t odd_size(dice *d, int64_t most)
{
    static const int16_t primes[] = { 2, 3, 5, 7, 11, 13, 19, 29, 37, 53, 67, 97, 131, 191, 257,
                                      401, 521, 769, 1031, 2053, 4099 };
    int bits = 0;
    while (bits < 13 && (int64_t)1 << bits < most)
        bits++;
    int64_t n;
    switch (roll(d, 6)) {
    case 0: n = 1; break;
    case 1: n = primes[roll(d, HX_COUNT(primes))]; break;
    case 2: n = 1 + (int64_t)roll(d, (uint64_t)1 << roll(d, (uint64_t)bits + 1)); break;
    default: n = ((int64_t)1 << roll(d, (uint64_t)bits + 1)) + (int64_t)roll(d, 3) - 1;
    }
    return hx_max(1, hx_min(n, most));
}

// A value of "lo..hi" or "lo..hi:step"; expressions over dims and attributes set so far.
static int64_t in_range(dice *d, const char *spec)
{
    char lo[96], hi[96], step[96] = "1";
    const char *dots = strstr(spec, ".."), *colon = dots ? strchr(dots, ':') : NULL;
    snprintf(lo, sizeof lo, "%.*s", dots ? (int)(dots - spec) : 95, spec);
    int64_t a = hx_eval(lo, d->op, d->s->dim, d->s->attrs);
    if (!dots)
        return a;
    snprintf(hi, sizeof hi, "%.*s", colon ? (int)(colon - dots - 2) : 95, dots + 2);
    if (colon)
        snprintf(step, sizeof step, "%s", colon + 1);
    int64_t by = hx_max(1, hx_eval(step, d->op, d->s->dim, d->s->attrs));
    int64_t n = (hx_eval(hi, d->op, d->s->dim, d->s->attrs) - a) / by + 1;
    return n < 1 ? a : a + by * (odd_size(d, n) - 1);
}

static void set_named(dice *d, const char *name, int64_t v)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)v);
    for (int i = 0; i < d->sig->n_dim; i++)
        if (!strcmp(d->sig->dim[i], name))
            d->s->dim[i] = v;
    if (hx_field_find(d->op->attrs, name))
        hx_field_set(d->op->attrs, d->s->attrs, name, text, NULL);
}

// One word of hx_op.fuzz: "D=heads..heads*64:heads", "K=8|16|33"; "-huge" rules a profile out.
static void one_rule(dice *d, char *word)
{
    char *eq = strchr(word, '=');
    if (!eq)
        return;
    *eq = 0;
    int n = 1;
    for (const char *p = eq + 1; *p; p++)
        n += *p == '|';
    char *spec = eq + 1;
    for (int k = (int)roll(d, (uint64_t)n); k > 0; k--)
        spec = strchr(spec, '|') + 1;
    spec[strcspn(spec, "|")] = 0;
    set_named(d, word, in_range(d, spec));
}

static bool ruled(const hx_op *op, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = op->fuzz; p && (p = strstr(p, name)); p += n)
        if ((p == op->fuzz || p[-1] == ' ') && p[n] == '=')
            return true;
    return false;
}

// Attributes that hx_op.fuzz does not speak of: small ranges evenly, others as in a sample.
static void random_attr(dice *d, const hx_field *f)
{
    char text[32];
    bool whole = d->s->profile == HX_PROFILE_INTS;
    double lo = f->min, hi = f->max, u = (double)roll(d, 1 << 20) * 0x1p-20;
    if (f->type == HX_F32 && (whole || roll(d, 2))) {
        bool bounded = lo < hi;
        double v = bounded ? lo + u * (fmin(hi, lo + 2) - lo) : 4 * u - 2;
        snprintf(text, sizeof text, "%.4g", whole ? round(bounded ? hi < 1.5 ? 1 : v : v) : v);
    } else if (f->type != HX_F32 && hi > lo && hi - lo <= 16) {
        snprintf(text, sizeof text, "%d", (int)lo + (int)roll(d, (uint64_t)(hi - lo) + 1));
    } else {
        return;
    }
    hx_field_set(d->op->attrs, d->s->attrs, f->name, text, NULL);
}

static hx_profile random_profile(dice *d)
{
    char word[16];
    hx_profile p;
    do {
        p = (hx_profile)roll(d, HX_N_PROFILES);
        snprintf(word, sizeof word, "-%s", hx_profile_name(p));
    } while (d->op->fuzz && strstr(d->op->fuzz, word));
    return p;
}

static void one_try(dice *d)
{
    d->s->left_out = 0;
    int64_t most = d->tries < 20 ? 4200 : d->tries < 60 ? 300 : 40;
    for (int i = 0; i < d->sig->n_dim; i++)
        d->s->dim[i] = odd_size(d, most);
    for (const hx_field *f = d->op->attrs; f && f->name; f++)
        if (!ruled(d->op, f->name))
            random_attr(d, f);
    char rules[512], *save;
    snprintf(rules, sizeof rules, "%s", d->op->fuzz ? d->op->fuzz : "");
    for (char *w = strtok_r(rules, " ", &save); w; w = strtok_r(NULL, " ", &save))
        one_rule(d, w);
    for (int k = 0; k < d->sig->n_in + d->sig->n_out; k++)
        if (d->sig->flags[k] & HX_ARG_OPT && roll(d, 2))
            d->s->left_out |= 1u << k;
}

int hx_sample_shape(const hx_op *op, const hx_sample *s, int k, int64_t *shape)
{
    const hx_sig *sig = hx_sig_of(op);
    for (int r = 0; r < sig->rank[k]; r++)
        shape[r] = hx_eval(sig->shape[k][r], op, s->dim, s->attrs);
    return sig->rank[k];
}

const char *hx_sample_wrong(const hx_op *op, const hx_sample *s)
{
    const hx_sig *sig = hx_sig_of(op);
    int64_t shape[HX_MAX_RANK];
    for (int d = 0; d < sig->n_dim; d++)
        if (s->dim[d] < 1)
            return "a dimension is less than 1";
    for (const hx_field *f = op->attrs; f && f->name; f++)
        if (f->type == HX_I32 && f->max > f->min) {
            int64_t v = hx_attr_int(op, s->attrs, f->name, NULL);
            if ((double)v < f->min || (double)v > f->max)
                return "an attribute is out of its range";
        }
    const char *why = op->wrong_if ? op->wrong_if(s->dim, s->attrs) : NULL;
    for (int k = 0; k < sig->n_in + sig->n_out && !why; k++)
        for (int r = hx_sample_shape(op, s, k, shape); r-- > 0;)
            if (shape[r] < 1)
                return "a shape is empty";
    return why;
}

static bool small_enough(const hx_op *op, const hx_sample *s)
{
    const hx_sig *sig = hx_sig_of(op);
    int64_t elems = 0;
    for (int k = 0; k < sig->n_in + sig->n_out; k++)
        elems += hx_arg_count(op, s->dim, s->attrs, k);
    return elems <= MOST_ELEMS && (!op->flops || hx_eval(op->flops, op, s->dim,
        s->attrs) <= MOST_FLOPS);
}

hx_result hx_sample_random(const hx_op *op, uint64_t seed, hx_sample *s)
{
    dice d = { .op = op, .sig = hx_sig_of(op), .s = s, .state = seed };
    for (const char *c = op->name; *c; c++)            // operators do not share their cases
        d.state = (d.state ^ (uint8_t)*c) * 0x100000001B3;
    int n = hx_sample_count(op->check);
    if (!d.sig || n < 1)
        return hx_fail(HX_E_INTERNAL, "%s has no samples to start from [E-FUZZ]", op->name);
    HX_TRY(hx_sample_read(op, op->check, (int)roll(&d, (uint64_t)n), s));
    s->random_layout = true;
    s->profile = random_profile(&d);
    for (; d.tries < 1000; d.tries++) {
        one_try(&d);
        if (!hx_sample_wrong(op, s) && small_enough(op, s)) {
            hx_sample_say(op, s);
            return HX_OK;
        }
    }
    return hx_fail(HX_E_INTERNAL, "%s: no legal random sample in 1000 tries; its .fuzz should say "
                   "which sizes go together [E-FUZZ]", op->name);
}
