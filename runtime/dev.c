// dev.c - checks every rule of dev.h in the user's words, and chooses a device by its selector.
#include "dev.h"
#include "log.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_DEVICES = 64 };

// ---- capabilities hidden by the environment -----------------------------------------------
// HTXVK_CAPS is a comma list such as "-coopmat,-subgroup". `hide` gets the bits to clear.
static hx_result caps_to_hide(uint32_t *hide)
{
    *hide = 0;
    const char *p = getenv("HTXVK_CAPS");
    while (p && *p) {
        size_t n = strcspn(p, ",");
        char word[32];
        snprintf(word, sizeof word, "%.*s", (int)hx_min((int64_t)n, 31), p);
        int bit = 0;
        while (bit < HX_N_CAPS && (word[0] != '-' || strcasecmp(word + 1, hx_cap_names[bit])))
            bit++;
        if (n && bit == HX_N_CAPS) {
            const char *near = hx_nearest(word + (word[0] == '-'), hx_cap_names, HX_N_CAPS);
            return hx_fail(HX_E_USAGE, "HTXVK_CAPS: '%s' is not '-' and a capability%s%s [E-CAPS]",
                           word, near ? "; did you mean -" : "", near ? near : "");
        }
        if (n)
            *hide |= 1u << bit;
        p += n + (p[n] == ',');
    }
    return HX_OK;
}

// ---- list ---------------------------------------------------------------------------------
static hx_result host_row(hx_dev_info *out)
{
    hx_dev *d;
    HX_TRY(hx_host_open(&(hx_dev_params){ .threads = 0 }, &d));
    *out = (hx_dev_info){ .selector = "host", .caps = d->caps };
    d->fn->close(d);
    return HX_OK;
}

hx_result hx_dev_list(hx_dev_info *out, int cap, int *n, const char **note)
{
    *n = 0;
    if (note)
        *note = NULL;
    if (cap < 1)
        return HX_OK;
    uint32_t hide;
    HX_TRY(caps_to_hide(&hide));
    HX_TRY(host_row(&out[0]));
    const char *ignored;
    int n_vulkan = 0;
    HX_TRY(hx_vulkan_list(out + 1, cap - 1, &n_vulkan, note ? note : &ignored));
    for (int i = 0; i < n_vulkan; i++) {
        snprintf(out[i + 1].selector, sizeof out[i + 1].selector, "%d", i);
        out[i + 1].caps.has &= ~hide;
    }
    *n = n_vulkan + 1;
    return HX_OK;
}

// ---- choice -------------------------------------------------------------------------------
typedef struct choice {
    const hx_dev_params *p;
    const char          *select, *note;
    hx_dev_info         *row;              // Vulkan devices
    int                  n;
} choice;

// "host, 0 (Some GPU), 1 (llvmpipe)": what a wrong selector could have been
static const char *what_exists(const choice *c, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "host");
    for (int i = 0; i < c->n && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, ", %d (%.60s)", i, c->row[i].caps.name);
    if (!c->n && c->note && used < size)
        snprintf(text + used, size - used, "; no Vulkan device: %s", c->note);
    return text;
}

static hx_result no_such(const choice *c, const char *why)
{
    char text[512];
    return hx_fail(HX_E_NODEVICE, "device '%.60s': %s; there is: %s [E-NODEVICE]", c->select, why,
                   what_exists(c, text, sizeof text));
}

static hx_result open_index(const choice *c, int i, hx_dev **out)
{
    if (c->row[i].why_not[0])
        return hx_fail(HX_E_NODEVICE, "device '%.60s': %s cannot be used: %s [E-NODEVICE]",
                       c->select, c->row[i].caps.name, c->row[i].why_not);
    return hx_vulkan_open(i, c->p, out);
}

