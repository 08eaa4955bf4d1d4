// nodes.h - device files of GPUs: are there any, and may this user open them?
#pragma once
#include "../../runtime/arena.h"

typedef struct hx_node_file {
    const char *path;                      // NULL: there is no such file
    const char *why;                       // it cannot be opened; NULL: it can
    const char *fix;                       // what to do about that
} hx_node_file;
// One file; texts are in `a`.
hx_node_file hx_node_look(hx_arena *a, const char *path);
// The i-th render node of /dev/dri, or of the directory in HTXVK_DRI; behind the last /dev/nvidiactl.
hx_node_file hx_node_get(hx_arena *a, int i);
bool hx_in_container(void);
