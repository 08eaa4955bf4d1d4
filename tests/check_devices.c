// check_devices.c - the conformance suite of devices: host, null and every Vulkan device of this
// machine pass the same file; null passes the part that looks at no data.
#include <math.h>
#include <stdio.h>
#include "../runtime/dev.h"
#include "../runtime/log.h"
#include "../src/core/op.h"
#include "suite.h"

enum { MAX_DEVICES = 16 };

// ---- devices under test ---------------------------------------------------------------------
static hx_dev *dev[MAX_DEVICES];
static char selector[MAX_DEVICES][32];
static int n_dev;

static char last_log[1024];
static void keep_log(void *user, hx_log_level level, const char *text)
{
    (void)user;
    if (level <= HX_LOG_WARN)
        snprintf(last_log, sizeof last_log, "%s", text);
}

static void open_one(const char *select)
{
    snprintf(selector[n_dev], sizeof selector[n_dev], "%s", select);

    // with the validation layer where it is installed
    hx_dev_params p = { .select = select, .validation = true };
    hx_result r = hx_dev_open(&p, &dev[n_dev]);
    if (r == HX_E_NODEVICE && strstr(hx_last_message(), "validation")) {
        p.validation = false;
        r = hx_dev_open(&p, &dev[n_dev]);
    }
    ck_assert_msg(!r, "%s: %s", select, hx_last_message());
    n_dev++;
}

static void open_all(void)
{
    hx_dev_info row[MAX_DEVICES];
    int n;
    ck_assert_int_eq(hx_dev_list(row, MAX_DEVICES - 1, &n, NULL), HX_OK);
    n_dev = 0;
    hx_log_to(keep_log, NULL);
    for (int i = 0; i < n; i++)
        if (!row[i].why_not[0])
            open_one(row[i].selector);
    open_one("null");
}

static void close_all(void)
{
    for (int i = 0; i < n_dev; i++) {
        hx_dev_stats s = hx_dev_get_stats(dev[i]);
        ck_assert_msg(s.bytes_now == 0, "%s: %lld bytes left", selector[i], (long long)s.bytes_now);
        ck_assert_msg(s.validation_messages == 0, "%s: %lld validation messages, the last: %s",
                      selector[i], (long long)s.validation_messages, last_log);
        hx_dev_close(&dev[i]);
        ck_assert_ptr_null(dev[i]);
    }
}

