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

int main(void)
{
    const TTest *const tests[] = { metrics };
    return run_suite("rows", setup, teardown, tests, HX_COUNT(tests));
}
