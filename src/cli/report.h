// report.h - a run as one HTML file that needs nothing else.
#pragma once
#include "../../runtime/base.h"

// Writes RUN/report.html, or `path` if it is not NULL.
hx_result hx_report_write(const char *run, const char *path);
