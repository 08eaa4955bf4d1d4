// test_safetensors.c - round trips, hostile headers, and every cut and flipped bit of a small file.
#include "../src/core/safetensors.h"
#include "scratch.h"
#include <math.h>

// A file of a header text and `data` bytes of data, all 0. The length can be told wrong.
static int64_t build(uint8_t *out, const char *header, size_t n, int64_t data, int64_t off)
{
    uint64_t size = n + (uint64_t)off;
    memcpy(out, &size, 8);
    memcpy(out + 8, header, n);
    memset(out + 8 + n, 0, (size_t)data);
    return (int64_t)(8 + n) + data;
}

static hx_result open_text(const char *header, int64_t data, hx_st **st)
{
    static uint8_t file[1 << 16];
    return hx_st_open_mem("t.safetensors", file, build(file, header, strlen(header), data, 0), st);
}

#define T(name, dtype, shape, a, b)                                                                \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #a "," #b "]}"

static const struct { const char *header; int64_t data; const char *says;
} hostile[] = {
    { "[]", 0, "E-ST-HEADER" },
    { " {}", 0, "E-ST-HEADER" },
    { "{", 0, "E-ST-SHORT" },
    { "{", 1, "E-ST-HEADER-SIZE" },
    { "{\"a\"", 0, "E-ST-JSON" },
    { "{}}", 0, "E-ST-JSON" },
    { "{} x", 0, "E-ST-JSON" },
    { "{}", 1, "E-ST-TRAILING" },
    { "{" T("a", "F32", "[2]", 0, 8) "}", 9, "E-ST-TRAILING" },
    { "{" T("a", "F32", "[2]", 0, 8) "}", 7, "E-ST-OFFSET" },
    { "{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 4, 12) "}", 12, "E-ST-OVERLAP" },
    { "{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 0, 8) "}", 8, "E-ST-OVERLAP" },
    { "{" T("a", "F32", "[2]", 0, 8) "," T("b", "F32", "[2]", 12, 20) "}", 20, "E-ST-HOLE" },
    { "{" T("a", "F32", "[2]", 4, 12) "}", 12, "E-ST-HOLE" },
    { "{" T("a", "F32", "[2]", 8, 0) "}", 8, "E-ST-OFFSET" },
    { "{" T("a", "F32", "[2]", -8, 0) "}", 8, "E-ST-OFFSET" },
    { "{" T("a", "F32", "[2]", 0, 8.5) "}", 8, "E-ST-OFFSET" },
    { "{" T("a", "F32", "[2]", 0.5, 8) "}", 8, "E-ST-OFFSET" },
    { "{" T("a", "F32", "[2]", null, 8) "}", 8, "E-ST-OFFSET" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,\"8\"]}}", 8, "E-ST-OFFSET" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "E-ST-HEADER" },
    { "{\"a\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "E-ST-HEADER" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[0,8]}}", 8, "E-ST-HEADER" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"more\":1}}", 8, "E-ST-HEADER" },
    { "{\"a\":1}", 0, "E-ST-HEADER" },
    { "{\"__metadata__\":[]}", 0, "E-ST-META" },
    { "{\"a\":[1,1,1,1,1,1,1,1,1]}", 0, "E-ST-HEADER" },
    { "{\"a\":{\"shape\":[1,1,1,1,1,1,1,1,1]}}", 0, "E-ST-RANK" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,[],1]}}", 0, "E-ST-DEPTH" },
    { "{" T("a", "F32", "[3]", 0, 8) "}", 8, "E-ST-SIZE" },
    { "{" T("a", "F64", "[2]", 0, 8) "}", 8, "E-ST-SIZE" },
    { "{" T("a", "F33", "[2]", 0, 8) "}", 8, "E-ST-DTYPE" },
    { "{" T("a", "f32", "[2]", 0, 8) "}", 8, "E-ST-DTYPE" },
    { "{" T("a", "F32", "[-2]", 0, 8) "}", 8, "E-ST-SHAPE" },
    { "{" T("a", "F32", "[2.0]", 0, 8) "}", 8, "E-ST-SHAPE" },
    { "{" T("a", "F32", "[\"2\"]", 0, 8) "}", 8, "E-ST-SHAPE" },
    { "{" T("a", "F32", "[1e400]", 0, 8) "}", 8, "E-ST-JSON" },
    { "{" T("a", "F32", "[9223372036854775808]", 0, 8) "}", 8, "E-ST-JSON" },
    { "{" T("a", "F32", "[9223372036854775807,2]", 0, 8) "}", 8, "E-ST-OVERFLOW" },
    { "{" T("a", "F32", "[4194305,4194305,1048577]", 0, 8) "}", 8, "E-ST-OVERFLOW" },
    { "{" T("a", "F64", "[2305843009213693952]", 0, 0) "}", 0, "E-ST-OVERFLOW" },
    { "{" T("a", "F32", "[1,1,1,1,1,1,1,1,2]", 0, 8) "}", 8, "E-ST-RANK" },
    { "{" T("a", "F32", "[[2]]", 0, 8) "}", 8, "E-ST-DEPTH" },
    { "{" T("a", "F32", "[2]", 0, 8) "," T("a", "F32", "[2]", 8, 16) "}", 16, "E-ST-TWICE" },
    { "{\"__metadata__\":{},\"__metadata__\":{}}", 0, "E-ST-TWICE" },
    { "{\"__metadata__\":{\"a\":\"b\",\"a\":\"c\"}}", 0, "E-ST-TWICE" },
    { "{\"__metadata__\":{\"a\":1}}", 0, "E-ST-META" },
    { "{\"__metadata__\":[\"a\"]}", 0, "E-ST-META" },
    { "{\"__metadata__\":{\"a\":{\"b\":{}}}}", 0, "E-ST-DEPTH" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "E-ST-HEADER" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8,
      "E-ST-HEADER" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "E-ST-HEADER" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8, "E-ST-HEADER" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "E-ST-HEADER" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":{\"0\":2},\"data_offsets\":[0,8]}}", 8, "E-ST-HEADER" },
    { "{\"a\":[]}", 0, "E-ST-HEADER" },
    { "{\"a\":null}", 0, "E-ST-HEADER" },
    { "{" T("a\\u0000b", "F32", "[2]", 0, 8) "}", 8, "E-ST-JSON" },
    { "{" T("a\xff", "F32", "[2]", 0, 8) "}", 8, "E-ST-JSON" },
    { "{" T("\\u001b[31m\\u202ex", "F32", "[3]", 0, 8) "}", 8, "'\\x1b[31m\\xe2\\x80\\xaex'" },
};

