// forward.c - `htxvk forward`: one case in the form of the golden files, for parity with other
// implementations.
#include <stdlib.h>
#include <string.h>

#include "../core/ckpt.h"
#include "../train/conf_run.h"
#include "../train/pass.h"
#include "cli.h"

typedef struct forward_opts {
    const char *config, *weights, *input, *output;
    bool grad;
} forward_opts;
#define O(type, member, def, help) \
    { #member, type, offsetof(forward_opts, member), def, 0, 0, help }
static const hx_field forward_fields[] = {
    O(HX_STR, config, "", "JSON: {\"model\": NAME, constructor arguments}"),
    O(HX_STR, weights, "", "safetensors: the reference implementation's state dict"),
    O(HX_STR, input, "", "safetensors: inputs (the names in `inputs` of the config, else ids)"),
    O(HX_STR, output, "", "safetensors to write: every output, F32, computed"),
    O(HX_BOOL, grad, "false", "also write grad.NAME of the loss for every parameter"),
    {0}
};
#undef O

// Everything of one run of the command.
typedef struct work {
    hx_arena *arena;
    hx_case   kase;
    hx_net    net;
    hx_st    *io, *weights;
    hx_dev   *dev;
    hx_pass  *pass;
    int32_t  *ids;
    hx_given  given[HX_MAX_GIVEN];         // inputs beside ids, and their values
    void     *values[HX_MAX_GIVEN];
    char     *params, *grads, *aux;        // host arenas, params->bytes each
    int64_t   batch, tokens;
} work;

// A host array of `bytes` zero bytes in the command's arena.
static hx_result host_array(work *w, int64_t bytes, void *out)
{
    void *p = hx_alloc(w->arena, (size_t)hx_max(bytes, 1));
    *(void **)out = p;
    return p ? HX_OK : HX_E_NOMEM;
}

static bool is_input(const work *w, const char *name)
{
    for (int i = 0; i < w->kase.inputs.n; i++)
        if (!strcmp(w->kase.inputs.v[i], name))
            return true;
    return false;
}

// Tensors "aux_grad.NAME" are gradients of the output "aux_loss".
static const char aux_word[] = "aux_grad.";
static const hx_param *aux_param(const work *w, const char *name)
{
    size_t n = sizeof aux_word - 1;
    const hx_param *p = strncmp(name, aux_word, n) ? NULL : hx_param_find(w->net.params, name + n);
    return p && !p->buffer ? p : NULL;
}

static bool wants_aux(const work *w)
{
    for (int i = 0; i < w->io->n; i++)
        if (aux_param(w, w->io->t[i].name))
            return hx_pass_find(w->pass, "aux_loss") >= 0;
    return false;
}

// A tensor without elements has no value that could be computed: a memory that nothing is in yet.
static bool is_nothing(const work *w, const hx_st_tensor *t)
{
    return t->elems == 0 && !is_input(w, t->name) && hx_pass_find(w->pass, t->name) < 0;
}

static hx_result find_input(work *w, const char *name, const hx_st_tensor **t)
{
    *t = hx_st_find(w->io, name);
    if (!*t)
        return hx_fail(HX_E_INPUT, "%s: no tensor '%s', which is an input [E-CASE-INPUTS]",
                       w->io->path, hx_printable(w->arena, name));
    return HX_OK;
}

// Is `name` the word of n letters, or where that ends with .N the same with a number?
static bool is_name(const char *name, const char *word, size_t n)
{
    bool numbered = n > 2 && !strncmp(word + n - 2, ".N", 2);
    size_t stem = numbered ? n - 1 : n;
    size_t rest = strncmp(name, word, stem) ? 0 : strlen(name) - stem;
    return strncmp(name, word, stem) == 0
           && (numbered ? rest > 0 && strspn(name + stem, "0123456789") == rest : rest == 0);
}

// Is `name` one of the words of `list`?
static bool is_word(const char *name, const char *list)
{
    for (size_t n; list && *list; list += n + (list[n] == ' ')) {
        n = strcspn(list, " ");
        if (is_name(name, list, n))
            return true;
    }
    return false;
}

// Tokens must be of the vocabulary of this size.
static hx_result check_tokens(work *w, const char *name, const int32_t *ids, int64_t n, int64_t V)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= V)
            return hx_fail(HX_E_INPUT,
                           "%s: '%s' has token %d at element %lld, the model knows 0 to %lld "
                           "[E-TOKEN-RANGE]",
                           w->io->path, hx_printable(w->arena, name), ids[i], (long long)i,
                           (long long)V - 1);
    return HX_OK;
}

