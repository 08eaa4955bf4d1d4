// chart.h - line charts as SVG, for reports and `htxvk plot`.
#pragma once
#include "../core/conf.h"

// n points in the order of x; what is not finite is a gap.
typedef struct hx_line {
    const char *name;
    int         n;
    double     *x, *y;
    int         color;                     // 0 to 7
    bool        faint;                     // behind the others, without a name in the legend
    bool        dots;                      // marks at the points: there are few
} hx_line;
typedef struct hx_chart {
    const char    *title, *x_name;
    const char    *unit;                   // "B" counts in 1024; else put behind the numbers
    bool           log_y;
    bool           zero;                   // the axis begins at 0
    int            width, height, n;
    const hx_line *line;
} hx_chart;
// Appends one <svg>. Colours are CSS variables, see hx_chart_style.
void hx_chart_put(hx_out *b, const hx_chart *c);
// The rules that charts need, for light and dark; inside <style>.
extern const char hx_chart_style[];
// Text of an element or of an attribute in double quotes; bytes that are no UTF-8 become U+FFFD.
void hx_out_xml(hx_out *b, const char *s, int64_t n);
// "1.25", "12.3k", "1.2 GiB": short, with the prefix that fits.
void hx_number_text(char *out, size_t size, double v, const char *unit);
