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
    { "  seq_len: 1024", "  causal: 'true'", { "model.causal", "a true or false is needed", "" } },
    { "arch: toy", "arch: qqqqqq", { "no model is called 'qqqqqq'; there are: toy | bare", "", "" } },
    { "arch: toy\n", "arch: bare\n  heads: 63\n", { "63 heads cannot be opened", "", "" } },
    { "  seq_len: 1024", "  kind: no length\n  seq_len: 64", { "train.seq_len must be given", "", "" } },
    { "  seq_len: 1024", "  kind: long\n  seq_len: 64", { "train.seq_len must be given", "", "" } },
    { "[0.9, 0.05, 0.05]", "[]", { "data.split", "one to three", "" } },
    { "[0.9, 0.05, 0.05]", "[0.25, 0.25, 0.25, 0.25]", { "data.split", "one to three", "" } },
    { "[0.9, 0.05, 0.05]", "[0, 0.5]", { "data.split", "the first above 0", "" } },
    { "order: random", "order: stream", { "run.yaml:2:1:", "train.seq_len: 1024 is no multiple", "48 tokens" } },
    { "batch: 4,", "batch: 4, seq_len: 1e6,", { "4 x train.seq_len 1000000", "400000", "E-SIZE" } },
    { "batch: 4,", "batch: 4, non_finite: halt,", { "train.non_finite", "'halt'", "'stop'" } },
    { "batch: 4,", "batch: 4, recompute: maybe,", { "train.recompute", "'maybe'", "" } },
    { "batch: 4,", "batch: 4, curriculum: [8, 4],", { "train.curriculum", "stage 2", "" } },
    { "optim:  {", "optim:  {decay: none, ", { "optim.decay", "'none'", "" } },
    { "precision: auto", "precision: fp8", { "device.precision", "'fp8'", "did you mean" } },
    { "tokenizer: bytes", "tokenizer: words", { "data.tokenizer", "'words'", "one that exists is 'bytes'" } },
    { "name: cosine", "name: sine", { "schedule.name", "'sine'", "" } },
    { "every: 500, keep", "every: 1234567890123456, keep", { "save.every", "1234567890123456", "" } },
    { "every: 500, keep", "every: m, keep", { "save.every", "'m'", "" } },
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

