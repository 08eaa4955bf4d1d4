// cache.c - compiled pipelines on disk, so that the second start is quick.
//
// One file for each device and driver in $XDG_CACHE_HOME/htxvk or ~/.cache/htxvk: a header of
// ours, then what the driver gave. A file that does not fit in every point is deleted, because
// drivers trust what they are handed.
#include "vk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

enum { MAX_BYTES = 256 << 20 };

typedef struct header {
    char     magic[8];
    uint32_t vendor, device, driver_version, zero;
    uint8_t  uuid[VK_UUID_SIZE];
    uint64_t bytes, hash;                  // of what follows
} header;

static header header_of(const hx_vk *d, const void *blob, uint64_t bytes)
{
    header h = { .magic = "htxvkpc", .vendor = d->gpu.caps.vendor, .device = d->gpu.caps.device,
                 .driver_version = d->gpu.caps.driver_version, .bytes = bytes,
                 .hash = XXH3_64bits(blob, bytes) };
    memcpy(h.uuid, d->gpu.cache_uuid, sizeof h.uuid);
    return h;
}

// The folder, made if need be; false when there is none that is ours alone.
static bool folder(char *out, size_t cap)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct stat st;
    int n;
    if (xdg && xdg[0] == '/')
        n = snprintf(out, cap, "%s", xdg);
    else if (home && home[0] == '/')
        n = snprintf(out, cap, "%s/.cache", home);
    else
        return false;
    if ((size_t)n + sizeof "/htxvk" > cap)
        return false;
    mkdir(out, 0700);
    strcat(out, "/htxvk");
    mkdir(out, 0700);
    if (lstat(out, &st) || !S_ISDIR(st.st_mode))
        return false;
    if (st.st_uid != geteuid() || (st.st_mode & 022)) {
        hx_log(HX_LOG_WARN, "%s belongs to someone else or can be written by others: compiled "
               "kernels are not kept", out);
        return false;
    }
    return true;
}

static char *path_of(const hx_vk *d)
{
    char dir[3072], path[4096];
    if (!folder(dir, sizeof dir))
        return NULL;
    uint64_t driver = XXH3_64bits_withSeed(d->gpu.cache_uuid, VK_UUID_SIZE,
                                           d->gpu.caps.driver_version);
    snprintf(path, sizeof path, "%s/pipelines-%08x-%08x-%016llx", dir, d->gpu.caps.vendor,
             d->gpu.caps.device, (unsigned long long)driver);
    return strdup(path);
}

static bool read_all(int fd, void *out, size_t bytes)
{
    for (char *at = out; bytes;) {
        ssize_t n = read(fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

static bool write_all(int fd, const void *from, size_t bytes)
{
    for (const char *at = from; bytes;) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

// What follows the header; NULL when anything is not as we would write it.
static void *load_open(const hx_vk *d, int fd, size_t *bytes)
{
    struct stat st;
    header h;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        st.st_size <= (off_t)sizeof h || st.st_size > MAX_BYTES || !read_all(fd, &h, sizeof h))
        return NULL;
    *bytes = (size_t)st.st_size - sizeof h;
    void *blob = malloc(*bytes);
    if (!blob || !read_all(fd, blob, *bytes)) {
        free(blob);
        return NULL;
    }
    header want = header_of(d, blob, *bytes);
    if (memcmp(&h, &want, sizeof h)) {
        free(blob);
        return NULL;
    }
    return blob;
}

static void *load(const hx_vk *d, size_t *bytes)
{
    int fd = open(d->cache_path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    *bytes = 0;
    if (fd < 0)
        return NULL;
    void *blob = load_open(d, fd, bytes);
    close(fd);
    if (blob) {
        hx_log(HX_LOG_DEBUG, "pipeline cache: %zu bytes from %s", *bytes, d->cache_path);
        return blob;
    }
    *bytes = 0;
    unlink(d->cache_path);
    hx_log(HX_LOG_WARN, "pipeline cache %s is damaged or of another driver: deleted",
           d->cache_path);
    return NULL;
}

void hx_vk_cache_open(hx_vk *d, bool use_disk)
{
    size_t bytes = 0;
    d->cache_path = use_disk ? path_of(d) : NULL;
    void *blob = d->cache_path ? load(d, &bytes) : NULL;
    d->cache_hash = blob ? XXH3_64bits(blob, bytes) : 0;
    VkPipelineCacheCreateInfo info = { VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
        .initialDataSize = bytes, .pInitialData = blob };
    if (HX_VK_CALL(d->fn.vkCreatePipelineCache(d->dev, &info, NULL, &d->cache)))
        d->cache = VK_NULL_HANDLE;
    free(blob);
}

// Written beside the old file and renamed over it: a reader sees one or the other, whole.
static bool save(const hx_vk *d, const void *blob, size_t bytes)
{
    char tmp[4200];
    header h = header_of(d, blob, bytes);
    snprintf(tmp, sizeof tmp, "%s.%ld.tmp", d->cache_path, (long)getpid());
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool good = write_all(fd, &h, sizeof h) && write_all(fd, blob, bytes);
    good = !close(fd) && good;
    good = good && !rename(tmp, d->cache_path);
    if (!good)
        unlink(tmp);
    return good;
}

void hx_vk_cache_close(hx_vk *d)
{
    size_t bytes = 0;
    void *blob = NULL;
    if (!d->lost && d->cache && d->cache_path &&
        !HX_VK_CALL(d->fn.vkGetPipelineCacheData(d->dev, d->cache, &bytes, NULL)) && bytes)
        blob = malloc(bytes);
    if (blob && !d->fn.vkGetPipelineCacheData(d->dev, d->cache, &bytes, blob) &&
        bytes <= MAX_BYTES - sizeof(header) && XXH3_64bits(blob, bytes) != d->cache_hash &&
        !save(d, blob, bytes))
        hx_log(HX_LOG_WARN, "pipeline cache %s could not be written: the next start compiles again",
               d->cache_path);
    free(blob);
    d->fn.vkDestroyPipelineCache(d->dev, d->cache, NULL);
    free(d->cache_path);
    d->cache_path = NULL;
}
