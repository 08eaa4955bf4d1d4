// test_conf.c - documents, places in messages, fields, --set, and texts that read back.
#include "../src/train/conf_run.h"
#include "scratch.h"
#include "toy.h"
#include <locale.h>

// libfyaml 0.7 loses the line it was about to quote in some messages: theirs, and not for each use.
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libfyaml"; }

static const char good[] =
    "# a comment\n"
    "run:    {seed: 7}\n"
    "device: {select: 0, precision: auto}\n"
    "model:\n"
    "  arch: toy\n"
    "  num_tokens: 256\n"
    "  dim: [128, 256, 512]\n"
    "  seq_len: 1024\n"
    "  window_sizes: [32, 64, null]\n"
    "data:   {train: [text.txt, /abs/more.gz], split: [0.9, 0.05, 0.05], tokenizer: bytes, order: "
    "random}\n"
    "train:  {steps: 1000, batch: 4, accumulate: 4, clip_norm: 0.5}\n"
    "optim:  {name: adamw, lr: 3e-4, betas: [0.9, 0.99], weight_decay: 0.01}\n"
    "schedule: {name: cosine, warmup: 100, min_lr: 3e-5}\n"
    "eval:   {every: 100, batches: 20}\n"
    "sample: {every: 500, prompt: \"\", length: 256}\n"
    "save:   {every: 500, keep: 3}\n"
    "log:    {every: 10}\n";

static hx_result read_run(const char *text, const char *const *set, int n, hx_run_conf **c)
{
    return hx_run_conf_parse(arena, "run.yaml", text, "/base", set, n, c);
}

START_TEST(example)
{
    hx_run_conf *c;
    ck_ok(read_run(good, NULL, 0, &c));
    const toy_conf *t = c->model_conf;
    ck_assert_ptr_eq(c->model, &toy);
    ck_assert_int_eq(c->run.seed, 7);
    ck_assert_str_eq(c->device.select, "0");
    ck_assert_int_eq(t->dim.n, 3);
    ck_assert_int_eq(t->dim.v[2], 512);
    ck_assert_int_eq(t->window_sizes.v[2], HX_NULL);
    ck_assert(!t->window_sizes.scalar);
    ck_assert_int_eq(t->heads, 8);
    ck_assert_str_eq(c->data.train.v[0], "/base/text.txt");
    ck_assert_str_eq(c->data.train.v[1], "/abs/more.gz");
    ck_assert_int_eq(c->train.seq_len, 1024);
    ck_assert(c->optim.lr == 3e-4f && c->optim.betas.v[1] == 0.99);
    ck_assert_int_eq(c->save.every_steps, 500);
    ck_assert_str_eq(c->sample.prompt, "");
}
END_TEST

// JSON is the same language; CRLF and a byte order mark change nothing.
START_TEST(spellings)
{
    hx_run_conf *c;
    ck_ok(read_run(
        "\xef\xbb\xbf{\"model\": {\"arch\": \"toy\", \"num_tokens\": 256, \"window_sizes\": "
        "null},\r\n"
        " \"data\": {\"train\": \"a\"}, \"save\": {\"every\": \"10m\"}, \"log\": null}\r\n",
        NULL, 0, &c));
    const toy_conf *t = c->model_conf;
    ck_assert_int_eq(t->window_sizes.n, 1);
    ck_assert(t->window_sizes.scalar && t->window_sizes.v[0] == HX_NULL);
    ck_assert(c->save.every_steps == 0 && c->save.every_seconds == 600);
    ck_ok(read_run(
        "model: {arch: toy, num_tokens: 9, causal: False, tie: [false, True, 1], depth: [1, [2, "
        "3], 1],\n"
        "  router: {eps: 0.5}, pools: [avg, 'max', \"l p\"], kind: 5}\ndata: {train: [a]}\n",
        NULL, 0, &c));
    t = c->model_conf;
    ck_assert(!t->causal && t->tie.n == 3 && t->tie.v[0] == 0 && t->tie.v[1] == 1);
    ck_assert_str_eq(t->depth, "[1, [2, 3], 1]");
    ck_assert(t->eps == 0.5);
    ck_assert_str_eq(t->pools.v[2], "l p");
    ck_assert_str_eq(t->kind, "5");
}
END_TEST

