// ckpt.c - fuzz target: a checkpoint's manifest, state.json and weights, and the run around it.
#include "../../src/core/ckpt.h"
#include "../toy.h"
#include "fuzz.h"

static hx_params *parameters(void)
{
    hx_params *ps = hx_params_new();
    hx_param_add(ps, HX_INIT_NORMAL, 1, 2, (const int64_t[]){ 3, 5 }, "layers.%d.weight", 0);
    hx_param_add(ps, HX_INIT_NORMAL, 1, 1, (const int64_t[]){ 7 }, "norm.g");
    hx_param_tied(ps, 2, "head.g");
    return ps;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char run[64], dir[96];
    part p[MAX_PARTS];
    split(data, size, p);
    snprintf(dir, sizeof dir, "%s/step-00000001", fresh_dir(run));
    hx_dir_make(dir, 0700);
    part manifest = with_hashes(p);
    put(dir, "MANIFEST.json", manifest);
    put(dir, "state.json", p[1]);
    put(dir, "model.safetensors", p[2]);
    put(dir, "optimizer.safetensors", p[3]);
    put(dir, "config.json", p[4]);
    free((void *)(uintptr_t)manifest.data);
    hx_arena *a = hx_arena_new();
    hx_params *ps = parameters();
    const char *found;
    hx_ckpt_state state;
    bool there;
    float *w[3];
    for (int i = 0; i < 3; i++)
        w[i] = hx_alloc(a, (size_t)ps->bytes);
    hx_ckpt_find(a, run, &found);
    hx_ckpt_verify(dir);
    hx_ckpt_state_read(dir, &state);
    hx_ckpt_read(dir, ps, w[0], w[1], w[2]);
    hx_ckpt_read_ema(dir, ps, w[0], &there);
    hx_params_free(&ps);
    hx_arena_free(&a);
    hx_dir_remove(run);
    return 0;
}