static hx_result read_ids(work *w)
{
    const char *name = w->kase.inputs.n ? w->kase.inputs.v[0] : "ids";
    const hx_st_tensor *t;
    HX_TRY(find_input(w, name, &t));
    if (t->rank != 2 || t->elems == 0)
        return hx_fail(
            HX_E_SHAPE,
            "%s: '%s' has rank %d and %lld elements; [batch, tokens] is needed [E-SHAPE]",
            w->io->path, hx_printable(w->arena, name), t->rank, (long long)t->elems);
    w->batch = t->shape[0];
    w->tokens = t->shape[1];
    HX_TRY(host_array(w, 4 * t->elems, &w->ids));
    HX_TRY(hx_st_read_i32(w->io, t, w->ids));

    return check_tokens(w, name, w->ids, t->elems, w->kase.model->size(w->kase.conf, "num_tokens"));
}

// Where the model knows the vocabulary of an input by its name without a number.
static hx_result check_given(work *w, const hx_given *v, const void *values, int64_t n)
{
    const char *stem = hx_sprintf(w->arena, "%.*s", (int)strcspn(v->name, "."), v->name);
    if (!stem)
        return HX_E_NOMEM;
    int64_t V = w->kase.model->size(w->kase.conf, stem);
    return V > 0 && v->is_int ? check_tokens(w, v->name, values, n, V) : HX_OK;
}

// The inputs after the first.
static hx_result read_given(work *w)
{
    for (int i = 1; i < w->kase.inputs.n; i++) {
        const char *name = w->kase.inputs.v[i], *may = w->kase.model->inputs;
        if (!is_word(name, may) || w->net.n_given == HX_MAX_GIVEN)
            return hx_fail(HX_E_INPUT, "model %s takes no input '%s', only ids%s%s [E-CASE-INPUTS]",
                           w->kase.model->name, hx_printable(w->arena, name), may ? " and " : "",
                           may ? may : "");
        const hx_st_tensor *t;
        HX_TRY(find_input(w, name, &t));
        if (t->rank < 1 || t->rank > HX_MAX_RANK || t->elems == 0)
            return hx_fail(HX_E_SHAPE, "%s: '%s' has rank %d and %lld elements; a rank from 1 to "
                           "%d is needed [E-SHAPE]", w->io->path, name, t->rank,
                           (long long)t->elems, HX_MAX_RANK);
        int k = w->net.n_given++;
        hx_given *v = &w->given[k];
        bool is_real = t->dtype == HX_ST_F32 || t->dtype == HX_ST_F64 || t->dtype == HX_ST_F16
                       || t->dtype == HX_ST_BF16;
        *v = (hx_given){ name, !is_real, t->rank, { 0 } };
        memcpy(v->shape, t->shape, sizeof *v->shape * (size_t)t->rank);
        HX_TRY(host_array(w, 4 * t->elems, &w->values[k]));
        HX_TRY(v->is_int ? hx_st_read_i32(w->io, t, w->values[k])
                         : hx_st_read_f32(w->io, t, w->values[k]));
        HX_TRY(check_given(w, v, w->values[k], t->elems));
    }
    w->net.given = w->given;
    return HX_OK;
}

// Every tensor of the input file that is not an input must be something that we compute.
static hx_result check_names(const work *w)
{
    for (int i = 0; i < w->io->n; i++) {
        const hx_st_tensor *t = &w->io->t[i];
        const char *shown = hx_printable(w->arena, t->name);
        if (is_input(w, t->name) || is_nothing(w, t) || (wants_aux(w) && aux_param(w, t->name)))
            continue;
        if (!strncmp(t->name, "grad.", 5)) {
            const hx_param *p = hx_param_find(w->net.params, t->name + 5);
            if (!p || p->buffer)
                return hx_fail(HX_E_INPUT, "%s: '%s' is the gradient of no parameter of this model "
                               "[E-CASE-OUTPUT]", w->io->path, shown);
            continue;
        }
        int k = hx_pass_find(w->pass, t->name);
        if (k < 0)
            return hx_fail(HX_E_INPUT, "%s: model %s does not compute '%s' [E-CASE-OUTPUT]",
                           w->io->path, w->kase.model->name, shown);
        hx_t y = w->pass->graph->output[k].t;
        const hx_value *v = hx_value_of(y);
        bool same = t->rank == v->rank || hx_elems(y) == t->elems;
        for (int d = 0; d < t->rank && t->rank == v->rank; d++)
            same = same && t->shape[d] == v->shape[d];
        if (!same)
            return hx_fail(HX_E_SHAPE,
                           "%s: '%s' has %lld elements, this model gives %lld or another shape "
                           "[E-SHAPE]",
                           w->io->path, shown, (long long)t->elems, (long long)hx_elems(y));
    }
    return HX_OK;
}

// Runs a pass on the inputs; its gradients, if wanted, go to a new host array.
static hx_result run_pass(work *w, hx_pass *p, char **grads)
{
    int64_t bytes = w->net.params->bytes;
    HX_TRY(hx_pass_bind(p, NULL));
    HX_TRY(hx_memory_write(p->mem[HX_PARAM], 0, w->params, bytes));
    HX_TRY(hx_pass_write(p, w->ids, 0));
    for (int i = 0; i < w->net.n_given; i++)
        HX_TRY(hx_pass_write_given(p, i, w->values[i]));
    HX_TRY(hx_pass_run(p));
    if (!grads)
        return HX_OK;
    HX_TRY(host_array(w, bytes, grads));
    return hx_memory_read(p->mem[HX_GRAD], 0, *grads, bytes);
}

