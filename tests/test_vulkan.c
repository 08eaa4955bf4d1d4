// test_vulkan.c - the Vulkan device itself: listing, memory, programs, cache, faults, reflection.
//
// Runs on the loader's first device; 77 (skipped) when this machine has no Vulkan device at all.
#include "../runtime/dev.h"
#include "../runtime/fault.h"
#include "../runtime/log.h"
#include "../runtime/vulkan/reflect.h"
#include "../src/core/op.h"
#include "suite.h"
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const uint32_t chain_spirv[] =
#include "vulkan_chain.inc"
;
static const uint32_t slow_spirv[] =
#include "vulkan_slow.inc"
;
enum { N = 1000, LOCAL = 64, SKIPPED = 77 };

static hx_dev *dev;
static char    cache_dir[] = "/tmp/htxvk-test-XXXXXX";
static int     logged_load, logged_delete;

static void on_log(void *user, hx_log_level level, const char *text)
{
    (void)user;
    logged_load += level == HX_LOG_DEBUG && strstr(text, "pipeline cache: ");
    if (getenv("VERBOSE"))
        fprintf(stderr, "%s\n", text);
    logged_delete += level == HX_LOG_WARN && strstr(text, "deleted");
}

#define OK(call)                                                                      \
    do {                                                                              \
        hx_result ok_ = (call);                                                       \
        ck_assert_msg(ok_ == HX_OK, "%s: %s", #call, hx_last_message());              \
    } while (0)
#define FAILS(call, result, part)                                                     \
    do {                                                                              \
        ck_assert_int_eq((call), (result));                                           \
        ck_assert_msg(strstr(hx_last_message(), part) != NULL, "%s", hx_last_message()); \
    } while (0)

static void open_with(hx_dev_params p)
{
    OK(hx_vulkan_open(0, &p, &dev));
}

static void setup(void)
{
    strcpy(cache_dir, "/tmp/htxvk-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(cache_dir));
    setenv("XDG_CACHE_HOME", cache_dir, 1);
    hx_log_to(on_log, NULL);
}

static void teardown(void)
{
    char path[256];
    glob_t g;
    hx_dev_close(&dev);
    snprintf(path, sizeof path, "%s/htxvk/*", cache_dir);
    if (!glob(path, 0, NULL, &g))
        for (size_t i = 0; i < g.gl_pathc; i++)
            unlink(g.gl_pathv[i]);
    globfree(&g);
    snprintf(path, sizeof path, "%s/htxvk", cache_dir);
    rmdir(path);
    rmdir(cache_dir);
}

// ---- the chain: k dispatches from one buffer to the other and back ----------------------------

typedef struct chain { hx_buf *a, *b; } chain;
typedef struct chain_push { uint32_t n; float add; uint32_t x_o; } chain_push;

static hx_kernel chain_kernel(uint32_t factor)
{
    return (hx_kernel){ .name = "chain", .spirv = chain_spirv, .n_words = HX_COUNT(chain_spirv),
        .n_bindings = 2, .writes = 2, .push_bytes = sizeof(chain_push), .n_spec = 2,
        .spec = { LOCAL, factor } };
}

static chain chain_new(void)
{
    chain c;
    float x[N];
    for (int i = 0; i < N; i++)
        x[i] = (float)i;
    OK(hx_buf_new(dev, sizeof x, HX_BUF_DEVICE, "a", &c.a));
    OK(hx_buf_new(dev, sizeof x, HX_BUF_DEVICE, "b", &c.b));
    OK(hx_buf_write(c.a, 0, x, sizeof x));
    return c;
}

static void chain_free(chain *c)
{
    hx_buf_free(&c->a);
    hx_buf_free(&c->b);
}

static void record_at(hx_prog *p, chain *c, uint32_t factor, float add, bool back, uint32_t x_o)
{
    hx_kernel k = chain_kernel(factor);
    chain_push push = { N, add, x_o };
    hx_binding bind[2] = { { back ? c->b : c->a, 0, N * 4 }, { back ? c->a : c->b, 0, N * 4 } };
    OK(hx_prog_dispatch(p, &k, bind, &push, (uint32_t[3]){ (N + LOCAL - 1) / LOCAL, 1, 1 }));
}

static void record(hx_prog *p, chain *c, uint32_t factor, float add, bool back)
{
    record_at(p, c, factor, add, back, 0);
}

// n times x -> x reversed + 1, every fourth time doubled; `cut_every` 0: one piece.
static hx_prog *chain_prog(chain *c, int n, int cut_every, bool profile)
{
    hx_prog *p;
    OK(hx_prog_new(dev, profile, "chain", &p));
    for (int i = 0; i < n; i++) {
        record(p, c, i % 4 == 0 ? 2 : 1, 1, i & 1);
        OK(hx_prog_barrier(p));
        if (cut_every && i % cut_every == cut_every - 1 && i != n - 1)
            OK(hx_prog_cut(p));
    }
    OK(hx_prog_end(p));
    return p;
}

static void run(hx_prog *p, bool by_piece)
{
    uint64_t ticket;
    OK(hx_dev_submit(dev, &p, 1, by_piece, &ticket));
    OK(hx_dev_wait(dev, ticket, 60000));
}

static void check_chain(chain *c, int n)
{
    float want[N], got[N];
    for (int i = 0; i < N; i++)
        want[i] = (float)i;
    for (int j = 0; j < n; j++) {
        float next[N];
        for (int i = 0; i < N; i++)
            next[i] = (j % 4 == 0 ? 2.0f : 1.0f) * want[N - 1 - i] + 1;
        memcpy(want, next, sizeof want);
    }
    OK(hx_buf_read(n & 1 ? c->b : c->a, 0, got, sizeof got));
    for (int i = 0; i < N; i++)
        ck_assert_msg(want[i] == got[i], "[%d]: %g, not %g", i, got[i], want[i]);
}

// ---- tests --------------------------------------------------------------------------------------

START_TEST(list)
{
    hx_dev_info info[8];
    const char *note = "unset";
    int n;
    OK(hx_vulkan_list(info, 8, &n, &note));
    ck_assert_int_ge(n, 1);
    ck_assert_ptr_null(note);
    for (int i = 0; i < n; i++) {
        const hx_dev_caps *c = &info[i].caps;
        ck_assert_str_eq(c->kind, "vulkan");
        ck_assert(c->name[0] && c->driver[0]);
        if (info[i].why_not[0])
            continue;
        ck_assert_int_ge(c->max_invocations, 256);
        ck_assert_int_ge(c->shared_bytes, 32768);
        ck_assert_int_ge(c->push_bytes, 128);
        ck_assert(c->tier >= 0 && c->tier <= 6);
        ck_assert(c->max_range > 0 && c->max_range <= c->max_buffer && c->memory_bytes > 0);
        ck_assert(c->offset_align >= 1 && c->offset_align <= 256);
        ck_assert((c->flops_guess == 0) == (c->type == HX_DEV_CPU));
        ck_assert(!(c->has & HX_CAP_GPU) == (c->type == HX_DEV_CPU));
    }
    OK(hx_vulkan_list(info, 0, &n, NULL));
    ck_assert_int_eq(n, 0);
    FAILS(hx_vulkan_open(99, NULL, &dev), HX_E_NODEVICE, "no Vulkan device 99");
    ck_assert_ptr_null(dev);
}
END_TEST

START_TEST(buffers)
{
    enum { BYTES = 1 << 20, COUNT = 40 };
    static char data[BYTES], back[BYTES];
    hx_buf *b[COUNT];
    open_with((hx_dev_params){ 0 });
    // three kinds, odd sizes, freed in a scattered order, used again: always zero, never shared
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            int64_t bytes = 1 + (int64_t)i * 977;
            OK(hx_buf_new(dev, bytes, (hx_buf_kind)(i % 3), "part", &b[i]));
            OK(hx_buf_read(b[i], 0, back, bytes));
            memset(data, 0, (size_t)bytes);
            ck_assert_mem_eq(back, data, (size_t)bytes);
            memset(data, i + 1, (size_t)bytes);
            OK(hx_buf_write(b[i], 0, data, bytes));
        }
        for (int i = 0; i < COUNT; i++) {
            int64_t bytes = 1 + (int64_t)i * 977;
            OK(hx_buf_read(b[i], 0, back, bytes));
            memset(data, i + 1, (size_t)bytes);
            ck_assert_mem_eq(back, data, (size_t)bytes);
        }
        ck_assert_int_gt(hx_dev_get_stats(dev).bytes_now, COUNT * (COUNT - 1) / 2 * 977);
        for (int i = 0; i < COUNT; i++)
            hx_buf_free(&b[(i * 7) % COUNT]);
        ck_assert_int_eq(hx_dev_get_stats(dev).bytes_now, 0);
    }
    int64_t most = COUNT * 977 * COUNT / 2 + COUNT * 512;
    ck_assert_int_lt(hx_dev_get_stats(dev).bytes_peak, most);
}
END_TEST

