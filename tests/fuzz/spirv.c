// spirv.c - fuzz target: any words as a SPIR-V module whose declarations are read.
#include "../../runtime/vulkan/reflect.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint32_t spec[4] = { 1, 64, 0, UINT32_MAX };
    hx_reflect *r = malloc(sizeof *r);
    uint32_t *words = malloc(size + 4);
    memcpy(words, data, size);
    for (int n = 0; n < 5; n += 4)
        if (!hx_reflect_spirv("fuzz", words, size / 4, spec, n, r) &&
            (r->n_binding > HX_MAX_BINDINGS || r->n_push > HX_REFLECT_PUSH || r->local[0] < 1))
            abort();
    free(words);
    free(r);
    return 0;
}
