// test_nth.c - every reader and writer of files, with each of its allocations and system calls failing
// in turn: the right error with a message, or nothing lost. Runs under the sanitizers' leak check, too.
#include "../src/core/ckpt.h"
#include "../src/data/bpe.h"
#include "../src/data/set.h"
#include "../src/train/conf_run.h"
#include "each.h"
#include "toy.h"
#include <sys/file.h>
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

START_TEST(file_faults)
{
    if (!HAVE_FAULTS)
        return;
    put("file", "hello", 5);
    seams("read", "EIO", file_read, HX_E_IO);
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

static hx_result field(hx_arena *a)
{
    toy_conf c = { 0 };
    HX_TRY(hx_field_set(toy_fields, &c, "pools", "[a, 'b', \"c\"]", a));
    HX_TRY(hx_field_set(toy_fields, &c, "pools", "word", a));
    return hx_field_set(toy_fields, &c, "kind", "word", a);
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
    no_memory(field, 0);
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
    n = z.total_out;
    deflateEnd(&z);
    put("text/b.gz", packed, n);
    put("text/c.zst", packed, ZSTD_compress(packed, sizeof packed, "some text", 9, 1));
    for (int i = 0; i < 20; i++)           // more parts than there is room for at first
        put(hx_sprintf(arena, "text/d%d.txt", i), "x", 1);
    ck_assert_int_gt(no_memory(read_text, 1), 40);
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
    const TTest *const tests[] = { files, file_faults, configurations, checkpoints, checkpoint_faults, texts,
                                   sets, tokenizers };
    return run_suite("nth", begin, end, tests, HX_COUNT(tests));
}