// A piece of text put in place of another one in `good`, and what the message must hold.
static const struct { const char *from, *to, *says[3];
} wrong[] = {
    { "clip_norm",
      "clip_nrom",
      { "run.yaml:11:48:", "unknown key 'train.clip_nrom'", "did you mean 'clip_norm'?" } },
    { "train:  {", "trian:  {", { "run.yaml:11:1:", "unknown key 'trian'", "'train'" } },
    { "seq_len: 1024", "seqlen: 1024", { "run.yaml:8:3:", "'model.seqlen'", "'seq_len'" } },
    { "batch: 4,", "batch: four,", { "run.yaml:11:23:", "train.batch", "four" } },
    { "batch: 4,", "batch: \"4\",", { "run.yaml:11:23:", "train.batch", "quoted" } },
    { "batch: 4,", "batch: 4.5,", { "train.batch", "4.5", "integer" } },
    { "batch: 4,", "batch: 0,", { "train.batch", "0", "65536" } },
    { "batch: 4,", "batch: 2147483648,", { "train.batch", "2147483648", "E-RANGE" } },
    { "batch: 4,", "batch: null,", { "train.batch", "null", "E-TYPE" } },
    { "batch: 4,", "batch: true,", { "train.batch", "true", "E-TYPE" } },
    { "batch: 4,", "batch: [4],", { "train.batch", "list", "E-TYPE" } },
    { "batch: 4,", "batch: {a: 4},", { "train.batch", "map", "E-TYPE" } },
    { "batch: 4,",
      "batch: 4, batch: 5,",
      { "run.yaml:11:33:", "'batch' is given twice", "line 11" } },
    { "lr: 3e-4", "lr: .nan", { "optim.lr", ".nan", "E-TYPE" } },
    { "lr: 3e-4", "lr: nan", { "optim.lr", "nan", "E-TYPE" } },
    { "lr: 3e-4", "lr: 1e400", { "optim.lr", "1e400", "E-RANGE" } },
    { "lr: 3e-4", "lr: 0,5", { "unknown key 'optim.5'", "run.yaml:12:", "" } },
    { "[32, 64, null]", "[32, [64], null]", { "model.window_sizes", "plain numbers", "E-TYPE" } },
    { "[32, 64, null]", "[32, \"64\"]", { "model.window_sizes", "plain numbers", "E-TYPE" } },
    { "[128, 256, 512]", "[128, 0]", { "run.yaml:7:3:", "dim", "0" } },
    { "arch: toy", "arch: tyo", { "run.yaml:5:3:", "no model is called 'tyo'", "'toy'" } },
    { "  arch: toy\n", "", { "model.arch", "must be given", "E-CONF-MISSING" } },
    { "  num_tokens: 256\n", "", { "'model.num_tokens' must be given", "run.yaml:4:1:", "" } },
    { "seq_len: 1024", "seq_len: 1023", { "run.yaml", "1023", "E-TOY" } },
    { "train: [text.txt, /abs/more.gz], ", "", { "data.train", "must be given", "" } },
    { "train: [text.txt, /abs/more.gz]", "train: []", { "data.train", "at least one", "" } },
    { "[0.9, 0.05, 0.05]", "[0.9, 0.2]", { "run.yaml:10:", "data.split", "1.1" } },
    { "order: random", "order: randon", { "run.yaml:10:", "data.order", "'random'" } },
    { "name: adamw", "name: adamv", { "run.yaml:12:", "optim.name", "'adamw'" } },
    { "betas: [0.9, 0.99]", "betas: 0.9", { "optim.betas", "two", "" } },
    { "min_lr: 3e-5", "min_lr: 1", { "schedule.min_lr", "optim.lr", "" } },
    { "every: 500, keep", "every: 10d, keep", { "run.yaml:16:", "save.every", "10d" } },
    { "every: 500, keep", "every: -5, keep", { "save.every", "-5", "" } },
    { "log:    {", "log:    {{", { "run.yaml:", "E-CONF-SYNTAX", "" } },
    { "log:    {every: 10}", "log:    &a {every: 10}", { "run.yaml:17:", "anchors", "" } },
    { "log:    {every: 10}", "log:    *a", { "run.yaml:17:", "anchors", "" } },
    { "log:    {every: 10}", "log:    !!map {every: 10}", { "run.yaml:17:", "tags", "" } },
    { "log:    {every: 10}\n",
      "---\nlog: {every: 10}\n",
      { "run.yaml:17:", "second document", "" } },
    { "log:    {every: 10}", "log:    [every]", { "run.yaml:17:1:", "'log' must be a map", "" } },
    { "log:    {every: 10}", "log:    {[a]: 10}", { "run.yaml:17:", "a key must be a word", "" } },
    { "log:    {every: 10}",
      "\"\\e[31mlog\": {every: 10}",
      { "run.yaml:17:1:", "unknown key '\\x1b[31mlog'", "" } },
};

