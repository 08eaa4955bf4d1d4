// text.c - fuzz target: any bytes as a .gz and as a .zst file, with a limit on what comes out.
#include "../../src/data/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LIMIT = 1 << 20 };

static void unpack(const char *end, const uint8_t *data, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/htxvk-fuzz-%ld%s", (long)getpid(), end);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size)
        abort();
    fclose(f);
    hx_text *t;
    if (!hx_text_read(&(hx_strs){ 1, { path } }, LIMIT, &t) && t->size > LIMIT)
        abort();
    hx_text_free(&t);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unpack(".gz", data, size);
    unpack(".zst", data, size);
    return 0;
}
