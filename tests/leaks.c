// leaks.c - preloaded into a training by tools/soak --leak WHAT, which must report it: something is kept at
// every fsync.
//
//   HTXVK_LEAK=memory   64 KiB, that are written to
//   HTXVK_LEAK=files    a descriptor
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fsync(int fd)
{
    const char *what = getenv("HTXVK_LEAK");
    if (what && !strcmp(what, "memory")) {
        char *volatile kept = malloc(65536);
        if (kept)
            memset(kept, 1, 65536);
    }
    if (what && !strcmp(what, "files"))
        (void)!dup(fd);
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return real(fd);
}
