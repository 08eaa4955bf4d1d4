// log.h - messages to whoever embeds the library. The library itself never prints.
#pragma once
#include "base.h"

typedef enum { HX_LOG_ERROR, HX_LOG_WARN, HX_LOG_INFO, HX_LOG_DEBUG } hx_log_level;
// Sets the receiver of all messages, for the whole process; NULL drops them.
void hx_log_to(void (*receiver)(void *user, hx_log_level level, const char *text), void *user);
void hx_log(hx_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
