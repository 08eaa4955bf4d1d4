#include "file.h"
#include "io.h"
#include <dirent.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>

enum { MAX_DEPTH = 32, MAX_NAMES = 1 << 20, NAME_BYTES = 120 };

hx_result hx_dir_make(const char *path, unsigned mode)
{
    struct stat st;
    if (!io_mkdir(path, mode))
        return HX_OK;
    int e = errno;
    if (e == EEXIST && !stat(path, &st) && S_ISDIR(st.st_mode))
        return HX_OK;
    return hx_fail(HX_E_IO, "cannot make the directory '%s': %s [E-IO]", path, strerror(e));
}

hx_result hx_dir_make_all(const char *path, unsigned mode)
{
    char *p = strdup(path);
    if (!p)
        return hx_fail(HX_E_NOMEM, "no memory for a path [E-NOMEM]");
    hx_result r = HX_OK;
    for (char *s = p + 1; *p && *s && !r; s++) {
        if (*s != '/')
            continue;
        *s = 0;
        r = hx_dir_make(p, mode);
        *s = '/';
    }
    free(p);
    return r ? r : hx_dir_make(path, mode);
}

hx_result hx_dir_sync(const char *path)
{
    if (!path)                             // whoever made its name had no memory
        return hx_fail(HX_E_NOMEM, "no memory for a path [E-NOMEM]");
    int fd = io_open(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return hx_fail(HX_E_IO, "cannot open the directory '%s': %s [E-IO]", path, strerror(errno));
    int r = io_fsync(fd), e = errno;
    close(fd);
    // some network file systems cannot sync a directory and say so
    if (r && e != EINVAL)
        return hx_fail(HX_E_IO, "cannot sync the directory '%s': %s [E-IO]", path, strerror(e));
    return HX_OK;
}

int64_t hx_dir_room(const char *path)
{
    struct statvfs s;
    const char *what = hx_fault("io", "statvfs");
    if (what)
        return 0;
    if (statvfs(path, &s) || s.f_blocks == 0)
        return -1;
    return (int64_t)s.f_bavail * (int64_t)s.f_frsize;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool dots(const char *s) { return !strcmp(s, ".") || !strcmp(s, ".."); }

static hx_result list_open(hx_arena *arena, const char *path, DIR *d, hx_names *out)
{
    int cap = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (dots(e->d_name))
            continue;
        if (out->n == MAX_NAMES)
            return hx_fail(HX_E_INPUT, "'%s' has more than %d entries [E-FILE]", path, MAX_NAMES);
        if (out->n == cap) {
            const char **v = hx_new(arena, const char *, cap = cap ? 2 * cap : 64);
            if (!v)
                return HX_E_NOMEM;
            if (out->n)
                memcpy(v, out->v, sizeof *v * (size_t)out->n);
            out->v = v;
        }
        if (!(out->v[out->n++] = hx_strdup(arena, e->d_name)))
            return HX_E_NOMEM;
    }
    if (out->n)
        qsort(out->v, (size_t)out->n, sizeof *out->v, by_bytes);
    return HX_OK;
}

hx_result hx_dir_list(hx_arena *arena, const char *path, hx_names *out)
{
    *out = (hx_names){ 0 };
    DIR *d = opendir(path);
    if (!d)
        return hx_fail(errno == ENOENT || errno == ENOTDIR || errno == EACCES ? HX_E_INPUT
                                                                              : HX_E_IO,
                       "cannot list '%s': %s [E-FILE]", path, strerror(errno));
    hx_result r = list_open(arena, path, d, out);
    closedir(d);
    return r;
}

// Removes what is in the open directory; takes fd over.
static int empty(int fd, int depth)
{
    DIR *d = depth < MAX_DEPTH ? fdopendir(fd) : NULL;
    if (!d)
        return close(fd), -1;
    int r = 0;
    for (struct dirent *e; !r && (e = readdir(d));) {
        if (dots(e->d_name))
            continue;
        int sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub >= 0)
            r = empty(sub, depth + 1) || unlinkat(fd, e->d_name, AT_REMOVEDIR);
        else
            r = io_fails("unlink") ? -1 : unlinkat(fd, e->d_name, 0);
    }
    closedir(d);
    return r;
}

