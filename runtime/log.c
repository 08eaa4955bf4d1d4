#include "log.h"
#include <stdarg.h>
#include <stdio.h>

static void (*to)(void *, hx_log_level, const char *);
static void *to_user;

void hx_log_to(void (*receiver)(void *user, hx_log_level level, const char *text), void *user)
{
    to = receiver;
    to_user = user;
}

void hx_log(hx_log_level level, const char *fmt, ...)
{
    if (!to)
        return;
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    to(to_user, level, text);
}
