// test_ckpt.c - saving and loading, damage, faults and a kill at every call, pruning, strict
// loading.
#include "../src/core/ckpt.h"
#include "../runtime/log.h"
#include "scratch.h"
#include "toy.h"
#include <sys/stat.h>
#include <sys/wait.h>

static hx_params *ps;
static toy_conf conf;
static float *p, *m, *v;
static char logged[4096];

static void remember(void *user, hx_log_level level, const char *text)
{
    (void)user, (void)level;
    strncat(logged, text, sizeof logged - strlen(logged) - 2);
    strcat(logged, "\n");
}

static void begin(void)
{
    setup();
    static const float table[3] = { 1, 2, 3 };
    ps = hx_params_new();
    hx_param_add(ps, HX_INIT_NORMAL, 1, 2, (const int64_t[]){ 3, 5 }, "layers.%d.weight", 0);
    hx_param_buffer(ps, table, 3, "rotary.freqs");
    hx_param_add(ps, HX_INIT_NORMAL, 1, 1, (const int64_t[]){ 7 }, "norm.g");
    p = hx_alloc(arena, (size_t)ps->bytes);
    m = hx_alloc(arena, (size_t)ps->bytes);
    v = hx_alloc(arena, (size_t)ps->bytes);
    for (int i = 0; i < ps->n; i++)
        if (!ps->list[i].buffer) {
            hx_param_init(&ps->list[i], 1, p + ps->list[i].at / 4);
            hx_param_init(&ps->list[i], 2, m + ps->list[i].at / 4);
            hx_param_init(&ps->list[i], 3, v + ps->list[i].at / 4);
        }
    ck_ok(hx_fields_default(toy_fields, &conf));
    conf.num_tokens = 256;
    logged[0] = 0;
    hx_log_to(remember, NULL);
}

static void end(void)
{
    hx_params_free(&ps);
    teardown();
}

static hx_result save(int64_t step, int keep)
{
    static const float carried[500] = { 4, 5 };
    const hx_st_item memory = { "state.0", HX_ST_F32, 1, (const int64_t[]){ 500 }, carried };
    const hx_ckpt c = { .model = &toy,
                        .conf = &conf,
                        .params = ps,
                        .p = p,
                        .m = m,
                        .v = v,
                        .memory = &memory,
                        .n_memory = 1,
                        .state = { .step = step,
                                   .tokens = step * 4096,
                                   .sample = step * 4,
                                   .updates = step - 1,
                                   .seed = INT64_MAX,
                                   .seconds = 0.1,
                                   .best = 1.0 / 3 } };
    return hx_ckpt_write(at("ckpt"), &c, keep);
}

static const char *step_dir(int64_t step)
{
    return hx_sprintf(arena, "%s/ckpt/step-%08d", scratch, (int)step);
}

static const char *find(void)
{
    const char *dir;
    ck_ok(hx_ckpt_find(arena, scratch, &dir));
    return dir;
}

START_TEST(round_trip)
{
    ck_ok(save(500, 3));
    const char *dir = find();
    ck_assert_str_eq(dir, step_dir(500));
    hx_names names;
    ck_ok(hx_dir_list(arena, dir, &names));
    static const char *const files[] = { "MANIFEST.json",         "config.json",
                                         "memory.safetensors",    "model.safetensors",
                                         "optimizer.safetensors", "state.json" };
    ck_assert_int_eq(names.n, HX_COUNT(files));
    for (int i = 0; i < names.n; i++)
        ck_assert_str_eq(names.v[i], files[i]);
    float *q = hx_alloc(arena, (size_t)ps->bytes), *n = hx_alloc(arena, (size_t)ps->bytes),
          *w = hx_alloc(arena, (size_t)ps->bytes);
    ck_ok(hx_ckpt_read(dir, ps, q, n, w));
    ck_assert(!memcmp(p, q, (size_t)ps->bytes) && !memcmp(m, n, (size_t)ps->bytes) &&
              !memcmp(v, w, (size_t)ps->bytes));
    hx_ckpt_state s;
    ck_ok(hx_ckpt_state_read(dir, &s));
    ck_assert(s.step == 500 && s.tokens == 500 * 4096 && s.sample == 2000 && s.updates == 499 &&
              s.seed == INT64_MAX);
    ck_assert(s.seconds == 0.1 && s.best == 1.0 / 3);
    // a buffer is in the file, under its name
    hx_st *st;
    ck_ok(hx_st_open(hx_sprintf(arena, "%s/model.safetensors", dir), &st));
    ck_ok(hx_st_read_f32(st, hx_st_find(st, "rotary.freqs"), q));
    ck_assert(q[2] == 3);
    ck_assert_str_eq(hx_st_meta(st, "step"), "500");
    hx_st_close(&st);
    char to[32] = "";
    ck_assert_int_gt(readlink(at("ckpt/latest"), to, sizeof to - 1), 0);
    ck_assert_str_eq(to, "step-00000500");
    const char *direct;
    ck_ok(hx_ckpt_find(arena, at("ckpt/latest"), &direct));
    ck_ok(hx_ckpt_read(direct, ps, q, NULL, NULL));
    // saving the same step again keeps what is there
    struct stat a, b;
    stat(hx_sprintf(arena, "%s/state.json", dir), &a);
    ck_ok(save(500, 3));
    stat(hx_sprintf(arena, "%s/state.json", dir), &b);
    ck_assert(a.st_ino == b.st_ino);
    ck_assert_str_eq(logged, "");
}
END_TEST

