// test_stream.c - walks through documents: every token once, ages, padding; runs that read streams are
// resumed with the same bits.
#include "../src/data/stream.h"
#include "../src/train/evaluate.h"
#include "../src/train/feed.h"
#include "runs.h"

// ---- pieces -------------------------------------------------------------------------------

static hx_text *text_of(const char *const *files, int n)
{
    hx_strs paths = { .n = n };
    for (int i = 0; i < n; i++)
        paths.v[i] = put(hx_sprintf(arena, "%d.txt", i), files[i], strlen(files[i]));
    hx_text *t = NULL;
    ck_ok(hx_text_read(&paths, 0, &t));
    return t;
}

static const char *const files[] = { "abcdefghijk", "lm", "nopqrst", "u", "vwxyzABCDEFGHIJKLMN" };

// The circle walked once by one row: every prediction once, in order, ages from each document's start.
START_TEST(every_token_once)
{
    hx_text *t = text_of(files, HX_COUNT(files));
    for (int T = 1; T < 9; T++) {
        hx_stream *s = NULL;
        ck_ok(hx_stream_new(t, hx_text_whole(t), "", T, 1, 0, &s));
        ck_assert_int_eq(s->n, 4);         // "u" predicts nothing
        char all[64] = "";
        size_t n_all = 0;
        for (int64_t i = 0; i < hx_stream_pieces(s); i++) {
            hx_piece p = hx_stream_piece(s, 0, i, 0);
            int32_t ids[16], labels[16];
            hx_stream_fill(s, p, -7, ids, labels);
            if (p.age == 0)
                n_all += (size_t)snprintf(all + n_all, sizeof all - n_all, "|%c", (char)ids[0]);
            else
                ck_assert_int_eq(ids[0], all[n_all - 1]);
            for (int k = 1; k <= T; k++) {
                ck_assert_int_eq(labels[k], k <= p.n ? ids[k] : -7);
                if (k > p.n)
                    ck_assert_int_eq(ids[k], 0);
                else
                    all[n_all++] = (char)ids[k];
            }
        }
        ck_assert_str_eq(all, "|abcdefghijk|lm|nopqrst|vwxyzABCDEFGHIJKLMN");
        hx_stream_free(&s);
    }
    hx_text_free(&t);
}
END_TEST

// Rows begin at different pieces, go on where they were, and are as old as their walk at most.
START_TEST(rows_walk_on)
{
    hx_text *t = text_of(files, HX_COUNT(files));
    enum { T = 3, ROWS = 4, STEPS = 40 };
    for (uint64_t seed = 0; seed < 5; seed++) {
        hx_stream *s = NULL;
        ck_ok(hx_stream_new(t, hx_text_whole(t), "", T, ROWS, seed, &s));
        for (int r = 0; r < ROWS; r++)
            for (int64_t i = 0; i < STEPS; i++) {
                hx_piece p = hx_stream_piece(s, r, i, 7), next = hx_stream_piece(s, r, i + 1, 7);
                hx_piece whole = hx_stream_piece(s, r, i, -1000);
                if (i >= 7)
                    ck_assert_int_eq(p.age, hx_min(whole.age, (i - 7) * T));
                ck_assert(whole.age % T == 0 && p.n >= 1 && p.n <= T);
                if (next.age > 0 && i >= 7)
                    ck_assert(next.at == p.at + T && p.n == T && next.age == p.age + T);
            }
        ck_assert(hx_stream_piece(s, 0, 0, 0).at != hx_stream_piece(s, 1, 0, 0).at);
        hx_stream_free(&s);
    }
    hx_text_free(&t);
}
END_TEST

