// base.c - results, messages, checked sizes, and tables of fields set from text.
#include "arena.h"
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[1024];

static const struct { const char *text; int code; } results[] = {
#define X(name, code, text) { text, code },
    HX_RESULTS(X)
#undef X
};

const char *hx_result_text(hx_result r)
{
    return (unsigned)r < (unsigned)HX_COUNT(results) ? results[r].text : "unknown result";
}

int hx_result_exit(hx_result r)
{
    return (unsigned)r < (unsigned)HX_COUNT(results) ? results[r].code : 70;
}

hx_result hx_fail(hx_result r, const char *fmt, ...)
{
    // formatted aside first: an argument may be the last message itself
    char text[sizeof message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    // one line, and nothing in it that a terminal would obey
    for (char *s = text; *s; s++)
        *s = (unsigned char)*s < ' ' || *s == 0x7f ? '?' : *s;
    memcpy(message, text, strlen(text) + 1);
    return r;
}

const char *hx_last_message(void) { return message; }

bool hx_mul(int64_t a, int64_t b, int64_t *out)
{
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out);
}

bool hx_sum(int64_t a, int64_t b, int64_t *out)
{
    return a >= 0 && b >= 0 && !__builtin_add_overflow(a, b, out);
}

// ---- numbers ------------------------------------------------------------------------------
// A span of the text that is being read.
typedef struct span { const char *at; size_t n; } span;

static span trim(span s)
{
    while (s.n && isspace((unsigned char)s.at[0]))
        s.at++, s.n--;
    while (s.n && isspace((unsigned char)s.at[s.n - 1]))
        s.n--;
    return s;
}

static bool is_word(span s, const char *word)
{
    return s.n == strlen(word) && !memcmp(s.at, word, s.n);
}
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

// A non-negative integer of up to 1536 bits, lowest limb first: a mantissa of 64 bits times 10^364 (1210 bits)
// or times 2^1075 is the largest that is asked for.
typedef struct big { int n; uint32_t limb[48]; } big;