hx_result hx_dir_remove(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || empty(fd, 0) || rmdir(path))
        return hx_fail(HX_E_IO, "cannot remove '%s': %s [E-IO]", path, strerror(errno));
    return HX_OK;
}

static hx_result sync_parent(const char *path)
{
    hx_arena *a = hx_arena_new();
    const char *dir = hx_path_dir(a, path);
    hx_result r = dir ? hx_dir_sync(dir) : hx_fail(HX_E_NOMEM, "no memory for a path [E-NOMEM]");
    hx_arena_free(&a);
    return r;
}

hx_result hx_rename(const char *from, const char *to)
{
    if (io_rename(from, to))
        return hx_fail(HX_E_IO, "cannot rename '%s' to '%s': %s [E-IO]", from, to, strerror(errno));
    return sync_parent(to);
}

hx_result hx_link_swap(const char *target, const char *path)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    hx_arena *a = hx_arena_new();
    const char *stage = hx_sprintf(a, "%s.tmp-%ld-%lx", path, (long)getpid(), (long)t.tv_nsec);
    hx_result r = stage ? HX_OK : hx_fail(HX_E_NOMEM, "no memory for a path [E-NOMEM]");
    if (!r && (io_fails("symlink") || symlink(target, stage)))
        r = hx_fail(HX_E_IO, "cannot make the link '%s': %s [E-IO]", path, strerror(errno));
    if (!r && io_rename(stage, path)) {
        r = hx_fail(HX_E_IO, "cannot rename '%s' to '%s': %s [E-IO]", stage, path, strerror(errno));
        unlink(stage);
    }
    hx_arena_free(&a);
    return r;
}

const char *hx_path_join(hx_arena *a, const char *dir, const char *name)
{
    if (name[0] == '/' || !dir[0] || !strcmp(dir, "."))
        return hx_strdup(a, name);
    return hx_sprintf(a, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
}

const char *hx_path_dir(hx_arena *a, const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    char *s = hx_strdup(a, n ? path : ".");
    if (s && n)
        s[n] = 0;
    return s;
}

int hx_char_bytes(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] < 0x80)
        return s[0] >= 0x20 && s[0] != 0x7f;
    int n = s[0] >= 0xc2 && s[0] < 0xe0   ? 2
            : (s[0] & 0xf0) == 0xe0       ? 3
            : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                          : 0;
    uint32_t c = n == 2 ? s[0] & 0x1f : n == 3 ? s[0] & 0x0f : s[0] & 0x07;
    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3f);
    }
    bool low = (n == 3 && c < 0x800) || (n == 4 && (c < 0x10000 || c > 0x10ffff));
    // C1 controls, surrogates, and the characters that turn the direction of a line around
    bool odd = c < 0xa0 || (c >= 0xd800 && c < 0xe000) || (c >= 0x200e && c <= 0x200f) ||
               (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
    return low || odd ? 0 : n;
}

const char *hx_printable(hx_arena *a, const char *s)
{
    char out[NAME_BYTES + 8];
    int at = 0;
    for (const char *p = s; *p;) {
        int n = hx_char_bytes(p);
        if (at + (n ? n : 4) > NAME_BYTES) {
            memcpy(out + at, "...", 3);
            at += 3;
            break;
        }
        if (n)
            memcpy(out + at, p, (size_t)n);
        else
            snprintf(out + at, 5, "\\x%02x", (unsigned char)*p);
        at += n ? n : 4;
        p += n ? n : 1;
    }
    out[at] = 0;
    return hx_strdup(a, out);
}