// Prompts in the model's tokens, times, streams whose lengths fit, sets, defaults of their own.
START_TEST(taken)
{
    hx_run_conf *c;
    static const char *const hours[] = { "save.every=2h", "train.seq_len=96", "data.order=stream", "sample.prompt=~" };
    ck_ok(read_run(good, hours, 3, &c));
    ck_assert(c->save.every_seconds == 7200 && c->train.seq_len == 96 && c->data.streams);
    ck_ok(read_run(good, (const char *const[]){ "save.every=90s" }, 1, &c));
    ck_assert(c->save.every_seconds == 90 && c->save.every_steps == 0);
    ck_ok(read_run(good, (const char *const[]){ "save.every=123456789012345" }, 1, &c));
    ck_assert_int_eq(c->save.every_steps, 123456789012345);
    static const char *const unsegmented[] = { "data.order=stream", "train.seq_len=100", "model.kind=no segments" };
    ck_ok(read_run(good, unsegmented, 3, &c));
    const char *prompt[] = { "model.num_tokens=98", "sample.prompt=ab" };
    ck_assert_int_ne(read_run(good, prompt, 2, &c), HX_OK);
    ck_says("byte 98 at offset 1 is no token: the model has 98 (0 to 97)");
    prompt[0] = "model.num_tokens=99";
    ck_ok(read_run(good, prompt, 2, &c));
    static const char *const wrong_length[] = { "data.order=stream", "train.seq_len=100" };
    ck_assert_int_ne(read_run(good, wrong_length, 2, &c), HX_OK);
    ck_says("train.seq_len: 100 is no multiple");
    static const char *const stages[] = { "data.order=stream", "train.curriculum=[48, 100]", "train.batch=1" };
    ck_assert_int_ne(read_run(good, stages, 3, &c), HX_OK);
    ck_says("train.curriculum: 100 is no multiple of the model's segment of 48 tokens, as streams need; 144");
    static const char *const flat[] = { "optim.lr=0.5", "schedule.min_lr=0.5" };
    ck_ok(read_run(good, flat, 2, &c));
    // as many tokens as a micro-batch may have, and one sequence more
    static const char *const most[] = { "train.batch=400", "train.seq_len=1000" }, *const more[] = { "train.batch=401", most[1] };
    ck_ok(read_run(good, most, 2, &c));
    ck_assert_int_eq(read_run(good, more, 2, &c), HX_E_SHAPE);
    ck_says("401 x train.seq_len 1000 is more than the 400000");
    // a prepared set brings its mask along; one that is broken is told
    static const char set[] = "{\"format\": \"htxvk-set\", \"version\": 1, \"num_tokens\": 256, \"tokens\": 4, \"documents\": 1, "
        "\"document_tokens\": 0, \"shards\": 1, \"source_bytes\": 1, \"dtype\": \"u8\", \"masked\": true, \"tokenizer\": "
        "\"tokenizer.json\"}";
    ck_ok(hx_dir_make(at("set"), 0755));
    put("set/MANIFEST.json", set, strlen(set));
    const char *one = hx_sprintf(arena, "data.train=[%s]", at("set"));
    ck_ok(read_run(good, &one, 1, &c));
    ck_assert(c->data.masked);
    ck_assert_str_eq(c->data.tokenizer_file, at("set/tokenizer.json"));
    put("set/MANIFEST.json", "{\"format\": \"htxvk-set\"}", 23);
    ck_assert_int_ne(read_run(good, &one, 1, &c), HX_OK);
    ck_says("version 1");
    // nothing is said of sections and sizes: defaults; a model without rules
    ck_ok(read_run("model: {arch: bare, num_tokens: 9, kind: null}\ndata: {train: a}\n", NULL, 0, &c));
    ck_assert_str_eq(((const toy_conf *)c->model_conf)->kind, "");
    ck_assert_str_eq(c->model->name, "bare");
    ck_assert_int_ne(read_run("model: {arch: bare, num_tokens: 9}\ndata: {train: a}\noptim: {lr: 1e-9}\n"
                              "schedule: {min_lr: 1e-8}\n", NULL, 0, &c), HX_OK);
    ck_assert_int_ne(read_run("[1]", NULL, 0, &c), HX_OK);
    ck_says("a map of sections");
    ck_assert_int_ne(read_run("data: {train: a}", NULL, 0, &c), HX_OK);
    ck_says("'model.arch' must be given");
    put("run.yaml", good, strlen(good));
    ck_ok(hx_run_conf_read(arena, at("run.yaml"), NULL, 0, &c));
    ck_assert_int_eq(hx_run_conf_read(arena, at("none.yaml"), NULL, 0, &c), HX_E_INPUT);
}
END_TEST

// Fields that the models here have none of, and tables that are off.
typedef struct odd { int32_t bit, must, unnamed; hx_strs list; const char *text, *bare, *map; int32_t deep; } odd;
#define ODD(m, type, def, min, max, help) { #m, type, offsetof(odd, m), def, min, max, help }
static const hx_field odd_fields[] = { ODD(bit, HX_I32, "0", 0, 1, ""), ODD(must, HX_I32, NULL, 0, 9, "a number"),
    ODD(list, HX_STRS, "[]", 0, 0, ""), ODD(text, HX_STR, "null", 0, 0, ""), ODD(bare, HX_STR, "x", 0, 0, ""),
    ODD(map, HX_STR, "{}", 0, 0, ""), { "a.b.deep", HX_I32, offsetof(odd, deep), NULL, 0, 9, NULL }, { 0 } };

static hx_result fill_odd(const char *text, const char *path, const char *const *skip, odd *o)
{
    hx_conf *root;
    ck_ok(hx_conf_parse(arena, "odd", text, (int64_t)strlen(text), &root));
    return hx_conf_fill(arena, root, path, odd_fields, o, skip);
}