static bool computes(const hx_dev *d) { return strcmp(hx_dev_get_caps(d)->kind, "null") != 0; }
#define EACH_DEVICE(d, i) for (int i = 0; i < n_dev; i++) for (hx_dev *d = dev[i]; d; d = NULL)
#define DOES(i, call)                                                                              \
    ck_assert_msg((call) == HX_OK, "%s: %s: %s", selector[i], #call, hx_last_message())

// For loops over elements: a passing ck_assert is a system call.
#define WANT(ok, ...) do { if (!(ok)) ck_abort_msg(__VA_ARGS__); } while (0)

// The call fails with this result, and the message holds every one of the texts.
#define REFUSES(i, result, call, ...)                                                            \
    do {                                                                                         \
        static const char *const parts[] = { __VA_ARGS__ };                                      \
        hx_result got = (call);                                                                  \
        ck_assert_msg(got == (result), "%s: %s gave %d", selector[i], #call, (int)got);          \
        for (int part = 0; part < HX_COUNT(parts); part++)                                       \
            ck_assert_msg(strstr(hx_last_message(), parts[part]), "%s: no '%s' in '%s'",         \
                          selector[i], parts[part], hx_last_message());                          \
    } while (0)

// ---- z = x + y, as a host function and as the operator's shader, whose twin of z is left out -----
typedef struct add_push { uint32_t R, C, x_o, x_s, y_o, y_s, z_o, z_s, opts; } add_push;

static void add_host(const hx_host_args *a)
{
    const add_push *p = a->push;
    const float *x = a->buf[0], *y = a->buf[1];
    float *z = a->buf[2];
    for (uint32_t r = 0; r < p->R; r++)
        for (uint32_t c = 0; c < p->C; c++)
            z[p->z_o + r * p->z_s + c] = x[p->x_o + r * p->x_s + c] + y[p->y_o + r * p->y_s + c];
}

static hx_kernel add_kernel(void)
{
    const hx_spirv *s = hx_spirv_find("add");
    ck_assert_ptr_nonnull(s);
    return (hx_kernel){ .name = "add",
                        .spirv = s->words,
                        .n_words = s->n_words,
                        .host = add_host,
                        .n_bindings = 4,
                        .writes = 1 << 2 | 1 << 3,
                        .push_bytes = sizeof(add_push) };
}

enum { N = 1000, BYTES = N * 4 };
static const uint32_t one_group[3] = { 1, 1, 1 }, all_groups[3] = { (N + 255) / 256, 1, 1 };

static hx_result record_add(hx_prog *p, hx_buf *x, hx_buf *y, hx_buf *z)
{
    hx_kernel k = add_kernel();
    add_push push = { 1, N, 0, N, 0, N, 0, N, 0 };
    return hx_prog_dispatch(p, &k,
                            (hx_binding[]){ { x, 0, BYTES }, { y, 0, BYTES }, { z, 0, BYTES }, { z, 0, BYTES } },
                            &push, all_groups);
}

static hx_buf *new_buf(int i, const char *name)
{
    hx_buf *b;
    DOES(i, hx_buf_new(dev[i], BYTES, HX_BUF_DEVICE, name, &b));
    return b;
}

static void put(int i, hx_buf *b, float scale)
{
    float v[N];
    for (int j = 0; j < N; j++)
        v[j] = scale * (float)j;
    DOES(i, hx_buf_write(b, 0, v, BYTES));
}

// every element j is scale * j; null reads as zeros
static void holds(int i, hx_buf *b, float scale)
{
    float v[N];
    DOES(i, hx_buf_read(b, 0, v, BYTES));
    for (int j = 0; j < N; j++)
        WANT(v[j] == (computes(dev[i]) ? scale * (float)j : 0), "%s: element %d is %g, not %g",
             selector[i], j, v[j], scale * (float)j);
}

static void run(int i, hx_prog *const *p, int n, bool by_piece)
{
    uint64_t ticket;
    DOES(i, hx_dev_submit(dev[i], p, n, by_piece, &ticket));
    DOES(i, hx_dev_wait(dev[i], ticket, 60000));
}

// ---- choice ---------------------------------------------------------------------------------
START_TEST(list)
{
    hx_dev_info row[MAX_DEVICES];
    const char *note;
    int n;
    ck_assert_int_eq(hx_dev_list(row, MAX_DEVICES, &n, &note), HX_OK);
    ck_assert_int_ge(n, 1);
    ck_assert(n > 1 || (note && note[0]));
    for (int i = 0; i < n; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i - 1);
        ck_assert_str_eq(row[i].selector, i ? number : "host");
        ck_assert_str_eq(row[i].caps.kind, i ? "vulkan" : "host");
        ck_assert_str_ne(row[i].caps.name, "");
    }
    ck_assert_int_eq(hx_dev_list(row, 1, &n, NULL), HX_OK);
    ck_assert_int_eq(n, 1);
}
END_TEST

START_TEST(limits)
{
    EACH_DEVICE(d, i) {
        const hx_dev_caps *c = hx_dev_get_caps(d);
        ck_assert(c->offset_align >= 1 && c->offset_align <= 256 && c->max_range >= 1 << 27);
        ck_assert(c->max_buffer >= c->max_range / 2 && c->memory_bytes > 0);
        ck_assert(c->max_invocations >= 256 && c->shared_bytes >= 32768 &&
                  c->push_bytes >= HX_MAX_PUSH);
        for (int k = 0; k < 3; k++)
            ck_assert_int_ge(c->max_groups[k], 65535);
        ck_assert(c->subgroup_min >= 1 && c->subgroup_max >= c->subgroup_min);
        hx_dev_stats s = hx_dev_get_stats(d);
        ck_assert(!s.submits && !s.dispatches && !s.barriers && !s.bytes_peak);
    }
}
END_TEST

static void opens(const char *select, const hx_dev_caps *as)
{
    hx_dev *d;
    ck_assert_msg(!hx_dev_open(&(hx_dev_params){ .select = select }, &d), "%s: %s", select,
                  hx_last_message());
    ck_assert_str_eq(hx_dev_get_caps(d)->kind, as->kind);
    ck_assert_str_eq(hx_dev_get_caps(d)->name, as->name);
    hx_dev_close(&d);
}

START_TEST(selectors)
{
    EACH_DEVICE(d, i) {
        hx_dev_caps c = *hx_dev_get_caps(d);
        opens(selector[i], &c);
        if (strcmp(c.kind, "vulkan"))
            continue;
        char text[300] = "name:", *at = text + 5;
        for (const char *p = c.name; *p; p++)
            *at++ = (char)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p);
        *at = 0;
        opens(text, &c);
        at = text + sprintf(text, "uuid:");
        for (int k = 0; k < 16; k++)
            at += sprintf(at, k == 4 ? "-%02X" : "%02x", c.uuid[k]);
        opens(text, &c);
    }
    hx_dev *d;
    ck_assert_int_eq(hx_dev_open(NULL, &d), HX_OK);
    hx_dev_close(&d);
    hx_dev_close(&d);
    hx_dev_close(NULL);
}
END_TEST