START_TEST(no_memory)
{
    enum { COUNT = 64 };
    hx_buf *b[COUNT] = { 0 };
    open_with((hx_dev_params){ 0 });
    const hx_dev_caps *c = hx_dev_get_caps(dev);
    FAILS(hx_buf_new(dev, c->max_buffer + 1, HX_BUF_DEVICE, "weights", &b[0]), HX_E_NOMEM,
          "weights");
    FAILS(dev->fn->buf_new(dev, c->memory_bytes + c->max_buffer, HX_BUF_DEVICE, "weights", &b[0]),
          HX_E_NOMEM, "would fit");
    ck_assert_ptr_null(b[0]);
    ck_assert_int_eq(hx_dev_get_stats(dev).bytes_now, 0);
}
END_TEST

START_TEST(programs)
{
    open_with((hx_dev_params){ 0 });
    chain c = chain_new();
    hx_prog *p = chain_prog(&c, 8, 0, false);
    run(p, false);
    check_chain(&c, 8);
    ck_assert_int_eq(hx_dev_get_stats(dev).submits, 1);
    ck_assert_int_eq(hx_dev_get_stats(dev).dispatches, 8);
    ck_assert_int_eq(hx_dev_get_stats(dev).barriers, 8);
    run(p, false);
    check_chain(&c, 16);
    hx_prog_free(&p);
    chain_free(&c);
}
END_TEST

