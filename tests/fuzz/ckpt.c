// ckpt.c - fuzz target: any bytes as the manifest and as state.json of a checkpoint.
#include "../../src/core/ckpt.h"
#include "../../runtime/file.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void put(const char *dir, const char *name, const uint8_t *data, size_t size)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size)
        abort();
    fclose(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[64];
    snprintf(dir, sizeof dir, "/dev/shm/htxvk-fuzz-%ld", (long)getpid());
    hx_dir_make(dir, 0700);
    // files that a manifest may name are there, so that hashes are reached
    put(dir, "config.json", data, 0);
    put(dir, "model.safetensors", data, size);
    put(dir, "state.json", data, size);
    put(dir, "MANIFEST.json", data, size);
    hx_ckpt_state state;
    hx_ckpt_state_read(dir, &state);
    hx_ckpt_verify(dir);
    hx_dir_remove(dir);
    return 0;
}
