// test_nth.c - every reader and writer of files, with each of its allocations and system calls failing
// in turn: the right error with a message, or nothing lost. Runs under the sanitizers' leak check, too.
#include "../src/core/ckpt.h"
#include "../src/data/bpe.h"
#include "../src/data/set.h"
#include "../src/train/conf_run.h"
#include "each.h"
#include "../runtime/log.h"
#include "toy.h"
#include <sys/file.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <zlib.h>
#include <zstd.h>

static hx_params *ps;
static float *weights;

static void begin(void)
{
    setup();
    ps = hx_params_new();
    hx_param_add(ps, HX_INIT_NORMAL, 1, 2, (const int64_t[]){ 3, 5 }, "layers.%d.weight", 0);
    hx_param_buffer(ps, (const float[]){ 1, 2, 3 }, 3, "rotary.freqs");
    weights = hx_alloc(arena, (size_t)ps->bytes);
}

static void end(void)
{
    hx_params_free(&ps);
    teardown();
}

// ---- files ---------------------------------------------------------------------------------

static hx_result file_read(hx_arena *a)
{
    (void)a;
    hx_blob b = { 0 };
    hx_result r = hx_file_read(here("file"), 100, 0, &b);
    quiet(ck_assert(r ? !b.data : b.size == 5));
    hx_blob_free(&b);
    return r;
}

static hx_result file_hash(hx_arena *a)
{
    (void)a;
    uint64_t hash[2];
    int64_t size;
    return hx_file_hash(here("file"), hash, &size);
}

static hx_result file_write(hx_arena *a)
{
    (void)a;
    hx_blob b;
    hx_result r = hx_file_write(here("file"), "other", 5);
    nth_pause(true);
    ck_ok(hx_file_read(here("file"), 100, 0, &b));
    ck_assert(!memcmp(b.data, r ? "hello" : "other", 5) || !memcmp(b.data, "other", 5));
    hx_blob_free(&b);
    hx_names names;
    ck_ok(hx_dir_list(arena, scratch, &names));
    ck_assert_int_eq(names.n, 1);
    nth_pause(false);
    return r;
}

static hx_result file_append(hx_arena *a)
{
    (void)a;
    return hx_file_append(here("log"), "line\n", 5);
}

static hx_result lock(hx_arena *a)
{
    (void)a;
    int fd;
    hx_result r = hx_lock(here("lock"), &fd);
    if (!r)
        close(fd);
    return r;
}

START_TEST(files)
{
    put("file", "hello", 5);
    no_memory(file_read, 0);
    no_memory(file_hash, 0);
    no_memory(file_write, 0);
    ck_assert_int_eq(each("fstat64", EIO, file_read, HX_E_IO, 0), 3);
    each("ftruncate64", EIO, file_write, HX_E_IO, 0);
    each("flock", ENOLCK, lock, HX_E_IO, 0);
    each("ftruncate64", EIO, lock, HX_E_IO, 1);
}
END_TEST

// Somebody writes to the file, or touches it, while it is being read.
static int change;
static void change_file(void)
{
    struct timespec now[2] = { { 0, UTIME_OMIT }, { 100, 7 } };
    nth_pause(true);
    now[1].tv_sec += change == 1;
    now[1].tv_nsec += change == 2;
    if (change == 0)
        ck_ok(hx_file_append(at("file"), "!", 1));
    ck_assert_int_eq(utimensat(AT_FDCWD, at("file"), now, 0), 0);
    nth_pause(false);
}

START_TEST(changed_file)
{
    nth_then = change_file;
    for (change = 0; change < 3; change++) {
        hx_blob b;
        put("file", "hello", 5);
        struct timespec then[2] = { { 0, UTIME_OMIT }, { 100, 7 } };
        ck_assert_int_eq(utimensat(AT_FDCWD, at("file"), then, 0), 0);
        const char *path = at("file");
        nth_arm("fstat64", 3, 0);
        hx_result r = hx_file_read(path, 100, 0, &b);
        nth_disarm();
        ck_assert_int_eq(r, HX_E_INPUT);
        ck_says("changed while being read");
    }
}
END_TEST