START_TEST(wrong_selectors)
{
    static const char *const wrong[] = { "63",
                                         "99999999999999999999",
                                         "-1",
                                         "gpu",
                                         "Host",
                                         "name:",
                                         "name:no such",
                                         "uuid:",
                                         "uuid:12",
                                         "uuid:zz345678123456781234567812345678",
                                         "uuid:123456781234567812345678123456789",
                                         "1x",
                                         "auto " };
    for (int k = 0; k < HX_COUNT(wrong); k++) {
        hx_dev *d = dev[0];
        ck_assert_msg(hx_dev_open(&(hx_dev_params){ .select = wrong[k] }, &d) == HX_E_NODEVICE,
                      "%s", wrong[k]);
        ck_assert_ptr_null(d);
        ck_assert_msg(strstr(hx_last_message(), wrong[k]) && strstr(hx_last_message(), "host"),
                      "%s: %s", wrong[k], hx_last_message());
    }
    hx_dev *d;
    REFUSES(0, HX_E_USAGE, hx_dev_open(&(hx_dev_params){ .select = "host", .threads = -1 }, &d),
            "threads", "-1");
}
END_TEST

START_TEST(hidden_capabilities)
{
    EACH_DEVICE(d, i) {
        for (int bit = 0; bit < HX_N_CAPS; bit++) {
            if (!(hx_dev_get_caps(d)->has >> bit & 1))
                continue;
            char text[32];
            snprintf(text, sizeof text, "-%s", hx_cap_names[bit]);
            setenv("HTXVK_CAPS", text, 1);
            hx_dev *less;
            DOES(i, hx_dev_open(&(hx_dev_params){ .select = selector[i] }, &less));
            ck_assert_uint_eq(hx_dev_get_caps(less)->has & (1u << bit), 0);
            hx_dev_close(&less);
        }
    }
    hx_dev *d;
    setenv("HTXVK_CAPS", "-coopmat,,-subgrop", 1);
    REFUSES(0, HX_E_USAGE, hx_dev_open(&(hx_dev_params){ .select = "host" }, &d), "-subgrop",
            "mean -subgroup");
    setenv("HTXVK_CAPS", "subgroup", 1);
    REFUSES(0, HX_E_USAGE, hx_dev_open(&(hx_dev_params){ .select = "host" }, &d), "'subgroup'");
    setenv("HTXVK_CAPS", "-coopmat,,-SUBGROUP", 1);
    DOES(0, hx_dev_open(&(hx_dev_params){ .select = "host" }, &d));
    hx_dev_close(&d);
    unsetenv("HTXVK_CAPS");
}
END_TEST