START_TEST(separators_end_documents)
{
    hx_text *t = text_of((const char *[]){ "one\n\ntwo\nlines\n\n", "three", "x\n\n\n\ny" }, 3);
    hx_stream *s = NULL;
    ck_ok(hx_stream_new(t, hx_text_whole(t), "\n\n", 100, 1, 0, &s));
    static const char *const want[] = { "one\n\n", "two\nlines\n\n", "three", "x\n\n", "\n\n" };
    ck_assert_int_eq(s->n, HX_COUNT(want));
    for (int i = 0; i < HX_COUNT(want); i++) {
        ck_assert_int_eq(s->size[i], (int)strlen(want[i]));
        ck_assert_mem_eq(t->data + s->at[i], want[i], strlen(want[i]));
    }
    hx_stream_free(&s);
    // a span that cuts documents
    ck_ok(hx_stream_new(t, (hx_span){ 2, 8, 0 }, "\n\n", 100, 1, 0, &s));
    ck_assert_int_eq(s->n, 2);
    ck_assert(s->at[0] == 2 && s->size[0] == 3 && s->at[1] == 5 && s->size[1] == 5);
    hx_stream_free(&s);
    ck_assert_int_eq(hx_stream_new(t, (hx_span){ 3, 1, 0 }, "", 100, 1, 0, &s), HX_E_INPUT);
    ck_says("no document has two tokens");
    hx_text_free(&t);
}
END_TEST

// ---- runs ---------------------------------------------------------------------------------

static const char *const streaming =
    "run: {seed: 3}\n"
    "model: {arch: block_recurrent, num_tokens: 128, dim: 24, depth: 2, dim_head: 8, heads: 2,\n"
    "  max_seq_len: 16, block_width: 8, state_dropout: 0.2, xl_memories_dropout: 0.2}\n"
    "data: {train: [text.txt], split: [0.8, 0.1, 0.1], order: stream, separator: \"7. sheep\"}\n"
    "train: {steps: 12, batch: 3, seq_len: 32, accumulate: 2}\n"
    "optim: {lr: 3e-3}\n"
    "eval: {every: 6, batches: 2}\n"
    "sample: {every: 6, prompt: \"the \", length: 8}\n"
    "save: {every: 5, keep: 2}\n"
    "log: {every: 1}\n";

static hx_run_conf *stream_conf(const char *set, hx_result want)
{
    hx_run_conf *c = NULL;
    hx_result r = hx_run_conf_parse(arena, "test.yaml", streaming, scratch, &set, set != NULL, &c);
    ck_assert_msg(r == want, "%s: %s", set, r ? hx_last_message() : "no failure");
    return c;
}

// A run that was interrupted ends with the bits of one that was not, states included.
START_TEST(resumed_with_the_same_bits)
{
    make_text();
    static const char *const devices[] = { "host", "name:llvmpipe" };
    for (int d = 0; d < HX_COUNT(devices); d++) {
        hx_dev *dev = NULL;
        if (hx_dev_open(&(hx_dev_params){ .select = devices[d] }, &dev))
            continue;
        const hx_run_conf *c = stream_conf(NULL, HX_OK);
        const char *a = hx_sprintf(arena, "whole%d", d), *b = hx_sprintf(arena, "parts%d", d);
        seen whole = { 0 }, parts = { .stop_at = 4 };
        ck_ok(train_in(a, c, dev, &whole));
        ck_assert_int_eq(train_in(b, c, dev, &parts), HX_E_STOPPED);
        parts.stop = 0;
        parts.stop_at = 9;
        ck_assert_int_eq(train_in(b, c, dev, &parts), HX_E_STOPPED);
        parts.stop = 0;
        parts.stop_at = 0;
        ck_ok(train_in(b, c, dev, &parts));
        for (int i = 1; i <= 12; i++)
            ck_assert_msg(whole.loss[i] == parts.loss[i], "%s, step %d: %.9g, resumed %.9g", devices[d], i,
                          whole.loss[i], parts.loss[i]);
        check_same_run(a, b, 12);
        ck_assert(same_file(hx_sprintf(arena, "%s/ckpt/step-00000012/memory.safetensors", a),
                            hx_sprintf(arena, "%s/ckpt/step-00000012/memory.safetensors", b)));
        hx_dev_close(&dev);
    }
}
END_TEST

