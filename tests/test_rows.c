// test_rows.c - metrics.jsonl as reports read it: damaged lines, nested keys, no memory.
#include "../src/cli/rows.h"
#include "each.h"

static hx_result rows(hx_arena *a)
{
    hx_rows r;
    hx_line line, smooth;
    HX_TRY(hx_rows_read(a, scratch, &r));
    hx_result e = hx_rows_line(a, &r, "train", "step", "mem.device", &line);
    e = e ? e : hx_line_smooth(a, &line, &smooth);
    hx_rows_done(&r);
    quiet(ck_assert(e || (line.n == 1 && line.y[0] == 7)));
    return e;
}

START_TEST(metrics)
{
    static const char file[] = "{\"type\": \"train\", \"step\": 1, \"mem\": {\"device\": 7}}\n[1]\n{\n{\"cut\": 1";
    put("metrics.jsonl", file, strlen(file));
    no_memory(rows, 0);
    if (HAVE_FAULTS)
        seams("read", "EIO", rows, HX_E_IO);
}
END_TEST

START_TEST(not_there)
{
    hx_rows r;
    hx_line line;
    ck_assert_int_eq(hx_rows_read(arena, scratch, &r), HX_E_INPUT);
    ck_says("E-RUN-NONE");
    static const char file[] = "{\"type\": \"a\", \"x\": 1, \"y\": 2}\n{\"x\": 1, \"y\": 2}\n{\"type\": \"b\", \"x\": 2, "
                               "\"y\": true}\n{\"type\": \"a\", \"x\": 3, \"y\": 5}\n";
    put("metrics.jsonl", file, strlen(file));
    ck_ok(hx_rows_read(arena, scratch, &r));
    ck_ok(hx_rows_line(arena, &r, "a", "x", "y", &line));
    ck_assert(line.n == 2 && line.x[1] == 3 && line.y[1] == 5);
    ck_ok(hx_rows_line(arena, &r, "b", "x", "y", &line));
    ck_assert_int_eq(line.n, 0);
    // a first part too long for its place is part of the key
    char key[100];
    memset(key, 'k', sizeof key - 1);
    strcpy(key + 90, ".y");
    ck_ok(hx_rows_line(arena, &r, "a", "x", key, &line));
    ck_assert_int_eq(line.n, 0);
    ck_assert(hx_rows_last(&r, "a") && !hx_rows_last(&r, "c"));
    ck_assert_int_eq((int)json_integer_value(json_object_get(hx_rows_last(&r, "a"), "x")), 3);
    hx_line raw = { .n = 0 }, smooth;
    ck_ok(hx_line_smooth(arena, &raw, &smooth));
    ck_assert_int_eq(smooth.n, 0);
    hx_rows_done(&r);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { metrics, not_there };
    return run_suite("rows", setup, teardown, tests, HX_COUNT(tests));
}