START_TEST(writers)
{
    hx_writer w;
    ck_ok(hx_writer_open(&w, at("file"), 0, 5));
    ck_ok(hx_writer_put(&w, "hello", 5));
    ck_ok(hx_writer_put(&w, "", 0));
    ck_ok(hx_writer_close(&w, NULL));
    ck_assert_int_eq(hx_writer_put(&w, "more", 4), HX_E_INTERNAL);
    ck_says("4 bytes");
    ck_assert_int_eq(hx_writer_close(&w, NULL), HX_E_INTERNAL);
    ck_says("closed twice");
    // names that no file can have; sockets cannot be opened
    hx_blob b;
    char *name = hx_alloc(arena, 5000);
    memset(name, 'a', 4998);
    ck_assert_int_eq(hx_file_read(name, 9, 0, &b), HX_E_INPUT);
    ck_assert_int_eq(hx_file_read(at("file/in"), 9, 0, &b), HX_E_INPUT);
    struct sockaddr_un socket_name = { .sun_family = AF_UNIX };
    strcpy(socket_name.sun_path, at("socket"));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(s, (struct sockaddr *)&socket_name, sizeof socket_name), 0);
    ck_assert_int_eq(hx_file_read(at("socket"), 9, 0, &b), HX_E_INPUT);
    close(s);
    // a lock whose holder cannot be read, or did not say who it is
    int fd, other;
    ck_ok(hx_lock(at("lock"), &fd));
    const char *lock_name = at("lock");
    nth_arm("pread64", 1, EIO);
    hx_result r = hx_lock(lock_name, &other);
    nth_disarm();
    ck_assert_int_eq(r, HX_E_IO);
    ck_says("pid unknown");
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    ck_assert_int_eq(hx_lock(lock_name, &other), HX_E_IO);
    ck_says("pid unknown");
    close(fd);
    if (!HAVE_FAULTS)
        return;
    // file systems that cannot set space aside do
    static const char *const not_here[] = { "EOPNOTSUPP", "EINVAL", "ENOSYS" };
    for (int i = 0; i < HX_COUNT(not_here); i++) {
        hx_fault_set(hx_sprintf(arena, "io:fallocate:1:%s", not_here[i]));
        ck_ok(hx_file_write(at("file"), "x", 1));
    }
    enum { BIG = 3 << 20 };
    char *big = calloc(1, BIG);
    for (int n = 1; n <= 3; n++) {
        hx_fault_set(hx_sprintf(arena, "io:write:%d:ENOSPC", n));
        ck_assert_int_eq(hx_file_write(at("big"), big, BIG), HX_E_IO);
        ck_assert(!hx_file_exists(at("big")));
    }
    free(big);
}
END_TEST

