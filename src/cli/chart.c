// chart.c - axes, lines and a legend.
#include "chart.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../../runtime/file.h"

const char hx_chart_style[] =
    ":root{--bg:#f6f7f9;--card:#fff;--ink:#1b1f24;--soft:#667180;--line:#e3e6ea;"
    "--c0:#2f6fde;--c1:#e0672b;--c2:#1f9d6b;--c3:#b445b8;--c4:#c49a06;--c5:#d23b5b;--c6:#1496b0;"
    "--c7:#7a6cd8}"
    "@media(prefers-color-scheme:dark){:root{--bg:#111418;--card:#1a1e24;--ink:#e6e9ed;"
    "--soft:#96a0ac;--line:#2c323a;--c0:#6ea3ff;--c1:#ff9258;--c2:#46cf9b;--c3:#dd82e0;"
    "--c4:#e6c04a;--c5:#ff7490;--c6:#4fcbe2;--c7:#a99dff}}"
    "svg.chart{display:block;width:100%;height:auto;font:11px system-ui,sans-serif}"
    ".chart text{fill:var(--soft)}.chart .title{fill:var(--ink);font-size:13px;font-weight:600}"
    ".chart .grid{stroke:var(--line);stroke-width:1;shape-rendering:crispEdges}"
    ".chart polyline{fill:none;stroke-width:1.7;stroke-linejoin:round;stroke-linecap:round}"
    ".chart .faint{opacity:.28;stroke-width:1}";

void hx_out_xml(hx_out *b, const char *s, int64_t n)
{
    for (int64_t i = 0; i < n && s[i]; i++) {
        unsigned char c = (unsigned char)s[i];
        const char *entity = c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;"
                           : c == '"' ? "&quot;" : NULL;
        // a character that ends behind n is not one
        char part[8] = { 0 };
        memcpy(part, s + i, (size_t)hx_min(n - i, 4));
        int bytes = hx_char_bytes(part);
        if (entity)
            hx_out_add(b, "%s", entity);
        else if (c == '\n' || c == '\t')
            hx_out_add(b, "%c", c);
        else if (bytes > 0)
            hx_out_add(b, "%.*s", bytes, s + i);
        else
            hx_out_add(b, "\xef\xbf\xbd");
        i += bytes > 1 ? bytes - 1 : 0;
    }
}

void hx_number_text(char *out, size_t size, double v, const char *unit)
{
    static const char *const thousands[] = { "", "k", "M", "G", "T", "P" };
    static const char *const bytes[] = { " B", " KiB", " MiB", " GiB", " TiB", " PiB" };
    bool is_bytes = unit && !strcmp(unit, "B");
    double step = is_bytes ? 1024 : 1000;
    int p = 0;
    while (fabs(v) >= (is_bytes ? step : 10 * step) && p < 5) {
        v /= step;
        p++;
    }
    const char *after = is_bytes ? bytes[p] : thousands[p];
    double size_of = fabs(v);
    const char *form = v == 0 ? "%.0f%s%s" : size_of < 1e-3 ? "%.1e%s%s" : size_of < 1 ? "%.3g%s%s"
                     : size_of < 100 ? "%.4g%s%s" : "%.0f%s%s";
    snprintf(out, size, form, v, after, is_bytes || !unit ? "" : unit);
}

// ticks are counted: next to a large number a small step changes nothing
enum { LEFT = 62, RIGHT = 14, TOP = 34, BOTTOM = 34, MOST_TICKS = 40 };
#define MOST 1e300

typedef struct axis { double lo, hi, from, to; bool log; } axis;

static double place(const axis *a, double v)
{
    double u = a->log ? log10(v) : v;
    return a->from + (u - a->lo) / (a->hi - a->lo) * (a->to - a->from);
}

static bool shown(const hx_chart *c, double y)
{
    return isfinite(y) && (!c->log_y || y > 0);
}