START_TEST(refusals)
{
    for (int i = 0; i < HX_COUNT(wrong); i++) {
        const char *hit = strstr(good, wrong[i].from);
        ck_assert_msg(hit, "row %d: '%s' is not in the example", i, wrong[i].from);
        const char *text = hx_sprintf(arena, "%.*s%s%s", (int)(hit - good), good, wrong[i].to,
                                      hit + strlen(wrong[i].from));
        hx_run_conf *c;
        hx_result r = read_run(text, NULL, 0, &c);
        ck_assert_msg(r == HX_E_INPUT || r == HX_E_SHAPE, "row %d (%s) gave %d: %s", i, wrong[i].to,
                      r, hx_last_message());
        for (int k = 0; k < 3; k++)
            ck_assert_msg(says(wrong[i].says[k]), "row %d: '%s' does not say '%s'", i,
                          hx_last_message(), wrong[i].says[k]);
    }
}
END_TEST

START_TEST(limits)
{
    hx_conf *root;
    // 64 lists inside each other are taken, 65 are not, and ten thousand neither
    static char deep[20001];
    for (int n = 64; n <= 10000; n = n == 64 ? 65 : n == 65 ? 10000 : n + 1) {
        memset(deep, '[', (size_t)n);
        memset(deep + n, ']', (size_t)n);
        hx_result r = hx_conf_parse(arena, "deep", deep, 2 * n, &root);
        ck_assert_int_eq(r, n == 64 ? HX_OK : HX_E_INPUT);
    }
    char *big = malloc(HX_CONF_MAX_BYTES + 1);
    memset(big, ' ', HX_CONF_MAX_BYTES + 1);
    ck_ok(hx_conf_parse(arena, "big", big, HX_CONF_MAX_BYTES, &root));
    ck_assert_int_eq(hx_conf_parse(arena, "big", big, HX_CONF_MAX_BYTES + 1, &root), HX_E_INPUT);
    ck_says("E-CONF-SIZE");
    // many values
    for (int i = 0; i < HX_CONF_MAX_BYTES / 2; i++)
        memcpy(big + 2 * i, i ? "1," : "[ ", 2);
    ck_assert_int_eq(hx_conf_parse(arena, "many", big, HX_CONF_MAX_BYTES, &root), HX_E_INPUT);
    free(big);
    ck_assert_int_eq(hx_conf_parse(arena, "nul", "a: \0b", 5, &root), HX_E_INPUT);
    ck_says("nul:1:4:");
    ck_assert_int_eq(hx_conf_parse(arena, "d", "a: 1\n%a\xefv", 9, &root), HX_E_INPUT);
    ck_says("d:2:1: directives");
    ck_assert_int_eq(hx_conf_parse(arena, "u", "a: \xc3\xa9\xff", 6, &root), HX_E_INPUT);
    ck_says("u:1:5: the byte 0xff");
    ck_assert_int_eq(hx_conf_read(arena, at("none.yaml"), &root), HX_E_INPUT);
    ck_says("none.yaml");
    ck_ok(hx_conf_parse(arena, "empty", "", 0, &root));
    ck_assert(root->kind == HX_NODE_MAP && root->n == 0);
}
END_TEST