START_TEST(file_faults)
{
    if (!HAVE_FAULTS)
        return;
    put("file", "hello", 5);
    seams("read", "EIO", file_read, HX_E_IO);
    ck_assert_int_eq(hx_file_hash(at("none"), (uint64_t[2]){ 0 }, &(int64_t){ 0 }), HX_E_INPUT);
    seams("read", "EIO", file_hash, HX_E_IO);
    seams("open", "EIO", file_read, HX_E_IO);
    seams("open", "EACCES", file_read, HX_E_INPUT);
    seams("open", "EIO", file_append, HX_E_IO);
    seams("write", "ENOSPC", file_append, HX_E_IO);
    seams("close", "EIO", file_append, HX_E_IO);
    hx_fault_set("io:close:1:EIO;io:write:1:ENOSPC");
    ck_assert_int_eq(file_append(NULL), HX_E_IO);
    ck_says("No space");                   // the first error is the one that is told
    seams("open", "EIO", lock, HX_E_IO);
    static const char *const calls[] = { "open", "write", "fsync", "close", "rename" };
    for (int i = 0; i < HX_COUNT(calls); i++)
        for (int n = 1; n <= 2; n++) {
            hx_fault_set(hx_sprintf(arena, "io:%s:%d:EIO", calls[i], n));
            hx_result r = hx_file_write(at("big"), "x", 1);
            hx_fault_set("");
            ck_assert(n == 1 ? r == HX_E_IO : r == HX_E_IO || r == HX_OK);
        }
    // interrupted and short calls go on
    hx_fault_set("io:read:1:EINTR;io:read:2:short");
    ck_ok(file_read(NULL));
    hx_fault_set("io:write:1:EINTR;io:write:2:short");
    ck_ok(hx_file_write(at("file"), "other", 5));
    hx_fault_set("");
    ck_ok(file_read(NULL));
}
END_TEST

// ---- configuration -------------------------------------------------------------------------

static const char document[] =
    "num_tokens: 256\nseq_len: 32\nheads: 8\ndim: [8, 16]\nwindow_sizes: null\ntie: [true, false]\n"
    "causal: false\nrate: 0.5\ndepth: [1, [2, 3]]\nkind: 'a text'\npools: [a, \"b\"]\nshares: [0.5]\n"
    "router: {eps: 0.25}\n";

static hx_result fill(hx_arena *a)
{
    hx_conf *root;
    toy_conf c;
    HX_TRY(hx_conf_parse(a, "file", document, (int64_t)strlen(document), &root));
    HX_TRY(hx_conf_set(a, root, "heads=4"));
    HX_TRY(hx_conf_set(a, root, "pools=[x, y]"));
    HX_TRY(hx_conf_fill(a, root, "model", toy_fields, &c, NULL));
    quiet(ck_assert(c.num_tokens == 256 && c.heads == 4 && c.dim.n == 2 && c.dim.v[1] == 16 && !c.causal));
    quiet(ck_assert(c.tie.n == 2 && c.tie.v[0] == 1 && c.eps == 0.25 && c.rate == 0.5));
    quiet(ck_assert(c.pools.n == 2 && !strcmp(c.pools.v[1], "y")));
    quiet(ck_assert_str_eq(c.kind, "a text"));
    quiet(ck_assert_str_eq(c.depth, "[1, [2, 3]]"));
    return HX_OK;
}

static hx_result nothing(hx_arena *a)
{
    hx_conf *root;
    HX_TRY(hx_conf_parse(a, "file", "# nothing\n", 10, &root));
    quiet(ck_assert(root->kind == HX_NODE_MAP && root->n == 0));
    return hx_conf_set(a, root, "a.b.c=1");
}

static hx_result map(hx_arena *a)
{
    static const hx_field f[] = { { "m", HX_STR, 0, "{}", 0, 0, "" }, { 0 } };
    const char *text;
    hx_conf *root;
    HX_TRY(hx_conf_parse(a, "file", "m: {a: 1}", 9, &root));
    HX_TRY(hx_conf_fill(a, root, "", f, &text, NULL));
    quiet(ck_assert_str_eq(text, "{\"a\": 1}"));
    return HX_OK;
}

static hx_result field(hx_arena *a)
{
    toy_conf c = { 0 };
    HX_TRY(hx_field_set(toy_fields, &c, "pools", "[a, 'b', \"c\"]", a));
    HX_TRY(hx_field_set(toy_fields, &c, "pools", "word", a));
    return hx_field_set(toy_fields, &c, "kind", "word", a);
}

// libfyaml says that something is wrong, but not what; or what, but not that.
static hx_result two_lines(hx_arena *a)
{
    hx_conf *root;
    return hx_conf_parse(a, "file", "a: 1\nb: 2\n", 10, &root);
}

