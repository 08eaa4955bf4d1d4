#include "file.h"
#include "io.h"
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <xxhash.h>

enum { CHUNK = 1 << 20 };                  // bytes per read and write

void hx_blob_free(hx_blob *b)
{
    free(b->data);
    *b = (hx_blob){ 0 };
}

// Whose fault it is: a path that names nothing readable is the user's, the rest is the system's.
static hx_result open_failed(const char *path)
{
    int e = errno;
    bool input =
        e == ENOENT || e == ENOTDIR || e == ELOOP || e == EACCES || e == ENAMETOOLONG || e == ENXIO;
    const char *why = e == ELOOP ? "it is a symbolic link, which is refused here" : strerror(e);
    return hx_fail(input ? HX_E_INPUT : HX_E_IO, "cannot open '%s': %s [E-FILE]", path, why);
}

static hx_result look(int fd, const char *path, struct stat *out)
{
    if (fstat(fd, out))
        return hx_fail(HX_E_IO, "cannot look at '%s': %s [E-IO]", path, strerror(errno));
    return HX_OK;
}

hx_result hx_file_open(const char *path, unsigned flags, int *fd, int64_t *size)
{
    // without O_NONBLOCK a named pipe would wait for its writer
    *fd = io_open(path, O_RDONLY | O_NONBLOCK | (flags & HX_FILE_NOFOLLOW ? O_NOFOLLOW : 0), 0);
    if (*fd < 0)
        return open_failed(path);
    struct stat st;
    hx_result r = look(*fd, path, &st);
    if (!r && !S_ISREG(st.st_mode))
        r = hx_fail(HX_E_INPUT, "cannot read '%s': %s [E-FILE]", path, S_ISDIR(st.st_mode)
                    ? "it is a directory" : "it is not a regular file");
    if (r) {
        close(*fd);
        *fd = -1;
        return r;
    }
    *size = st.st_size;
    return HX_OK;
}

hx_result hx_file_pread(int fd, const char *path, void *out, int64_t n, int64_t at)
{
    for (char *p = out; n > 0;) {
        ssize_t got = io_pread(fd, p, (size_t)n, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return hx_fail(HX_E_IO, "cannot read '%s': %s [E-IO]", path, strerror(errno));
        if (!got)
            return hx_fail(HX_E_IO,
                           "'%s' ends at byte %lld, %lld more were expected: it changed while "
                           "being read [E-IO]",
                           path, (long long)at, (long long)n);
        p += got;
        at += got;
        n -= got;
    }
    return HX_OK;
}

static hx_result read_open(int fd, const char *path, int64_t max, hx_blob *out)
{
    struct stat a, b;
    HX_TRY(look(fd, path, &a));
    if (a.st_size > max)
        return hx_fail(HX_E_INPUT, "'%s' has %lld bytes, at most %lld are read [E-FILE-SIZE]", path,
                       (long long)a.st_size, (long long)max);
    if (!(out->data = malloc((size_t)a.st_size + 1)))
        return hx_fail(HX_E_NOMEM, "no memory for the %lld bytes of '%s' [E-NOMEM]",
                       (long long)a.st_size, path);
    out->size = a.st_size;
    out->data[out->size] = 0;
    HX_TRY(hx_file_pread(fd, path, out->data, out->size, 0));
    HX_TRY(look(fd, path, &b));
    if (a.st_size != b.st_size || a.st_mtim.tv_sec != b.st_mtim.tv_sec ||
        a.st_mtim.tv_nsec != b.st_mtim.tv_nsec)
        return hx_fail(HX_E_INPUT, "'%s' changed while being read; try again [E-FILE]", path);
    return HX_OK;
}

hx_result hx_file_read(const char *path, int64_t max, unsigned flags, hx_blob *out)
{
    *out = (hx_blob){ 0 };
    int fd;
    int64_t size;
    HX_TRY(hx_file_open(path, flags, &fd, &size));
    hx_result r = read_open(fd, path, max, out);
    close(fd);
    if (r)
        hx_blob_free(out);
    return r;
}

static hx_result hash_open(int fd, const char *path, int64_t size, XXH3_state_t *x, uint8_t *buf)
{
    XXH3_128bits_reset(x);
    for (int64_t at = 0; at < size; at += CHUNK) {
        int64_t n = hx_min(CHUNK, size - at);
        HX_TRY(hx_file_pread(fd, path, buf, n, at));
        XXH3_128bits_update(x, buf, (size_t)n);
    }
    return HX_OK;
}

hx_result hx_file_hash(const char *path, uint64_t hash[2], int64_t *size)
{
    int fd;
    HX_TRY(hx_file_open(path, HX_FILE_NOFOLLOW, &fd, size));
    XXH3_state_t *x = XXH3_createState();
    uint8_t *buf = malloc(CHUNK);
    hx_result r = x && buf ? hash_open(fd, path, *size, x, buf)
                           : hx_fail(HX_E_NOMEM, "no memory to read '%s' [E-NOMEM]", path);
    if (!r) {
        XXH128_hash_t h = XXH3_128bits_digest(x);
        hash[0] = h.high64;
        hash[1] = h.low64;
    }
    XXH3_freeState(x);
    free(buf);
    close(fd);
    return r;
}

bool hx_file_exists(const char *path) { return access(path, F_OK) == 0; }

// A name beside `path` that nobody else uses: O_EXCL finds out the rest.
static char *stage_name(const char *path)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    char *s = NULL;
    if (asprintf(&s, "%s.tmp-%ld-%lx", path, (long)getpid(),
                 (long)(t.tv_sec * 1000000000L + t.tv_nsec)) < 0)
        return NULL;
    return s;
}