// What the lines cover. The first hundredth of the steps, where losses fall from far above, may lie
// outside.
static void find_ranges(const hx_chart *c, axis *x, axis *y)
{
    double x_lo = INFINITY, x_hi = -INFINITY, y_lo = INFINITY, y_hi = -INFINITY;
    for (int l = 0; l < c->n; l++)
        for (int i = 0; i < c->line[l].n; i++) {
            x_lo = fmin(x_lo, c->line[l].x[i]);
            x_hi = fmax(x_hi, c->line[l].x[i]);
        }
    for (int l = 0; l < c->n; l++)
        for (int i = 0; i < c->line[l].n; i++) {
            double v = c->line[l].y[i];
            bool early = !c->zero && c->line[l].n > 40 &&
                         c->line[l].x[i] < x_lo + 0.01 * (x_hi - x_lo);
            if (!shown(c, v) || early)
                continue;
            v = c->log_y ? log10(v) : v;
            y_lo = fmin(y_lo, v);
            y_hi = fmax(y_hi, v);
        }
    if (!(x_lo < x_hi)) {
        double at = isfinite(x_lo) ? x_lo : 0.5, beside = fmax(0.5, 1e-9 * fabs(at));
        x_lo = at - beside;
        x_hi = at + beside;
    }
    if (!(y_lo <= y_hi))
        y_lo = 0, y_hi = 1;
    double room = fmax(0.05 * (y_hi - y_lo), c->log_y ? 0.1 : 0.01 * fabs(y_hi) + 1e-12);
    // differences of what is shown must be numbers
    y_lo = c->zero ? 0 : fmax(y_lo - room, -MOST);
    y_hi = fmin(fmax(y_hi, y_lo) + room, MOST);
    *x = (axis){ fmax(x_lo, -MOST), fmin(x_hi, MOST), LEFT, c->width - RIGHT, false };
    *y = (axis){ y_lo, y_hi, c->height - BOTTOM, TOP, c->log_y };
}

// 1, 2 or 5 times a power of ten, about `n` of them between lo and hi.
static double tick_step(double lo, double hi, int n)
{
    double raw = (hi - lo) / n, unit = pow(10, floor(log10(raw))), k = raw / unit;
    return unit * (k < 1.5 ? 1 : k < 3.5 ? 2 : k < 7.5 ? 5 : 10);
}

// The same in powers of two, for bytes.
static double byte_step(double lo, double hi, int n)
{
    return pow(2, ceil(log2((hi - lo) / n)));
}

static void put_tick(hx_out *b, const hx_chart *c, const axis *y, double v)
{
    char text[40];
    double at = place(y, v);
    hx_number_text(text, sizeof text, fabs(v) < 1e-12 ? 0 : v, c->unit);
    hx_out_add(b, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
               "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>", LEFT, c->width - RIGHT, at,
               at, LEFT - 7, at + 4, text);
}

static void put_y(hx_out *b, const hx_chart *c, const axis *y)
{
    if (y->log && y->hi - y->lo >= 1) {
        int each = (int)ceil((y->hi - y->lo) / 6);
        for (int e = (int)ceil(y->lo); e <= floor(y->hi); e += each)
            put_tick(b, c, y, pow(10, e));
        return;
    }
    double lo = y->log ? pow(10, y->lo) : y->lo, hi = y->log ? pow(10, y->hi) : y->hi;
    bool bytes = c->unit && !strcmp(c->unit, "B");
    double step = bytes ? byte_step(lo, hi, 6) : tick_step(lo, hi, 5);
    double first = ceil(lo / step) * step;
    for (int k = 0; k < MOST_TICKS && first + k * step <= hi + 1e-9 * step; k++)
        put_tick(b, c, y, first + k * step);
}