static hx_result wrong_lines(hx_arena *a)
{
    hx_conf *root;
    return hx_conf_parse(a, "file", "a: {{\nb: 2\n", 11, &root);
}

START_TEST(silent_parser)
{
    hx_conf *root;
    each("fy_parser_get_stream_error", EIO, two_lines, HX_E_INPUT, 0);
    ck_ok(two_lines(arena));
    nth_arm("fy_parser_get_stream_error", 1, EIO);
    ck_assert_int_eq(wrong_lines(arena), HX_E_INPUT);
    nth_arm("fy_diag_errors_iterate", 1, EIO);
    ck_assert_int_eq(wrong_lines(arena), HX_E_INPUT);
    nth_disarm();
    ck_says("not YAML");
    // no memory for a message is no memory
    ck_assert_int_eq(hx_conf_parse(arena, "file", "arch: zzz", 9, &root), HX_OK);
}
END_TEST

static hx_result unknown_model(hx_arena *a)
{
    hx_case c;
    hx_result r = hx_case_parse(a, "file", "model: zzzzzzzzz", 16, &c);
    return r == HX_E_INPUT && says("there are: toy | bare") ? HX_OK : r;
}

static const char toy_case[] = "{\"model\": \"toy\", \"num_tokens\": 9, \"case\": {\"heads\": 4, \"what\": 1, "
                               "\"num_tokens\": 3}, \"inputs\": [\"ids\", \"mask\"], \"notes\": \"none\"}";
static hx_result model_case(hx_arena *a)
{
    hx_case c;
    HX_TRY(hx_case_read(a, here("config.json"), &c));
    const toy_conf *t = c.conf;
    quiet(ck_assert(t->num_tokens == 9 && t->heads == 4 && c.inputs.n == 2));
    return HX_OK;
}

static hx_result run_conf(hx_arena *a)
{
    hx_run_conf *c;
    HX_TRY(hx_run_conf_read(a, here("run.yaml"), (const char *const[]){ "train.batch=2" }, 1, &c));
    quiet(ck_assert(c->train.batch == 2 && c->train.seq_len == 64));
    quiet(ck_assert_str_eq(c->data.valid.v[0], here("valid.txt")));
    return HX_OK;
}

START_TEST(configurations)
{
    ck_assert_int_gt(no_memory(fill, 0), 60);
    no_memory(nothing, 0);
    no_memory(unknown_model, 0);
    no_memory(field, 0);
    no_memory(map, 0);
    put("config.json", toy_case, strlen(toy_case));
    no_memory(model_case, 0);
    static const char run[] = "run: {out: here}\nmodel: {arch: toy, num_tokens: 256}\ntrain: {init: there}\n"
                              "data: {train: [train.txt], valid: [valid.txt], test: [test.txt]}\n";
    put("run.yaml", run, strlen(run));
    no_memory(run_conf, 1);                // of the path as in realpath below
    // the path as it was given does where no better one can be had
    each("realpath", EACCES, run_conf, HX_E_IO, 1);
}
END_TEST

// ---- tensors and checkpoints ---------------------------------------------------------------

static hx_result tensors(hx_arena *a)
{
    (void)a;
    hx_st *st;
    float out[15];
    HX_TRY(hx_st_open(here("some.safetensors"), &st));
    const hx_st_tensor *t = hx_st_find(st, "layers.0.weight");
    quiet(ck_assert(t && t->elems == 15 && hx_st_meta(st, "a")));
    hx_result r = hx_st_read_f32(st, t, out);
    r = r ? r : hx_st_read_i32(st, t, (int32_t *)out);
    hx_st_close(&st);
    quiet(ck_assert_ptr_null(st));
    return r;
}

static hx_result tensors_in_memory(hx_arena *a)
{
    (void)a;
    static uint8_t file[200] = { 2, 0, 0, 0, 0, 0, 0, 0, '{', '}' };
    hx_st *st;
    HX_TRY(hx_st_open_mem("memory", file, 10, &st));
    quiet(ck_assert(!hx_st_find(st, "x") && !hx_st_meta(st, "x")));
    hx_st_close(&st);
    return HX_OK;
}

