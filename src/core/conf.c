// conf.c - documents as trees. libfyaml gives events; depth, duplicates and places are ours.
#include "conf.h"
#include "../../runtime/file.h"
#include <libfyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NODES = 1 << 14, MAX_WORDS = 256 };

hx_result hx_conf_fail(const hx_conf *at, const char *fmt, ...)
{
    char text[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (at->from_set)
        return hx_fail(HX_E_USAGE, "--set %s: %s", at->file, text);
    if (!at->line)
        return hx_fail(HX_E_INPUT, "%s: %s", at->file, text);
    return hx_fail(HX_E_INPUT, "%s:%d:%d: %s", at->file, at->line, at->column, text);
}

hx_conf *hx_conf_get(const hx_conf *map, const char *key)
{
    for (hx_conf *c = map && map->kind == HX_NODE_MAP ? map->first : NULL; c; c = c->next)
        if (!strcmp(c->key, key))
            return c;
    return NULL;
}

// ---- parsing ------------------------------------------------------------------------------
typedef struct build {
    hx_arena   *arena;
    const char *file;
    hx_conf    *root, *stack[HX_CONF_MAX_DEPTH];
    int         depth, nodes, documents;
    const char *key;                       // seen, its value not yet
    int         line, column;              // of that key
} build;

static hx_conf *top(const build *b) { return b->depth ? b->stack[b->depth - 1] : NULL; }
static bool wants_key(const build *b) { return b->depth && top(b)->kind == HX_NODE_MAP && !b->key; }

// Where an event begins, from 1. A quoted text's mark is behind its quote.
static int line_of(struct fy_event *e)
{
    const struct fy_mark *m = fy_event_start_mark(e);
    return m ? m->line + 1 : 0;
}

static int column_of(struct fy_event *e)
{
    const struct fy_mark *m = fy_event_start_mark(e);
    bool quoted = e->type == FYET_SCALAR && m && m->column &&
                  (fy_token_scalar_style(e->scalar.value) == FYSS_SINGLE_QUOTED ||
                   fy_token_scalar_style(e->scalar.value) == FYSS_DOUBLE_QUOTED);
    return m ? m->column + !quoted : 0;
}

static hx_result misplaced(const build *b, struct fy_event *e, const char *what)
{
    hx_conf at = { .file = b->file, .line = line_of(e), .column = column_of(e) };
    return hx_conf_fail(&at, "%s [E-CONF-SYNTAX]", what);
}

static const char *text_of(build *b, struct fy_event *e)
{
    size_t n = 0;
    const char *s = fy_token_get_text(e->scalar.value, &n);
    char *p = hx_alloc(b->arena, n + 1);
    return p && s ? memcpy(p, s, n) : p;
}

static hx_result take_key(build *b, struct fy_event *e)
{
    if (e->type != FYET_SCALAR)
        return misplaced(b, e, "a key must be a word");
    if (!(b->key = text_of(b, e)))
        return HX_E_NOMEM;
    b->line = line_of(e);
    b->column = column_of(e);
    const hx_conf *twin = hx_conf_get(top(b), b->key);
    hx_conf at = { .file = b->file, .line = b->line, .column = b->column };
    if (twin)
        return hx_conf_fail(&at, "the key '%s' is given twice, first in line %d [E-CONF-TWICE]",
                            hx_printable(b->arena, b->key), twin->line);
    return HX_OK;
}

static void append(hx_conf *parent, hx_conf *c)
{
    *(parent->last ? &parent->last->next : &parent->first) = c;
    parent->last = c;
    parent->n++;
}

// Plain words that mean the same are spelled one way: null, true, false.
static const char *plain(const char *s)
{
    static const char *const same[][2] = {
        { "", "null" }, { "~", "null" }, { "Null", "null" }, { "NULL", "null" }, { "True", "true" },
        { "TRUE", "true" }, { "False", "false" }, { "FALSE", "false" },
    };
    for (int i = 0; i < HX_COUNT(same); i++)
        if (!strcmp(s, same[i][0]))
            return same[i][1];
    return s;
}

static hx_result add_node(build *b, struct fy_event *e, hx_node_kind kind)
{
    if (b->nodes++ == MAX_NODES)
        return misplaced(b, e, "the document has more than 16384 values");
    hx_conf *c = hx_new(b->arena, hx_conf, 1);
    if (!c)
        return HX_E_NOMEM;
    *c = (hx_conf){ .kind = kind,
                    .key = b->key,
                    .file = b->file,
                    .line = b->key ? b->line : line_of(e),
                    .column = b->key ? b->column : column_of(e) };
    b->key = NULL;
    if (kind == HX_NODE_SCALAR) {
        if (!(c->text = text_of(b, e)))
            return HX_E_NOMEM;
        c->quoted = fy_token_scalar_style(e->scalar.value) != FYSS_PLAIN;
        c->text = c->quoted ? c->text : plain(c->text);
    }
    if (top(b))
        append(top(b), c);
    else
        b->root = c;
    if (kind == HX_NODE_SCALAR)
        return HX_OK;
    if (b->depth == HX_CONF_MAX_DEPTH)
        return misplaced(b, e, "values are nested deeper than 64");
    b->stack[b->depth++] = c;
    return HX_OK;
}

static hx_result take(build *b, struct fy_event *e)
{
    bool marked =
        (e->type == FYET_SCALAR && (e->scalar.anchor || e->scalar.tag)) ||
        (e->type == FYET_SEQUENCE_START && (e->sequence_start.anchor || e->sequence_start.tag)) ||
        (e->type == FYET_MAPPING_START && (e->mapping_start.anchor || e->mapping_start.tag));
    if (marked || e->type == FYET_ALIAS)
        return misplaced(b, e, "anchors, aliases and tags are not taken; write the value itself");
    switch (e->type) {
    case FYET_DOCUMENT_START:
        return b->documents++ ? misplaced(b, e, "a second document begins; one is taken") : HX_OK;
    case FYET_SEQUENCE_END: case FYET_MAPPING_END:
        b->depth--;
        return HX_OK;
    case FYET_SCALAR: case FYET_SEQUENCE_START: case FYET_MAPPING_START:
        if (wants_key(b))
            return take_key(b, e);
        return add_node(b, e, e->type == FYET_SCALAR ? HX_NODE_SCALAR
                            : e->type == FYET_SEQUENCE_START ? HX_NODE_LIST : HX_NODE_MAP);
    default:
        return HX_OK;
    }
}

static void quiet(struct fy_diag *d, void *user, const char *text, size_t n)
{
    (void)d, (void)user, (void)text, (void)n;
}

static hx_result syntax(const build *b, struct fy_diag *d)
{
    void *it = NULL;
    const struct fy_diag_error *e = fy_diag_errors_iterate(d, &it);
    hx_conf at = { .file = b->file, .line = e ? e->line : 0, .column = e ? e->column : 0 };
    return hx_conf_fail(&at, "%s [E-CONF-SYNTAX]",
                        e ? hx_printable(b->arena, e->msg) : "not YAML");
}

static hx_result run(build *b, struct fy_parser *p, struct fy_diag *d)
{
    hx_result r = HX_OK;
    for (struct fy_event *e; !r && (e = fy_parser_parse(p));) {
        r = take(b, e);
        fy_parser_event_free(p, e);
    }
    return r ? r : fy_parser_get_stream_error(p) || fy_diag_got_error(d) ? syntax(b, d) : HX_OK;
}

static hx_result parse(build *b, const char *text, int64_t n)
{
    struct fy_diag_cfg dc;
    fy_diag_cfg_default(&dc);
    dc.fp = NULL;
    dc.output_fn = quiet;
    dc.colorize = false;
    struct fy_diag *d = fy_diag_create(&dc);
    if (!d)
        return hx_fail(HX_E_NOMEM, "no memory to read '%s' [E-NOMEM]", b->file);
    fy_diag_set_collect_errors(d, true);
    struct fy_parse_cfg pc = { .flags = FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE, .diag = d };
    struct fy_parser *p = fy_parser_create(&pc);
    hx_result r = p && !fy_parser_set_string(p, text, (size_t)n) ? run(b, p, d)
                : hx_fail(HX_E_NOMEM, "no memory to read '%s' [E-NOMEM]", b->file);
    if (p)
        fy_parser_destroy(p);
    fy_diag_destroy(d);
    return r;
}

// libfyaml 0.7 never comes back from a directive with broken UTF-8 in it, so it gets neither.
static hx_result check_text(const build *b, const char *text, int64_t n)
{
    hx_conf at = { .file = b->file, .line = 1, .column = 1 };
    for (int64_t i = 0; i < n;) {
        bool end = text[i] == '\n';
        int k = end || text[i] == '\t' || text[i] == '\r' ? 1 : hx_char_bytes(text + i);
        if (!k)
            return hx_conf_fail(&at,
                                "the byte 0x%02x is no part of a text in UTF-8 [E-CONF-SYNTAX]",
                                (unsigned char)text[i]);
        if (text[i] == '%' && at.column == 1)
            return hx_conf_fail(&at, "directives are not taken [E-CONF-SYNTAX]");
        at.line += end;
        at.column = end ? 1 : at.column + 1;
        i += k;
    }
    return HX_OK;
}

hx_result hx_conf_parse(hx_arena *arena, const char *file, const char *text, int64_t n,
                        hx_conf **root)
{
    build b = { .arena = arena, .file = hx_printable(arena, file) };
    if (!b.file)
        return HX_E_NOMEM;
    if (n > HX_CONF_MAX_BYTES)
        return hx_fail(HX_E_INPUT,
                       "%s has %lld bytes, a configuration has at most %d [E-CONF-SIZE]", b.file,
                       (long long)n, HX_CONF_MAX_BYTES);
    // a byte order mark says nothing in UTF-8
    if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
        text += 3, n -= 3;
    char *copy = hx_alloc(arena, (size_t)n + 1);
    if (!copy)
        return HX_E_NOMEM;
    text = memcpy(copy, text, (size_t)n);
    HX_TRY(check_text(&b, text, n));
    HX_TRY(parse(&b, text, n));
    bool nothing = !b.root || (b.root->kind == HX_NODE_SCALAR && !b.root->quoted &&
                               !strcmp(b.root->text, "null"));
    if (nothing && !(b.root = hx_new(arena, hx_conf, 1)))
        return HX_E_NOMEM;
    if (nothing)
        *b.root = (hx_conf){ .kind = HX_NODE_MAP, .file = b.file };
    *root = b.root;
    return HX_OK;
}

hx_result hx_conf_read(hx_arena *arena, const char *path, hx_conf **root)
{
    hx_blob blob;
    HX_TRY(hx_file_read(path, HX_CONF_MAX_BYTES, 0, &blob));
    hx_result r = hx_conf_parse(arena, path, (const char *)blob.data, blob.size, root);
    hx_blob_free(&blob);
    return r;
}

// ---- assignments --------------------------------------------------------------------------
// What stands after '=': a list, a map or a quoted text is YAML, everything else is one word.
static hx_result set_value(hx_arena *arena, hx_conf *to, const char *value)
{
    hx_conf *v = NULL;
    if (value[0] && strchr("[{\"'", value[0])) {
        hx_result r = hx_conf_parse(arena, to->file, value, (int64_t)strlen(value), &v);
        if (r)
            return r == HX_E_NOMEM ? r
                 : hx_fail(HX_E_USAGE, "--set %s: the value is not YAML [E-SET]", to->file);
        to->kind = v->kind;
        to->text = v->text;
        to->quoted = v->quoted;
        to->first = v->first;
        to->last = v->last;
        to->n = v->n;
        return HX_OK;
    }
    to->kind = HX_NODE_SCALAR;
    to->text = plain(value);
    to->first = to->last = NULL;
    to->n = 0;
    to->quoted = false;
    return HX_OK;
}

static bool is_null(const hx_conf *c)
{
    return c->kind == HX_NODE_SCALAR && !c->quoted && !strcmp(c->text, "null");
}

// The child called `key`, added if missing.
static hx_conf *child(hx_arena *arena, hx_conf *map, const char *key)
{
    hx_conf *c = hx_conf_get(map, key);
    if (c)
        return c;
    if ((c = hx_new(arena, hx_conf, 1))) {
        *c = (hx_conf){ .kind = HX_NODE_MAP, .key = key, .file = map->file };
        append(map, c);
    }
    return c;
}

// Everything below comes from the command line as well.
static void mark_set(hx_conf *c, const char *file)
{
    c->from_set = true;
    c->file = file;
    for (hx_conf *s = c->first; s; s = s->next)
        mark_set(s, file);
}

hx_result hx_conf_set(hx_arena *arena, hx_conf *root, const char *assignment)
{
    const char *eq = strchr(assignment, '=');
    const char *shown = hx_printable(arena, assignment);
    char *key = hx_strdup(arena, assignment), *value = hx_strdup(arena, eq ? eq + 1 : "");
    if (!shown || !key || !value)
        return HX_E_NOMEM;
    if (!eq || eq == assignment)
        return hx_fail(HX_E_USAGE, "--set %s: write key=value, as in --set train.steps=100 [E-SET]",
                       shown);
    key[eq - assignment] = 0;
    hx_conf *at = root;
    for (char *dot; at; key = dot + 1) {
        if ((dot = strchr(key, '.')))
            *dot = 0;
        if (is_null(at)) {
            at->kind = HX_NODE_MAP;
            at->text = NULL;
        }
        if (at->kind != HX_NODE_MAP || !key[0])
            return hx_fail(HX_E_USAGE, "--set %s: there is nothing to set under this key [E-SET]",
                           shown);
        at = child(arena, at, key);
        if (!dot)
            break;
    }
    if (!at)
        return HX_E_NOMEM;
    at->file = shown;
    HX_TRY(set_value(arena, at, value));
    mark_set(at, shown);
    return HX_OK;
}

// ---- into fields --------------------------------------------------------------------------
static bool among(const char *const *list, const char *word)
{
    for (; list && *list; list++)
        if (!strcmp(*list, word))
            return true;
    return false;
}

static hx_result unknown(hx_arena *arena, const hx_conf *c, const char *path, const char *name,
                         const hx_field *f, const char *const *skip)
{
    const char *words[MAX_WORDS];
    int n = 0;
    for (; f->name && n < MAX_WORDS; f++)
        words[n++] = f->name;
    for (; skip && *skip && n < MAX_WORDS; skip++)
        words[n++] = *skip;
    const char *near = hx_nearest(name, words, n), *shown = hx_printable(arena, name);
    return near ? hx_conf_fail(c, "unknown key '%s%s'; did you mean '%s'? [E-CONF-KEY]", path,
                               shown, near)
                : hx_conf_fail(c, "unknown key '%s%s' [E-CONF-KEY]", path, shown);
}

// A list as flow text, nested lists included. False when an item is not a plain number or null.
static void flow(hx_out *o, const hx_conf *list, bool bits, bool *numbers)
{
    hx_out_add(o, "[");
    for (const hx_conf *c = list->first; c; c = c->next) {
        if (c != list->first)
            hx_out_add(o, ", ");
        if (c->kind == HX_NODE_LIST) {
            flow(o, c, bits, numbers);
            *numbers = false;
        } else if (c->kind == HX_NODE_MAP) {
            *numbers = false;
        } else if (c->quoted) {
            hx_out_json_text(o, c->text);
            *numbers = false;
        } else if (bits && (!strcmp(c->text, "true") || !strcmp(c->text, "false"))) {
            hx_out_add(o, "%d", c->text[0] == 't');
        } else {
            hx_out_add(o, "%s", c->text);
            *numbers = *numbers && !strpbrk(c->text, ",[]\"'");
        }
    }
    hx_out_add(o, "]");
}

// A map, a list or a scalar as JSON; plain scalars that look like numbers stay as they are.
static void as_json(hx_out *o, const hx_conf *c)
{
    if (c->kind == HX_NODE_SCALAR) {
        bool word = !strcmp(c->text, "true") || !strcmp(c->text, "false") || is_null(c);
        bool number = *c->text && c->text[strspn(c->text, "0123456789+-.eE")] == 0;
        if (!c->quoted && (word || number))
            hx_out_add(o, "%s", is_null(c) ? "null" : c->text);
        else
            hx_out_json_text(o, c->text);
        return;
    }
    bool map = c->kind == HX_NODE_MAP;
    hx_out_add(o, map ? "{" : "[");
    for (const hx_conf *i = c->first; i; i = i->next) {
        hx_out_add(o, i == c->first ? "" : ", ");
        if (map) {
            hx_out_json_text(o, i->key);
            hx_out_add(o, ": ");
        }
        as_json(o, i);
    }
    hx_out_add(o, map ? "}" : "]");
}

static hx_result set_map(hx_arena *arena, const hx_conf *c, const char *shown, const char **out)
{
    hx_out o = { 0 };
    if (c->kind != HX_NODE_MAP)
        return hx_conf_fail(c, "%s: a map of keys and values is needed [E-TYPE]", shown);
    as_json(&o, c);
    *out = o.failed ? NULL : hx_strdup(arena, o.data);
    hx_out_free(&o);
    return *out ? HX_OK : hx_fail(HX_E_NOMEM, "no memory for '%s' [E-NOMEM]", shown);
}

static hx_result set_texts(hx_arena *arena, const hx_conf *c, const char *shown, hx_strs *out)
{
    hx_strs v = { 0 };
    if (c->kind == HX_NODE_SCALAR && !is_null(c))
        v = (hx_strs){ 1, { hx_strdup(arena, c->text) } };
    else if (c->kind == HX_NODE_MAP)
        return hx_conf_fail(c, "%s: a list of texts is needed [E-TYPE]", shown);
    for (const hx_conf *s = c->kind == HX_NODE_LIST ? c->first : NULL; s; s = s->next) {
        if (s->kind != HX_NODE_SCALAR || is_null(s))
            return hx_conf_fail(s, "%s: every item must be a text [E-TYPE]", shown);
        if (v.n == HX_MAX_LIST)
            return hx_conf_fail(s, "%s: more than %d items in the list [E-RANGE]", shown,
                                HX_MAX_LIST);
        if (!(v.v[v.n++] = hx_strdup(arena, s->text)))
            return HX_E_NOMEM;
    }
    *out = v;
    return HX_OK;
}

static hx_result set_text(hx_arena *arena, const hx_conf *c, const char *shown, const hx_field *f,
                          const char **out)
{
    bool empty = is_null(c) && f->def && (!f->def[0] || !strcmp(f->def, "null"));
    if (c->kind != HX_NODE_SCALAR || (is_null(c) && !empty))
        return hx_conf_fail(c, "%s: a text is needed [E-TYPE]", shown);
    if (empty) {
        *out = f->def;
        return HX_OK;
    }
    *out = hx_strdup(arena, c->text);
    return *out ? HX_OK : HX_E_NOMEM;
}

// Numbers and booleans go through hx_field_set, whose message gets the place in front.
static hx_result set_numbers(hx_arena *arena, const hx_conf *c, const char *path, const char *shown,
                             const hx_field *f, void *obj)
{
    bool list = f->type == HX_INTS || f->type == HX_REALS, text = f->type == HX_STR, numbers = true;
    if (c->kind == HX_NODE_MAP || (c->kind == HX_NODE_LIST && !list && !text))
        return hx_conf_fail(c, "%s: one value is needed, not a %s [E-TYPE]", shown,
                            c->kind == HX_NODE_MAP ? "map" : "list");
    if (c->kind == HX_NODE_SCALAR && c->quoted)
        return hx_conf_fail(c, "%s: a %s is needed, not a quoted text [E-TYPE]", shown,
                            f->type == HX_BOOL ? "true or false" : "number");
    hx_out o = { 0 };
    bool bits = (f->type == HX_INTS || f->type == HX_I32) && f->min == 0 && f->max == 1;
    if (c->kind == HX_NODE_LIST)
        flow(&o, c, bits, &numbers);
    else if (bits && (!strcmp(c->text, "true") || !strcmp(c->text, "false")))
        hx_out_add(&o, "%d", c->text[0] == 't');
    else
        hx_out_add(&o, "%s", c->text);
    hx_result r = o.failed ? hx_fail(HX_E_NOMEM, "no memory for '%s' [E-NOMEM]", shown)
                  : !numbers && !text
                      ? hx_conf_fail(c, "%s: a list of plain numbers is needed [E-TYPE]", shown)
                      : hx_field_set(f, obj, f->name, o.data, arena);
    if (r == HX_E_INPUT && (numbers || text))
        r = hx_conf_fail(c, "%s%s", path, hx_last_message());
    hx_out_free(&o);
    return r;
}

static hx_result set_one(hx_arena *arena, const hx_conf *c, const char *path, const hx_field *f,
                         void *obj)
{
    void *to = (char *)obj + f->offset;
    const char *shown = hx_sprintf(arena, "%s%s", path, f->name);
    if (!shown)
        return HX_E_NOMEM;
    if (f->type == HX_STRS)
        return set_texts(arena, c, shown, to);
    if (f->type == HX_STR && f->def && f->def[0] == '{')
        return set_map(arena, c, shown, to);
    if (f->type == HX_STR && !(c->kind == HX_NODE_LIST && f->def && f->def[0] == '['))
        return set_text(arena, c, shown, f, to);
    return set_numbers(arena, c, path, shown, f, obj);
}

static hx_result fill(hx_arena *arena, const hx_conf *map, const char *path, const char *inner,
                      const hx_field *f, void *obj, const char *const *skip)
{
    for (const hx_conf *c = map->first; c; c = c->next) {
        const char *name = hx_sprintf(arena, "%s%s", inner, c->key);
        if (!name)
            return HX_E_NOMEM;
        if (among(skip, name))
            continue;
        const hx_field *one = hx_field_find(f, name);
        if (one) {
            HX_TRY(set_one(arena, c, path, one, obj));
            continue;
        }
        // a map may lead to dotted names
        const char *deeper = hx_sprintf(arena, "%s.", name);
        bool leads = false;
        if (!deeper)
            return HX_E_NOMEM;
        for (const hx_field *g = f; g->name; g++)
            leads |= !strncmp(g->name, deeper, strlen(deeper));
        if (c->kind != HX_NODE_MAP || !leads)
            return unknown(arena, c, path, name, f, skip);
        HX_TRY(fill(arena, c, path, deeper, f, obj, NULL));
    }
    return HX_OK;
}

static bool given(const hx_conf *map, const char *name)
{
    size_t n = strcspn(name, ".");
    for (const hx_conf *c = map && map->kind == HX_NODE_MAP ? map->first : NULL; c; c = c->next) {
        if (!strcmp(c->key, name))
            return true;
        if (name[n] && strlen(c->key) == n && !strncmp(c->key, name, n) && given(c, name + n + 1))
            return true;
    }
    return false;
}

hx_result hx_conf_fill(hx_arena *arena, const hx_conf *map, const char *path, const hx_field *f,
                       void *obj, const char *const *skip)
{
    HX_TRY(hx_fields_default(f, obj));
    const char *prefix = path && path[0] ? hx_sprintf(arena, "%s.", path) : "";
    if (!prefix)
        return HX_E_NOMEM;
    if (map && map->kind != HX_NODE_MAP && !is_null(map))
        return hx_conf_fail(map, "'%s' must be a map of keys and values [E-TYPE]",
                            path && path[0] ? path : "the document");
    if (map && map->kind == HX_NODE_MAP)
        HX_TRY(fill(arena, map, prefix, "", f, obj, skip));
    for (const hx_field *g = f; g->name; g++)
        if (!g->def && !given(map, g->name) && !among(skip, g->name))
            return map ? hx_conf_fail(map, "'%s%s' must be given: %s [E-CONF-MISSING]", prefix,
                                      g->name, g->help ? g->help : "it has no default")
                       : hx_fail(HX_E_INPUT, "'%s%s' must be given: %s [E-CONF-MISSING]", prefix,
                                 g->name, g->help ? g->help : "it has no default");
    return HX_OK;
}
