// test_cache.c - the file of compiled pipelines: folders that are ours alone, what is read and written,
// and every system call failing on the way. The driver is a few functions here.
#include "../runtime/vulkan/cache.c"
#include "../runtime/log.h"
#include "each.h"

static hx_vk d;
static int warned;
static char blob[1000];
static size_t blob_bytes;
static int fail_at;                        // this call of the driver fails; 0: none
static int given;                          // bytes that the driver was handed

static void count(void *user, hx_log_level level, const char *text)
{
    (void)user, (void)text;
    warned += level == HX_LOG_WARN;
}

static VkResult create(VkDevice dev, const VkPipelineCacheCreateInfo *info, const VkAllocationCallbacks *a, VkPipelineCache *out)
{
    (void)dev, (void)a;
    given = (int)info->initialDataSize;
    *out = (VkPipelineCache)(uintptr_t)1;
    return fail_at == 1 ? VK_ERROR_OUT_OF_HOST_MEMORY : VK_SUCCESS;
}

static VkResult get_data(VkDevice dev, VkPipelineCache c, size_t *n, void *out)
{
    (void)dev, (void)c;
    *n = blob_bytes;
    if (out)
        memcpy(out, blob, blob_bytes);
    *n += out && fail_at == 4 ? (size_t)1 << 30 : 0;
    return fail_at == (out ? 3 : 2) ? VK_ERROR_OUT_OF_HOST_MEMORY : VK_SUCCESS;
}

static void destroy(VkDevice dev, VkPipelineCache c, const VkAllocationCallbacks *a) { (void)dev, (void)c, (void)a; }

static void start(void)
{
    setup();
    d = (hx_vk){ 0 };
    d.fn.vkCreatePipelineCache = create;
    d.fn.vkGetPipelineCacheData = get_data;
    d.fn.vkDestroyPipelineCache = destroy;
    fail_at = warned = 0;
    blob_bytes = 700;
    for (size_t i = 0; i < sizeof blob; i++)
        blob[i] = (char)(i * 7);
    setenv("XDG_CACHE_HOME", scratch, 1);
    setenv("HOME", "/nowhere", 1);
    hx_log_to(count, NULL);
}

// One start and end of a device: what the driver was given.
static int session(void)
{
    given = -1;
    hx_vk_cache_open(&d, true);
    hx_vk_cache_close(&d);
    return given;
}

static const char *file_name(void)
{
    char *path = path_of(&d);
    const char *copy = hx_strdup(arena, path ? path : "");
    free(path);
    return copy;
}

START_TEST(kept)
{
    ck_assert_int_eq(session(), 0);
    ck_assert_int_eq(session(), 700);
    ck_assert_int_eq(session(), 700);
    struct stat st;
    ck_assert(!stat(file_name(), &st) && st.st_size == 700 + (off_t)sizeof(header) && (st.st_mode & 0777) == 0600);
    // what did not change is not written
    time_t before = st.st_ino;
    session();
    ck_assert(!stat(file_name(), &st) && (time_t)st.st_ino == before);
    blob[3]++;
    session();
    ck_assert(!stat(file_name(), &st) && (time_t)st.st_ino != before);
    // another driver has another file
    const char *one = file_name();
    d.gpu.caps.driver_version = 2;
    ck_assert_str_ne(one, file_name());
    ck_assert_int_eq(session(), 0);
    // not asked for, nothing there, nothing to keep
    hx_vk_cache_open(&d, false);
    ck_assert(!d.cache_path && given == 0);
    hx_vk_cache_close(&d);
    blob_bytes = 0;
    ck_assert_int_eq(session(), 700);
    d.lost = true;
    ck_assert_int_eq(session(), 700);
    ck_assert_int_eq(warned, 0);
}
END_TEST

START_TEST(folders)
{
    char dir[100];
    static const char *const none[][2] = { { "", "" }, { "here", "there" }, { "", "there" } };
    for (int i = 0; i < HX_COUNT(none); i++) {
        setenv("XDG_CACHE_HOME", none[i][0], 1);
        setenv("HOME", none[i][1], 1);
        ck_assert(!folder(dir, sizeof dir));
    }
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    ck_assert(!folder(dir, sizeof dir));
    setenv("HOME", scratch, 1);
    ck_assert(folder(dir, sizeof dir));
    ck_assert_str_eq(dir, at(".cache/htxvk"));
    setenv("XDG_CACHE_HOME", "not absolute", 1);
    ck_assert(folder(dir, sizeof dir));
    ck_assert_str_eq(dir, at(".cache/htxvk"));
    setenv("XDG_CACHE_HOME", at("x"), 1);
    ck_assert(folder(dir, sizeof dir));
    ck_assert_str_eq(dir, at("x/htxvk"));
    // as much room as it takes, and a byte less
    size_t n = strlen(dir) + 1;
    ck_assert(folder(dir, n));
    ck_assert(!folder(dir, n - 1));
    // others may write there, it is a file, it is a link, it cannot be looked at
    ck_assert_int_eq(warned, 0);
    chmod(at("x/htxvk"), 0722);
    ck_assert(!folder(dir, sizeof dir));
    ck_assert_int_eq(warned, 1);
    chmod(at("x/htxvk"), 0755);
    ck_assert(folder(dir, sizeof dir));
    if (!geteuid()) {
        ck_assert_int_eq(chown(at("x/htxvk"), 1, 1), 0);
        ck_assert(!folder(dir, sizeof dir));
        ck_assert_int_eq(warned, 2);
    }
    setenv("XDG_CACHE_HOME", at("y"), 1);
    ck_ok(hx_dir_make(at("y"), 0755));
    put("y/htxvk", "x", 1);
    ck_assert(!folder(dir, sizeof dir));
    unlink(at("y/htxvk"));
    ck_assert_int_eq(symlink(scratch, at("y/htxvk")), 0);
    ck_assert(!folder(dir, sizeof dir));
    setenv("XDG_CACHE_HOME", "/proc/nothing", 1);
    ck_assert(!folder(dir, sizeof dir));
    ck_assert_int_eq(session(), 0);
}
END_TEST