START_TEST(refused)
{
    for (int i = 0; i < HX_COUNT(hostile); i++) {
        hx_st *st;
        ck_assert_msg(open_text(hostile[i].header, hostile[i].data, &st) == HX_E_INPUT,
                      "row %d was taken", i);
        ck_assert_ptr_null(st);
        ck_assert_msg(says(hostile[i].says), "row %d: '%s' does not say '%s'", i, hx_last_message(),
                      hostile[i].says);
    }
}
END_TEST

// A number that is none, in the first of several pieces.
START_TEST(early_error)
{
    enum { N = 20000 };
    static float numbers[N];
    static int32_t out[N];
    hx_st *st;
    numbers[1] = 0.5f;
    const hx_st_item item = { "t", HX_ST_F32, 1, (const int64_t[]){ N }, numbers };
    ck_ok(hx_st_write(at("w"), &item, 1, NULL));
    ck_ok(hx_st_open(at("w"), &st));
    ck_assert_int_eq(hx_st_read_i32(st, hx_st_find(st, "t"), out), HX_E_INPUT);
    ck_says("element 1 of 't'");
    hx_st_close(&st);
}
END_TEST

START_TEST(header_sizes)
{
    static const uint64_t size[] = { 0,          1,          3,          100000001,
                                     1ull << 32, 1ull << 63, UINT64_MAX, UINT64_MAX - 7 };
    uint8_t file[16] = { 0 };
    hx_st *st;
    for (int i = 0; i < HX_COUNT(size); i++) {
        memcpy(file, &size[i], 8);
        memcpy(file + 8, "{}", 2);
        ck_assert_int_eq(hx_st_open_mem("t", file, 10, &st), HX_E_INPUT);
        ck_says("E-ST-HEADER-SIZE");
    }
    for (int n = 0; n < 10; n++)
        ck_assert_int_eq(hx_st_open_mem("t", file, n, &st), HX_E_INPUT);
    // a long list is refused before it costs memory
    size_t n = 60000;
    char *text = malloc(n + 1);
    memset(text, ',', n);
    memcpy(text, "{\"a\":{\"shape\":[1", 16);
    text[n] = 0;
    ck_assert_int_eq(open_text(text, 0, &st), HX_E_INPUT);
    ck_says("E-ST-RANK");
    free(text);
}
END_TEST