START_TEST(odd_tables)
{
    odd o;
    static const char *const skip[] = { "must", "extra", NULL };
    ck_ok(fill_odd("{bit: true, must: 1, list: null, text: null, a: {b: {deep: 3}}}", NULL, NULL, &o));
    ck_assert(o.bit == 1 && o.must == 1 && o.list.n == 0 && o.deep == 3);
    ck_assert_str_eq(o.text, "null");
    ck_ok(fill_odd("{bit: false, list: [a, 'null'], text: t, extra: [1], a: {b: {deep: 3}}}", "", skip, &o));
    ck_assert(o.bit == 0 && o.list.n == 2);
    ck_ok(fill_odd("{bit: 1, must: 2, a.b.deep: 4}", "", NULL, &o));
    ck_assert(o.bit == 1 && o.deep == 4);
    ck_ok(fill_odd("{must: 1, a.b.deep: 1, map: {a: 1, b: [true, false, null, -2.5e-3, word, '7', {}], c: {d: 'x y'}, e: 1x}}", "",
                   NULL, &o));
    ck_assert_str_eq(o.map, "{\"a\": 1, \"b\": [true, false, null, -2.5e-3, \"word\", \"7\", {}], \"c\": {\"d\": \"x y\"}, "
                     "\"e\": \"1x\"}");
    ck_ok(fill_odd("{must: 1, a.b.deep: 1, map: {a: ''}}", "", NULL, &o));
    ck_assert_str_eq(o.map, "{\"a\": \"\"}");
    static const struct { const char *text, *says; } bad[] = {
        { "{map: [1]}", "map: a map of keys and values is needed" }, { "{map: word}", "map: a map of keys" },
        { "{must: 1}", "'a.b.deep' must be given: it has no default" }, { "{a: {b: {deep: 3}}}", "'must' must be given: a number" },
        { "{must: 1, a: {b: {}}}", "'a.b.deep' must be given" }, { "{must: 1, a: {c: {deep: 1}}}", "unknown key 'a.c'" },
        { "{must: 1, a: 5}", "unknown key 'a'" }, { "{must: 1, a: {b: 5}}", "unknown key 'a.b'" },
        { "{must: 1, a: {b: {deep: 3, deeper: 1}}}", "unknown key 'a.b.deeper'; did you mean 'a.b.deep'?" },
        { "{list: {a: 1}}", "a list of texts is needed" }, { "{list: [[a]]}", "every item must be a text" },
        { "{list: [null]}", "every item must be a text" }, { "{text: [a]}", "text: a text is needed" },
        { "{bare: null}", "bare: a text is needed" }, { "{bare: {a: 1}}", "bare: a text is needed" },
        { "{bit: 'true'}", "a number is needed, not a quoted text" }, { "{bit: maybe}", "not an integer" }, { "{bit: [1]}", "not a list" },
        { "5", "'the document' must be a map" }, { "{mus: 1}", "did you mean 'must'" }, { "{extr: 1}", "unknown key 'extr'" },
    };
    for (int i = 0; i < HX_COUNT(bad); i++) {
        ck_assert_int_eq(fill_odd(bad[i].text, "", NULL, &o), HX_E_INPUT);
        ck_says(bad[i].says);
    }
    ck_assert_int_eq(fill_odd("{mustt: 1}", "model", skip, &o), HX_E_INPUT);
    ck_says("unknown key 'model.mustt'; did you mean 'must'");
    ck_assert_int_eq(fill_odd("{extrq: 1}", "model", skip, &o), HX_E_INPUT);
    ck_says("did you mean 'extra'");
    ck_assert_int_eq(fill_odd("5", NULL, NULL, &o), HX_E_INPUT);
    ck_says("'the document' must be a map");
    ck_ok(fill_odd("{z: {deep: 1}, must: 1, a: {b: {deep: 3}}}", "", (const char *const[]){ "z", NULL }, &o));
    ck_assert_int_eq(fill_odd("5", "model", NULL, &o), HX_E_INPUT);
    ck_says("'model' must be a map");
    ck_assert_int_eq(hx_conf_fill(arena, NULL, "model", odd_fields, &o, NULL), HX_E_INPUT);
    ck_says("'model.must' must be given: a number");
    ck_assert_int_eq(hx_conf_fill(arena, NULL, "", odd_fields + 6, &o, NULL), HX_E_INPUT);
    ck_says("it has no default");
    ck_ok(hx_conf_fill(arena, NULL, "", odd_fields + 2, &o, (const char *const[]){ "a.b.deep", NULL }));
    static const hx_field off[] = { { "x", HX_I32, 0, "word", 0, 0, "" }, { 0 } };
    ck_assert_int_eq(hx_conf_fill(arena, NULL, "", off, &o, NULL), HX_E_INPUT);
    // as many items as there may be, and one more; more names than are compared
    hx_out list = { 0 };
    for (int i = 0; i < HX_MAX_LIST; i++)
        hx_out_add(&list, "%sa", i ? ", " : "{must: 1, a.b.deep: 1, list: [");
    ck_ok(fill_odd(hx_sprintf(arena, "%s]}", list.data), "", NULL, &o));
    ck_assert_int_eq(o.list.n, HX_MAX_LIST);
    ck_assert_int_eq(fill_odd(hx_sprintf(arena, "%s, b]}", list.data), "", NULL, &o), HX_E_INPUT);
    ck_says("more than 32 items");
    hx_out_free(&list);
    hx_field many[302] = { 0 };
    const char *words[302] = { 0 };
    hx_conf *root;
    for (int i = 0; i < 300; i++) {
        many[i] = (hx_field){ "word", HX_I32, 0, "0", 0, 0, "" };
        words[i] = "other";
    }
    ck_ok(hx_conf_parse(arena, "odd", "{wore: 1}", 9, &root));
    ck_assert_int_eq(hx_conf_fill(arena, root, "", many, &o, words), HX_E_INPUT);
    ck_says("did you mean 'word'");
    many[200].name = NULL;
    ck_assert_int_eq(hx_conf_fill(arena, root, "", many, &o, words), HX_E_INPUT);
    static const hx_field text_list[] = { { "l", HX_STR, 0, "[a]", 0, 0, "" }, { "n", HX_STR, 8, NULL, 0, 0, "" }, { 0 } };
    const char *two[2];
    ck_ok(hx_conf_parse(arena, "odd", "{l: [b, {c: 1}], n: x}", 22, &root));
    ck_assert_int_eq(hx_conf_fill(arena, root, "", text_list, two, NULL), HX_OK);
    ck_ok(hx_conf_parse(arena, "odd", "{l: x, n: [1]}", 14, &root));
    ck_assert_int_eq(hx_conf_fill(arena, root, "", text_list, two, NULL), HX_E_INPUT);
    ck_says("n: a text is needed");
    ck_ok(hx_conf_parse(arena, "odd", "{l: x, n: null}", 15, &root));
    ck_assert_int_eq(hx_conf_fill(arena, root, "", text_list, two, NULL), HX_E_INPUT);
}
END_TEST