// Best first: discrete, integrated, other GPUs, software. What fails to open is passed over.
static hx_result open_auto(const choice *c, hx_dev **out)
{
    static const hx_dev_type order[] = { HX_DEV_DISCRETE, HX_DEV_INTEGRATED, HX_DEV_VIRTUAL,
                                         HX_DEV_OTHER, HX_DEV_CPU };
    for (int t = 0; t < HX_COUNT(order); t++) {
        for (int i = 0; i < c->n; i++) {
            if (c->row[i].caps.type != order[t] || c->row[i].why_not[0])
                continue;
            if (!hx_vulkan_open(i, c->p, out))
                return HX_OK;
            hx_log(HX_LOG_WARN, "device %d (%s) is passed over: %s", i, c->row[i].caps.name,
                   hx_last_message());
        }
    }
    const char *why = c->n ? c->row[0].why_not[0] ? c->row[0].why_not : "none could be opened"
                    : c->note ? c->note : "none found";
    hx_log(HX_LOG_WARN, "no usable Vulkan device (%s): running on the host's processors", why);
    return hx_host_open(c->p, out);
}

static bool contains(const char *text, const char *part)
{
    size_t n = strlen(part);
    for (; *text; text++)
        if (!strncasecmp(text, part, n))
            return true;
    return false;
}

static hx_result open_name(const choice *c, const char *part, hx_dev **out)
{
    int found = -1;
    for (int i = c->n - 1; i >= 0; i--)
        if (contains(c->row[i].caps.name, part) && (found < 0 || !c->row[i].why_not[0]))
            found = i;
    if (!*part || found < 0)
        return no_such(c, *part ? "no Vulkan device has this in its name" : "the name is empty");
    return open_index(c, found, out);
}

static int hex_value(char ch)
{
    return ch >= '0' && ch <= '9'                 ? ch - '0'
           : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10
                                                  : -1;
}

static hx_result open_uuid(const choice *c, const char *text, hx_dev **out)
{
    uint8_t uuid[16] = { 0 };
    int n = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '-')
            continue;
        if (hex_value(*p) < 0 || n == 32)
            return no_such(c, "a uuid has 32 hexadecimal digits");
        uuid[n / 2] = (uint8_t)(uuid[n / 2] << 4 | hex_value(*p));
        n++;
    }
    if (n != 32)
        return no_such(c, "a uuid has 32 hexadecimal digits");
    for (int i = 0; i < c->n; i++)
        if (!memcmp(c->row[i].caps.uuid, uuid, sizeof uuid))
            return open_index(c, i, out);
    return no_such(c, "no device has this uuid");
}

static hx_result open_number(const choice *c, hx_dev **out)
{
    int64_t i = 0;
    for (const char *p = c->select; *p; p++) {
        if (*p < '0' || *p > '9')
            return no_such(c, "not auto, host, null, a number, name:TEXT or uuid:HEX");
        i = hx_min(i * 10 + (*p - '0'), MAX_DEVICES);
    }
    return i < c->n ? open_index(c, (int)i, out) : no_such(c, "no Vulkan device has this number");
}

static hx_result open_vulkan(choice *c, hx_dev **out)
{
    if (!(c->row = calloc(MAX_DEVICES, sizeof *c->row)))
        return hx_fail(HX_E_NOMEM, "no memory to list devices [E-NOMEM]");
    hx_result r = hx_vulkan_list(c->row, MAX_DEVICES, &c->n, &c->note);
    if (r && !strcmp(c->select, "auto")) {
        c->n = 0;
        c->note = "the list of devices could not be read";
        r = HX_OK;
    }
    if (!r)
        r = !strcmp(c->select, "auto") ? open_auto(c, out)
          : !strncmp(c->select, "name:", 5) ? open_name(c, c->select + 5, out)
          : !strncmp(c->select, "uuid:", 5) ? open_uuid(c, c->select + 5, out)
          : open_number(c, out);
    free(c->row);
    return r;
}

static hx_result choose_precision(hx_dev_caps *c, hx_precision want)
{
    static const uint32_t needs[HX_N_PRECISIONS] = { [HX_BF16] = HX_CAP_COOPMAT_BF,
                                                     [HX_FP16] = HX_CAP_COOPMAT };
    if ((unsigned)want >= HX_N_PRECISIONS)
        return hx_fail(HX_E_USAGE, "precision %d does not exist [E-PRECISION]", (int)want);
    if (want == HX_AUTO)
        want = c->has & HX_CAP_COOPMAT_BF ? HX_BF16 : HX_FP32;
    if (needs[want] & ~c->has)
        return hx_fail(HX_E_NODEVICE, "precision %s: %s has no matrix units for it; fp32 and auto "
                       "work everywhere [E-PRECISION]", hx_precision_names[want], c->name);
    c->precision = want;
    return HX_OK;
}

