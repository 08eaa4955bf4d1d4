// saver.h - writes checkpoints beside training: a thread of its own, one checkpoint at a time.
#pragma once
#include "../core/ckpt.h"

typedef struct hx_saver hx_saver;
// Starts the thread. `dir` (RUN/ckpt) is borrowed, `keep` is hx_ckpt_write's. HX_E_NOMEM: no thread.
hx_result hx_saver_new(const char *dir, int keep, hx_saver **out);
// Waits for what is being written and forgets how it went. Accepts NULL, writes NULL.
void      hx_saver_free(hx_saver **s);
// Begins to write `c`, and with `best` to name it so afterwards. What c points to must stay as it is
// until hx_saver_take. HX_E_INTERNAL: the one before was not taken.
hx_result hx_saver_begin(hx_saver *s, const hx_ckpt *c, bool best);
// Nothing is being written, at the latest `ms` milliseconds from now.
bool      hx_saver_idle(hx_saver *s, int ms);
// Waits for the checkpoint that was begun; its result and message as if it had been written here.
// HX_OK where none was begun.
hx_result hx_saver_take(hx_saver *s);