START_TEST(pieces)
{
    open_with((hx_dev_params){ 0 });
    chain c = chain_new(), d = chain_new();
    hx_prog *p[2] = { chain_prog(&c, 8, 3, false), chain_prog(&d, 4, 1, false) };
    uint64_t ticket;
    // 3 and 4 pieces
    OK(hx_dev_submit(dev, p, 2, true, &ticket));
    OK(hx_dev_wait(dev, ticket, 60000));
    check_chain(&c, 8);
    check_chain(&d, 4);
    ck_assert_int_eq(hx_dev_get_stats(dev).submits, 7);
    // the same in one submit, then twice more without waiting between
    OK(hx_dev_submit(dev, p, 2, false, &ticket));
    OK(hx_dev_submit(dev, p, 2, true, &ticket));
    OK(hx_dev_submit(dev, p, 2, false, &ticket));
    OK(hx_dev_wait(dev, ticket, 60000));
    check_chain(&c, 32);
    check_chain(&d, 16);
    ck_assert_int_eq(hx_dev_get_stats(dev).submits, 7 + 1 + 7 + 1);
    hx_prog_free(&p[0]);
    hx_prog_free(&p[1]);
    chain_free(&c);
    chain_free(&d);
}
END_TEST

START_TEST(fill_and_copy)
{
    float got[N];
    hx_prog *p;
    open_with((hx_dev_params){ 0 });
    chain c = chain_new();
    OK(hx_prog_new(dev, false, "moves", &p));
    OK(hx_prog_fill(p, (hx_binding){ c.b, 256, 8 }, 0x40400000));            // 3.0
    OK(hx_prog_barrier(p));
    OK(hx_prog_copy(p, (hx_binding){ c.b, 256, 8 }, (hx_binding){ c.a, 0, 8 }));
    OK(hx_prog_barrier(p));
    record(p, &c, 1, 1, false);                      // b = reversed a + 1
    OK(hx_prog_barrier(p));
    OK(hx_prog_copy(p, (hx_binding){ c.b, 0, 2000 }, (hx_binding){ c.a, 2000, 2000 }));
    OK(hx_prog_end(p));
    run(p, false);
    OK(hx_buf_read(c.a, 0, got, sizeof got));
    ck_assert(got[0] == 3 && got[1] == 3 && got[2] == 2 && got[499] == 499);
    for (int i = 0; i < 500; i++)
        ck_assert(got[500 + i] == (float)(999 - i + 1));
    OK(hx_buf_read(c.b, 3992, got, 8));
    ck_assert(got[0] == 4 && got[1] == 4);
    hx_prog_free(&p);
    chain_free(&c);
}
END_TEST

