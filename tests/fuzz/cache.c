// cache.c - fuzz target: a file in the pipeline cache, as it is and with its size and hash put right:
// only what the header promises may reach a driver.
#include "../../runtime/vulkan/cache.c"
#include "fuzz.h"

static void try(const hx_vk *d, const void *data, size_t size, bool good)
{
    size_t bytes = 0;
    FILE *f = fopen(d->cache_path, "wb");
    if (!f || fwrite(data, 1, size, f) != size)
        abort();
    fclose(f);
    void *blob = load(d, &bytes);
    // what was refused is gone
    if ((good && !blob) || (blob && bytes != size - sizeof(header)) ||
        (!blob && !access(d->cache_path, F_OK)))
        abort();
    free(blob);
    unlink(d->cache_path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/htxvk-fuzz-%ld", (long)getpid());
    hx_vk d = { .cache_path = path };
    d.gpu.caps.vendor = 0x10005;
    try(&d, data, size, false);
    if (size <= sizeof(header))
        return 0;
    uint8_t *copy = malloc(size);
    memcpy(copy, data, size);
    header h = header_of(&d, data + sizeof h, size - sizeof h);
    memcpy(copy, &h, sizeof h);
    try(&d, copy, size, true);
    // one bit off anywhere
    copy[(size_t)data[0] * 7 % size] ^= 1;
    try(&d, copy, size, false);
    free(copy);
    return 0;
}