START_TEST(assignments)
{
    hx_run_conf *c;
    const char *const set[] = { "train.steps=5",           "model.dim=[1, 2]",
                                "sample.prompt=To be: or", "save.every=90s",
                                "optim.name=sgd",          "train.steps=6",
                                "model.window_sizes=",     "run.out='it''s'" };
    ck_ok(read_run(good, set, HX_COUNT(set), &c));
    const toy_conf *t = c->model_conf;
    ck_assert_int_eq(c->train.steps, 6);
    ck_assert(t->dim.n == 2 && t->dim.v[1] == 2 && t->window_sizes.v[0] == HX_NULL);
    ck_assert_str_eq(c->sample.prompt, "To be: or");
    ck_assert(c->save.every_seconds == 90);
    ck_assert_str_eq(c->run.out, "/base/it's");

    static const struct { const char *set, *says;
    } bad[] = {
        { "train.stepz=5", "did you mean 'steps'" },
        { "train.steps", "key=value" },
        { "=5", "key=value" },
        { "train.steps=many", "train.steps" },
        { "train=5", "must be a map" },
        { "train.steps.x=5", "nothing to set" },
        { "a..b=5", "nothing to set" },
        { "model.dim=[1", "not YAML" },
        { "model.dim=[a]", "dim" },
        { "zzz=1", "unknown key 'zzz'" },
        { "model={heads: x}", "heads" },
        { "train.batch=1e9", "65536" },
        { "optim.name=adamx", "adamw" },
        { "save.every=x", "save.every" },
        { "data.split=[2]", "split" },
    };
    for (int i = 0; i < HX_COUNT(bad); i++) {
        hx_result r = read_run(good, &bad[i].set, 1, &c);
        bool ours = r == HX_E_USAGE && says(bad[i].says) && says(bad[i].set);
        ck_assert_msg(ours || !strncmp(bad[i].set, "model={", 7), "%s gave %d: %s", bad[i].set, r,
                      hx_last_message());
    }
}
END_TEST

START_TEST(read_back)
{
    hx_run_conf *a, *b;
    const char *const set[] = { "sample.prompt=\"q\\\"\\\\ \\n\\t\\u00e9\"",
                                "optim.lr=0.1",
                                "optim.eps=1.00000007e-30",
                                "optim.betas=[0.1234567890123456789, 0.3333333333333333]",
                                "model.rate=0.333333343",
                                "model.router.eps=1e-300",
                                "model.depth=[1, [2, [3]], 4]",
                                "model.pools=[\"a, b\", \"]\", \"null\"]",
                                "save.every=90s",
                                "model.window_sizes=null",
                                "run.seed=9000000000000000",
                                "model.kind=\"null\"" };
    ck_ok(read_run(good, set, HX_COUNT(set) - 1, &a));
    hx_out one = { 0 }, two = { 0 };
    hx_run_conf_put(&one, a);
    // whatever language the user's numbers are in
    setlocale(LC_ALL, "de_DE.UTF-8");
    hx_result r = hx_run_conf_parse(arena, "again", one.data, "/elsewhere", NULL, 0, &b);
    ck_assert_msg(!r, "%s\n%s", hx_last_message(), one.data);
    hx_run_conf_put(&two, b);
    ck_assert_str_eq(one.data, two.data);
    const toy_conf *t = a->model_conf, *u = b->model_conf;
    ck_assert(!memcmp(&a->optim.betas, &b->optim.betas, sizeof a->optim.betas));
    ck_assert(a->optim.lr == b->optim.lr && a->optim.eps == b->optim.eps && t->rate == u->rate &&
              t->eps == u->eps);
    ck_assert_str_eq(b->sample.prompt, "q\"\\ \n\t\xc3\xa9");
    ck_assert_str_eq(u->pools.v[0], "a, b");
    ck_assert_int_eq(u->window_sizes.v[0], HX_NULL);
    hx_out_free(&one);
    hx_out_free(&two);
}
END_TEST