static hx_result write_failed(const hx_writer *w, const char *what)
{
    return hx_fail(HX_E_IO, "cannot %s '%s' (%lld bytes so far): %s [E-IO]", what, w->path,
                   (long long)w->bytes, strerror(errno));
}

hx_result hx_writer_open(hx_writer *w, const char *path, unsigned flags, int64_t size)
{
    // a device or a pipe would give way to the file that is renamed into its place
    struct stat st;
    if (!stat(path, &st) && !S_ISREG(st.st_mode)) {
        *w = (hx_writer){ .fd = -1 };
        return hx_fail(HX_E_IO, "cannot write '%s': it is there and no regular file [E-IO]", path);
    }
    *w = (hx_writer){
        .fd = -1, .path = strdup(path), .hash = XXH3_createState(), .buf = malloc(CHUNK)
    };
    w->stage = flags & HX_WRITER_REPLACE ? stage_name(path) : strdup(path);
    if (!w->path || !w->stage || !w->hash || !w->buf) {
        hx_writer_drop(w);
        return hx_fail(HX_E_NOMEM, "no memory to write '%s' [E-NOMEM]", path);
    }
    XXH3_128bits_reset(w->hash);
    w->fd = io_open(w->stage, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0644);
    if (w->fd < 0) {
        hx_result r = write_failed(w, "create");
        hx_writer_drop(w);
        return r;
    }
    w->made = true;
    // not every file system can set space aside; a full one says so now
    if (size > 0 && io_fallocate(w->fd, size) && errno != EOPNOTSUPP && errno != EINVAL &&
        errno != ENOSYS) {
        hx_result r = hx_fail(HX_E_IO, "no room for the %lld bytes of '%s': %s [E-IO]",
                              (long long)size, path, strerror(errno));
        hx_writer_drop(w);
        return r;
    }
    return HX_OK;
}