static hx_result compute(work *w, bool grad)
{
    HX_TRY(run_pass(w, w->pass, grad ? &w->grads : NULL));
    if (!grad || !wants_aux(w))
        return HX_OK;
    hx_pass *p;
    w->net.of = "aux_loss";
    HX_TRY(hx_pass_new(w->dev, &w->net, HX_FOR_PARITY, w->batch, w->tokens, HX_PASS_WRITE_GRADS, &p));
    hx_result r = run_pass(w, p, &w->aux);
    hx_pass_free(&p);
    return r;
}

// Tensors of the input file that are made here and are no outputs of the pass.
static int add_further(work *w, hx_st_item *item)
{
    int n = 0;
    for (int i = 0; i < w->io->n; i++) {
        const hx_st_tensor *t = &w->io->t[i];
        const hx_param *p = w->aux ? aux_param(w, t->name) : NULL;
        if (p)
            item[n++] = (hx_st_item){ t->name, HX_ST_F32, p->rank, p->shape, w->aux + p->at };
        else if (is_nothing(w, t))
            item[n++] = (hx_st_item){ t->name, HX_ST_F32, t->rank, t->shape, w->params };
    }
    return n;
}

static hx_result write_outputs(work *w, const char *path)
{
    const hx_params *ps = w->net.params;
    const hx_graph *g = w->pass->graph;
    hx_st_item *item = hx_new(w->arena, hx_st_item, g->n_output + ps->n + w->io->n);
    if (!item)
        return HX_E_NOMEM;
    int n = 0;
    for (int i = 0; i < g->n_output; i++, n++) {
        const hx_value *v = hx_value_of(g->output[i].t);
        const hx_st_tensor *like = hx_st_find(w->io, g->output[i].name);
        float *data;
        HX_TRY(host_array(w, 4 * hx_elems(g->output[i].t), &data));
        HX_TRY(hx_pass_read(w->pass, i, data));
        item[n] = (hx_st_item){ g->output[i].name, HX_ST_F32, like ? like->rank : v->rank,
                                like ? like->shape : v->shape, data };
    }
    for (int i = 0; w->grads && i < ps->n; i++) {
        const hx_param *p = &ps->list[i];
        if (!p->buffer)
            item[n++] = (hx_st_item){hx_sprintf(w->arena, "grad.%s", p->name), HX_ST_F32, p->rank,
                                     p->shape, w->grads + p->at};
    }
    n += add_further(w, item + n);
    return hx_st_write(path, item, n, NULL);
}

static hx_result forward(hx_cli *c, work *w)
{
    const forward_opts *o = c->opts;
    HX_TRY(hx_case_read(w->arena, o->config, &w->kase));
    HX_TRY(hx_net_init(&w->net, w->kase.model, w->kase.conf));
    HX_TRY(hx_st_open(o->weights, &w->weights));
    HX_TRY(host_array(w, w->net.params->bytes, &w->params));
    HX_TRY(hx_params_read(w->weights, w->net.params, "", w->params));
    HX_TRY(hx_st_open(o->input, &w->io));
    HX_TRY(read_ids(w));
    HX_TRY(read_given(w));

    HX_TRY(hx_cli_open(c, NULL, NULL, &w->dev));
    HX_TRY(hx_pass_new(w->dev, &w->net, HX_FOR_PARITY, w->batch, w->tokens,
                       o->grad ? HX_PASS_WRITE_GRADS : HX_PASS_FORWARD, &w->pass));
    HX_TRY(check_names(w));
    HX_TRY(compute(w, o->grad));
    return write_outputs(w, o->output);
}

static hx_result run(hx_cli *c)
{
    const forward_opts *o = c->opts;
    for (const hx_field *f = forward_fields; f->name; f++)
        if (f->type == HX_STR && !**(const char *const *)((const char *)o + f->offset))
            return hx_fail(HX_E_USAGE, "forward needs --%s FILE [E-USAGE]", f->name);
    work w = { .arena = c->arena };
    hx_result r = forward(c, &w);
    hx_pass_free(&w.pass);
    r = hx_cli_close(&w.dev, r);
    hx_st_close(&w.io);
    hx_st_close(&w.weights);
    hx_net_done(&w.net);
    return r;
}

HX_CMD(
    forward,
    .args =
        "--config C.json --weights W.safetensors --input IO.safetensors --output OUT.safetensors",
    .help = "run one golden-style case and write every output (and gradient)",
    .opts = forward_fields, .opts_size = sizeof(forward_opts), .run = run,
    .more = "Writes every tensor of IO that is not an input, under the same name and shape, "
            "computed in fp32;\n"
            "a name that this model does not compute is an error.\n");