START_TEST(pruning)
{
    ck_assert_int_eq(hx_dir_make_all(at("ckpt/.tmp-step-00000001-7"), 0700), 0);
    put("ckpt/.tmp-step-00000001-7/half", "x", 1);
    put("ckpt/step-1", "not one", 7);
    ck_ok(hx_dir_make(at("ckpt/step-00000009x"), 0700));
    for (int step = 1; step <= 6; step++)
        ck_ok(save(step == 6 ? 100000000 : step, 2));
    hx_names names;
    ck_ok(hx_dir_list(arena, at("ckpt"), &names));
    static const char *const left[] = { "latest", "step-00000005", "step-00000009x", "step-1",
                                        "step-100000000" };
    ck_assert_int_eq(names.n, HX_COUNT(left));
    for (int i = 0; i < names.n; i++)
        ck_assert_str_eq(names.v[i], left[i]);
    ck_assert_str_eq(find(), at("ckpt/step-100000000"));
    // a run that begins again keeps what it has just written
    ck_ok(save(3, 1));
    ck_assert(hx_file_exists(step_dir(3)) && !hx_file_exists(step_dir(5)));
}
END_TEST

START_TEST(fallback)
{
    const char *dir;
    ck_ok(hx_dir_make(at("ckpt"), 0755));
    ck_assert_ptr_null(find());
    ck_assert_int_eq(hx_ckpt_find(arena, at("none"), &dir), HX_E_INPUT);
    for (int step = 1; step <= 4; step++)
        ck_ok(save(step, 9));
    ck_assert_int_eq(unlink(hx_sprintf(arena, "%s/MANIFEST.json", step_dir(4))), 0);
    ck_assert_int_eq(truncate(hx_sprintf(arena, "%s/model.safetensors", step_dir(3)), 100), 0);
    ck_assert_str_eq(find(), step_dir(2));
    ck_assert(strstr(logged, "step-00000004") && strstr(logged, "MANIFEST.json") &&
              strstr(logged, "100 bytes"));
    for (int step = 1; step <= 2; step++)
        ck_assert_int_eq(unlink(hx_sprintf(arena, "%s/state.json", step_dir(step))), 0);
    ck_assert_int_eq(hx_ckpt_find(arena, scratch, &dir), HX_E_INPUT);
    ck_says("none of the 4 checkpoints");
    ck_assert_ptr_null(dir);
    // writing a step whose directory is broken replaces it
    ck_ok(save(4, 9));
    ck_assert_str_eq(find(), step_dir(4));
}
END_TEST

