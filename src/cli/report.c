// report.c - `htxvk report`: curves, samples and the environment of a run in one HTML file, without
// anything from the network.
#include "report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/file.h"
#include "cli.h"
#include "rows.h"

static const char page_style[] =
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif}"
    "main{max-width:1240px;margin:0 auto;padding:28px 22px 60px}"
    "h1{font-size:24px;margin:0 0 2px}h2{font-size:17px;margin:34px 0 12px}"
    ".sub{color:var(--soft);margin:0 0 22px}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(132px,1fr));gap:12px}"
    ".tile,.card{background:var(--card);border:1px solid var(--line);border-radius:10px}"
    ".tile{padding:12px 14px}.tile b{display:block;font-size:21px;font-weight:600;"
    "font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:12.5px}"
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,520px),1fr));"
    "gap:14px;margin-top:14px}.card{padding:8px 10px;position:relative;min-width:0}"
    "details.card{padding:10px 14px;margin-bottom:8px}summary{cursor:pointer;font-weight:500}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere;font:13px/1.5 ui-monospace,monospace;"
    "margin:10px 0 2px}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:5px 10px 5px 0;"
    "border-top:1px solid var(--line);vertical-align:top}tr:first-child td{border-top:0}"
    "td:first-child{color:var(--soft);width:190px}"
    "#tip{position:fixed;pointer-events:none;background:var(--ink);color:var(--card);"
    "padding:4px 8px;border-radius:6px;font-size:12px;display:none;white-space:pre;z-index:9}"
    "footer{color:var(--soft);font-size:13px;margin-top:34px}";

// Where the pointer is, read off the axes; the lines' points are in the SVG already.
static const char page_script[] =
    "const tip=document.getElementById('tip');"
    "const short=(v,u)=>{if(!isFinite(v))return'';let k=u=='B'?1024:1000,p=0,"
    "n=u=='B'?[' B',' KiB',' MiB',' GiB',' TiB']:['','k','M','G','T'];"
    "while(Math.abs(v)>=(u=='B'?k:10*k)&&p<4){v/=k;p++}"
    "return (Math.abs(v)<1e-3&&v?v.toExponential(2):+v.toPrecision(4))+n[p]+(u=='B'?'':u)};"
    "for(const s of document.querySelectorAll('svg.chart')){"
    "const X=s.dataset.x.split(' ').map(Number),Y=s.dataset.y.split(' ').map(Number);"
    "const ux=p=>X[0]+(p-X[2])/(X[3]-X[2])*(X[1]-X[0]);"
    "const uy=p=>{const u=Y[0]+(p-Y[2])/(Y[3]-Y[2])*(Y[1]-Y[0]);return Y[4]?10**u:u};"
    "const names=[...s.querySelectorAll('text[y=\"19\"]')].map(t=>t.textContent).reverse();"
    "const lines=[...s.querySelectorAll('polyline:not(.faint)')].map(l=>({c:l.style.stroke,"
    "p:[...l.points].map(q=>[q.x,q.y])}));"
    "const rule=document.createElementNS(s.namespaceURI,'line');rule.setAttribute('class','grid');"
    "rule.setAttribute('y1',Y[3]);rule.setAttribute('y2',Y[2]);rule.style.display='none';"
    "s.append(rule);"
    "s.addEventListener('pointermove',e=>{const m=s.getScreenCTM().inverse(),"
    "q=new DOMPoint(e.clientX,e.clientY).matrixTransform(m);"
    "if(q.x<X[2]||q.x>X[3]){tip.style.display=rule.style.display='none';return}"
    "rule.style.display='';rule.setAttribute('x1',q.x);rule.setAttribute('x2',q.x);"
    "let out=[s.dataset.n+' '+Math.round(ux(q.x))];lines.forEach((l,i)=>{if(!l.p.length)return;"
    "let b=l.p.reduce((a,c)=>Math.abs(c[0]-q.x)<Math.abs(a[0]-q.x)?c:a);"
    "out.push((names.length==lines.length&&names[i]?names[i]+'  ':'')+short(uy(b[1]),s.dataset.u))"
    "});tip.textContent=out.join('\\n');tip.style.display='block';"
    "const w=tip.offsetWidth;tip.style.left=Math.min(e.clientX+14,innerWidth-w-8)+'px';"
    "tip.style.top=e.clientY+14+'px'});"
    "s.addEventListener('pointerleave',()=>tip.style.display=rule.style.display='none')}";

typedef struct page { hx_arena *a; hx_rows rows; hx_out b; } page;

static void put_text(page *p, const char *s)
{
    if (s)
        hx_out_xml(&p->b, s, (int64_t)strlen(s));
}

// ---- numbers ------------------------------------------------------------------------------