// ---- buffers --------------------------------------------------------------------------------
START_TEST(round_trips)
{
    static const int64_t sizes[] = { 1, 3, 4, 255, 4097, (1 << 20) + 5, 5 << 20 };
    static unsigned char out[5 << 20], in[5 << 20];
    for (int j = 0; j < (int)sizeof out; j++)
        out[j] = (unsigned char)(j * 7 + j / 251 + 1);
    EACH_DEVICE(d, i) {
        for (int s = 0; s < HX_COUNT(sizes); s++) {
            for (int kind = HX_BUF_DEVICE; kind <= HX_BUF_DOWN; kind++) {
                int64_t n = sizes[s], part = n / 3;
                hx_buf *b;
                DOES(i, hx_buf_new(d, n, (hx_buf_kind)kind, "round trip", &b));
                ck_assert_int_eq(hx_buf_bytes(b), n);
                memset(in, 0xee, (size_t)n);
                DOES(i, hx_buf_read(b, 0, in, n));
                for (int64_t j = 0; j < n; j++)
                    WANT(in[j] == 0, "%s: a new buffer has %d at %d", selector[i], in[j], (int)j);

                // all but the first third, then a little in the middle of the rest
                DOES(i, hx_buf_write(b, part, out, n - part));
                DOES(i, hx_buf_write(b, part, out + 3, hx_min(3, n - part)));
                DOES(i, hx_buf_write(b, n, out, 0));
                DOES(i, hx_buf_read(b, 0, in, n));
                for (int64_t j = 0; j < n && computes(d); j++) {
                    int want = j < part ? 0 : j < part + 3 ? out[j - part + 3] : out[j - part];
                    WANT(in[j] == want, "%s: %d at %d, not %d", selector[i], in[j], (int)j, want);
                }
                DOES(i, hx_buf_read(b, n - 1, in, 1));
                hx_buf_free(&b);
                ck_assert_ptr_null(b);
            }
        }
    }
    hx_buf_free(NULL);
}
END_TEST

START_TEST(wrong_buffers)
{
    EACH_DEVICE(d, i) {
        hx_buf *b;
        REFUSES(i, HX_E_USAGE, hx_buf_new(d, 0, HX_BUF_DEVICE, "empty", &b), "empty", " 0 bytes");
        REFUSES(i, HX_E_USAGE, hx_buf_new(d, -4, HX_BUF_DEVICE, "less", &b), "less", "-4");
        REFUSES(i, HX_E_USAGE, hx_buf_new(d, 4, (hx_buf_kind)7, "odd", &b), "odd", "7");
        if (computes(d)) {
            REFUSES(i, HX_E_NOMEM, hx_buf_new(d, 1ll << 50, HX_BUF_DEVICE, "huge", &b), "huge",
                    "1125899906842624");
            REFUSES(i, HX_E_NOMEM, hx_buf_new(d, INT64_MAX, HX_BUF_DOWN, "all", &b), "all",
                    "9223372036854775807");
        }
        char byte = 0;
        DOES(i, hx_buf_new(d, 100, HX_BUF_DEVICE, NULL, &b));
        REFUSES(i, HX_E_USAGE, hx_buf_write(b, 100, &byte, 1), "100", "[E-RANGE]");
        REFUSES(i, HX_E_USAGE, hx_buf_write(b, -1, &byte, 1), "-1", "100");
        REFUSES(i, HX_E_USAGE, hx_buf_read(b, 0, &byte, 101), "101", "100");
        REFUSES(i, HX_E_USAGE, hx_buf_read(b, 1, &byte, INT64_MAX), "100");
        REFUSES(i, HX_E_USAGE, hx_buf_read(b, 5, &byte, -1), "-1");
        REFUSES(i, HX_E_USAGE, hx_buf_read(NULL, 0, &byte, 1), "no buffer");
        hx_buf_free(&b);
    }
}
END_TEST

