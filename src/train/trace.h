// trace.h - what host and device did when, as Trace Event JSON (Perfetto, chrome://tracing).
#pragma once
#include "engine.h"

typedef struct hx_trace hx_trace;
hx_result hx_trace_new(const char *path, const char *device, hx_trace **out);   // yours
// Something on the host between two times in seconds. A NULL trace is told nothing.
void      hx_trace_span(hx_trace *t, const char *name, double begin, double end);
// Every dispatch of the engine's last step, which had ended at `end` seconds at the latest: the
// device's clock is set by the earliest such end that was seen.
hx_result hx_trace_device(hx_trace *t, hx_engine *e, double end);
int64_t   hx_trace_step(hx_trace *t);      // counts one more step; how many there are
hx_result hx_trace_close(hx_trace **t);    // writes the file. Accepts NULL, writes NULL