hx_result hx_dev_open(const hx_dev_params *p, hx_dev **out)
{
    static const hx_dev_params defaults;
    p = p ? p : &defaults;
    *out = NULL;
    if (p->threads < 0 || p->threads > 4096)
        return hx_fail(HX_E_USAGE, "threads: %d is outside 0 to 4096 [E-RANGE]", p->threads);
    uint32_t hide;
    HX_TRY(caps_to_hide(&hide));
    choice c = { .p = p, .select = p->select && p->select[0] ? p->select : "auto" };
    hx_dev *d = NULL;
    HX_TRY(!strcmp(c.select, "host") ? hx_host_open(p, &d)
         : !strcmp(c.select, "null") ? hx_null_open(p, &d)
         : open_vulkan(&c, &d));
    d->caps.has &= ~hide;
    hx_result r = choose_precision(&d->caps, p->precision);
    if (r)
        hx_dev_close(&d);
    *out = d;
    return r;
}

void hx_dev_close(hx_dev **d)
{
    if (d && *d)
        (*d)->fn->close(*d);
    if (d)
        *d = NULL;
}

const hx_dev_caps *hx_dev_get_caps(const hx_dev *d) { return &d->caps; }

void hx_dev_note_places(hx_dev *d, hx_precision precision, const uint32_t places[4])
{
    d->caps.asked_places[precision - HX_BF16] = true;
    memcpy(d->caps.places[precision - HX_BF16], places, sizeof d->caps.places[0]);
}
hx_dev_stats hx_dev_get_stats(const hx_dev *d) { return d->stats; }

// ---- buffers ------------------------------------------------------------------------------
hx_result hx_buf_new(hx_dev *d, int64_t bytes, hx_buf_kind kind, const char *name, hx_buf **out)
{
    *out = NULL;
    name = name ? name : "buffer";
    if (bytes <= 0)
        return hx_fail(HX_E_USAGE, "buffer %s: %lld bytes, at least 1 is needed [E-BUFFER]", name,
                       (long long)bytes);
    if ((unsigned)kind > HX_BUF_DOWN)
        return hx_fail(HX_E_USAGE, "buffer %s: kind %d does not exist [E-BUFFER]", name, (int)kind);
    if (bytes > d->caps.max_buffer)
        return hx_fail(HX_E_NOMEM,
                       "buffer %s: %lld bytes needed, one buffer of %s holds at most %lld "
                       "[E-NOMEM]",
                       name, (long long)bytes, d->caps.name, (long long)d->caps.max_buffer);
    return d->fn->buf_new(d, bytes, kind, name, out);
}

void hx_buf_free(hx_buf **b)
{
    if (b && *b)
        (*b)->dev->fn->buf_free(*b);
    if (b)
        *b = NULL;
}

int64_t hx_buf_bytes(const hx_buf *b) { return b->bytes; }

static hx_result in_buffer(const char *what, const hx_buf *b, int64_t offset, int64_t bytes)
{
    int64_t end;
    if (!b)
        return hx_fail(HX_E_USAGE, "%s: no buffer [E-BUFFER]", what);
    if (!hx_sum(offset, bytes, &end) || end > b->bytes)
        return hx_fail(HX_E_USAGE, "%s: %lld bytes from offset %lld, the buffer has %lld [E-RANGE]",
                       what, (long long)bytes, (long long)offset, (long long)b->bytes);
    return HX_OK;
}

hx_result hx_buf_write(hx_buf *b, int64_t offset, const void *src, int64_t bytes)
{
    HX_TRY(in_buffer("write", b, offset, bytes));
    return bytes ? b->dev->fn->buf_write(b, offset, src, bytes) : HX_OK;
}

hx_result hx_buf_read(hx_buf *b, int64_t offset, void *dst, int64_t bytes)
{
    HX_TRY(in_buffer("read", b, offset, bytes));
    return bytes ? b->dev->fn->buf_read(b, offset, dst, bytes) : HX_OK;
}

// ---- programs -----------------------------------------------------------------------------
hx_result hx_prog_new(hx_dev *d, bool profile, const char *name, hx_prog **out)
{
    *out = NULL;
    return d->fn->prog_new(d, profile, name ? name : "program", out);
}

