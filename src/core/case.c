// case.c - a model by its own file.
#include "case.h"
#include "../../runtime/file.h"
#include <string.h>

// Keys of config.json that say how a file came to be.
static const char *const metadata[] = { "model",         "source",  "reference", "case",
                                        "inputs",        "float32", "notes",     "model_type",
                                        "htxvk_version", NULL };

static hx_result no_model(hx_arena *arena, const hx_conf *name)
{
    const char *words[64] = { 0 }, *all = "", *between = "";
    int n = (int)hx_min(hx_n_models, HX_COUNT(words));
    for (int i = 0; i < n; i++) {
        words[i] = hx_models[i]->name;
        if (!(all = hx_sprintf(arena, "%s%s%s", all, between, words[i])))
            return HX_E_NOMEM;
        between = " | ";
    }
    const char *near = hx_nearest(name->text, words, n), *shown = hx_printable(arena, name->text);
    if (!shown)
        return HX_E_NOMEM;
    if (near)
        return hx_conf_fail(name, "no model is called '%s'; did you mean '%s'? [E-MODEL]", shown,
                            near);
    return hx_conf_fail(name, "no model is called '%s'; there are: %s [E-MODEL]", shown, all);
}

hx_result hx_case_fill(hx_arena *arena, const hx_conf *name, const hx_conf *map, const char *path,
                       const char *const *skip, const hx_model **m, void **conf)
{
    if (name->kind != HX_NODE_SCALAR)
        return hx_conf_fail(name, "the name of a model is needed here [E-TYPE]");
    if (!(*m = hx_model_find(name->text)))
        return no_model(arena, name);
    if (!(*conf = hx_alloc(arena, (*m)->conf_size)))
        return HX_E_NOMEM;
    HX_TRY(hx_conf_fill(arena, map, path, (*m)->fields, *conf, skip));
    hx_result r = (*m)->open ? (*m)->open(arena, *conf) : HX_OK;
    if (!r && (*m)->check)
        r = (*m)->check(*conf);
    if (r == HX_E_SHAPE || r == HX_E_INPUT)
        return hx_fail(r, "%s: %s", map->file, hx_last_message());
    return r;
}

// What `case` says about a run of the reference and the model has a key for is an argument too, unless
// it is given: the length of segments, say, which the reference's driver chooses.
static hx_result take_case(hx_arena *arena, hx_conf *root, const hx_model *m)
{
    const hx_conf *run = hx_conf_get(root, "case");
    for (const hx_conf *c = run && run->kind == HX_NODE_MAP ? run->first : NULL; c; c = c->next) {
        if (!hx_field_find(m ? m->fields : NULL, c->key) || hx_conf_get(root, c->key))
            continue;
        hx_conf *copy = hx_new(arena, hx_conf, 1);
        if (!copy)
            return HX_E_NOMEM;
        *copy = *c;
        copy->next = NULL;
        root->last = root->last->next = copy;
        root->n++;
    }
    return HX_OK;
}

static hx_result from_tree(hx_arena *arena, hx_conf *root, hx_case *out)
{
    static const hx_field inputs[] = { { "inputs", HX_STRS, offsetof(hx_case, inputs), "ids" },
                                       { 0 } };
    if (root->kind != HX_NODE_MAP)
        return hx_conf_fail(root, "a map of keys and values is needed [E-TYPE]");
    const hx_conf *name = hx_conf_get(root, "model");
    if (!name)
        return hx_conf_fail(root,
                            "'model' must be given: the name of an architecture [E-CONF-MISSING]");
    if (name->kind == HX_NODE_SCALAR)
        HX_TRY(take_case(arena, root, hx_model_find(name->text)));
    HX_TRY(hx_case_fill(arena, name, root, "", metadata, &out->model, &out->conf));
    // the arguments have been checked; what is left is metadata and the names of inputs
    hx_conf only = { .kind = HX_NODE_MAP, .file = root->file }, *c = hx_conf_get(root, "inputs");
    hx_conf copy = c ? *c : (hx_conf){ 0 };
    copy.next = NULL;
    only.first = only.last = c ? &copy : NULL;
    return hx_conf_fill(arena, &only, "", inputs, out, NULL);
}

hx_result hx_case_parse(hx_arena *arena, const char *file, const char *text, int64_t n,
                        hx_case *out)
{
    hx_conf *root;
    HX_TRY(hx_conf_parse(arena, file, text, n, &root));
    return from_tree(arena, root, out);
}

hx_result hx_case_read(hx_arena *arena, const char *path, hx_case *out)
{
    hx_conf *root;
    HX_TRY(hx_conf_read(arena, path, &root));
    return from_tree(arena, root, out);
}

void hx_case_put(hx_out *b, const hx_model *m, const void *conf)
{
    hx_out_add(b, "{\"model\": \"%s\", \"model_type\": \"htxvk\", \"htxvk_version\": \"%s\", ",
               m->name, HX_VERSION);
    hx_conf_put_json(b, m->fields, conf);
    hx_out_add(b, "}\n");
}
