// fuzz.h - what fuzz targets share: an input of several files, a folder in memory, hashes that fit.
//
// Files of one input are separated by a line "%%". Where a manifest says @2, the XXH3-128 of file
// number 2 (the manifest is 0) is put in, so that what lies behind a hash is reached, too.
#pragma once
#include "../../runtime/file.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum { MAX_PARTS = 6 };
typedef struct part { const uint8_t *data; size_t size; } part;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Parts that are not there are empty.
static inline void split(const uint8_t *data, size_t size, part out[MAX_PARTS])
{
    static const char line[] = "\n%%\n";
    for (int i = 0; i < MAX_PARTS; i++) {
        const uint8_t *end = size ? memmem(data, size, line, 4) : NULL;
        out[i] = (part){ data, end && i < MAX_PARTS - 1 ? (size_t)(end - data) : size };
        size_t gone = out[i].size + (end && i < MAX_PARTS - 1 ? 4 : 0);
        data += gone;
        size -= gone;
    }
}

static inline void put(const char *dir, const char *name, part p)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p.data, 1, p.size, f) != p.size)
        abort();
    fclose(f);
}

// A folder of this process in memory.
static inline const char *fresh_dir(char out[64])
{
    snprintf(out, 64, "/dev/shm/htxvk-fuzz-%ld", (long)getpid());
    hx_dir_make(out, 0700);
    return out;
}

// Part 0 with hashes put in; freed by the caller.
static inline part with_hashes(const part in[MAX_PARTS])
{
    uint8_t *out = malloc(in[0].size * 17 + 40);
    size_t n = 0;
    for (size_t i = 0; i < in[0].size; i++) {
        uint8_t c = in[0].data[i], k = i + 1 < in[0].size ? in[0].data[i + 1] : 0;
        if (c != '@' || k < '0' || k >= '0' + MAX_PARTS) {
            out[n++] = c;
            continue;
        }
        XXH128_hash_t h = XXH3_128bits(in[k - '0'].data, in[k - '0'].size);
        n += (size_t)sprintf((char *)out + n, "%016" PRIx64 "%016" PRIx64, h.high64, h.low64);
        i++;
    }
    return (part){ out, n };
}
