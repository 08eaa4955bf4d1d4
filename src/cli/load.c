// load.c - checkpoint, then device: what is wrong with the files is said before a GPU is opened.
#include "load.h"

#include <stdlib.h>

#include "../../runtime/file.h"
#include "../core/ckpt.h"

static hx_result read_params(hx_loaded *l, char **out)
{
    char *host = calloc(1, (size_t)hx_max(l->net.params->bytes, 1));
    if (!host)
        return hx_fail(HX_E_NOMEM, "no memory for %lld bytes of parameters [E-NOMEM]",
                       (long long)l->net.params->bytes);
    *out = host;
    // mean weights, where there are any, are what the run was evaluated with
    bool mean;
    HX_TRY(hx_ckpt_read_ema(l->dir, l->net.params, host, &mean));
    return mean ? HX_OK : hx_ckpt_read(l->dir, l->net.params, host, NULL, NULL);
}

// RUN/tokenizer.json of RUN/ckpt/step-NNNNNNNN, or one beside the weights.
static hx_result read_tokenizer(hx_cli *c, hx_loaded *l)
{
    static const char *const places[] = { "tokenizer.json", "../../tokenizer.json" };
    for (int i = 0; i < HX_COUNT(places); i++) {
        const char *path = hx_path_join(c->arena, l->dir, places[i]);
        if (!path)
            return HX_E_NOMEM;
        if (hx_file_exists(path))
            return hx_bpe_read(path, &l->bpe);
    }
    return HX_OK;
}

static hx_result load(hx_cli *c, const char *path, hx_loaded *l, char **host)
{
    if (!hx_file_exists(path))
        return hx_fail(HX_E_INPUT, "%s: no such run or checkpoint [E-IO-MISSING]", path);
    HX_TRY(hx_ckpt_find(c->arena, path, &l->dir));
    if (!l->dir)
        return hx_fail(HX_E_INPUT, "%s has no checkpoint yet [E-CKPT-NONE]", path);
    HX_TRY(hx_case_read(c->arena, hx_path_join(c->arena, l->dir, "config.json"), &l->kase));
    HX_TRY(hx_net_init(&l->net, l->kase.model, l->kase.conf));
    HX_TRY(read_tokenizer(c, l));
    HX_TRY(read_params(l, host));
    HX_TRY(hx_cli_open(c, NULL, NULL, &l->dev));
    HX_TRY(hx_memory_new(l->dev, l->net.params->bytes, HX_BUF_DEVICE, "parameters", &l->params));
    return hx_memory_write(&l->params, 0, *host, l->net.params->bytes);
}

hx_result hx_load(hx_cli *c, const char *path, hx_loaded *out)
{
    char *host = NULL;
    *out = (hx_loaded){0};
    hx_result r = load(c, path, out, &host);
    free(host);
    return r ? hx_load_done(out, r) : HX_OK;
}

hx_result hx_load_done(hx_loaded *l, hx_result r)
{
    hx_memory_free(&l->params);
    hx_bpe_free(&l->bpe);
    r = hx_cli_close(&l->dev, r);
    hx_net_done(&l->net);
    return r;
}