static hx_result recording(const hx_prog *p, const char *what)
{
    return p->ended ? hx_fail(HX_E_USAGE, "%s: the program has ended [E-ENDED]", what) : HX_OK;
}

static hx_result check_kernel(const hx_dev *d, const hx_kernel *k, const void *push)
{
    if (k->n_bindings < 0 || k->n_bindings > HX_MAX_BINDINGS)
        return hx_fail(HX_E_USAGE, "%s: %d bindings, 0 to %d are possible [E-KERNEL]", k->name,
                       k->n_bindings, HX_MAX_BINDINGS);
    int most = d->caps.push_bytes < HX_MAX_PUSH ? d->caps.push_bytes : HX_MAX_PUSH;
    if (k->push_bytes < 0 || k->push_bytes > most || k->push_bytes % 4)
        return hx_fail(HX_E_USAGE,
                       "%s: %d bytes of push constants, multiples of 4 up to %d are possible "
                       "[E-KERNEL]",
                       k->name, k->push_bytes, most);
    if (k->push_bytes && !push)
        return hx_fail(HX_E_USAGE, "%s: %d bytes of push constants are missing [E-KERNEL]", k->name,
                       k->push_bytes);
    if (k->n_spec < 0 || k->n_spec > HX_MAX_SPEC)
        return hx_fail(HX_E_USAGE,
                       "%s: %d specialization constants, 0 to %d are possible [E-KERNEL]", k->name,
                       k->n_spec, HX_MAX_SPEC);
    if (!k->spirv && !k->host)
        return hx_fail(HX_E_USAGE, "%s: neither a shader nor a host function [E-KERNEL]", k->name);
    return HX_OK;
}

static hx_result check_binding(const hx_dev *d, const hx_kernel *k, int i, const hx_binding *b)
{
    char what[96];
    snprintf(what, sizeof what, "%.64s: binding %d", k->name, i);
    HX_TRY(in_buffer(what, b->buf, b->offset, b->bytes));
    if (b->buf->dev != d)
        return hx_fail(HX_E_USAGE, "%s: the buffer belongs to another device [E-BUFFER]", what);
    if (!b->bytes)
        return hx_fail(HX_E_USAGE, "%s: 0 bytes, at least 1 is needed [E-RANGE]", what);
    if (b->bytes > d->caps.max_range)
        return hx_fail(HX_E_USAGE, "%s: %lld bytes, a binding of %s covers at most %lld [E-LIMIT]",
                       what, (long long)b->bytes, d->caps.name, (long long)d->caps.max_range);
    if (b->offset % d->caps.offset_align)
        return hx_fail(HX_E_USAGE, "%s: offset %lld is not a multiple of %lld [E-ALIGN]", what,
                       (long long)b->offset, (long long)d->caps.offset_align);
    return HX_OK;
}

hx_result hx_prog_dispatch(hx_prog *p, const hx_kernel *k, const hx_binding *bind, const void *push,
                           const uint32_t groups[3])
{
    HX_TRY(recording(p, k->name));
    HX_TRY(check_kernel(p->dev, k, push));
    for (int i = 0; i < k->n_bindings; i++)
        HX_TRY(check_binding(p->dev, k, i, &bind[i]));
    for (int i = 0; i < 3; i++)
        if (groups[i] < 1 || groups[i] > p->dev->caps.max_groups[i])
            return hx_fail(HX_E_USAGE, "%s: %u workgroups in %c, 1 to %lld are possible [E-LIMIT]",
                           k->name, groups[i], 'x' + i, (long long)p->dev->caps.max_groups[i]);
    HX_TRY(p->dev->fn->prog_dispatch(p, k, bind, push, groups));
    p->n_dispatch++;
    return HX_OK;
}

hx_result hx_prog_barrier(hx_prog *p)
{
    HX_TRY(recording(p, "barrier"));
    return p->dev->fn->prog_barrier(p);
}