static hx_result write_tensors(hx_arena *a)
{
    (void)a;
    return hx_params_write(here("some.safetensors"), ps, weights);
}

static hx_result save(int64_t step)
{
    static toy_conf conf = { .num_tokens = 256, .depth = "1", .kind = "" };
    const hx_st_item memory = { "state.0", HX_ST_F32, 1, (const int64_t[]){ 15 }, weights };
    const hx_ckpt c = { .model = &toy, .conf = &conf, .params = ps, .p = weights, .m = weights, .v = weights,
                        .ema = weights, .memory = &memory, .n_memory = 1, .state = { .step = step } };
    return hx_ckpt_write(here("ckpt"), &c, 2);
}

// What is there before counts on: after a failure a checkpoint that was whole is still found.
static hx_result save_next(hx_arena *a)
{
    const char *dir;
    hx_result r = save(3);
    nth_pause(true);
    ck_ok(hx_ckpt_find(a, scratch, &dir));
    ck_assert_ptr_nonnull(dir);
    hx_dir_remove(at("ckpt/step-00000003"));
    ck_ok(save(2));
    nth_pause(false);
    return r;
}

static hx_result find(hx_arena *a)
{
    const char *dir;
    HX_TRY(hx_ckpt_find(a, scratch, &dir));
    quiet(ck_assert_str_eq(strrchr(dir, '/'), "/step-00000002"));
    return HX_OK;
}

static hx_result load(hx_arena *a)
{
    const char *dir = here("ckpt/step-00000002");
    float p[100], m[100], v[100];
    hx_ckpt_state s;
    bool there;
    (void)a;
    HX_TRY(hx_ckpt_verify(dir));
    HX_TRY(hx_ckpt_state_read(dir, &s));
    quiet(ck_assert_int_eq(s.step, 2));
    HX_TRY(hx_ckpt_read(dir, ps, p, m, v));
    HX_TRY(hx_ckpt_read_ema(dir, ps, p, &there));
    quiet(ck_assert(there));
    return HX_OK;
}

static hx_result mark(hx_arena *a)
{
    (void)a;
    return hx_ckpt_mark_best(here("ckpt"), 2);
}

static hx_result open_bad(hx_arena *a, const char *header, const char *want)
{
    uint8_t *file;
    quiet(file = hx_alloc(arena, strlen(header) + 8));
    uint64_t n = strlen(header);
    hx_st *st;
    (void)a;
    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    hx_result r = hx_st_open_mem("memory", file, (int64_t)n + 8, &st);
    return r == HX_E_INPUT && says(want) ? HX_OK : r;
}

static hx_result bad_json(hx_arena *a)
{
    const char *header;
    quiet(header = hx_strdup(arena, "{\"a\""));
    return open_bad(a, header, "E-ST-JSON");
}

static hx_result bad_type(hx_arena *a)
{
    return open_bad(a, "{\"a\":{\"dtype\":\"F3\",\"shape\":[],\"data_offsets\":[0,0]}}", "E-ST-DTYPE");
}