START_TEST(counted_bytes)
{
    EACH_DEVICE(d, i) {
        hx_buf *a = new_buf(i, "a"), *b = new_buf(i, "b");
        ck_assert_int_ge(hx_dev_get_stats(d).bytes_now, 2 * BYTES);
        hx_buf_free(&a);
        ck_assert_int_ge(hx_dev_get_stats(d).bytes_now, BYTES);
        hx_buf_free(&b);
        ck_assert_int_eq(hx_dev_get_stats(d).bytes_now, 0);
        ck_assert_int_ge(hx_dev_get_stats(d).bytes_peak, 2 * BYTES);
    }
}
END_TEST

START_TEST(null_holds_nothing)
{
    hx_dev *d;
    hx_buf *b;
    DOES(0, hx_dev_open(&(hx_dev_params){ .select = "null" }, &d));
    DOES(0, hx_buf_new(d, 1ll << 50, HX_BUF_DEVICE, "a petabyte", &b));
    ck_assert_int_eq(hx_dev_get_stats(d).bytes_peak, 1ll << 50);
    int word = 5;
    DOES(0, hx_buf_write(b, 1ll << 49, &word, 4));
    DOES(0, hx_buf_read(b, 1ll << 49, &word, 4));
    ck_assert_int_eq(word, 0);
    hx_buf_free(&b);
    hx_dev_close(&d);
}
END_TEST

// ---- programs -------------------------------------------------------------------------------
START_TEST(fill_and_copy)
{
    EACH_DEVICE(d, i) {
        hx_buf *a = new_buf(i, "a"), *b = new_buf(i, "b");
        hx_prog *p;
        uint32_t w[N];
        DOES(i, hx_prog_new(d, false, "fill and copy", &p));
        DOES(i, hx_prog_fill(p, (hx_binding){ a, 0, BYTES }, 0x01020304));
        DOES(i, hx_prog_barrier(p));
        DOES(i, hx_prog_fill(p, (hx_binding){ a, 8, 16 }, 7));
        DOES(i, hx_prog_barrier(p));
        DOES(i, hx_prog_copy(p, (hx_binding){ a, 4, 40 }, (hx_binding){ b, 100, 40 }));
        DOES(i, hx_prog_copy(p, (hx_binding){ a, 0, 4 }, (hx_binding){ a, 2000, 4 }));
        DOES(i, hx_prog_end(p));
        run(i, &p, 1, false);
        DOES(i, hx_buf_read(b, 0, w, BYTES));
        for (int j = 0; j < N && computes(d); j++) {
            uint32_t want = j < 25 || j >= 35 ? 0 : j >= 26 && j < 30 ? 7 : 0x01020304;
            WANT(w[j] == want, "%s: word %d is %x, not %x", selector[i], j, w[j], want);
        }
        hx_prog_free(&p);
        hx_buf_free(&a);
        hx_buf_free(&b);
    }
}
END_TEST

// x += y, many times over: each submit of each program sees what the one before wrote
START_TEST(repeated)
{
    EACH_DEVICE(d, i) {
        hx_buf *x = new_buf(i, "x"), *y = new_buf(i, "y");
        hx_prog *p;
        put(i, x, 1);
        put(i, y, 2);
        DOES(i, hx_prog_new(d, false, "x += y", &p));
        DOES(i, record_add(p, x, y, x));
        DOES(i, hx_prog_end(p));
        for (int k = 1; k <= 5; k++) {
            run(i, &p, 1, false);
            holds(i, x, 1 + 2 * (float)k);
        }
        uint64_t ticket;                   // not waited for: the last wait covers all
        for (int k = 0; k < 2; k++)
            DOES(i, hx_dev_submit(d, &p, 1, false, &ticket));
        run(i, &p, 1, false);
        holds(i, x, 17);
        put(i, y, -1);                     // what is written between submits is seen
        run(i, &p, 1, true);
        holds(i, x, 16);
        hx_dev_stats s = hx_dev_get_stats(d);
        ck_assert_msg(s.submits >= 9 && s.dispatches == 9, "%s: %lld submits, %lld dispatches",
                      selector[i], (long long)s.submits, (long long)s.dispatches);
        hx_prog_free(&p);
        ck_assert_ptr_null(p);
        hx_prog_free(&p);
        hx_buf_free(&x);
        hx_buf_free(&y);
    }
}
END_TEST