// Fill and copy move whole words.
static hx_result check_words(const hx_prog *p, const char *what, const hx_binding *b)
{
    HX_TRY(in_buffer(what, b->buf, b->offset, b->bytes));
    if (b->buf->dev != p->dev)
        return hx_fail(HX_E_USAGE, "%s: the buffer belongs to another device [E-BUFFER]", what);
    if (!b->bytes || b->offset % 4 || b->bytes % 4)
        return hx_fail(HX_E_USAGE,
                       "%s: %lld bytes from offset %lld, multiples of 4 above 0 are needed "
                       "[E-ALIGN]",
                       what, (long long)b->bytes, (long long)b->offset);
    return HX_OK;
}

hx_result hx_prog_fill(hx_prog *p, hx_binding b, uint32_t word)
{
    HX_TRY(recording(p, "fill"));
    HX_TRY(check_words(p, "fill", &b));
    return p->dev->fn->prog_fill(p, b, word);
}

hx_result hx_prog_copy(hx_prog *p, hx_binding from, hx_binding to)
{
    HX_TRY(recording(p, "copy"));
    HX_TRY(check_words(p, "copy from", &from));
    HX_TRY(check_words(p, "copy to", &to));
    if (from.bytes != to.bytes)
        return hx_fail(HX_E_USAGE, "copy: %lld bytes to a range of %lld [E-RANGE]",
                       (long long)from.bytes, (long long)to.bytes);
    if (from.buf == to.buf && from.offset < to.offset + to.bytes &&
        to.offset < from.offset + from.bytes)
        return hx_fail(HX_E_USAGE,
                       "copy: %lld bytes from offset %lld overlap offset %lld of the same buffer "
                       "[E-RANGE]",
                       (long long)from.bytes, (long long)from.offset, (long long)to.offset);
    return p->dev->fn->prog_copy(p, from, to);
}

hx_result hx_prog_cut(hx_prog *p)
{
    HX_TRY(recording(p, "cut"));
    return p->dev->fn->prog_cut(p);
}

hx_result hx_prog_end(hx_prog *p)
{
    HX_TRY(recording(p, "end"));
    HX_TRY(p->dev->fn->prog_end(p));
    p->ended = true;
    return HX_OK;
}

void hx_prog_free(hx_prog **p)
{
    if (p && *p)
        (*p)->dev->fn->prog_free(*p);
    if (p)
        *p = NULL;
}

hx_result hx_prog_times(hx_prog *p, double *ms, int cap, int *n)
{
    return hx_prog_spans(p, NULL, ms, cap, n);
}

hx_result hx_prog_spans(hx_prog *p, double *begin, double *ms, int cap, int *n)
{
    *n = 0;
    if (!p->profile)
        return hx_fail(HX_E_USAGE, "times: the program was not made with profile [E-PROFILE]");
    if (!p->ended)
        return hx_fail(HX_E_USAGE, "times: the program has not ended [E-ENDED]");
    return p->dev->fn->prog_times(p, begin, ms, cap, n);
}

hx_result hx_dev_submit(hx_dev *d, hx_prog *const *progs, int n, bool by_piece, uint64_t *ticket)
{
    if (n < 1)
        return hx_fail(HX_E_USAGE, "submit: %d programs, at least 1 is needed [E-RANGE]", n);
    for (int i = 0; i < n; i++) {
        if (!progs[i] || progs[i]->dev != d)
            return hx_fail(HX_E_USAGE, "submit: program %d is not of this device [E-PROGRAM]", i);
        if (!progs[i]->ended)
            return hx_fail(HX_E_USAGE, "submit: program %d has not ended [E-ENDED]", i);
        for (int j = 0; j < i; j++)
            if (progs[j] == progs[i])
                return hx_fail(HX_E_USAGE,
                               "submit: programs %d and %d are the same: submit it twice instead "
                               "[E-PROGRAM]",
                               j, i);
    }
    return d->fn->submit(d, progs, n, by_piece, ticket);
}

hx_result hx_dev_wait(hx_dev *d, uint64_t ticket, int64_t timeout_ms)
{
    if (timeout_ms < 0)
        return hx_fail(HX_E_USAGE, "wait: %lld ms, 0 (no limit) or more is needed [E-RANGE]",
                       (long long)timeout_ms);
    return d->fn->wait(d, ticket, timeout_ms);
}

hx_result hx_dev_facts(hx_dev *d, const hx_kernel *k, hx_fact *out, int cap, int *n)
{
    *n = 0;
    return d->fn->facts ? d->fn->facts(d, k, out, cap, n) : HX_OK;
}