START_TEST(many)
{
    enum { MANY = 3000 };
    open_with((hx_dev_params){ 0 });
    chain c = chain_new();
    hx_prog *p;
    OK(hx_prog_new(dev, false, "many", &p));
    for (int i = 0; i < MANY; i++) {
        record(p, &c, 1, 1, i & 1);
        OK(hx_prog_barrier(p));
    }
    OK(hx_prog_end(p));
    run(p, false);
    float got[N];
    OK(hx_buf_read(c.a, 0, got, sizeof got));
    for (int i = 0; i < N; i++)
        ck_assert(got[i] == (float)(i + MANY));
    hx_prog_free(&p);
    chain_free(&c);
}
END_TEST

static void on_host(const hx_host_args *a) { (void)a; }

START_TEST(misfits)
{
    hx_prog *p;
    open_with((hx_dev_params){ 0 });
    chain c = chain_new();
    hx_binding bind[2] = { { c.a, 0, N * 4 }, { c.b, 0, N * 4 } };
    chain_push push = { N, 1, 0 };
    uint32_t one[3] = { 1, 1, 1 };
    OK(hx_prog_new(dev, false, "misfits", &p));
    hx_kernel k = chain_kernel(1);
    k.n_bindings = 1;
    FAILS(hx_prog_dispatch(p, &k, bind, &push, one), HX_E_INTERNAL, "has 2 buffers, its record 1");
    k = chain_kernel(1);
    k.push_bytes = 8;
    FAILS(hx_prog_dispatch(p, &k, bind, &push, one), HX_E_INTERNAL, "12 bytes of push constants");
    k = chain_kernel(1);
    k.writes = 3;
    FAILS(hx_prog_dispatch(p, &k, bind, &push, one), HX_E_INTERNAL, "buffer x is written");
    k = chain_kernel(1);
    k.spec[0] = 1 << 20;
    FAILS(hx_prog_dispatch(p, &k, bind, &push, one), HX_E_NODEVICE, "1048576 invocations");
    k = chain_kernel(1);
    k.spirv = NULL;
    k.host = on_host;
    FAILS(hx_prog_dispatch(p, &k, bind, &push, one), HX_E_NODEVICE, "no shader");
    k = chain_kernel(1);
    k.n_words -= 7;
    FAILS(hx_prog_dispatch(p, &k, bind, &push, one), HX_E_INTERNAL, "the end of the module");
    hx_prog_free(&p);
    chain_free(&c);
}
END_TEST

START_TEST(times)
{
    double ms[300];
    int n;
    open_with((hx_dev_params){ 0 });
    if (!hx_dev_get_caps(dev)->timestamp_ns)
        return;
    chain c = chain_new();
    hx_prog *p = chain_prog(&c, 300, 0, true);
    run(p, false);
    run(p, false);
    OK(hx_prog_times(p, ms, 300, &n));
    ck_assert_int_eq(n, 300);
    double sum = 0;
    for (int i = 0; i < n; i++) {
        ck_assert(ms[i] >= 0 && ms[i] < 1000);
        sum += ms[i];
    }
    ck_assert(sum > 0);
    OK(hx_prog_times(p, ms, 10, &n));
    ck_assert_int_eq(n, 10);
    hx_prog_free(&p);
    chain_free(&c);
}
END_TEST

// ---- the cache on disk ------------------------------------------------------------------------

static int cache_files(char *path, size_t cap)
{
    glob_t g;
    char pattern[256];
    snprintf(pattern, sizeof pattern, "%s/htxvk/*", cache_dir);
    int n = glob(pattern, 0, NULL, &g) ? 0 : (int)g.gl_pathc;
    if (n)
        snprintf(path, cap, "%s", g.gl_pathv[0]);
    globfree(&g);
    return n;
}

