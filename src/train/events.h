// events.h - a file that TensorBoard reads: records of Event messages with checked lengths.
#pragma once
#include "../../runtime/base.h"

typedef struct hx_events hx_events;
// Makes a file of its own in `dir` (made if missing). step > 0: what earlier files say of later
// steps is not to be shown. HX_E_IO.
hx_result hx_events_open(const char *dir, int64_t step, hx_events **out);   // yours
void      hx_events_close(hx_events **e);  // accepts NULL, writes NULL
// A point of the curve `tag`, at this time.
hx_result hx_events_number(hx_events *e, int64_t step, const char *tag, double value);
// n bytes of text under `tag`.
hx_result hx_events_text(hx_events *e, int64_t step, const char *tag, const void *text, int64_t n);
uint32_t  hx_crc32c(const void *data, int64_t n);      // Castagnoli, as in RFC 3720