// a chain through barriers and cuts: z = 2^12 x, whether as one submit or piece by piece
START_TEST(chains)
{
    EACH_DEVICE(d, i) {
        hx_buf *x = new_buf(i, "x"), *y = new_buf(i, "y");
        hx_prog *p, *q;
        DOES(i, hx_prog_new(d, false, "first", &p));
        DOES(i, hx_prog_new(d, false, "second", &q));
        for (int k = 0; k < 6; k++) {
            hx_prog *to = k < 3 ? p : q;
            DOES(i, record_add(to, x, x, y));
            DOES(i, hx_prog_barrier(to));
            DOES(i, record_add(to, y, y, x));
            if (k != 2 && k != 5)          // between programs a barrier is implied
                DOES(i, hx_prog_barrier(to));
            if (k == 1)
                DOES(i, hx_prog_cut(to));
        }
        DOES(i, hx_prog_end(p));
        DOES(i, hx_prog_end(q));
        for (int by_piece = 0; by_piece < 2; by_piece++) {
            put(i, x, 1);
            run(i, (hx_prog *const[]){ p, q }, 2, by_piece);
            holds(i, x, 4096);
        }
        hx_prog_free(&p);
        hx_prog_free(&q);
        hx_buf_free(&x);
        hx_buf_free(&y);
    }
}
END_TEST

// bindings that begin inside a buffer, rows that are wider than what is used of them
START_TEST(offsets)
{
    enum { AT = 1024 };                    // a multiple of any device's alignment
    EACH_DEVICE(d, i) {
        hx_buf *x = new_buf(i, "x");
        put(i, x, 1);
        hx_kernel k = add_kernel();
        add_push push = { 3, 5, 10, 50, 20, 40, 2, 7, 0 };
        hx_prog *p;
        DOES(i, hx_prog_new(d, false, "offsets", &p));
        DOES(i, hx_prog_dispatch(
                    p, &k, (hx_binding[]){ { x, 0, 1000 }, { x, AT, 1000 }, { x, 2 * AT, 100 }, { x, 2 * AT, 100 } },
                    &push, one_group));
        DOES(i, hx_prog_end(p));
        run(i, &p, 1, false);
        float v[N];
        DOES(i, hx_buf_read(x, 0, v, BYTES));
        for (int j = 0; j < N && computes(d); j++) {
            int at = j - 2 * AT / 4 - 2, r = at / 7, c = at % 7;
            bool written = at >= 0 && r < 3 && c < 5;
            float want =
                written ? (float)(10 + 50 * r + c) + (float)(AT / 4 + 20 + 40 * r + c) : (float)j;
            WANT(v[j] == want, "%s: element %d is %g, not %g", selector[i], j, v[j], want);
        }
        hx_prog_free(&p);
        hx_buf_free(&x);
    }
}
END_TEST