START_TEST(cases)
{
    hx_case c;
    const char *text = "{\"model\": \"toy\", \"source\": \"upstream\", \"reference\": [\"a@b\"], "
                       "\"num_tokens\": 48,"
                       " \"dim\": [32, 48], \"router\": {\"eps\": 0.3}, \"case\": {\"batch\": 2, "
                       "\"deep\": {\"x\": [[1]]}},"
                       " \"inputs\": [\"ids\", \"mask.0\"], \"float32\": {\"relative\": 4.5e-07}, "
                       "\"notes\": [\"a: b, c\"]}";
    ck_ok(hx_case_parse(arena, "config.json", text, (int64_t)strlen(text), &c));
    const toy_conf *t = c.conf;
    ck_assert(c.model == &toy && t->num_tokens == 48 && t->dim.v[1] == 48 && t->eps == 0.3);
    ck_assert_int_eq(c.inputs.n, 2);
    ck_assert_str_eq(c.inputs.v[1], "mask.0");
    hx_out o = { 0 };
    hx_case_put(&o, &toy, t);
    hx_case d;
    ck_ok(hx_case_parse(arena, "back.json", o.data, o.size, &d));
    ck_assert_str_eq(d.inputs.v[0], "ids");
    ck_assert(((const toy_conf *)d.conf)->dim.v[0] == 32);
    hx_out_free(&o);
    static const struct { const char *text, *says;
    } bad[] = {
        { "{\"model\": \"toy\", \"num_tokens\": 4, \"dimm\": 3}", "did you mean 'dim'" },
        { "{\"model\": \"tox\", \"num_tokens\": 4}", "'toy'" },
        { "{\"num_tokens\": 4}", "'model' must be given" },
        { "{\"model\": \"toy\"}", "num_tokens" },
        { "[1]", "map" },
        { "{\"model\": [\"toy\"]}", "name of a model" },
        { "{\"model\": \"toy\", \"num_tokens\": 4, \"inputs\": [[1]]}", "inputs" },
        { "{\"model\": \"toy\", \"num_tokens\": 4, \"router\": {\"epz\": 1}}", "router.epz" },
    };
    for (int i = 0; i < HX_COUNT(bad); i++) {
        ck_assert_int_eq(
            hx_case_parse(arena, "c.json", bad[i].text, (int64_t)strlen(bad[i].text), &c),
            HX_E_INPUT);
        ck_says(bad[i].says);
        ck_says("c.json");
    }
}
END_TEST

// Every cut and many changes of one character: an answer, never a crash, and a message if refused.
START_TEST(damage)
{
    size_t n = strlen(good);
    char *text = malloc(n + 1);
    static const char with[] = "[]{}:,-\"'\n\t#&*!|>%@`\\\x01\x80\xff 0n";
    for (size_t i = 0; i <= n; i++)
        for (size_t k = 0; k < (i < n ? sizeof with : 1); k += i % 7 == 0 ? 1 : 5) {
            memcpy(text, good, n + 1);
            text[i] = with[k] && k ? with[k] : 0;
            hx_arena *a = hx_arena_new();
            hx_run_conf *c;
            hx_fail(HX_OK, "%s", "");
            hx_result r = hx_run_conf_parse(a, "d", text, "/", NULL, 0, &c);
            ck_assert(!r || hx_last_message()[0]);
            hx_arena_free(&a);
        }
    free(text);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { example,     spellings, refusals, limits,
                                   assignments, read_back, cases,    damage };
    return run_suite("conf", setup, teardown, tests, HX_COUNT(tests));
}