static void tile(page *p, const char *value, const char *what)
{
    hx_out_add(&p->b, "<div class=\"tile\"><b>");
    put_text(p, value);
    hx_out_add(&p->b, "</b><span>");
    put_text(p, what);
    hx_out_add(&p->b, "</span></div>");
}

static void number_tile(page *p, const json_t *row, const char *key, const char *unit,
                        const char *what)
{
    const json_t *v = json_object_get(row, key);
    char text[40];
    if (!json_is_number(v))
        return;
    hx_number_text(text, sizeof text, json_number_value(v), unit);
    tile(p, text, what);
}

static hx_result put_tiles(page *p)
{
    const json_t *train = hx_rows_last(&p->rows, "train"), *eval = hx_rows_last(&p->rows, "eval");
    hx_line best;
    HX_TRY(hx_rows_line(p->a, &p->rows, "eval", "step", "bpc", &best));
    hx_out_add(&p->b, "<div class=\"tiles\">");
    double least = INFINITY;
    for (int i = 0; i < best.n; i++)
        least = fmin(least, best.y[i]);
    char text[40];
    if (best.n) {
        snprintf(text, sizeof text, "%.4f", least);
        tile(p, text, "best bits per byte, validation");
        snprintf(text, sizeof text, "%.4f", json_number_value(json_object_get(eval, "bpc")));
        tile(p, text, "last bits per byte, validation");
    }
    number_tile(p, train ? train : eval, "step", NULL, "steps");
    number_tile(p, train ? train : eval, "tokens", NULL, "tokens");
    number_tile(p, train, "tok_s", NULL, "tokens per second");
    number_tile(p, json_object_get(train, "mem"), "peak", "B", "memory of the device, peak");
    number_tile(p, hx_rows_last(&p->rows, "start"), "parameters", NULL, "parameters");
    hx_out_add(&p->b, "</div>\n");
    return HX_OK;
}

// ---- curves -------------------------------------------------------------------------------

static hx_chart small_chart(const char *title)
{
    return (hx_chart){ .title = title, .x_name = "step", .width = 600, .height = 270 };
}

static void put_chart(page *p, hx_chart *c, const hx_line *line, int n)
{
    int points = 0;
    for (int i = 0; i < n; i++)
        points += line[i].n;
    if (points < 2)
        return;
    c->line = line;
    c->n = n;
    hx_out_add(&p->b, "<div class=\"card\">");
    hx_chart_put(&p->b, c);
    hx_out_add(&p->b, "</div>\n");
}

// Training rows, noisy behind and smooth before, and evaluations of the same key.
static hx_result loss_chart(page *p, const char *title, const char *key)
{
    hx_line l[3];
    HX_TRY(hx_rows_line(p->a, &p->rows, "train", "step", key, &l[0]));
    HX_TRY(hx_line_smooth(p->a, &l[0], &l[1]));
    HX_TRY(hx_rows_line(p->a, &p->rows, "eval", "step", key, &l[2]));
    l[0].faint = true;
    l[1].name = "training";
    l[2].name = "validation";
    l[2].color = 1;
    l[2].dots = true;
    hx_chart c = small_chart(title);
    put_chart(p, &c, l, 3);
    return HX_OK;
}

static hx_result plain_chart(page *p, const char *title, const char *key, const char *unit,
                             bool log_y, int color)
{
    hx_line l[2];
    HX_TRY(hx_rows_line(p->a, &p->rows, "train", "step", key, &l[0]));
    HX_TRY(hx_line_smooth(p->a, &l[0], &l[1]));
    bool noisy = strcmp(key, "lr") && strncmp(key, "mem.", 4);
    l[0].faint = noisy;
    l[0].color = l[1].color = color;
    l[0].name = l[1].name = NULL;
    hx_chart c = small_chart(title);
    c.unit = unit;
    c.log_y = log_y;
    c.zero = !log_y;
    put_chart(p, &c, l, noisy ? 2 : 1);
    return HX_OK;
}

static hx_result memory_chart(page *p)
{
    hx_line l[2];
    HX_TRY(hx_rows_line(p->a, &p->rows, "train", "step", "mem.device", &l[0]));
    HX_TRY(hx_rows_line(p->a, &p->rows, "train", "step", "mem.host", &l[1]));
    l[0].name = "device buffers";
    l[1].name = "process";
    l[0].color = 2;
    l[1].color = 4;
    hx_chart c = small_chart("Memory");
    c.unit = "B";
    c.zero = true;
    put_chart(p, &c, l, 2);
    return HX_OK;
}

