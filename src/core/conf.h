// conf.h - YAML 1.2 documents (JSON is a subset) as a tree with places, and from there into fields.
//
// Everything that does not fit is HX_E_INPUT with file:line:column; what came from the command
// line is HX_E_USAGE with the key. Anchors, aliases, tags and several documents are refused.
#pragma once
#include "../../runtime/arena.h"

enum { HX_CONF_MAX_BYTES = 1 << 20, HX_CONF_MAX_DEPTH = 64 };
typedef enum { HX_NODE_SCALAR, HX_NODE_LIST, HX_NODE_MAP } hx_node_kind;
typedef struct hx_conf {
    hx_node_kind    kind;
    const char     *key;                   // in a map; NULL in a list and for the root
    const char     *text;                  // of a scalar
    bool            quoted;                // a quoted scalar is a text, whatever it looks like
    bool            from_set;              // given by --set
    int             line, column;          // of the key if there is one, from 1
    const char     *file;
    int             n;                     // children
    struct hx_conf *first, *last, *next;
} hx_conf;

// Parses `n` bytes; `file` is for messages. The tree lives in `arena`. An empty document is an
// empty map.
hx_result hx_conf_parse(hx_arena *arena, const char *file, const char *text, int64_t n, hx_conf **root);
hx_result hx_conf_read(hx_arena *arena, const char *path, hx_conf **root);
hx_conf  *hx_conf_get(const hx_conf *map, const char *key);           // NULL if there is none
// "train.steps=100": replaces or adds one value, itself YAML. HX_E_USAGE.
hx_result hx_conf_set(hx_arena *arena, hx_conf *root, const char *assignment);
// Records `fmt` after the node's place: "run.yaml:3:5: ...". Returns HX_E_INPUT or HX_E_USAGE.
hx_result hx_conf_fail(const hx_conf *at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// Sets the fields of `obj` from a map, defaults first; a NULL map is an empty one. `path` ("train")
// prefixes names in messages. Keys of `skip` (ends with NULL; may be NULL) are left alone. A map
// inside the map reaches fields with dotted names ("router_kwargs.eps"). A list of numbers may be
// given to a HX_STR field whose default starts with '[', and a map to one whose default starts with
// '{': they arrive as text, the map as JSON.
hx_result hx_conf_fill(hx_arena *arena, const hx_conf *map, const char *path, const hx_field *f,
                       void *obj, const char *const *skip);

// A growing text.
typedef struct hx_out { char *data; int64_t size, cap; bool failed; } hx_out;
void hx_out_free(hx_out *b);
void hx_out_add(hx_out *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void hx_out_json_text(hx_out *b, const char *s);   // quoted and escaped, NULL is null
// The value of one field as YAML flow text that is also JSON; it reads back to the same bits.
void hx_conf_put(hx_out *b, const hx_field *f, const void *obj);
// All fields: "key: value" lines after `indent` spaces, or "\"key\": value" members joined by ", ".
void hx_conf_put_yaml(hx_out *b, const hx_field *f, const void *obj, int indent);
void hx_conf_put_json(hx_out *b, const hx_field *f, const void *obj);
