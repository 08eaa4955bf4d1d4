// plot.c - `htxvk plot`: one curve of several runs over each other, as SVG.
#include <string.h>

#include "../../runtime/file.h"
#include "cli.h"
#include "rows.h"

typedef struct plot_opts { const char *out, *metric, *x, *type; bool raw, log; } plot_opts;
#define O(type, member, def, help) { #member, type, offsetof(plot_opts, member), def, 0, 0, help }
static const hx_field plot_fields[] = {
    O(HX_STR, out, "plot.svg", "file to write; - for stdout"),
    O(HX_STR, metric, "bpc", "bpc, loss, lr, grad_norm, tok_s, step_ms, mem.device, ..."),
    O(HX_STR, type, "train", "rows to take it from: train | eval"),
    O(HX_STR, x, "step", "step | tokens | time"),
    O(HX_BOOL, raw, "false", "without smoothing"),
    O(HX_BOOL, log, "false", "logarithmic scale"),
    {0}
};
#undef O

enum { MOST = 8 };

// Seconds since the first row instead of the time of day.
static void since_first(hx_line *l)
{
    for (int i = l->n - 1; i >= 0; i--)
        l->x[i] -= l->x[0];
}

static hx_result add_run(hx_cli *c, const char *dir, int color, hx_line out[2])
{
    const plot_opts *o = c->opts;
    hx_rows rows = {0};
    bool time = !strcmp(o->x, "time");
    hx_result r = hx_rows_read(c->arena, dir, &rows);
    if (!r)
        r = hx_rows_line(c->arena, &rows, o->type, time ? "t" : o->x, o->metric, &out[0]);
    hx_rows_done(&rows);
    HX_TRY(r);
    if (!out[0].n)
        return hx_fail(HX_E_INPUT, "%s has no %s in rows of type %s [E-PLOT-NONE]", dir, o->metric,
                       o->type);
    if (time)
        since_first(&out[0]);
    HX_TRY(hx_line_smooth(c->arena, &out[0], &out[1]));
    if (o->raw)
        out[1] = out[0];
    const char *slash = strrchr(dir, '/');
    out[0].color = out[1].color = color;
    out[0].faint = true;
    out[1].name = slash && slash[1] ? slash + 1 : dir;
    out[1].dots = !strcmp(o->type, "eval");
    return HX_OK;
}

static hx_result write_svg(const plot_opts *o, const hx_chart *chart)
{
    hx_out b = {0}, doc = {0};
    hx_chart_put(&b, chart);
    // a document of its own carries its colours
    const char *at = b.data ? strchr(b.data, '>') : NULL;
    hx_out_add(&doc, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    if (at)
        hx_out_add(&doc, "%.*s<style>%s</style><rect width=\"100%%\" height=\"100%%\" "
                   "style=\"fill:var(--card)\"/>%s", (int)(at + 1 - b.data), b.data, hx_chart_style,
                   at + 1);
    hx_result r = !at || doc.failed ? hx_fail(HX_E_NOMEM, "no memory for a plot [E-NOMEM]")
                : strcmp(o->out, "-") ? hx_file_write(o->out, doc.data, doc.size)
                                      : HX_OK;
    if (!r && !strcmp(o->out, "-"))
        fwrite(doc.data, 1, (size_t)doc.size, stdout);
    else if (!r)
        printf("%s\n", o->out);
    hx_out_free(&b);
    hx_out_free(&doc);
    return r;
}

static hx_result run(hx_cli *c)
{
    const plot_opts *o = c->opts;
    if (strcmp(o->x, "step") && strcmp(o->x, "tokens") && strcmp(o->x, "time"))
        return hx_fail(HX_E_USAGE, "--x %s: there is step, tokens and time [E-USAGE]", o->x);
    hx_line l[2 * MOST];
    for (int i = 0; i < c->n_args; i++)
        HX_TRY(add_run(c, c->args[i], i, l + 2 * i));
    hx_chart chart = { .title = o->metric, .x_name = !strcmp(o->x, "time") ? "seconds" : o->x,
                       .unit = strncmp(o->metric, "mem.", 4) ? NULL : "B", .log_y = o->log,
                       .width = 960, .height = 480, .n = 2 * c->n_args, .line = l };
    return write_svg(o, &chart);
}

HX_CMD(plot, .args = "RUN... [--metric M] [--out F.svg]",
       .help = "one curve of up to 8 runs as SVG",
       .opts = plot_fields, .opts_size = sizeof(plot_opts), .min_args = 1, .max_args = MOST,
       .run = run,
       .more = "example: htxvk plot runs/a runs/b --metric bpc --type eval --out bpc.svg\n");