static void use_kernel(bool no_cache)
{
    open_with((hx_dev_params){ .no_cache = no_cache });
    chain c = chain_new();
    hx_prog *p = chain_prog(&c, 8, 0, false);
    run(p, false);
    check_chain(&c, 8);
    hx_prog_free(&p);
    chain_free(&c);
    hx_dev_close(&dev);
}

START_TEST(cache)
{
    char path[512];
    struct stat st;
    use_kernel(true);
    ck_assert_int_eq(cache_files(path, sizeof path), 0);
    use_kernel(false);
    ck_assert_int_eq(cache_files(path, sizeof path), 1);
    ck_assert_int_eq(logged_load, 0);
    ck_assert(!stat(path, &st) && (st.st_mode & 077) == 0);
    use_kernel(false);
    ck_assert_int_eq(logged_load, 1);
    // every part of the file is looked at: magic, ids, uuid, length, hash, contents, a byte more
    off_t at[] = { 0, 8, 16, 24, 40, 48, 60, st.st_size - 1 };
    for (int i = 0; i <= HX_COUNT(at); i++) {
        char byte = 0;
        int fd = open(path, O_RDWR);
        if (i < HX_COUNT(at)) {
            ck_assert_int_eq(pread(fd, &byte, 1, at[i]), 1);
            byte ^= 1;
        }
        ck_assert_int_eq(pwrite(fd, &byte, 1, i < HX_COUNT(at) ? at[i] : st.st_size), 1);
        close(fd);
        use_kernel(false);
        ck_assert_int_eq(logged_load, 1);
        ck_assert_int_eq(logged_delete, i + 1);
        ck_assert_int_eq(cache_files(path, sizeof path), 1);
    }
    ck_assert(!truncate(path, 20));
    use_kernel(false);
    ck_assert_int_eq(logged_load, 1);
    use_kernel(false);
    ck_assert_int_eq(logged_load, 2);
    // a folder that others can write is not ours
    snprintf(path, sizeof path, "%s/htxvk", cache_dir);
    ck_assert(!chmod(path, 0777));
    use_kernel(false);
    ck_assert_int_eq(logged_load, 2);
}
END_TEST

// ---- faults -------------------------------------------------------------------------------------

START_TEST(no_driver)
{
    hx_dev_info info[2];
    const char *note = NULL;
    int n = 1;
    setenv("VK_DRIVER_FILES", "/nonexistent/icd.json", 1);
    setenv("VK_ICD_FILENAMES", "/nonexistent/icd.json", 1);
    OK(hx_vulkan_list(info, 2, &n, &note));
    ck_assert_int_eq(n, 0);
    ck_assert_ptr_nonnull(strstr(note, "VK_DRIVER_FILES"));
    ck_assert_ptr_nonnull(strstr(note, "apt install libvulkan1 mesa-vulkan-drivers"));
    FAILS(hx_vulkan_open(0, NULL, &dev), HX_E_NODEVICE, "no Vulkan driver");
}
END_TEST

// The loader is looked for by name; an empty file in its place is what a broken install looks
// like. Needs a new process, which is this program with an argument.
START_TEST(no_loader)
{
    char self[512], command[1200], line[512] = "", path[256];
    const char *names[] = { "libvulkan.so.1", "libvulkan.so" };
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    ck_assert_int_gt(len, 0);
    self[len] = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", cache_dir, names[i]);
        close(open(path, O_CREAT | O_WRONLY, 0600));
    }
    snprintf(command, sizeof command, "LD_LIBRARY_PATH=%s '%s' --list", cache_dir, self);
    FILE *f = popen(command, "r");
    ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
    ck_assert_int_eq(pclose(f), 0);
    ck_assert_msg(strstr(line, "0 no Vulkan loader") && strstr(line, "apt install libvulkan1"),
                  "%s", line);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", cache_dir, names[i]);
        unlink(path);
    }
}
END_TEST

