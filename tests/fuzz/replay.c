// replay.c - runs a fuzz target on files, or on every file of directories: without libFuzzer, so that
// the corpus is part of the test-suite with any compiler.
#include "fuzz.h"

static int count;

static void one(const char *path)
{
    hx_blob b;
    if (hx_file_read(path, 1 << 26, 0, &b)) {
        fprintf(stderr, "%s\n", hx_last_message());
        exit(1);
    }
    // exactly as large as the file, so that reading behind it is seen
    uint8_t *copy = malloc((size_t)b.size);
    memcpy(copy, b.data, (size_t)b.size);
    LLVMFuzzerTestOneInput(copy, (size_t)b.size);
    free(copy);
    hx_blob_free(&b);
    count++;
}

int main(int argc, char **argv)
{
    hx_arena *a = hx_arena_new();
    for (int i = 1; i < argc; i++) {
        hx_names names;
        if (hx_dir_list(a, argv[i], &names))
            one(argv[i]);
        else
            for (int k = 0; k < names.n; k++)
                one(hx_path_join(a, argv[i], names.v[k]));
    }
    hx_arena_free(&a);
    printf("%d inputs\n", count);
    return count ? 0 : 1;
}