// Every cut and every flipped bit of every file is seen.
// Every bit of every file, and every length.
START_TEST(damage)
{
    int64_t bits = 0, cuts = 0;
    ck_ok(save(7, 3));
    const char *dir = find();
    hx_names names;
    ck_ok(hx_dir_list(arena, dir, &names));
    for (int i = 0; i < names.n; i++) {
        const char *path = hx_path_join(arena, dir, names.v[i]);
        hx_blob b;
        ck_ok(hx_file_read(path, 1 << 20, 0, &b));
        FILE *f = fopen(path, "r+b");
        setvbuf(f, NULL, _IONBF, 0);
        for (int64_t bit = 0; bit < 8 * b.size; bit++, bits++) {
            uint8_t byte = b.data[bit / 8] ^ (uint8_t)(1 << bit % 8);
            fseek(f, bit / 8, SEEK_SET);
            fwrite(&byte, 1, 1, f);
            ck_assert_msg(hx_ckpt_verify(dir), "%s: bit %lld", names.v[i], (long long)bit);
            fseek(f, bit / 8, SEEK_SET);
            fwrite(b.data + bit / 8, 1, 1, f);
        }
        for (int64_t n = b.size - 1; n >= 0; n--, cuts++) {
            ck_assert_int_eq(truncate(path, n), 0);
            // the last byte of a manifest is a line feed, which says nothing
            bool empty = !strcmp(names.v[i], "MANIFEST.json") && n == b.size - 1;
            ck_assert_msg(empty || hx_ckpt_verify(dir), "%s: cut at %lld", names.v[i],
                          (long long)n);
        }
        fseek(f, 0, SEEK_SET);
        fwrite(b.data, 1, (size_t)b.size, f);
        fclose(f);
        hx_blob_free(&b);
        ck_ok(hx_ckpt_verify(dir));
    }
    ck_assert_int_ge(cuts, 4096);
    ck_assert_int_ge(bits, 32768);
}
END_TEST

// Each call of a save fails once, then from there on: step 1 stays whole and is what a reader
// finds.
START_TEST(faults)
{
    static const char *const calls[] = { "open",      "write", "fsync",   "close", "rename",
                                         "fallocate", "mkdir", "symlink", "unlink" };
    static const char *const errors[] = { "EIO", "ENOSPC", "EMFILE" };
    if (!HAVE_FAULTS)
        return;
    ck_ok(save(1, 9));
    int failed = 0;
    for (int c = 0; c < HX_COUNT(calls); c++)
        for (int k = 0; k < 2 * HX_COUNT(errors); k++)
            for (int n = 1; n < 40; n++) {
                hx_fault_set(hx_sprintf(arena, "io:%s:%d%s:%s", calls[c], n, k % 2 ? "+" : "",
                                        errors[k / 2]));
                hx_result r = save(2, 9);
                hx_fault_set("");
                ck_assert_msg(!r || r == HX_E_IO, "%s %d gave %d: %s", calls[c], n, r,
                              hx_last_message());
                ck_ok(hx_ckpt_verify(step_dir(1)));
                // 1, or 2 when it is whole after all
                const char *dir = find();
                ck_assert(!strcmp(dir, step_dir(2)) || (r && !strcmp(dir, step_dir(1))));
                if (hx_file_exists(step_dir(2)))
                    ck_ok(hx_dir_remove(step_dir(2)));
                failed += r != HX_OK;
                if (!r && n > 12)
                    break;
            }
    ck_assert_int_gt(failed, 100);
    ck_ok(save(2, 9));
    ck_ok(hx_ckpt_verify(step_dir(2)));
}
END_TEST

// The process dies before every single call of a save; the next one finds a whole checkpoint and
// can save.
START_TEST(kills)
{
    static const char *const calls[] = { "open",      "write", "fsync",   "close", "rename",
                                         "fallocate", "mkdir", "symlink", "unlink" };
    if (!HAVE_FAULTS)
        return;
    ck_ok(save(1, 9));
    int died = 0;
    for (int c = 0; c < HX_COUNT(calls); c++)
        for (int n = 1, alive = 0; !alive; n++) {
            hx_fault_set(hx_sprintf(arena, "io:%s:%d:KILL", calls[c], n));
            pid_t child = fork();
            if (!child)
                _exit(save(2, 9) != HX_OK);
            int status;
            waitpid(child, &status, 0);
            alive = WIFEXITED(status);
            died += !alive;
            hx_fault_set("");
            ck_assert(!alive || !WEXITSTATUS(status));
            const char *dir = find();
            ck_assert(!strcmp(dir, step_dir(1)) || !strcmp(dir, step_dir(2)));
            ck_ok(save(2, 9));
            ck_assert_str_eq(find(), step_dir(2));
            hx_names names;
            ck_ok(hx_dir_list(arena, at("ckpt"), &names));
            for (int i = 0; i < names.n; i++)
                ck_assert_msg(names.v[i][0] != '.', "%s is left", names.v[i]);
            ck_ok(hx_dir_remove(step_dir(2)));
        }
    ck_assert_int_gt(died, 40);
}
END_TEST