// A run that outlasts its deadline: the device counts as lost, and nothing blocks after that.
START_TEST(timeout)
{
    hx_buf *b, *other;
    hx_prog *p;
    uint64_t ticket;
    char byte = 0;
    hx_kernel k = { .name = "slow", .spirv = slow_spirv, .n_words = HX_COUNT(slow_spirv),
                    .n_bindings = 1, .writes = 1 };
    open_with((hx_dev_params){ 0 });
    OK(hx_buf_new(dev, 256, HX_BUF_DEVICE, "x", &b));
    OK(hx_prog_new(dev, false, "slow", &p));
    OK(hx_prog_dispatch(p, &k, &(hx_binding){ b, 0, 256 }, NULL, (uint32_t[3]){ 65535, 1, 1 }));
    OK(hx_prog_end(p));
    OK(hx_dev_submit(dev, &p, 1, false, &ticket));
    FAILS(hx_dev_wait(dev, ticket, 1), HX_E_LOST, "still busy");
    FAILS(hx_dev_wait(dev, ticket, 0), HX_E_LOST, "lost earlier");
    FAILS(hx_dev_submit(dev, &p, 1, false, &ticket), HX_E_LOST, "lost earlier");
    FAILS(hx_buf_read(b, 0, &byte, 1), HX_E_LOST, "lost earlier");
    FAILS(hx_buf_write(b, 0, &byte, 1), HX_E_LOST, "lost earlier");
    FAILS(hx_buf_new(dev, 256, HX_BUF_UP, "y", &other), HX_E_LOST, "lost earlier");
    hx_prog_free(&p);
    hx_buf_free(&b);
    teardown();
    // the driver still works in its threads: exit() would take its memory from under them
    _exit(0);
}
END_TEST

#ifdef HX_FAULTS
// Everything a training run does with the device, once, without stopping the test at an error.
static hx_result whole_run(float *first)
{
    hx_dev_params p = { 0 };
    hx_buf *buf[3] = { 0 };
    hx_prog *prog = NULL;
    hx_kernel k = chain_kernel(3);
    chain_push push = { N, 1, 0 };
    uint32_t groups[3] = { (N + LOCAL - 1) / LOCAL, 1, 1 };
    uint64_t ticket;
    double ms[2];
    int n;
    hx_result r = hx_vulkan_open(0, &p, &dev);
    for (int i = 0; i < 3 && !r; i++)
        r = hx_buf_new(dev, N * 4, (hx_buf_kind)i, "b", &buf[i]);
    if (!r)
        r = hx_prog_new(dev, true, "whole", &prog);
    hx_binding up[2] = { { buf[1], 0, N * 4 }, { buf[0], 0, N * 4 } };
    hx_binding down[2] = { { buf[0], 0, N * 4 }, { buf[2], 0, N * 4 } };
    r = r ? r : hx_buf_write(buf[1], 0, (float[N]){ [N - 1] = 5 }, N * 4);
    r = r ? r : hx_prog_dispatch(prog, &k, up, &push, groups);
    r = r ? r : hx_prog_barrier(prog);
    r = r ? r : hx_prog_cut(prog);
    r = r ? r : hx_prog_dispatch(prog, &k, down, &push, groups);
    r = r ? r : hx_prog_end(prog);
    for (int i = 0; i < 2 && !r; i++)
        r = hx_dev_submit(dev, &prog, 1, i, &ticket);
    r = r ? r : hx_dev_wait(dev, ticket, 60000);
    if (!r && hx_dev_get_caps(dev)->timestamp_ns)
        r = hx_prog_times(prog, ms, 2, &n);
    r = r ? r : hx_buf_read(buf[2], (N - 1) * 4, first, 4);
    hx_prog_free(&prog);
    for (int i = 0; i < 3; i++)
        hx_buf_free(&buf[i]);
    hx_dev_close(&dev);
    return r;
}

// The same in a process of its own (some drivers can be opened a few dozen times only), whose exit
// status is the result, or 100 when nothing failed and the numbers are wrong.
static int run_apart(const char *rows)
{
    int status = -1;
    pid_t child = fork();
    if (!child) {
        float first = 0;
        hx_fault_set(rows);
        hx_result r = whole_run(&first);
        exit(r ? (int)r : first == 49 ? 0 : 100);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status), "%s: ended by signal %d", rows, WTERMSIG(status));
    return WEXITSTATUS(status);
}