START_TEST(bad_tensors)
{
    no_memory(bad_json, 0);
    no_memory(bad_type, 0);
    // a tensor that is not the file's
    static uint8_t file[200] = { 2, 0, 0, 0, 0, 0, 0, 0, '{', '}' };
    float out[4];
    hx_st *st;
    ck_ok(hx_st_open_mem("memory", file, 10, &st));
    for (int i = 0; i < 3; i++) {
        const hx_st_tensor t = { .name = "t", .dtype = HX_ST_F32, .elems = 2, .bytes = 8, .at = (int64_t[]){ -1, 3, 11 }[i] };
        ck_assert_int_eq(hx_st_read_f32(st, &t, out), HX_E_INTERNAL);
        ck_says("outside its bytes");
    }
    hx_st_close(&st);
    hx_st_close(&st);
    hx_st_close(NULL);
    // more objects than there may be tensors, without memory for any
    enum { MANY = (1 << 20) + 2 };
    char *header = calloc(3, MANY + 100);
    strcpy(header, "{\"a\":[");
    for (int i = 0; i < MANY; i++)
        memcpy(header + 6 + 3 * i, "{},", 3);
    ck_ok(open_bad(arena, header, "more than 1048576 tensors"));
    // one less, and they are counted among what is wrong otherwise
    memset(header + 6 + 3 * ((1 << 20) - 1), 0, 300);
    ck_ok(open_bad(arena, header, "E-ST-JSON"));
    free(header);
}
END_TEST

START_TEST(checkpoints)
{
    const hx_st_item item = { "layers.0.weight", HX_ST_F32, 2, (const int64_t[]){ 3, 5 }, weights };
    ck_ok(hx_st_write(at("some.safetensors"), &item, 1, (const char *const[]){ "a", "b", NULL }));
    no_memory(tensors, 0);
    no_memory(tensors_in_memory, 0);
    no_memory(write_tensors, 0);
    ck_ok(save(1));
    ck_ok(save(2));
    no_memory(find, 0);
    no_memory(load, 0);
    no_memory(mark, 0);
    // sweeping and pruning are for later when there is no memory for them
    ck_assert_int_gt(no_memory(save_next, 60), 100);
}
END_TEST

static hx_result save_again(hx_arena *a)
{
    (void)a;
    return save(2);
}

static int warned;
static void count_warnings(void *user, hx_log_level level, const char *text)
{
    (void)user, (void)text;
    warned += level == HX_LOG_WARN;
}