START_TEST(manifests)
{
    ck_ok(save(1, 9));
    put("outside", "x", 1);
    static const struct { const char *text, *says;
    } bad[] = {
        { "[]", "E-CKPT-JSON" },
        { "{", "E-CKPT-JSON" },
        { "{\"files\": {}}", "config.json" },
        { "{\"files\": []}", "config.json" },
        { "{\"version\": 1, \"files\": {\"config.json\": 1, \"model.safetensors\": 1, "
          "\"state.json\": 1}}",
          "row of" },
        { "{\"version\": 2, \"files\": {\"config.json\": 1, \"model.safetensors\": 1, "
          "\"state.json\": 1}}",
          "version" },
        { "{\"version\": 1, \"files\": {\"../../outside\": {\"size\": 1, \"xxh3_128\": \"\"}, "
          "\"config.json\": 1, \"model.safetensors\": 1,"
          " \"state.json\": 1}}",
          "not a file of its directory" },
        { "{\"version\": 1, \"files\": {\".hidden\": {\"size\": 1, \"xxh3_128\": \"\"}, \"config.json\": 1, "
          "\"model.safetensors\": 1, \"state.json\": 1}}", "not a file of its directory" },
        { "{\"version\": 1, \"files\": {\"config.json\": {\"xxh3_128\": \"\"}, \"model.safetensors\": 1, \"state.json\": 1}}",
          "row of" },
        { "{\"version\": 1, \"files\": {\"gone\": {\"size\": 1, \"xxh3_128\": \"\"}, \"config.json\": 1, "
          "\"model.safetensors\": 1, \"state.json\": 1}}", "cannot open" },
        { "{\"version\": 1, \"files\": {\"a\": 1, \"b\": 1, \"c\": 1, \"d\": 1, \"e\": 1, \"f\": 1, \"g\": 1, \"h\": 1, "
          "\"i\": 1, \"j\": 1, \"k\": 1, \"l\": 1, \"m\": 1, \"n\": 1, \"o\": 1, \"p\": 1, \"q\": 1}}", "too many files" },
    };
    for (int i = 0; i < HX_COUNT(bad); i++) {
        put("ckpt/step-00000001/MANIFEST.json", bad[i].text, strlen(bad[i].text));
        ck_assert_int_eq(hx_ckpt_verify(step_dir(1)), HX_E_INPUT);
        ck_says(bad[i].says);
    }
}
END_TEST

// Steps that the manifest and state.json do not agree on; a directory without checkpoints.
START_TEST(steps)
{
    hx_blob b;
    const char *dir;
    ck_ok(hx_dir_make(at("ckpt"), 0755));
    ck_ok(hx_ckpt_find(arena, scratch, &dir));
    ck_assert_ptr_null(dir);
    ck_ok(save(1, 9));
    ck_ok(hx_file_read(at("ckpt/step-00000001/MANIFEST.json"), 1 << 20, 0, &b));
    static const char *const says_step[] = { "\"step\": 2,", "\"stop\": 1,", "\"step\":\"\"," };
    char *step = strstr((char *)b.data, "\"step\": 1,");
    ck_assert_ptr_nonnull(step);
    for (int i = 0; i < HX_COUNT(says_step); i++) {
        memcpy(step, says_step[i], 10);
        put("ckpt/step-00000001/MANIFEST.json", b.data, (size_t)b.size);
        ck_assert_int_eq(hx_ckpt_verify(step_dir(1)), HX_E_INPUT);
        ck_says("different steps");
    }
    hx_blob_free(&b);
}
END_TEST