// Whatever is not as we would write it is deleted, and the driver gets nothing.
START_TEST(foreign)
{
    ck_assert_int_eq(session(), 0);
    const char *path = file_name();
    hx_blob good;
    ck_ok(hx_file_read(path, 1 << 20, 0, &good));
    for (int64_t i = 0; i < good.size; i += i < (int64_t)sizeof(header) ? 1 : 50) {
        good.data[i] ^= 4;
        ck_ok(hx_file_write(path, good.data, good.size));
        ck_assert_int_eq(chmod(path, 0600), 0);
        good.data[i] ^= 4;
        size_t bytes = 9;
        d.cache_path = (char *)(uintptr_t)path;
        // zero is the only field that no one looks at by itself: all are compared
        ck_assert_ptr_null(load(&d, &bytes));
        ck_assert(bytes == 0 && !hx_file_exists(path));
    }
    ck_assert_int_gt(warned, 40);
    static const int64_t sizes[] = { 0, 1, sizeof(header) - 1, sizeof(header) };
    for (int i = 0; i < HX_COUNT(sizes); i++) {
        ck_ok(hx_file_write(path, good.data, sizes[i]));
        size_t bytes;
        ck_assert_ptr_null(load(&d, &bytes));
        ck_assert(!hx_file_exists(path));
    }
    size_t bytes;
    ck_ok(hx_file_write(path, good.data, good.size));
    ck_assert_int_eq(truncate(path, (off_t)MAX_BYTES + 1), 0);
    ck_assert_ptr_null(load(&d, &bytes));
    // somebody else's, a directory, a link
    if (!geteuid()) {
        ck_ok(hx_file_write(path, good.data, good.size));
        ck_assert_int_eq(chown(path, 1, 1), 0);
        ck_assert_ptr_null(load(&d, &bytes));
    }
    ck_ok(hx_dir_make(path, 0700));
    ck_assert_ptr_null(load(&d, &bytes));
    ck_assert_int_eq(rmdir(path), 0);
    ck_ok(hx_file_write(at("good"), good.data, good.size));
    ck_assert_int_eq(symlink(at("good"), path), 0);
    ck_assert_ptr_null(load(&d, &bytes));
    unlink(path);
    ck_ok(hx_file_write(path, good.data, good.size));
    void *is = load(&d, &bytes);
    ck_assert(is && bytes == 700 && !memcmp(is, blob, 700));
    free(is);
    d.cache_path = NULL;
    hx_blob_free(&good);
}
END_TEST

// Calls that fail cost the cache, nothing else; interrupted ones are made again.
START_TEST(failing)
{
    static const char *const calls[] = { "read", "write", "fstat64", "lstat64", "close", "memory" };
    for (int c = 0; c < HX_COUNT(calls); c++)
        for (long n = 1, seen = n; seen >= n; n++) {
            session();
            blob[1]++;
            nth_arm(calls[c], n, EIO);
            int was = session();
            seen = nth_disarm();
            ck_assert(was == 0 || was == 700);
            ck_assert_int_lt(n, 20);
            // the next one finds the old or the new, whole
            given = session();
            ck_assert(given == 0 || given == 700);
            hx_names names;
            ck_ok(hx_dir_list(arena, at("htxvk"), &names));
            ck_assert_int_eq(names.n, 1);
        }
    session();
    ck_assert_int_eq(session(), 700);
    if (HAVE_FAULTS) {
        hx_fault_set("vk:vkCreatePipelineCache:1:VK_ERROR_OUT_OF_HOST_MEMORY");
        session();
        hx_fault_set("vk:vkGetPipelineCacheData:1:VK_ERROR_OUT_OF_HOST_MEMORY");
        blob[6]++;
        session();
        hx_fault_set("");
    }
    for (int c = 0; c < 2; c++) {
        blob[2]++;
        nth_arm(calls[c], 1, EINTR);
        ck_assert_int_eq(session(), 700);
        nth_disarm();
        blob_bytes = 700;
        ck_assert_int_eq(session(), 700);
    }
    for (fail_at = 1; fail_at <= 4; fail_at++) {
        blob[4]++;
        ck_assert_int_eq(session(), 700);
    }
    fail_at = 0;
    // the file cannot be made, or not put in its place
    warned = 0;
    blob[5]++;
    const char *tmp = hx_sprintf(arena, "%s.%ld.tmp", file_name(), (long)getpid());
    ck_assert_int_eq(symlink("nowhere", tmp), 0);
    session();
    ck_assert_int_eq(warned, 1);
    unlink(tmp);
    unlink(file_name());
    d.cache_path = strdup(file_name());
    ck_ok(hx_dir_make_all(hx_sprintf(arena, "%s/in", d.cache_path), 0700));
    ck_assert(!save(&d, blob, blob_bytes));
    ck_assert(!hx_file_exists(tmp));
    free(d.cache_path);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { kept, folders, foreign, failing };
    return run_suite("cache", start, teardown, tests, HX_COUNT(tests));
}