START_TEST(more_checkpoints)
{
    ck_ok(save(1));
    ck_ok(save(2));
    no_memory(save_again, 30);
    each("statvfs64", EIO, save_next, HX_E_IO, 9);             // room that is not known is not refused
    // two names of one number; old ones go, whatever they are called
    ck_ok(hx_dir_make(at("ckpt/step-000000002"), 0755));
    ck_ok(hx_dir_make(at("ckpt/step-2"), 0755));
    ck_ok(hx_dir_make(at("ckpt/step-0000000000000000003"), 0755));
    ck_ok(hx_dir_make(at("ckpt/step-00000003x"), 0755));
    ck_ok(hx_dir_make(at("ckpt/.tmp-step-9"), 0755));
    ck_ok(save(5));
    ck_assert(!hx_file_exists(at("ckpt/.tmp-step-9")) && hx_file_exists(at("ckpt/step-2")));
    ck_ok(hx_ckpt_mark_best(at("ckpt"), 77));
    ck_assert(!hx_file_exists(at("ckpt/best")));
    ck_ok(hx_ckpt_mark_best(at("ckpt"), 5));
    ck_assert(hx_file_exists(at("ckpt/best")));
    // weights alone, a mean beside them, one moment
    static toy_conf conf = { .num_tokens = 256, .depth = "1", .kind = "" };
    float p[100], other[100];
    bool there;
    for (int i = 0; i < 4; i++) {
        const hx_ckpt c = { .model = &toy, .conf = &conf, .params = ps, .p = weights, .m = i & 1 ? weights : NULL,
                            .v = i & 2 ? weights : NULL, .state = { .step = 10 + i } };
        ck_ok(hx_ckpt_write(at("ckpt"), &c, 9));
        const char *dir = hx_sprintf(arena, "%s/ckpt/step-%08d", scratch, 10 + i), *found;
        ck_assert(hx_file_exists(hx_path_join(arena, dir, "optimizer.safetensors")) == (i != 0));
        ck_ok(hx_ckpt_read(dir, ps, p, NULL, NULL));
        ck_assert_int_eq(hx_ckpt_read(dir, ps, p, other, NULL), i & 1 ? HX_OK : HX_E_INPUT);
        ck_assert_int_eq(hx_ckpt_read(dir, ps, p, NULL, other), i & 2 ? HX_OK : HX_E_INPUT);
        ck_ok(hx_ckpt_read_ema(dir, ps, p, &there));
        ck_assert(!there);
        ck_ok(hx_ckpt_find(arena, dir, &found));
        ck_assert_str_eq(found, dir);
    }
    const char *dir = at("ckpt/step-00000013"), *found;
    put("ckpt/step-00000013/state.json", "{}", 2);
    ck_assert_int_eq(hx_ckpt_find(arena, dir, &found), HX_E_INPUT);
    if (!HAVE_FAULTS)
        return;
    hx_log_to(count_warnings, NULL);
    hx_fault_set("io:statvfs:1:ENOSPC");
    ck_assert_int_eq(save(20), HX_E_IO);
    ck_says("no room for a checkpoint");
    // what cannot be removed is told and stays; what is in the way makes saving fail
    ck_ok(hx_dir_make(at("ckpt/.tmp-step-9"), 0755));
    put("ckpt/.tmp-step-9/file", "x", 1);
    hx_fault_set("io:unlink:*:EACCES");
    ck_assert_int_eq(save(13), HX_E_IO);
    ck_assert_int_eq(warned, 1);
    hx_fault_set("io:read:1:EIO");
    ck_assert_int_eq(save(40), HX_E_IO);
    ck_says("written, but not readable");
    hx_fault_set("");
    ck_ok(save(13));                       // what was broken is made anew
    hx_fault_set("io:unlink:2+:EACCES");
    ck_ok(save(21));
    ck_assert_int_gt(warned, 2);
    hx_fault_set("");
    // a text longer than one write
    static char kind[2 << 20];
    memset(kind, 'k', sizeof kind - 1);
    conf.kind = kind;
    const hx_ckpt c = { .model = &toy, .conf = &conf, .params = ps, .p = weights, .state = { .step = 30 } };
    hx_fault_set("io:write:1:ENOSPC");
    ck_assert_int_eq(hx_ckpt_write(at("ckpt"), &c, 9), HX_E_IO);
    ck_assert(!hx_file_exists(at("ckpt/step-00000030")));
    hx_fault_set("");
    ck_ok(hx_ckpt_write(at("ckpt"), &c, 9));
    conf.kind = "";
}
END_TEST

START_TEST(checkpoint_faults)
{
    if (!HAVE_FAULTS)
        return;
    ck_ok(save(1));
    ck_ok(save(2));
    seams("read", "EIO", load, HX_E_IO);
}
END_TEST

// ---- text, sets, tokenizers ----------------------------------------------------------------

static hx_result read_text(hx_arena *a)
{
    (void)a;
    hx_text *t;
    HX_TRY(hx_text_read(&(hx_strs){ 1, { here("text") } }, 0, &t));
    quiet(ck_assert_int_eq(t->size, 3 * 9 + 20));
    hx_text_free(&t);
    quiet(ck_assert_ptr_null(t));
    return HX_OK;
}

static hx_result read_twice(hx_arena *a)
{
    (void)a;
    hx_text *t;
    HX_TRY(hx_text_read(&(hx_strs){ 1, { here("twice.gz") } }, 0, &t));
    quiet(ck_assert_int_eq(t->size, 18));
    hx_text_free(&t);
    return HX_OK;
}

// Whatever is there of it.
static hx_result list_text(hx_arena *a)
{
    (void)a;
    hx_text *t;
    HX_TRY(hx_text_read(&(hx_strs){ 1, { here("text") } }, 0, &t));
    hx_text_free(&t);
    return HX_OK;
}