// What a document is, and what can be set in it.
START_TEST(roots)
{
    static const struct { const char *text; hx_node_kind kind; } docs[] = {
        { "null", HX_NODE_MAP }, { "~", HX_NODE_MAP }, { "", HX_NODE_MAP }, { "'null'", HX_NODE_SCALAR }, { "word", HX_NODE_SCALAR },
        { "[1]", HX_NODE_LIST }, { "\xef\xbb\xbf{a: 1}", HX_NODE_MAP }, { "{a: 1}", HX_NODE_MAP },
    };
    hx_conf *root;
    for (int i = 0; i < HX_COUNT(docs); i++) {
        ck_ok(hx_conf_parse(arena, "doc", docs[i].text, (int64_t)strlen(docs[i].text), &root));
        ck_assert_int_eq(root->kind, docs[i].kind);
        ck_assert((hx_conf_get(root, "a") != NULL) == (docs[i].kind == HX_NODE_MAP && root->n));
    }
    ck_ok(hx_conf_parse(arena, "doc", "a: null\nb: 1\n", 13, &root));
    ck_ok(hx_conf_set(arena, root, "a.b.c=7"));
    ck_assert_str_eq(hx_conf_get(hx_conf_get(hx_conf_get(root, "a"), "b"), "c")->text, "7");
    ck_assert_int_eq(hx_conf_set(arena, root, "b.c=7"), HX_E_USAGE);
    ck_assert_int_eq(hx_conf_parse(arena, "doc", "a: 1\n...\nb: 2\n", 14, &root), HX_E_INPUT);
    ck_says("second document");
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
        { "{\"model\": \"qqqqqq\", \"case\": {\"heads\": 1}}", "there are: toy | bare" },
        { "{\"model\": \"toy\", \"case\": 5}", "num_tokens" },
        { "{\"model\": \"toy\", \"case\": {\"what\": 5}}", "num_tokens" },
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
                                   assignments, taken, odd_tables, roots, read_back, cases,    damage };
    return run_suite("conf", setup, teardown, tests, HX_COUNT(tests));
}