START_TEST(wrong_dispatches)
{
    EACH_DEVICE(d, i) {
        hx_buf *x = new_buf(i, "x"), *other = new_buf(i ? 0 : n_dev - 1, "other");
        hx_kernel k = add_kernel(), odd;
        add_push push = { 1, N, 0, N, 0, N, 0, N, 0 };
        hx_binding b[4] = { { x, 0, BYTES }, { x, 0, BYTES }, { x, 0, BYTES }, { x, 0, BYTES } }, w[4];
        hx_prog *p;
        DOES(i, hx_prog_new(d, false, "refusals", &p));
#define WITH(member, value)                                                                        \
    (memcpy(w, b, sizeof w), w[1].member = (value), hx_prog_dispatch(p, &k, w, &push, one_group))
        REFUSES(i, HX_E_USAGE, WITH(buf, NULL), "add: binding 1", "no buffer");
        REFUSES(i, HX_E_USAGE, WITH(buf, other), "add: binding 1", "another device");
        REFUSES(i, HX_E_USAGE, WITH(bytes, BYTES + 4), "4004", "4000");
        REFUSES(i, HX_E_USAGE, WITH(bytes, 0), "0 bytes");
        REFUSES(i, HX_E_USAGE, WITH(offset, -256), "-256");
        if (hx_dev_get_caps(d)->offset_align > 1)
            REFUSES(i, HX_E_USAGE,
                    (w[0] = w[2] = w[3] = b[0], w[1] = (hx_binding){ x, 1, 4 },
                     hx_prog_dispatch(p, &k, w, &push, one_group)),
                    "offset 1 ", "multiple");
        REFUSES(i, HX_E_USAGE, hx_prog_dispatch(p, &k, b, &push, (uint32_t[]){ 1, 0, 1 }),
                " 0 workgroups in y");
        REFUSES(i, HX_E_USAGE, hx_prog_dispatch(p, &k, b, &push, (uint32_t[]){ 1, 1, UINT32_MAX }),
                "4294967295 workgroups in z");
        REFUSES(i, HX_E_USAGE, hx_prog_dispatch(p, &k, b, NULL, one_group),
                "36 bytes of push constants");
#define ODD(member, value)                                                                         \
    (odd = k, odd.member = (value), hx_prog_dispatch(p, &odd, b, &push, one_group))
        REFUSES(i, HX_E_USAGE, ODD(n_bindings, 17), "17 bindings", "16");
        REFUSES(i, HX_E_USAGE, ODD(push_bytes, 132 + 4 * 64), "388 bytes of push constants");
        REFUSES(i, HX_E_USAGE, ODD(push_bytes, 31), "31 bytes of push constants");
        REFUSES(i, HX_E_USAGE, ODD(n_spec, 17), "17 specialization", "16");
        REFUSES(i, HX_E_USAGE, (odd = k, odd.spirv = NULL, odd.host = NULL,
                                hx_prog_dispatch(p, &odd, b, &push, one_group)), "add", "neither");
        if (!strcmp(hx_dev_get_caps(d)->kind, "host"))
            REFUSES(i, HX_E_NODEVICE, ODD(host, NULL), "add", "no host function");
        if (!strcmp(hx_dev_get_caps(d)->kind, "vulkan"))
            ck_assert_int_ne(ODD(spirv, NULL), HX_OK);

        // what was refused left nothing behind
        DOES(i, hx_prog_end(p));
        put(i, x, 3);
        run(i, &p, 1, false);
        holds(i, x, 3);
        hx_prog_free(&p);
        hx_buf_free(&x);
        hx_buf_free(&other);
    }
}
END_TEST

