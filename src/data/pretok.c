// pretok.c - the regular expressions of GPT-2, GPT-4, Llama 3 and Qwen 2 as functions.
#include "pretok.h"

#include <string.h>

#include "unicode_ranges.h"

typedef enum { END, SPACE, LETTER, NUMBER, SIGN } kind;
typedef struct text { const uint8_t *s; int64_t n; } text;

#define FIND(table, c)                                                              \
    do {                                                                            \
        int lo = 0, hi = HX_COUNT(table) - 1;                                       \
        while (lo < hi) {                                                           \
            int mid = (lo + hi) / 2;                                                \
            if (table[mid].last < c) lo = mid + 1; else hi = mid;                   \
        }                                                                           \
        return c >= table[lo].first && c <= table[lo].last;                         \
    } while (0)
static bool is_letter(int32_t c) { FIND(letters, c); }
static bool is_number(int32_t c) { FIND(numbers, c); }

static bool is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

// The character at `at` and its bytes; -1 and 1 where it is no well-formed UTF-8.
static int32_t decode(text t, int64_t at, int *len)
{
    static const int32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    uint8_t b = t.s[at];
    *len = 1;
    if (b < 0x80)
        return b;
    int n = b >= 0xf0 && b < 0xf5 ? 4 : b >= 0xe0 && b < 0xf0 ? 3 : b >= 0xc2 && b < 0xe0 ? 2 : 0;
    if (!n || at + n > t.n)
        return -1;
    int32_t c = b & (0x7f >> n);
    for (int i = 1; i < n; i++) {
        if ((t.s[at + i] & 0xc0) != 0x80)
            return -1;
        c = c << 6 | (t.s[at + i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return -1;
    *len = n;
    return c;
}

static kind kind_at(text t, int64_t at, int *len)
{
    *len = 0;
    if (at >= t.n)
        return END;
    int32_t c = decode(t, at, len);
    return is_space(c) ? SPACE : is_letter(c) ? LETTER : is_number(c) ? NUMBER : SIGN;
}

// End of the run of characters of one kind from `at`, at most `most` of them; at where there is
// none.
static int64_t run(text t, int64_t at, kind k, int64_t most)
{
    int len;
    while (most-- > 0 && kind_at(t, at, &len) == k)
        at += len;
    return at;
}

// 's 't 're 've 'm 'll 'd; any_case: also in capitals, and the long s.
static int64_t contraction(text t, int64_t at, bool any_case)
{
    static const char *const ends[] = { "s", "t", "re", "ve", "m", "ll", "d" };
    if (t.s[at] != '\'')
        return at;
    for (int i = 0; i < HX_COUNT(ends); i++) {
        int64_t n = (int64_t)strlen(ends[i]), k = 0;
        while (k < n && at + 1 + k < t.n) {
            uint8_t c = t.s[at + 1 + k];
            if (any_case && c >= 'A' && c <= 'Z')
                c = (uint8_t)(c + 32);
            if (c != (uint8_t)ends[i][k])
                break;
            k++;
        }
        if (k == n)
            return at + 1 + n;
    }
    bool long_s = any_case && at + 2 < t.n && t.s[at + 1] == 0xc5 && t.s[at + 2] == 0xbf;
    return long_s ? at + 3 : at;
}

// \s+(?!\S)|\s+ : a run of white space without its last character, which belongs to what follows.
static int64_t spaces(text t, int64_t at)
{
    int len;
    int64_t end = at, last = at;
    while (kind_at(t, end, &len) == SPACE) {
        last = end;
        end += len;
    }
    return end == t.n || last == at ? end : last;
}

// ---- GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ ----------
static int64_t gpt2(const uint8_t *s, int64_t n, int64_t at)
{
    static const kind runs[] = { LETTER, NUMBER, SIGN };
    text t = { s, n };
    int64_t end = contraction(t, at, false), from = at + (s[at] == ' ');
    for (int i = 0; i < HX_COUNT(runs) && end == at; i++) {
        int64_t e = run(t, from, runs[i], INT64_MAX);
        end = e > from ? e : at;
    }
    return end > at ? end : spaces(t, at);
}

// ---- GPT-4 and after it
// ---------------------------------------------------------------------------- Behind the last line
// break of a run of white space; at where it has none.
static int64_t lines(text t, int64_t at)
{
    int len;
    int64_t end = at;
    for (int64_t p = at; kind_at(t, p, &len) == SPACE; p += len)
        if (t.s[p] == '\r' || t.s[p] == '\n')
            end = p + len;
    return end;
}

static int64_t gpt4(const uint8_t *s, int64_t n, int64_t at, int digits)
{
    text t = { s, n };
    int len;
    int64_t end = contraction(t, at, true);
    if (end > at)
        return end;
    // one character that is no line break may stand before letters
    kind first = kind_at(t, at, &len);
    bool before = (first == SPACE || first == SIGN) && s[at] != '\r' && s[at] != '\n';
    int64_t from = at + (before ? len : 0);
    end = run(t, from, LETTER, INT64_MAX);
    if (end > from)
        return end;
    end = run(t, at, NUMBER, digits);
    if (end > at)
        return end;
    from = at + (s[at] == ' ');
    end = run(t, from, SIGN, INT64_MAX);
    if (end > from) {
        while (end < n && (s[end] == '\r' || s[end] == '\n'))
            end++;
        return end;
    }
    end = lines(t, at);
    return end > at ? end : spaces(t, at);
}

static int64_t llama3(const uint8_t *s, int64_t n, int64_t at) { return gpt4(s, n, at, 3); }
static int64_t qwen2(const uint8_t *s, int64_t n, int64_t at)  { return gpt4(s, n, at, 1); }

#define AFTER_GPT4(digits)                                                                         \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits                     \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
const hx_pretok hx_pretoks[] = {
    {"gpt2", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     gpt2},
    {"llama3", AFTER_GPT4("{1,3}"), llama3},
    {"qwen2", AFTER_GPT4(""), qwen2},
    {0}};
