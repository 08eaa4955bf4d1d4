// control.c - no parser: reads one byte behind inputs that begin with "HX", which fuzzing must find.
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    volatile uint8_t c = size > 1 && data[0] == 'H' && data[1] == 'X' ? data[size] : 0;
    (void)c;
    return 0;
}