static void big_scale(big *b, uint32_t by)
{
    uint64_t carry = 0;
    for (int i = 0; i < b->n; i++) {
        carry += (uint64_t)b->limb[i] * by;
        b->limb[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry)
        b->limb[b->n++] = (uint32_t)carry;
}

// m 10^e 2^q for e, q >= 0
static big big_of(uint64_t m, int e, int q)
{
    big b = { 2, { (uint32_t)m, (uint32_t)(m >> 32) } };
    for (; e > 0; e -= e < 9 ? e : 9) {
        static const uint32_t power[] = { 1,      10,      100,      1000,      10000,
                                          100000, 1000000, 10000000, 100000000, 1000000000 };
        big_scale(&b, power[e < 9 ? e : 9]);
    }
    for (; q > 0; q -= q < 31 ? q : 31)
        big_scale(&b, 1u << (q < 31 ? q : 31));
    return b;
}

static int big_compare(const big *a, const big *b)
{
    // limbs that are not in use are 0
    for (int i = HX_COUNT(a->limb) - 1; i >= 0; i--)
        if (a->limb[i] != b->limb[i])
            return a->limb[i] < b->limb[i] ? -1 : 1;
    return 0;
}

// Sign of m 10^e minus the middle between the double with these bits and the next larger one.
static int compare_middle(uint64_t m, int e, uint64_t bits)
{
    int q = bits >> 52 ? (int)(bits >> 52) - 1076 : -1075;
    uint64_t f = (bits & ((1ull << 52) - 1)) | (bits >> 52 ? 1ull << 52 : 0);
    big a = big_of(m, e > 0 ? e : 0, q < 0 ? -q : 0);
    big b = big_of(2 * f + 1, e < 0 ? -e : 0, q > 0 ? q : 0);
    return big_compare(&a, &b);
}

// The double nearest to m 10^e, ties to even: the same bits on every machine.
static double nearest_double(uint64_t m, int64_t e)
{
    enum { LARGEST = 309, SMALLEST = -345 };          // beyond these only infinity and 0 are near
    if (!m || e < SMALLEST - 19)
        return 0;
    if (e > LARGEST)
        return INFINITY;

    // a guess good to a few units in the last place, then exact steps
    const uint64_t infinity = 0x7ffull << 52;
    long double power = 1;
    for (int i = 0; i < (e < 0 ? -e : e); i++)
        power *= 10;
    double guess = (double)(e < 0 ? (long double)m / power : (long double)m * power);
    uint64_t bits;
    memcpy(&bits, &guess, sizeof bits);
    bits = bits < infinity ? bits : infinity - 1;
    while (bits < infinity && compare_middle(m, (int)e, bits) > 0)
        bits++;
    while (bits && compare_middle(m, (int)e, bits - 1) < 0)
        bits--;
    // half way between two: the even one
    if (bits < infinity && !compare_middle(m, (int)e, bits))
        bits += bits & 1;
    else if (bits && !compare_middle(m, (int)e, bits - 1))
        bits -= bits & 1;
    memcpy(&guess, &bits, sizeof bits);
    return guess;
}

// Decimal number, whatever the locale. `whole` is set when the text is an integer that fits
// int64_t, and then `i` is exact. Digits beyond the nineteenth are dropped.
static bool parse_number(span s, double *d, int64_t *i, bool *whole)
{
    const char *p = s.at, *end = s.at + s.n;
    bool negative = p < end && *p == '-', digits = false, fits = true, point = false;
    if (p < end && (*p == '-' || *p == '+'))
        p++;

    // 19 digits fit; further ones only move the exponent
    uint64_t m = 0;
    int64_t exponent = 0;
    for (; p < end && (is_digit(*p) || (*p == '.' && !point)); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        digits = true;
        if (m < 1000000000000000000u) {
            m = m * 10 + (uint64_t)(*p - '0');
            exponent -= point;
        } else {
            fits = false;
            exponent += !point;
        }
    }
    if (!digits)
        return false;
    bool has_exponent = p < end && (*p == 'e' || *p == 'E');
    if (has_exponent) {
        bool minus = ++p < end && *p == '-';
        if (p < end && (*p == '-' || *p == '+'))
            p++;
        if (p == end || !is_digit(*p))
            return false;
        int64_t e = 0;
        for (; p < end && is_digit(*p); p++)
            e = hx_min(e * 10 + (*p - '0'), 1000000);
        exponent += minus ? -e : e;
    }
    if (p != end)
        return false;

    double v = nearest_double(m, exponent);
    *d = negative ? -v : v;

    // 1000 is whole, and so are 1e3 and 2.50e2 while a double holds them exactly
    *whole = fits && !point && !has_exponent && m <= INT64_MAX;
    if (*whole)
        *i = negative ? -(int64_t)m : (int64_t)m;
    else if ((*whole = fabs(*d) <= 9007199254740992.0 && *d == floor(*d)))
        *i = (int64_t)*d;
    return true;
}

// ---- fields -------------------------------------------------------------------------------
static size_t type_size(hx_type t)
{
    static const size_t size[] = {
        [HX_I32] = sizeof(int32_t), [HX_I64] = sizeof(int64_t), [HX_F32] = sizeof(float),
        [HX_F64] = sizeof(double), [HX_BOOL] = sizeof(bool), [HX_STR] = sizeof(char *),
        [HX_INTS] = sizeof(hx_ints), [HX_REALS] = sizeof(hx_reals), [HX_STRS] = sizeof(hx_strs),
    };
    return size[t];
}

static hx_result in_bounds(const hx_field *f, double v, span s)
{
    if ((f->min == 0 && f->max == 0) || (v >= f->min && v <= f->max))
        return HX_OK;
    return hx_fail(HX_E_INPUT, "%s: %.*s is outside %.9g to %.9g [E-RANGE]", f->name,
                   (int)hx_min((int64_t)s.n, 60), s.at, f->min, f->max);
}

static hx_result get_int(const hx_field *f, span s, int64_t lo, int64_t hi, int64_t *out)
{
    double v;
    bool whole;
    if (!parse_number(s, &v, out, &whole))
        return hx_fail(HX_E_INPUT, "%s: '%.*s' is not an integer [E-TYPE]", f->name,
                       (int)hx_min((int64_t)s.n, 60), s.at);
    if (!whole && v != floor(v))
        return hx_fail(HX_E_INPUT, "%s: %.*s has a fraction, an integer is needed [E-TYPE]",
                       f->name, (int)hx_min((int64_t)s.n, 60), s.at);
    if (!whole || *out < lo || *out > hi)
        return hx_fail(HX_E_INPUT, "%s: %.*s does not fit an integer of %lld to %lld [E-RANGE]",
                       f->name, (int)hx_min((int64_t)s.n, 60), s.at, (long long)lo, (long long)hi);
    return in_bounds(f, (double)*out, s);
}

static hx_result get_real(const hx_field *f, span s, double largest, double *out)
{
    int64_t i;
    bool whole;
    if (!parse_number(s, out, &i, &whole))
        return hx_fail(HX_E_INPUT, "%s: '%.*s' is not a number [E-TYPE]", f->name,
                       (int)hx_min((int64_t)s.n, 60), s.at);
    if (!(fabs(*out) <= largest))
        return hx_fail(HX_E_INPUT, "%s: %.*s is beyond the largest number here, %.9g [E-RANGE]",
                       f->name, (int)hx_min((int64_t)s.n, 60), s.at, largest);
    return in_bounds(f, *out, s);
}

// Cuts the next item off a list's inside. Quotes keep commas together and are left on the item.
static span next_item(span *rest)
{
    size_t i = 0;
    char quote = 0;
    for (; i < rest->n && (quote || rest->at[i] != ','); i++) {
        char c = rest->at[i];
        if (quote == '"' && c == '\\' && i + 1 < rest->n)
            i++;
        else if (quote)
            quote = c == quote ? 0 : quote;
        else if (c == '"' || c == '\'')
            quote = c;
    }
    span item = trim((span){ rest->at, i });
    *rest = i < rest->n ? (span){ rest->at + i + 1, rest->n - i - 1 } : (span){ rest->at + i, 0 };
    return item;
}

// Splits "[a, b]" into items; a bare scalar is one item. A comma may follow the last item.
static hx_result split(const hx_field *f, const char *text, span *item, int *n, bool *scalar)
{
    span s = trim((span){ text, strlen(text) });
    *n = 0;
    if ((*scalar = !(s.n && s.at[0] == '['))) {
        item[(*n)++] = s;
        return HX_OK;
    }
    if (s.n < 2 || s.at[s.n - 1] != ']')
        return hx_fail(HX_E_INPUT, "%s: the list '%.60s' has no closing ']' [E-TYPE]", f->name,
                       text);
    span rest = trim((span){ s.at + 1, s.n - 2 });
    while (rest.n) {
        if (*n == HX_MAX_LIST)
            return hx_fail(HX_E_INPUT, "%s: more than %d items in the list [E-RANGE]", f->name,
                           HX_MAX_LIST);
        if (!(item[(*n)++] = next_item(&rest)).n)
            return hx_fail(HX_E_INPUT, "%s: item %d of the list is empty [E-TYPE]", f->name, *n);
    }
    return HX_OK;
}

static hx_result set_ints(const hx_field *f, hx_ints *out, const char *text)
{
    span item[HX_MAX_LIST];
    hx_ints v = { 0 };
    HX_TRY(split(f, text, item, &v.n, &v.scalar));
    for (int i = 0; i < v.n; i++) {
        int64_t x = HX_NULL;
        if (!is_word(item[i], "null"))
            HX_TRY(get_int(f, item[i], INT32_MIN + 1, INT32_MAX, &x));
        v.v[i] = (int32_t)x;
    }
    *out = v;
    return HX_OK;
}

static hx_result set_reals(const hx_field *f, hx_reals *out, const char *text)
{
    span item[HX_MAX_LIST];
    hx_reals v = { 0 };
    HX_TRY(split(f, text, item, &v.n, &v.scalar));
    for (int i = 0; i < v.n; i++)
        HX_TRY(get_real(f, item[i], 1.7976931348623157e308, &v.v[i]));
    *out = v;
    return HX_OK;
}

// Copies a list item into the arena without its quotes. Double ones take \" and \\ inside.
static char *copy_item(span s, hx_arena *arena)
{
    bool quoted = s.n >= 2 && (s.at[0] == '"' || s.at[0] == '\'') && s.at[s.n - 1] == s.at[0];
    bool escapes = quoted && s.at[0] == '"';
    if (quoted)
        s = (span){ s.at + 1, s.n - 2 };
    char *p = hx_alloc(arena, s.n + 1), *q = p;
    for (size_t i = 0; p && i < s.n; i++) {
        if (escapes && s.at[i] == '\\' && i + 1 < s.n)
            i++;
        *q++ = s.at[i];
    }
    return p;
}

static hx_result no_memory(const hx_field *f, size_t bytes)
{
    return hx_fail(HX_E_NOMEM, "%s: no memory for a text of %zu bytes [E-NOMEM]", f->name, bytes);
}

static hx_result set_strs(const hx_field *f, hx_strs *out, const char *text, hx_arena *arena)
{
    span item[HX_MAX_LIST];
    hx_strs v = { 0 };
    bool scalar = false;
    if (*text)                             // an empty text is an empty list, as in a default
        HX_TRY(split(f, text, item, &v.n, &scalar));
    for (int i = 0; i < v.n; i++)
        if (!(v.v[i] = scalar ? hx_strdup(arena, text) : copy_item(item[i], arena)))
            return no_memory(f, item[i].n);
    *out = v;
    return HX_OK;
}

static hx_result set_field(const hx_field *f, void *obj, const char *text, hx_arena *arena)
{
    void *to = (char *)obj + f->offset;
    span s = trim((span){ text, strlen(text) });
    int64_t i;
    double d;
    switch (f->type) {
    case HX_I32:
        HX_TRY(get_int(f, s, INT32_MIN, INT32_MAX, &i));
        *(int32_t *)to = (int32_t)i;
        return HX_OK;
    case HX_I64:
        HX_TRY(get_int(f, s, INT64_MIN, INT64_MAX, &i));
        *(int64_t *)to = i;
        return HX_OK;
    case HX_F32:
        HX_TRY(get_real(f, s, 3.4028234663852886e38, &d));
        *(float *)to = (float)d;
        return HX_OK;
    case HX_F64:
        HX_TRY(get_real(f, s, 1.7976931348623157e308, &d));
        *(double *)to = d;
        return HX_OK;
    case HX_BOOL:
        if (!is_word(s, "true") && !is_word(s, "false"))
            return hx_fail(HX_E_INPUT, "%s: '%.60s' is neither true nor false [E-TYPE]", f->name,
                           text);
        *(bool *)to = is_word(s, "true");
        return HX_OK;
    case HX_STR: {
        char *copy = hx_strdup(arena, text);
        if (!copy)
            return no_memory(f, strlen(text));
        *(const char **)to = copy;
        return HX_OK;
    }
    case HX_INTS:
        return set_ints(f, to, text);
    case HX_REALS:
        return set_reals(f, to, text);
    case HX_STRS:
        return set_strs(f, to, text, arena);
    }
    return hx_fail(HX_E_INTERNAL, "field %s has type %d, which does not exist [E-FIELD]", f->name,
                   (int)f->type);
}

// Without an arena: texts point into the table, so a list of texts may have one bare word at most.
static hx_result set_default(const hx_field *f, void *obj)
{
    void *to = (char *)obj + f->offset;
    memset(to, 0, type_size(f->type));
    if (!f->def)
        return HX_OK;
    if (f->type == HX_STR) {
        *(const char **)to = f->def;
        return HX_OK;
    }
    if (f->type != HX_STRS)
        return set_field(f, obj, f->def, NULL);
    if (f->def[0] == '[' && strcmp(f->def, "[]"))
        return hx_fail(HX_E_INTERNAL,
                       "%s: the default '%s' of a list of texts may be [] or one word [E-FIELD]",
                       f->name, f->def);
    if (f->def[0] && f->def[0] != '[')
        *(hx_strs *)to = (hx_strs){ 1, { f->def } };
    return HX_OK;
}

hx_result hx_fields_default(const hx_field *f, void *obj)
{
    for (; f && f->name; f++)
        HX_TRY(set_default(f, obj));
    return HX_OK;
}

const hx_field *hx_field_find(const hx_field *f, const char *key)
{
    for (; f && f->name; f++)
        if (!strcmp(f->name, key))
            return f;
    return NULL;
}

hx_result hx_field_set(const hx_field *f, void *obj, const char *key, const char *text,
                       hx_arena *arena)
{
    const hx_field *found = hx_field_find(f, key);
    if (found)
        return set_field(found, obj, text, arena);
    const char *names[256];
    int n = 0;
    for (; f->name && n < HX_COUNT(names); f++)
        names[n++] = f->name;
    const char *near = hx_nearest(key, names, n);
    if (near)
        return hx_fail(HX_E_INPUT, "unknown key '%.60s'; did you mean '%s'? [E-KEY]", key, near);
    return hx_fail(HX_E_INPUT, "unknown key '%.60s' [E-KEY]", key);
}

// ---- nearest word -------------------------------------------------------------------------
enum { MAX_WORD = 63 };

// Letters to insert, drop, change or swap with their neighbour to get from a to b.
static int edit_distance(const char *a, const char *b)
{
    int na = (int)strlen(a), nb = (int)strlen(b), row[3][MAX_WORD + 1];
    if (na > MAX_WORD || nb > MAX_WORD)
        return INT32_MAX;
    for (int j = 0; j <= nb; j++)
        row[0][j] = j;
    for (int i = 1; i <= na; i++) {
        int *now = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            int ca = tolower((unsigned char)a[i - 1]), cb = tolower((unsigned char)b[j - 1]);
            int best = up[j - 1] + (ca != cb);
            best = best < up[j] + 1 ? best : up[j] + 1;
            best = best < now[j - 1] + 1 ? best : now[j - 1] + 1;
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
                cb == tolower((unsigned char)a[i - 2]) && up2[j - 2] + 1 < best)
                best = up2[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[na % 3][nb];
}

const char *hx_nearest(const char *word, const char *const *words, int n)
{
    // near: about a third of the letters may be wrong, and never all of them
    int len = (int)strlen(word), limit = len < 3 ? 1 : len < 6 ? 2 : len / 3;
    const char *best = NULL;
    for (int i = 0; i < n; i++) {
        int d = edit_distance(word, words[i]);
        if (d <= limit && d < len) {
            best = words[i];
            limit = d - 1;
        }
    }
    return best;
}