// Call number k fails, for every k and every kind of error: a clear result, and all is freed.
START_TEST(faults)
{
    static const struct { const char *name; hx_result r; } codes[] = {
        { "DEVICE_LOST", HX_E_LOST }, { "OUT_OF_DEVICE_MEMORY", HX_E_NOMEM },
        { "OUT_OF_HOST_MEMORY", HX_E_NOMEM }, { "INITIALIZATION_FAILED", HX_E_NODEVICE } };
    int failed = 0;
    for (int k = 1, fine = 0; fine < 8; k++) {
        char rows[64];
        snprintf(rows, sizeof rows, "vk:%d:%s", k, codes[k % 4].name);
        int r = run_apart(rows);
        ck_assert_msg(r == HX_OK || r == (int)codes[k % 4].r, "%s: ended with %d", rows, r);
        fine = r ? 0 : fine + 1;
        failed += r != HX_OK;
    }
    ck_assert_int_gt(failed, 30);
}
END_TEST
#endif

// ---- validation ---------------------------------------------------------------------------------

static int64_t messages_of(const char *mode, const char *drop)
{
    setenv("HTXVK_VALIDATION", mode, 1);
    if (drop)
        setenv("HTXVK_DROP_BARRIER", drop, 1);
    open_with((hx_dev_params){ .validation = true });
    chain c = chain_new();
    hx_prog *p = chain_prog(&c, 8, 3, false);
    run(p, false);
    run(p, true);
    hx_prog_free(&p);
    chain_free(&c);
    return hx_dev_get_stats(dev).validation_messages;
}

START_TEST(valid_sync) { ck_assert_int_eq(messages_of("sync", NULL), 0); } END_TEST
START_TEST(valid_core) { ck_assert_int_eq(messages_of("core", NULL), 0); } END_TEST
START_TEST(valid_gpu) { ck_assert_int_eq(messages_of("gpu", NULL), 0); } END_TEST
// inside a piece, and between two pieces
START_TEST(dropped_barrier) { ck_assert_int_gt(messages_of("sync", "2"), 0); } END_TEST
START_TEST(dropped_at_cut) { ck_assert_int_gt(messages_of("sync", "3"), 0); } END_TEST

// The layer sees a read beyond the bound range, which software drivers turn into a zero.
START_TEST(out_of_bounds)
{
    hx_prog *p;
    setenv("HTXVK_VALIDATION", "gpu", 1);
    open_with((hx_dev_params){ .validation = true });
    chain c = chain_new();
    OK(hx_prog_new(dev, false, "beyond", &p));
    record_at(p, &c, 1, 1, false, 1);
    OK(hx_prog_end(p));
    // later layers tell what they found in one submit at the next
    run(p, false);
    run(p, false);
    ck_assert_int_gt(hx_dev_get_stats(dev).validation_messages, 0);
    hx_prog_free(&p);
    chain_free(&c);
}
END_TEST

// ---- reflection ---------------------------------------------------------------------------------

START_TEST(reflection)
{
    hx_reflect r;
    uint32_t spec[2] = { 32, 5 };
    OK(hx_reflect_spirv("chain", chain_spirv, HX_COUNT(chain_spirv), spec, 2, &r));
    ck_assert_int_eq(r.n_binding, 2);
    ck_assert_str_eq(r.binding[0].name, "x");
    ck_assert_str_eq(r.binding[0].block, "in_x");
    ck_assert_str_eq(r.binding[1].name, "y");
    ck_assert(r.binding[0].readonly && !r.binding[0].writeonly);
    ck_assert(r.binding[1].writeonly && !r.binding[1].readonly);
    ck_assert_int_eq(r.n_push, 3);
    ck_assert_int_eq(r.push_bytes, 12);
    ck_assert_str_eq(r.push[0].name, "N");
    ck_assert_str_eq(r.push[1].name, "add");
    ck_assert_str_eq(r.push[2].name, "x_o");
    ck_assert(r.push[0].type == 'u' && r.push[1].type == 'f' && r.push[2].offset == 8);
    ck_assert(r.local[0] == 32 && r.local[1] == 1 && r.local[2] == 1);
    ck_assert_int_eq(r.shared_bytes, 2 * 32 * 4);
    ck_assert_int_eq(r.n_spec, 2);
    ck_assert(!r.coopmat);
    OK(hx_reflect_spirv("slow", slow_spirv, HX_COUNT(slow_spirv), NULL, 0, &r));
    ck_assert(r.local[0] == 64 && !r.binding[0].readonly && !r.binding[0].writeonly && !r.n_push);
}
END_TEST