START_TEST(texts)
{
    uint8_t packed[200];
    uLongf n = sizeof packed;
    z_stream z = { .next_in = (Bytef *)(uintptr_t)"some text", .avail_in = 9, .next_out = packed,
                   .avail_out = sizeof packed };
    ck_ok(hx_dir_make(at("text"), 0755));
    put("text/a.txt", "some text", 9);
    ck_assert_int_eq(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
    uint8_t gz[200];
    n = z.total_out;
    deflateEnd(&z);
    memcpy(gz, packed, n);
    put("text/b.gz", packed, n);
    put("text/c.zst", packed, ZSTD_compress(packed, sizeof packed, "some text", 9, 1));
    for (int i = 0; i < 20; i++)           // more parts than there is room for at first
        put(hx_sprintf(arena, "text/d%d.txt", i), "x", 1);
    ck_assert_int_gt(no_memory(read_text, 1), 40);
    each("inflate", ENOMEM, read_text, HX_E_NOMEM, 0);
    if (HAVE_FAULTS)
        seams("read", "EIO", read_text, HX_E_IO);
    // two members, the second of which cannot be begun
    uint8_t twice[400];
    memcpy(twice, gz, n);
    memcpy(twice + n, gz, n);
    put("twice.gz", twice, 2 * n);
    each("inflateReset", EIO, read_twice, HX_E_INPUT, 0);
    each("lstat64", ENOENT, list_text, HX_E_IO, 23);    // what is gone meanwhile is left out
}
END_TEST

static hx_result read_set(hx_arena *a)
{
    hx_text *t;
    hx_set_facts f;
    HX_TRY(hx_set_facts_read(a, here("set"), &f));
    quiet(ck_assert_str_eq(f.tokenizer, here("set/tokenizer.json")));
    HX_TRY(hx_set_read(&(hx_strs){ 2, { here("set"), here("set") } }, 1 << 20, &t));
    quiet(ck_assert_int_eq(t->size, 8));
    hx_text_free(&t);
    return HX_OK;
}

START_TEST(sets)
{
    hx_set *s;
    put("tokenizer.json", "{}", 2);
    ck_ok(hx_set_begin(at("set"), &(hx_set_facts){ .num_tokens = 300, .masked = true, .made = "{}",
                                                   .tokenizer = at("tokenizer.json") }, 2, &s));
    ck_ok(hx_set_put(s, (const int32_t[]){ 1, 2, 3 }, (const uint8_t[]){ 1, 0, 1 }, 3, 3));
    ck_ok(hx_set_put(s, (const int32_t[]){ 299 }, (const uint8_t[]){ 1 }, 1, 1));
    ck_ok(hx_set_end(&s));
    ck_assert_int_gt(no_memory(read_set, 0), 20);
    if (HAVE_FAULTS)
        seams("read", "EIO", read_set, HX_E_IO);
}
END_TEST

static hx_result read_bpe(hx_arena *a)
{
    (void)a;
    hx_bpe *b;
    hx_result r = hx_bpe_read(here("tokenizer.json"), &b);
    quiet(ck_assert(!r == (b != NULL)));
    hx_bpe_free(&b);
    return r;
}

START_TEST(tokenizers)
{
    static const char file[] = "{\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"added_tokens\": [{\"id\": 4, "
        "\"content\": \"<e>\"}], \"model\": {\"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2, \"c\": 3, \"abc\": 5}, "
        "\"merges\": [\"a b\", [\"ab\", \"c\"]]}}";
    put("tokenizer.json", file, strlen(file));
    ck_assert_int_gt(no_memory(read_bpe, 0), 12);
    if (HAVE_FAULTS)
        seams("read", "EIO", read_bpe, HX_E_IO);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { files, changed_file, writers, file_faults, configurations, silent_parser, checkpoints, bad_tensors, more_checkpoints, checkpoint_faults, texts,
                                   sets, tokenizers };
    return run_suite("nth", begin, end, tests, HX_COUNT(tests));
}