// What models report beside the total: losses of hierarchies and of objectives.
static hx_result parts_chart(page *p, const char *type, const char *title)
{
    static const char *const known[] = { "v", "t", "type", "step", "tokens", "loss", "bpc", "lr",
        "grad_norm", "tok_s", "step_ms", "mem", "split", "seconds", "accuracy", NULL };
    enum { MOST = 8 };
    hx_line l[MOST];
    int n = 0;
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)hx_rows_last(&p->rows, type), key, v) {
        bool mine = json_is_number(v) && n < MOST;
        for (int i = 0; known[i] && mine; i++)
            mine = strcmp(known[i], key);
        if (!mine)
            continue;
        hx_line raw;
        HX_TRY(hx_rows_line(p->a, &p->rows, type, "step", key, &raw));
        HX_TRY(hx_line_smooth(p->a, &raw, &l[n]));
        l[n].color = n;
        n++;
    }
    hx_chart c = small_chart(title);
    if (n > 1)
        put_chart(p, &c, l, n);
    return HX_OK;
}

// Loss by position in the window, as `htxvk eval RUN --positions N` has measured it.
static void positions_chart(page *p)
{
    const char *path = hx_path_join(p->a, p->rows.dir, "positions.json");
    json_t *row = path ? json_load_file(path, 0, NULL) : NULL;
    const json_t *at = json_object_get(row, "position"), *v = json_object_get(row, "bpc");
    int n = (int)hx_min((int64_t)json_array_size(at), (int64_t)json_array_size(v));
    hx_line l = { .x = hx_new(p->a, double, n + 1), .y = hx_new(p->a, double, n + 1), .n = n,
                  .color = 3, .dots = true };
    for (int i = 0; i < n && l.x && l.y; i++) {
        l.x[i] = json_number_value(json_array_get(at, (size_t)i));
        l.y[i] = json_number_value(json_array_get(v, (size_t)i));
    }
    hx_chart c = small_chart("Bits per byte by position in the window, validation");
    c.x_name = "position";
    put_chart(p, &c, &l, 1);
    json_decref(row);
}

static hx_result put_charts(page *p)
{
    hx_out_add(&p->b, "<div class=\"charts\">\n");
    HX_TRY(loss_chart(p, "Bits per byte", "bpc"));
    HX_TRY(loss_chart(p, "Loss, nats", "loss"));
    HX_TRY(parts_chart(p, "eval", "Parts of the loss, validation"));
    positions_chart(p);
    HX_TRY(plain_chart(p, "Learning rate", "lr", NULL, false, 3));
    HX_TRY(plain_chart(p, "Norm of the gradient", "grad_norm", NULL, true, 5));
    HX_TRY(plain_chart(p, "Tokens per second", "tok_s", NULL, false, 2));
    HX_TRY(memory_chart(p));
    hx_out_add(&p->b, "</div>\n");
    return HX_OK;
}

// ---- texts --------------------------------------------------------------------------------

enum { SHOWN = 12, TEXT_MAX = 1 << 20 };

static hx_result put_sample(page *p, const char *name, bool open)
{
    hx_blob text = {0};
    HX_TRY(hx_file_read(hx_path_join(p->a, p->rows.dir, hx_sprintf(p->a, "samples/%s", name)),
                        TEXT_MAX, 0, &text));
    int step = atoi(name + 5);
    hx_out_add(&p->b, "<details class=\"card\"%s><summary>step %d</summary><pre>",
               open ? " open" : "", step);
    hx_out_xml(&p->b, (const char *)text.data, text.size);
    hx_out_add(&p->b, "</pre></details>\n");
    hx_blob_free(&text);
    return HX_OK;
}

// The newest and some before it, evenly spread.
static hx_result put_samples(page *p)
{
    hx_names names = {0};
    const char *dir = hx_path_join(p->a, p->rows.dir, "samples");
    if (!dir || hx_dir_list(p->a, dir, &names))
        return HX_OK;
    const char **list = hx_new(p->a, const char *, names.n + 1);
    int n = 0;
    for (int i = 0; i < names.n && list; i++)
        if (!strncmp(names.v[i], "step-", 5) && strstr(names.v[i], ".txt"))
            list[n++] = names.v[i];
    if (!n)
        return HX_OK;
    hx_out_add(&p->b, "<h2>Samples</h2>\n");
    int shown = (int)hx_min(n, SHOWN);
    for (int i = shown - 1; i >= 0; i--)
        HX_TRY(put_sample(p, list[shown > 1 ? i * (n - 1) / (shown - 1) : n - 1], i == shown - 1));
    return HX_OK;
}

static void put_pair(page *p, const char *what, const char *value)
{
    if (!value || !*value)
        return;
    hx_out_add(&p->b, "<tr><td>");
    put_text(p, what);
    hx_out_add(&p->b, "</td><td>");
    put_text(p, value);
    hx_out_add(&p->b, "</td></tr>");
}