// Every kernel of the library stays on the floor that any device has.
START_TEST(kernels_on_the_floor)
{
    ck_assert_int_gt(hx_n_spirvs, 0);
    for (int i = 0; i < hx_n_spirvs; i++) {
        hx_reflect r;
        OK(hx_reflect_spirv(hx_spirvs[i].name, hx_spirvs[i].words, hx_spirvs[i].n_words, NULL, 0,
                            &r));
        // where sizes are specialization constants, they are checked when the kernel is made
        bool known = !strchr(hx_spirvs[i].name, '.') && !r.n_spec;
        ck_assert_msg(r.push_bytes <= HX_MAX_PUSH, "%s", hx_spirvs[i].name);
        ck_assert_msg(r.local[0] * r.local[1] * r.local[2] <= (known ? 256 : 1024), "%s",
                      hx_spirvs[i].name);
        ck_assert_msg(r.shared_bytes >= 0 && (!known || r.shared_bytes <= 32768), "%s: %lld bytes",
                      hx_spirvs[i].name, (long long)r.shared_bytes);
    }
}
END_TEST

// Damaged modules are refused or read, never followed out of their bounds (run with sanitizers).
START_TEST(damaged_modules)
{
    enum { WORDS = HX_COUNT(chain_spirv) };
    uint32_t *m = malloc(WORDS * 4);
    hx_reflect r;
    uint64_t state = 1;
    int refused = 0;
    for (size_t n = 0; n < WORDS; n++) {
        uint32_t *cut = malloc(n * 4 + 1);
        memcpy(cut, chain_spirv, n * 4);
        refused += hx_reflect_spirv("cut", cut, n, NULL, 0, &r) == HX_E_INTERNAL;
        free(cut);
    }
    ck_assert_int_gt(refused, 100);
    for (int i = 0; i < 20000; i++) {
        memcpy(m, chain_spirv, sizeof chain_spirv);
        for (int j = 0; j < 3; j++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            m[(state >> 33) % WORDS] ^= 1u << (state >> 20) % 32;
        }
        hx_result res = hx_reflect_spirv("flipped", m, WORDS, NULL, 0, &r);
        ck_assert(res == HX_OK || res == HX_E_INTERNAL);
    }
    free(m);
}
END_TEST

// Lists in a process of its own, so that each test finds this one as it was started.
static bool has_device(const char *self)
{
    char command[600], line[512] = "0";
    snprintf(command, sizeof command, "'%s' --list", self);
    FILE *f = popen(command, "r");
    if (f && !fgets(line, sizeof line, f))
        strcpy(line, "0 the list could not be read\n");
    if (f)
        pclose(f);
    if (line[0] == '0')
        printf("skipped: %s", line + 2);
    return line[0] != '0';
}

int main(int argc, char **argv)
{
    const TTest *const tests[] = {
        list, buffers, no_memory, programs, pieces, fill_and_copy, many, misfits, times, cache,
        no_driver, no_loader, timeout, reflection, kernels_on_the_floor, damaged_modules,
#ifdef HX_FAULTS
        faults,
#endif
    };
    const TTest *const validation_tests[] = {
        valid_sync, valid_core, valid_gpu, dropped_barrier, dropped_at_cut,
        out_of_bounds,
    };
    hx_dev_info info[1];
    const char *note = NULL;
    int n = 0;
    if (argc > 1 && !strcmp(argv[1], "--list")) {
        hx_result r = hx_vulkan_list(info, 1, &n, &note);
        printf("%d %s\n", n, note ? note : info[0].caps.name);
        return r != HX_OK;
    }
    if (!has_device(argv[0]))
        return SKIPPED;
    if (argc > 1 && !strcmp(argv[1], "--validation")) {
        if (access("/usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json", R_OK)) {
            puts("skipped: vulkan-validationlayers is not installed");
            return SKIPPED;
        }
        return run_suite("vulkan_validation", setup, teardown, validation_tests,
                         HX_COUNT(validation_tests));
    }
    return run_suite("vulkan", setup, teardown, tests, HX_COUNT(tests));
}