START_TEST(legal)
{
    hx_st *st;
    ck_ok(open_text("{}  \n", 0, &st));
    ck_assert_int_eq(st->n, 0);
    hx_st_close(&st);
    ck_ok(
        open_text("{\"__metadata__\":{\"format\":\"pt\"}," T("z", "F32", "[]", 0, 4) "," T(
                      "y", "F32", "[0,5]", 4, 4) "," T("x", "I64", "[1,1,1,1,1,1,1,1]", 4, 12) "}",
                  12, &st));
    ck_assert_str_eq(hx_st_meta(st, "format"), "pt");
    ck_assert_ptr_null(hx_st_meta(st, "other"));
    ck_assert_str_eq(st->t[0].name, "x");
    const hx_st_tensor *z = hx_st_find(st, "z"), *y = hx_st_find(st, "y");
    ck_assert(z->rank == 0 && z->elems == 1 && y->elems == 0 && y->rank == 2);
    float f[4] = { 9, 9, 9, 9 };
    ck_ok(hx_st_read_f32(st, y, f));
    ck_assert(f[0] == 9);
    ck_ok(hx_st_read_f32(st, z, f));
    ck_assert(f[0] == 0 && f[1] == 9);
    ck_assert_ptr_null(hx_st_find(st, "w"));
    hx_st_close(&st);
    hx_st_close(&st);
}
END_TEST

START_TEST(values)
{
    static const struct {
        const char *dtype;
        int bytes;
        uint64_t bits;
        float value;
        bool whole;
    } row[] = {
        { "F32", 4, 0x40490fdb, 3.14159274f, false },
        { "F64", 8, 0x400921fb54442d18, 3.14159274f, false },
        { "F16", 2, 0x3c00, 1, true },
        { "F16", 2, 0x0001, 0x1p-24f, false },
        { "F16", 2, 0x8400, -0x1p-14f, false },
        { "F16", 2, 0x7bff, 65504, true },
        { "F16", 2, 0xfc00, -INFINITY, false },
        { "F16", 2, 0x83ff, -0x1.ff8p-15f, false },
        { "BF16", 2, 0x3f80, 1, true },
        { "BF16", 2, 0xc000, -2, true },
        { "I64", 8, (uint64_t)-5, -5, true },
        { "I64", 8, 1ull << 31, 2147483648.f, false },
        { "I32", 4, 0xfffffffe, -2, true },
        { "I16", 2, 0xfff0, -16, true },
        { "I8", 1, 0x80, -128, true },
        { "U8", 1, 0xff, 255, true },
        { "BOOL", 1, 1, 1, true },
    };
    for (int i = 0; i < HX_COUNT(row); i++) {
        uint8_t file[256];
        const char *h =
            hx_sprintf(arena, "{\"a\":{\"dtype\":\"%s\",\"shape\":[1],\"data_offsets\":[0,%d]}}",
                       row[i].dtype, row[i].bytes);
        int64_t n = build(file, h, strlen(h), row[i].bytes, 0);
        memcpy(file + n - row[i].bytes, &row[i].bits, (size_t)row[i].bytes);
        hx_st *st;
        ck_ok(hx_st_open_mem("t", file, n, &st));
        float f;
        int32_t k;
        ck_ok(hx_st_read_f32(st, st->t, &f));
        ck_assert_msg(!memcmp(&f, &row[i].value, 4), "row %d gave %.9g", i, f);
        hx_result r = hx_st_read_i32(st, st->t, &k);
        ck_assert_msg(strcmp(row[i].dtype, "I32") && !row[i].whole
                          ? r == HX_E_INPUT
                          : !r && k == (int32_t)row[i].value,
                      "row %d as an integer gave %d", i, r);
        hx_st_close(&st);
    }
}
END_TEST

static const float numbers[6] = { 1, -2, 0.5f, INFINITY, -0.f, 1e-45f };
static const int32_t whole[3] = { 1, -1, INT32_MIN };
static const hx_st_item items[] = {
    { "b.weight", HX_ST_F32, 2, (const int64_t[]){ 2, 3 }, numbers },
    { "a\"\x01\xc3\xa9", HX_ST_I32, 1, (const int64_t[]){ 3 }, whole },
    { "scalar", HX_ST_F32, 0, NULL, numbers + 2 },
    { "none", HX_ST_F32, 2, (const int64_t[]){ 0, 7 }, NULL },
};