static hx_result write_all(const hx_writer *w, const uint8_t *p, int64_t n)
{
    while (n > 0) {
        ssize_t put = io_write(w->fd, p, (size_t)n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return write_failed(w, "write");
        p += put;
        n -= put;
    }
    return HX_OK;
}

hx_result hx_writer_put(hx_writer *w, const void *data, int64_t n)
{
    if (w->fd < 0)
        return hx_fail(HX_E_INTERNAL, "a closed writer was given %lld bytes [E-WRITER]",
                       (long long)n);
    if (n <= 0)
        return HX_OK;
    XXH3_128bits_update(w->hash, data, (size_t)n);
    w->bytes += n;
    const uint8_t *p = data;
    while (n > 0) {
        int64_t k = hx_min(n, CHUNK - w->fill);
        memcpy(w->buf + w->fill, p, (size_t)k);
        w->fill += k;
        p += k;
        n -= k;
        if (w->fill == CHUNK) {
            HX_TRY(write_all(w, w->buf, CHUNK));
            w->fill = 0;
        }
    }
    return HX_OK;
}

static hx_result finish(hx_writer *w)
{
    HX_TRY(write_all(w, w->buf, w->fill));
    // what was set aside beyond the end goes back
    if (ftruncate(w->fd, w->bytes))
        return write_failed(w, "cut");
    // a failed fsync is never tried again: the kernel has already dropped the pages
    if (io_fsync(w->fd))
        return write_failed(w, "sync");
    int fd = w->fd;
    w->fd = -1;
    if (io_close(fd))
        return write_failed(w, "close");
    if (strcmp(w->stage, w->path) && io_rename(w->stage, w->path))
        return write_failed(w, "rename into place");
    return HX_OK;
}

static void forget(hx_writer *w)
{
    free(w->path);
    free(w->stage);
    free(w->buf);
    XXH3_freeState(w->hash);
    *w = (hx_writer){ .fd = -1 };
}

hx_result hx_writer_close(hx_writer *w, uint64_t hash[2])
{
    if (w->fd < 0)
        return hx_fail(HX_E_INTERNAL, "a writer was closed twice [E-WRITER]");
    hx_result r = finish(w);
    if (r) {
        hx_writer_drop(w);
        return r;
    }
    XXH128_hash_t h = XXH3_128bits_digest(w->hash);
    if (hash) {
        hash[0] = h.high64;
        hash[1] = h.low64;
    }
    forget(w);
    return HX_OK;
}

void hx_writer_drop(hx_writer *w)
{
    if (w->fd >= 0)
        close(w->fd);
    if (w->made)
        unlink(w->stage);
    forget(w);
}

hx_result hx_file_write(const char *path, const void *data, int64_t n)
{
    hx_writer w;
    HX_TRY(hx_writer_open(&w, path, HX_WRITER_REPLACE, n));
    hx_result r = hx_writer_put(&w, data, n);
    if (r) {
        hx_writer_drop(&w);
        return r;
    }
    HX_TRY(hx_writer_close(&w, NULL));
    hx_arena *a = hx_arena_new();
    r = hx_dir_sync(hx_path_dir(a, path));
    hx_arena_free(&a);
    return r;
}

hx_result hx_file_append(const char *path, const void *data, int64_t n)
{
    hx_writer w = { .path = (char *)path };
    w.fd = io_open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0644);
    if (w.fd < 0)
        return write_failed(&w, "open");
    hx_result r = write_all(&w, data, n);
    if (io_close(w.fd) && !r)
        r = write_failed(&w, "close");
    return r;
}

// Who holds a lock, as its holder wrote it down.
static hx_result held(int fd, const char *path)
{
    char who[64] = "";
    ssize_t n = pread(fd, who, sizeof who - 1, 0);
    who[n > 0 ? strcspn(who, "\n") : 0] = 0;
    return hx_fail(HX_E_IO, "'%s' is held by another process (pid %s); stop it first [E-LOCKED]",
                   path, who[0] ? who : "unknown");
}

hx_result hx_lock(const char *path, int *fd)
{
    *fd = io_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0644);
    if (*fd < 0)
        return hx_fail(HX_E_IO, "cannot open the lock '%s': %s [E-IO]", path, strerror(errno));
    if (flock(*fd, LOCK_EX | LOCK_NB)) {
        hx_result r = errno == EWOULDBLOCK ? held(*fd, path)
                    : hx_fail(HX_E_IO, "cannot lock '%s': %s [E-IO]", path, strerror(errno));
        close(*fd);
        *fd = -1;
        return r;
    }
    // for the message only: losing it is harmless
    if (ftruncate(*fd, 0) == 0)
        dprintf(*fd, "%ld\n", (long)getpid());
    return HX_OK;
}