START_TEST(wrong_programs)
{
    EACH_DEVICE(d, i) {
        hx_buf *x = new_buf(i, "x"), *other = new_buf(i ? 0 : n_dev - 1, "other");
        hx_prog *p;
        uint64_t ticket;
        DOES(i, hx_prog_new(d, false, "refusals", &p));
        REFUSES(i, HX_E_USAGE, hx_prog_fill(p, (hx_binding){ x, 2, 4 }, 0), "fill", "offset 2",
                "4");
        REFUSES(i, HX_E_USAGE, hx_prog_fill(p, (hx_binding){ x, 0, 0 }, 0), "0 bytes");
        REFUSES(i, HX_E_USAGE, hx_prog_fill(p, (hx_binding){ other, 0, 4 }, 0), "another device");
        REFUSES(i, HX_E_USAGE, hx_prog_copy(p, (hx_binding){ x, 0, 8 }, (hx_binding){ x, 8, 12 }),
                " 8 ", "12");
        REFUSES(i, HX_E_USAGE, hx_prog_copy(p, (hx_binding){ x, 0, 8 }, (hx_binding){ x, 4, 8 }),
                "overlap");
        REFUSES(i, HX_E_USAGE, hx_prog_copy(p, (hx_binding){ x, 0, 8 }, (hx_binding){ x, 3996, 8 }),
                "copy to", "4000");
        REFUSES(i, HX_E_USAGE, hx_dev_submit(d, &p, 1, false, &ticket), "not ended");
        DOES(i, hx_prog_end(p));
        REFUSES(i, HX_E_USAGE, hx_prog_end(p), "has ended");
        REFUSES(i, HX_E_USAGE, hx_prog_barrier(p), "has ended");
        REFUSES(i, HX_E_USAGE, hx_prog_cut(p), "has ended");
        REFUSES(i, HX_E_USAGE, hx_prog_fill(p, (hx_binding){ x, 0, 4 }, 0), "has ended");
        REFUSES(i, HX_E_USAGE, record_add(p, x, x, x), "add", "has ended");
        REFUSES(i, HX_E_USAGE, hx_dev_submit(d, &p, 0, false, &ticket), " 0 programs");
        REFUSES(i, HX_E_USAGE, hx_dev_submit(d, (hx_prog *const[]){ NULL }, 1, false, &ticket),
                "program 0");
        REFUSES(i, HX_E_USAGE, hx_dev_submit(d, (hx_prog *const[]){ p, p }, 2, false, &ticket),
                "0 and 1", "same");
        REFUSES(i, HX_E_USAGE, hx_dev_submit(dev[i ? 0 : 1], &p, 1, false, &ticket),
                "not of this device");
        run(i, &p, 1, false);
        REFUSES(i, HX_E_USAGE, hx_dev_wait(d, 0, -1), "-1 ms");
        int n;
        double ms;
        REFUSES(i, HX_E_USAGE, hx_prog_times(p, &ms, 1, &n), "profile");
        hx_prog_free(&p);
        hx_buf_free(&x);
        hx_buf_free(&other);
    }
}
END_TEST

START_TEST(times)
{
    EACH_DEVICE(d, i) {
        if (computes(d) && hx_dev_get_caps(d)->timestamp_ns == 0)
            continue;
        hx_buf *x = new_buf(i, "x");
        hx_prog *p;
        DOES(i, hx_prog_new(d, true, "timed", &p));
        for (int k = 0; k < 3; k++) {
            DOES(i, record_add(p, x, x, x));
            DOES(i, hx_prog_barrier(p));
            DOES(i, hx_prog_fill(p, (hx_binding){ x, 0, 4 }, 0));
            DOES(i, hx_prog_barrier(p));
        }
        double ms[8];
        int n;
        REFUSES(i, HX_E_USAGE, hx_prog_times(p, ms, 8, &n), "not ended");
        DOES(i, hx_prog_end(p));
        run(i, &p, 1, false);
        DOES(i, hx_prog_times(p, ms, 8, &n));
        ck_assert_int_eq(n, 3);
        for (int k = 0; k < n; k++)
            ck_assert_msg(ms[k] >= 0 && ms[k] < 60000, "%s: %g ms", selector[i], ms[k]);
        DOES(i, hx_prog_times(p, ms, 2, &n));
        ck_assert_int_eq(n, 2);
        hx_prog_free(&p);
        hx_buf_free(&x);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        list,        limits,        selectors,     wrong_selectors,    hidden_capabilities,
        round_trips, wrong_buffers, counted_bytes, null_holds_nothing, fill_and_copy,
        repeated,    chains,        offsets,       wrong_dispatches,   wrong_programs,
        times
    };
    return run_suite("devices", open_all, close_all, tests, HX_COUNT(tests));
}