// States that do not fit are refused, and the run is as it was.
START_TEST(states_of_another_run)
{
    make_text();
    hx_dev *dev = open_dev("host", 2);
    seen s = { .stop_at = 4 };
    ck_assert_int_eq(train_in("run", stream_conf(NULL, HX_OK), dev, &s), HX_E_STOPPED);
    s = (seen){ 0 };
    ck_assert_int_eq(train_in("run", stream_conf("train.batch=4", HX_OK), dev, &s), HX_E_INPUT);
    ck_says("state 'memory.0' is [2, 24, 16], [2, 32, 16] is needed");
    ck_says("train.batch");
    ck_ok(train_in("run", stream_conf(NULL, HX_OK), dev, &s));
    hx_dev_close(&dev);
}
END_TEST

// What was carried is of other places in the text when the streams change: rows begin anew.
START_TEST(other_streams_begin_anew)
{
    make_text();
    hx_dev *dev = open_dev("host", 2);
    static const char *const sets[] = { NULL, "run.seed=77", "data.separator=e" };
    for (int i = 0; i < HX_COUNT(sets); i++) {
        const char *name = hx_sprintf(arena, "run%d", i);
        seen s = { .stop_at = 4 };
        ck_assert_int_eq(train_in(name, stream_conf(NULL, HX_OK), dev, &s), HX_E_STOPPED);
        s = (seen){ 0 };
        ck_ok(train_in(name, stream_conf(sets[i], HX_OK), dev, &s));
        hx_ckpt_state state;
        ck_ok(hx_ckpt_state_read(hx_sprintf(arena, "%s/%s/ckpt/step-00000012", scratch, name),
                                 &state));
        ck_assert_int_eq(state.walk, sets[i] ? 4 : 0);
    }
    hx_dev_close(&dev);
}
END_TEST

// Every prediction of every document is evaluated once, whatever the number of rows; with one row no
// document is cut, and what the model remembers counts.
START_TEST(evaluation_walks_the_whole_text)
{
    make_text();
    hx_dev *dev = open_dev("host", 2);
    const hx_run_conf *c = stream_conf(NULL, HX_OK);
    hx_rig rig;
    hx_corpus corpus;
    ck_ok(hx_corpus_read(c, &corpus));
    ck_ok(hx_rig_new(dev, c, false, &rig));
    ck_ok(hx_engine_init(rig.engine, 3));
    hx_memory *params = hx_engine_memory(rig.engine, HX_PARAM);
    hx_span span = corpus.span[HX_VALID_TEXT];
    double ce[2];
    for (int i = 0; i < 2; i++) {
        hx_stream *s;
        ck_ok(hx_stream_new(corpus.text[HX_VALID_TEXT], span, "7. sheep", 32, i ? 5 : 1, 0, &s));
        hx_evaluation e;
        int64_t want = 0;
        for (int64_t k = 0; k < s->n; k++) want += s->size[k] - 1;
        ck_ok(hx_evaluate_stream(dev, &rig.net, params, s, NULL, NULL, &e));
        ck_assert_int_eq(e.tokens, want);
        ck_assert(want > 500);
        ce[i] = e.ce;
        hx_stream_free(&s);
    }
    // rows that begin within a document know less, but not much
    ck_assert(ce[0] != ce[1] && fabs(ce[0] - ce[1]) < 0.1);
    hx_rig_done(&rig);
    hx_corpus_done(&corpus);
    hx_dev_close(&dev);
}
END_TEST

START_TEST(what_cannot_be_streamed)
{
    make_text();
    stream_conf("train.seq_len=40", HX_E_USAGE);
    ck_says("train.seq_len: 40 is no multiple of the model's segment of 16 tokens, as streams need; 48 is");
    stream_conf("data.order=streams", HX_E_USAGE);
    ck_says("did you mean 'stream'");
    stream_conf("model.depth=1", HX_E_INPUT);
    ck_says("give recurrent_layers");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = { every_token_once, rows_walk_on, separators_end_documents,
        resumed_with_the_same_bits, states_of_another_run, other_streams_begin_anew,
        evaluation_walks_the_whole_text, what_cannot_be_streamed };
    return run_suite("stream", setup, teardown, tests, HX_COUNT(tests));
}