START_TEST(round_trip)
{
    const char *path = at("x.safetensors"), *const meta[] = { "arch", "toy\n", NULL };
    ck_ok(hx_st_write(path, items, HX_COUNT(items), meta));
    ck_ok(hx_st_write(path, items, HX_COUNT(items), meta));
    hx_st *st;
    ck_ok(hx_st_open(path, &st));
    ck_assert_str_eq(hx_st_meta(st, "format"), "pt");
    ck_assert_str_eq(hx_st_meta(st, "arch"), "toy\n");
    ck_assert_int_eq(st->n, 4);
    float f[6];
    int32_t k[3];
    const hx_st_tensor *b = hx_st_find(st, "b.weight");
    ck_assert_int_eq(b->at % 8, 0);
    ck_ok(hx_st_read_f32(st, b, f));
    ck_assert(!memcmp(f, numbers, sizeof f));
    ck_ok(hx_st_read_i32(st, hx_st_find(st, items[1].name), k));
    ck_assert(!memcmp(k, whole, sizeof k));
    hx_st_close(&st);
    // the names of a directory, not of a stage left behind
    hx_names names;
    ck_ok(hx_dir_list(arena, scratch, &names));
    ck_assert_int_eq(names.n, 1);
    // a new file is never an old one
    uint64_t hash[2], again[2];
    int64_t size, same;
    ck_assert_int_eq(hx_st_write_new(path, items, 4, NULL, hash, &size), HX_E_IO);
    ck_ok(hx_st_write_new(at("y"), items, 4, NULL, hash, &size));
    ck_ok(hx_file_hash(at("y"), again, &same));
    ck_assert(hash[0] == again[0] && hash[1] == again[1] && size == same);
    const hx_st_item bad = { "x", HX_ST_F32, 2, (const int64_t[]){ INT64_MAX, 2 }, NULL };
    ck_assert_int_eq(hx_st_write(path, &bad, 1, NULL), HX_E_SHAPE);
}
END_TEST

// What a reader may do with a damaged file: refuse it, or read what it says.
static bool survives(const uint8_t *data, int64_t n)
{
    hx_st *st;
    hx_result r = hx_st_open_mem("d", data, n, &st);
    ck_assert(!r == (st != NULL));
    float *f = st ? malloc((size_t)n + 8) : NULL;
    for (int i = 0; st && i < st->n; i++) {
        ck_assert(st->t[i].elems * 4 <= n * 4 && st->t[i].at >= 8 &&
                  st->t[i].at + st->t[i].bytes <= n);
        float *out = malloc((size_t)st->t[i].elems * 4 + 1);
        hx_st_read_f32(st, &st->t[i], out);
        hx_st_read_i32(st, &st->t[i], (int32_t *)out);
        free(out);
    }
    free(f);
    hx_st_close(&st);
    return r == HX_OK;
}

START_TEST(damaged)
{
    ck_ok(hx_st_write(at("x"), items, HX_COUNT(items), NULL));
    hx_blob b;
    ck_ok(hx_file_read(at("x"), 1 << 20, 0, &b));
    ck_assert(survives(b.data, b.size));
    for (int64_t n = 0; n < b.size; n++)
        ck_assert_msg(!survives(b.data, n), "a cut at %lld was not seen", (long long)n);
    uint64_t header;
    memcpy(&header, b.data, 8);
    for (int64_t bit = 0; bit < 8 * b.size; bit++) {
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        bool taken = survives(b.data, b.size);
        // the size of the header is always proved; other bits may only rename or change values
        ck_assert_msg(bit >= 64 || !taken, "flipped bit %lld was not seen", (long long)bit);
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    hx_blob_free(&b);
}
END_TEST

START_TEST(places)
{
    hx_st *st;
    ck_assert_int_eq(hx_st_open(at("none"), &st), HX_E_INPUT);
    ck_says("none");
    ck_assert_int_eq(hx_st_open(scratch, &st), HX_E_INPUT);
    ck_says("directory");
    ck_assert_int_eq(hx_st_open("/dev/zero", &st), HX_E_INPUT);
    // a file cut while it is open is an error, not a signal
    ck_ok(hx_st_write(at("x"), items, HX_COUNT(items), NULL));
    ck_ok(hx_st_open(at("x"), &st));
    ck_assert_int_eq(truncate(at("x"), 9), 0);
    float f[6];
    ck_assert_int_eq(hx_st_read_f32(st, hx_st_find(st, "b.weight"), f), HX_E_IO);
    hx_st_close(&st);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {early_error, 
        refused, header_sizes, legal, values, round_trip, damaged, places
    };
    return run_suite("safetensors", setup, teardown, tests, HX_COUNT(tests));
}