static void put_x(hx_out *b, const hx_chart *c, const axis *x)
{
    double step = tick_step(x->lo, x->hi, c->width / 110), first = ceil(x->lo / step) * step;
    for (int k = 0; k < MOST_TICKS && first + k * step <= x->hi + 1e-9 * step; k++) {
        char text[40];
        double v = first + k * step;
        hx_number_text(text, sizeof text, fabs(v) < 1e-12 ? 0 : v, NULL);
        hx_out_add(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", place(x, v),
                   c->height - BOTTOM + 16, text);
    }
    hx_out_add(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>", c->width - RIGHT,
               c->height - 4, c->x_name);
}

// Points closer than half a pixel are one: their mean.
static void put_line(hx_out *b, const hx_chart *c, const hx_line *l, const axis *x, const axis *y)
{
    bool open = false;
    for (int i = 0; i < l->n;) {
        double at = place(x, l->x[i]), sum = 0;
        int k = 0;
        do {
            if (shown(c, l->y[i])) {
                sum += l->y[i];
                k++;
            }
        } while (++i < l->n && place(x, l->x[i]) < at + 0.5);
        if (!k && open) {
            hx_out_add(b, "\"/>");
            open = false;
        }
        if (!k)
            continue;
        if (!open)
            hx_out_add(b, "<polyline%s style=\"stroke:var(--c%d)\" points=\"",
                       l->faint ? " class=\"faint\"" : "", l->color % 8);
        open = true;
        hx_out_add(b, "%.1f,%.1f ", at, place(y, sum / k));
    }
    if (open)
        hx_out_add(b, "\"/>");
    for (int i = 0; i < l->n && l->dots && l->n <= 80; i++)
        if (shown(c, l->y[i]))
            hx_out_add(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.6\" style=\"fill:var(--c%d)\"/>",
                       place(x, l->x[i]), place(y, l->y[i]), l->color % 8);
}

static void put_legend(hx_out *b, const hx_chart *c)
{
    int at = c->width - RIGHT;
    for (int l = c->n - 1; l >= 0; l--) {
        if (c->line[l].faint || !c->line[l].name)
            continue;
        at -= 6 * (int)strlen(c->line[l].name) + 24;
        hx_out_add(b, "<rect x=\"%d\" y=\"13\" width=\"12\" height=\"4\" rx=\"2\" "
                   "style=\"fill:var(--c%d)\"/><text x=\"%d\" y=\"19\">", at, c->line[l].color % 8,
                   at + 17);
        hx_out_xml(b, c->line[l].name, (int64_t)strlen(c->line[l].name));
        hx_out_add(b, "</text>");
    }
}

void hx_chart_put(hx_out *b, const hx_chart *c)
{
    axis x, y;
    find_ranges(c, &x, &y);
    long long id = b->size;                // its own within the document
    hx_out_add(b, "<svg class=\"chart\" xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
               "role=\"img\" data-x=\"%.9g %.9g %d %d\" data-y=\"%.9g %.9g %d %d %d\" data-u=\"%s\" "
               "data-n=\"%s\">",
               c->width, c->height, x.lo, x.hi, (int)x.from, (int)x.to, y.lo, y.hi, (int)y.from,
               (int)y.to, y.log, c->unit ? c->unit : "", c->x_name);
    hx_out_add(b, "<clipPath id=\"k%lld\"><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>"
               "</clipPath>"
               "<text class=\"title\" x=\"12\" y=\"20\">", id, LEFT, TOP - 2,
               c->width - LEFT - RIGHT + 2, c->height - TOP - BOTTOM + 4);
    hx_out_xml(b, c->title, (int64_t)strlen(c->title));
    hx_out_add(b, "</text>");
    put_y(b, c, &y);
    put_x(b, c, &x);
    put_legend(b, c);
    hx_out_add(b, "<g clip-path=\"url(#k%lld)\">", id);
    for (int l = 0; l < c->n; l++)
        put_line(b, c, &c->line[l], &x, &y);
    hx_out_add(b, "</g></svg>\n");
}