// Four of another shape, of which three are told; a buffer that the file leaves out has its own value.
START_TEST(odd_shapes)
{
    hx_st *st;
    hx_st_item items[4];
    hx_params *four = hx_params_new();
    float q[2000] = { 0 };
    static const int64_t two[] = { 2 }, three[] = { 3 };
    for (int i = 0; i < 4; i++) {
        hx_param_add(four, HX_INIT_NORMAL, 1, 1, two, "p%d", i);
        items[i] = (hx_st_item){ hx_sprintf(arena, "p%d", i), HX_ST_F32, 1, three, q };
    }
    ck_assert_int_ne(hx_param_fixed(four, 7, 1, two, "fixed"), 0);
    ck_ok(hx_st_write(at("w"), items, 4, NULL));
    ck_ok(hx_st_open(at("w"), &st));
    ck_assert_int_eq(hx_params_read(st, four, "", q), HX_E_INPUT);
    ck_says("4 of another shape (p0 is [3], not [2], p1 is [3], not [2], p2 is [3], not [2], ...)");
    hx_st_close(&st);
    for (int i = 0; i < 4; i++)
        items[i].shape = two;
    ck_ok(hx_st_write(at("w"), items, 4, NULL));
    ck_ok(hx_st_open(at("w"), &st));
    ck_ok(hx_params_read(st, four, "", q));
    ck_assert(q[four->list[4].at / 4] == 7 && q[four->list[4].at / 4 + 1] == 7);
    hx_st_close(&st);
    hx_params_free(&four);
}
END_TEST

START_TEST(strict)
{
    float *q = hx_alloc(arena, (size_t)ps->bytes);
    hx_st *st;
    const int64_t s2[] = { 3, 5 }, s2t[] = { 5, 3 }, s1[] = { 7 }, s3[] = { 3 }, s4[] = { 4 };
    const hx_st_item all[] = { { "layers.0.weight", HX_ST_F32, 2, s2, q },
                               { "norm.g", HX_ST_F32, 1, s1, q },
                               { "rotary.freqs", HX_ST_F32, 1, s3, q },
                               { "extra.one", HX_ST_F32, 1, s3, q } };
    const hx_st_item odd[] = { { "layers.0.weight", HX_ST_F32, 2, s2t, q },
                               { "rotary.freqs", HX_ST_F32, 1, s4, q } };
    static const struct { int from, n; bool fits; const char *says[3];
    } row[] = {
        { 0, 3, true, { "", "", "" } },
        { 0, 2, true, { "", "", "" } },
        { 1, 2, false, { "1 missing (layers.0.weight)", "", "" } },
        { 0, 4, false, { "1 unexpected (extra.one)", "", "" } },
        { 3, 1, false, { "2 missing", "norm.g", "1 unexpected" } },
    };
    for (int i = 0; i < HX_COUNT(row); i++) {
        ck_ok(hx_st_write(at("w"), all + row[i].from, row[i].n, NULL));
        ck_ok(hx_st_open(at("w"), &st));
        hx_result r = hx_params_read(st, ps, "", p);
        ck_assert_int_eq(r, row[i].fits ? HX_OK : HX_E_INPUT);
        for (int k = 0; k < 3 && r; k++)
            ck_says(row[i].says[k]);
        hx_st_close(&st);
    }
    ck_ok(hx_st_write(at("w"), odd, 2, NULL));
    ck_ok(hx_st_open(at("w"), &st));
    ck_assert_int_eq(hx_params_read(st, ps, "", p), HX_E_INPUT);
    ck_says(
        "2 of another shape (layers.0.weight is [5, 3], not [3, 5], rotary.freqs is [4], not [3])");
    hx_st_close(&st);
    // many are counted, the first few named
    hx_st_item many[9];
    for (int i = 0; i < 9; i++)
        many[i] = (hx_st_item){ hx_sprintf(arena, "z%d", i), HX_ST_F32, 1, s3, q };
    ck_ok(hx_st_write(at("w"), many, 9, NULL));
    ck_ok(hx_st_open(at("w"), &st));
    ck_assert_int_eq(hx_params_read(st, ps, "", p), HX_E_INPUT);
    ck_says("9 unexpected (z0, z1, z2, ...)");
    hx_st_close(&st);
    ck_ok(hx_params_write(at("own"), ps, p));
    ck_ok(hx_st_open(at("own"), &st));
    ck_ok(hx_params_read(st, ps, "", q));
    ck_assert_int_eq(st->n, 3);
    hx_st_close(&st);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { round_trip, pruning, fallback,  damage,
                                   faults,     kills,   manifests, steps, odd_shapes, strict };
    return run_suite("ckpt", begin, end, tests, HX_COUNT(tests));
}