static hx_result put_environment(page *p)
{
    const json_t *start = hx_rows_last(&p->rows, "start");
    const char *key;
    json_t *v;
    hx_out_add(&p->b, "<h2>Environment</h2>\n<div class=\"card\"><table>");
    put_pair(p, "run", p->rows.dir);
    json_object_foreach((json_t *)start, key, v) {
        if (json_is_string(v) && strcmp(key, "type"))
            put_pair(p, key, json_string_value(v));
    }
    hx_out_add(&p->b, "</table></div>\n");
    hx_blob conf = {0};
    if (hx_file_read(hx_path_join(p->a, p->rows.dir, "config.yaml"), TEXT_MAX, 0, &conf))
        return HX_OK;
    hx_out_add(&p->b, "<details class=\"card\" style=\"margin-top:8px\"><summary>config.yaml</summary>"
               "<pre>");
    hx_out_xml(&p->b, (const char *)conf.data, conf.size);
    hx_out_add(&p->b, "</pre></details>\n");
    hx_blob_free(&conf);
    return HX_OK;
}

// What did not go as planned, counted.
static void put_events(page *p)
{
    int skips = 0, starts = 0;
    size_t i;
    json_t *row;
    json_array_foreach(p->rows.all, i, row) {
        const char *type = json_string_value(json_object_get(row, "type"));
        skips += type && !strcmp(type, "skip");
        starts += type && !strcmp(type, "start");
    }
    const json_t *end = hx_rows_last(&p->rows, "end");
    const char *reason = json_string_value(json_object_get(end, "reason"));
    hx_out_add(&p->b, "<p class=\"sub\">");
    put_text(p, json_string_value(json_object_get(hx_rows_last(&p->rows, "start"), "model")));
    hx_out_add(&p->b, " on ");
    put_text(p, json_string_value(json_object_get(hx_rows_last(&p->rows, "start"), "device")));
    if (reason)
        hx_out_add(&p->b, " · ");
    put_text(p, reason);
    if (starts > 1)
        hx_out_add(&p->b, " · resumed %d times", starts - 1);
    if (skips)
        hx_out_add(&p->b, " · %d steps left out", skips);
    hx_out_add(&p->b, "</p>\n");
}

static hx_result put_page(page *p)
{
    const char *slash = strrchr(p->rows.dir, '/'), *name = slash ? slash + 1 : p->rows.dir;
    hx_out_add(&p->b, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
               "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
               "<meta name=\"color-scheme\" content=\"light dark\"><title>");
    put_text(p, name);
    hx_out_add(&p->b, " · htxvk</title><style>%s%s</style></head><body><main>\n<h1>", hx_chart_style,
               page_style);
    put_text(p, name);
    hx_out_add(&p->b, "</h1>\n");
    put_events(p);
    HX_TRY(put_tiles(p));
    HX_TRY(put_charts(p));
    HX_TRY(put_samples(p));
    HX_TRY(put_environment(p));
    hx_out_add(&p->b, "<footer>htxvk " HX_VERSION "</footer></main><div id=\"tip\"></div>"
               "<script>%s</script></body></html>\n", page_script);
    return p->b.failed ? hx_fail(HX_E_NOMEM, "no memory for a report [E-NOMEM]") : HX_OK;
}

hx_result hx_report_write(const char *run, const char *path)
{
    page p = { .a = hx_arena_new() };
    // "runs/x/" and "runs/x" have one name
    char *dir = hx_strdup(p.a, run);
    for (size_t n = dir ? strlen(dir) : 0; n > 1 && dir[n - 1] == '/'; n--)
        dir[n - 1] = 0;
    hx_result r = dir ? hx_rows_read(p.a, dir, &p.rows) : HX_E_NOMEM;
    if (!r)
        r = put_page(&p);
    if (!r)
        r = hx_file_write(path ? path : hx_path_join(p.a, dir, "report.html"), p.b.data, p.b.size);
    hx_out_free(&p.b);
    hx_rows_done(&p.rows);
    hx_arena_free(&p.a);
    return r;
}

// ---- the command --------------------------------------------------------------------------

typedef struct report_opts { const char *out; } report_opts;
static const hx_field report_fields[] = {
    { "out", HX_STR, offsetof(report_opts, out), "", 0, 0, "file to write; RUN/report.html if not given" },
    {0}
};

static hx_result run(hx_cli *c)
{
    const report_opts *o = c->opts;
    const char *path = o->out[0] ? o->out : hx_path_join(c->arena, c->args[0], "report.html");
    if (!path)
        return HX_E_NOMEM;
    HX_TRY(hx_report_write(c->args[0], path));
    printf("%s\n", path);
    return HX_OK;
}

HX_CMD(report, .args = "RUN [--out FILE.html]", .help = "curves, samples and environment of a run as HTML",
       .opts = report_fields, .opts_size = sizeof(report_opts), .min_args = 1, .max_args = 1,
       .run = run, .more = "The file needs nothing else, and no network. Training writes it, too, when it ends.\n");
