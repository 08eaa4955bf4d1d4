// test_refused.c - configurations of models with memories that cannot be, and what is said about them.
#include "../src/core/case.h"
#include "../src/train/pass.h"
#include "scratch.h"

static const struct { const char *conf, *what; } cases[] = {
    { "infini\", \"dim_head\": 5", "model.dim_head: 5 must be even" },
    { "infini\", \"segment_length\": 0", "segment_length: 0 is outside 1" },
    { "infini\", \"ff_mult\": 0.1", "model.ff_mult: 0.1 leaves no channel of dim 8" },
    { "compressive\", \"seq_len\": 8, \"heads\": 3", "model.heads: 3 do not divide dim 8" },
    { "compressive\", \"seq_len\": 8, \"mem_len\": 7", "model.mem_len: 7 must be at least seq_len 8" },
    { "compressive\", \"seq_len\": 8, \"cmem_len\": 1", "model.cmem_len: 1 must be at least mem_len 8" },
    { "compressive\", \"seq_len\": 8, \"mem_len\": [8, 9]", "model.mem_len has 2 values" },
    { "compressive\", \"seq_len\": 8, \"memory_layers\": [1, 4]", "there is no layer 4 among 3" },
    { "compressive\", \"seq_len\": 8, \"memory_layers\": [2, 2]", "model.memory_layers names 2 twice" },
    { "compressive\", \"seq_len\": 8, \"memory_layers\": []", "model.memory_layers is empty" },
};

START_TEST(cannot_be)
{
    for (int i = 0; i < HX_COUNT(cases); i++) {
        hx_case c;
        const char *text = hx_sprintf(arena, "{\"num_tokens\": 9, \"dim\": 8, \"depth\": 3, \"model\": \"%s}",
                                      cases[i].conf);
        ck_assert_int_eq(hx_case_parse(arena, "test", text, (int64_t)strlen(text), &c), HX_E_INPUT);
        ck_says(cases[i].what);
    }
}
END_TEST

// A graph of 4 segments of 8 tokens, or of `n`, is refused.
static void no_graph(const char *conf, bool carries, int64_t n, const char *what)
{
    hx_case c;
    hx_net net;
    hx_dev *d;
    hx_pass *p = NULL;
    ck_ok(hx_case_parse(arena, "test", conf, (int64_t)strlen(conf), &c));
    ck_ok(hx_net_init(&net, c.model, c.conf));
    ck_ok(hx_dev_open(&(hx_dev_params){ .select = "host" }, &d));
    net.carries = carries;
    ck_assert_int_eq(hx_pass_new(d, &net, HX_FOR_LOSS, 1, n + 1, HX_PASS_FORWARD, &p), HX_E_INPUT);
    ck_says(what);
    hx_net_done(&net);
    hx_dev_close(&d);
}

#define SMALL "{\"model\": \"compressive\", \"num_tokens\": 9, \"dim\": 8, \"depth\": 2, \"seq_len\": 8, \"heads\": 2"
START_TEST(cannot_be_built)
{
    no_graph(SMALL ", \"mem_len\": 12, \"cmem_ratio\": 9 }", false, 24, "4 tokens leave a memory at once");
    no_graph(SMALL ", \"mem_len\": 12 }", true, 32, "model.mem_len: 12 is no multiple of seq_len 8");
    no_graph(SMALL ", \"memory_layers\": [2] }", true, 32, "1 layers of 2 have memories");
    no_graph(SMALL " }", true, 33, "train.seq_len: 33 is no multiple of model.seq_len 8");
    no_graph("{\"model\": \"infini\", \"num_tokens\": 9, \"dim\": 8, \"depth\": 1, \"segment_length\": 8}", true,
             20, "train.seq_len: 20 is no multiple of model.segment_length 8");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { cannot_be, cannot_be_built };
    return run_suite("refused", setup, teardown, tests, HX_COUNT(tests));
}
