// io.h - system calls that change files, each with its place for a fault. Internal to runtime.
#pragma once
#include "fault.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// errno of a fault's word.
static inline int io_error(const char *what)
{
    static const struct { const char *name; int value; } known[] = {
        { "EIO", EIO }, { "ENOSPC", ENOSPC }, { "EDQUOT", EDQUOT }, { "EROFS", EROFS },
        { "EMFILE", EMFILE }, { "EINTR", EINTR }, { "EACCES", EACCES }, { "EFBIG", EFBIG },
        { "EINVAL", EINVAL }, { "ENOSYS", ENOSYS }, { "EOPNOTSUPP", EOPNOTSUPP },
    };
    if (!strcmp(what, "KILL"))             // as if the process had been killed just before the call
        raise(SIGKILL);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(what, known[i].name))
            return known[i].value;
    return EIO;
}

// True with errno set when this call is to fail. A SLOW one takes 0.3 s longer.
static inline int io_fails(const char *call)
{
    const char *what = hx_fault("io", call);
    if (what && !strcmp(what, "SLOW"))
        return usleep(300000), false;
    if (what)
        errno = io_error(what);
    return what != NULL;
}

static inline int io_open(const char *path, int flags, mode_t mode)
{
    int fd;
    do
        fd = io_fails("open") ? -1 : open(path, flags | O_CLOEXEC, mode);
    while (fd < 0 && errno == EINTR);
    return fd;
}

static inline ssize_t io_write(int fd, const void *data, size_t n)
{
    const char *what = hx_fault("io", "write");
    if (what && !strcmp(what, "short"))
        n = n > 1 ? n / 2 : n;
    else if (what)
        return errno = io_error(what), -1;
    return write(fd, data, n);
}

static inline ssize_t io_pread(int fd, void *out, size_t n, off_t at)
{
    const char *what = hx_fault("io", "read");
    if (what && !strcmp(what, "short"))
        n = n > 1 ? n / 2 : n;
    else if (what)
        return errno = io_error(what), -1;
    return pread(fd, out, n, at);
}

static inline int io_fsync(int fd) { return io_fails("fsync") ? -1 : fsync(fd); }
static inline int io_mkdir(const char *p, mode_t m) { return io_fails("mkdir") ? -1 : mkdir(p, m); }
static inline int io_unlink(const char *path) { return io_fails("unlink") ? -1 : unlink(path); }

// The descriptor is gone either way; only the report can be made to fail.
static inline int io_close(int fd)
{
    int r = close(fd);
    return io_fails("close") ? -1 : r;
}

static inline int io_rename(const char *from, const char *to)
{
    return io_fails("rename") ? -1 : rename(from, to);
}

static inline int io_fallocate(int fd, off_t n)
{
    return io_fails("fallocate") ? -1 : fallocate(fd, 0, 0, n);
}
