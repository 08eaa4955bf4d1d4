#include "fault.h"
#ifdef HX_FAULTS
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ROWS = 16 };
typedef struct row { char area[16], call[32], what[32]; long from, to, seen; } row;

// The one place with state of its own: a count of calls cannot live anywhere else.
static struct { bool ready; int n; row row[MAX_ROWS]; pthread_mutex_t lock; }
    faults = { .lock = PTHREAD_MUTEX_INITIALIZER };

// Reads "area:call:which:what" or "area:which:what".
static bool parse_row(const char *text, size_t n, row *r)
{
    char buf[96], which[16];
    if (n >= sizeof buf)
        return false;
    memcpy(buf, text, n);
    buf[n] = 0;
    *r = (row){ 0 };
    if (sscanf(buf, "%15[^:]:%31[^:]:%15[^:]:%31s", r->area, r->call, which, r->what) != 4) {
        r->call[0] = 0;
        if (sscanf(buf, "%15[^:]:%15[^:]:%31s", r->area, which, r->what) != 3)
            return false;
    }
    r->from = which[0] == '*' ? 1 : atol(which);
    r->to = which[0] == '*' || strchr(which, '+') ? __LONG_MAX__ : r->from;
    return r->from > 0;
}

static void parse(const char *rows)
{
    faults.n = 0;
    faults.ready = true;
    while (rows && *rows && faults.n < MAX_ROWS) {
        size_t n = strcspn(rows, ";");
        faults.n += parse_row(rows, n, &faults.row[faults.n]);
        rows += n + (rows[n] == ';');
    }
}

// Calls that may fail, into the file that HX_FAULT_LOG names, so that a test knows how many there are.
static void log_call(const char *area, const char *call)
{
    const char *path = getenv("HX_FAULT_LOG");
    int fd = path ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    if (fd >= 0) {
        dprintf(fd, "%s:%s\n", area, call);
        close(fd);
    }
}

const char *hx_fault(const char *area, const char *call)
{
    const char *what = NULL;
    log_call(area, call);
    pthread_mutex_lock(&faults.lock);
    if (!faults.ready)
        parse(getenv("HX_FAULT"));
    for (int i = 0; i < faults.n; i++) {
        row *r = &faults.row[i];
        if (strcmp(r->area, area) || (r->call[0] && strcmp(r->call, call)))
            continue;
        r->seen++;
        if (r->seen >= r->from && r->seen <= r->to)
            what = r->what;
    }
    pthread_mutex_unlock(&faults.lock);
    return what;
}

void hx_fault_set(const char *rows) { parse(rows ? rows : getenv("HX_FAULT")); }
#else
typedef int hx_fault_left_out;             // a translation unit must not be empty
#endif
