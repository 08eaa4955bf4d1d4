// task.h - generated tasks for long memory: documents of one length whose last tokens answer what
// the first ones tell. A document is a pure function of (task, options, seed, part, index).
#pragma once
#include "set.h"

// Options; 0: the task's own. What a task does not know must stay 0.
typedef struct hx_task_conf {
    int64_t length;                        // predictions: documents have one token more
    int64_t distance;                      // tokens between telling and asking; 0: all there are
    int64_t pairs;                         // facts told; one of them is asked for
    int64_t symbols;                       // different symbols of noise and values
    int64_t answer;                        // of an answer, or of what is copied; 0 there: all
    int64_t cross;                         // documents 2i and 2i+1 exchange all behind so many tokens
    int64_t keys;                          // different keys that facts are drawn for
    int64_t classes;                       // 1: the answer is the number of a class, one digit
} hx_task_conf;

// A document under construction: printable ASCII.
typedef struct hx_doc {
    const hx_task_conf *k;
    uint8_t *text, *mask;                  // n each
    int64_t  n, at;
    uint64_t seed, key, drawn;             // key: part and index; drawn: random numbers so far
} hx_doc;
int64_t hx_draw(hx_doc *d, int64_t n);     // uniform in 0 .. n-1
// Appends n bytes; answer: labels that are trained on and scored.
void    hx_doc_put(hx_doc *d, const char *s, int64_t n, bool answer);

typedef struct hx_task {
    const char  *name, *help, *source;
    hx_task_conf def;                      // what is 0 here is not known to the task
    int64_t      max_pairs, max_symbols;
    int64_t    (*least)(const hx_task_conf *k);    // bytes that a document needs at least
    void       (*make)(hx_doc *d);         // fills all n bytes
} hx_task;
#define HX_TASK(t, ...) const hx_task hx_task_##t = { .name = #t, __VA_ARGS__ }
// One word per task.
#define HX_TASKS(X)                                          \
    X(recall) X(kv_recall) X(associative) X(copy) X(reverse) \
    X(memorize) X(detect_memorize) X(reason)
#define X(name) extern const hx_task hx_task_##name;
HX_TASKS(X)
#undef X
extern const hx_task *const hx_tasks[];
extern const int hx_n_tasks;
const hx_task *hx_task_find(const char *name);     // NULL if there is none

// Fills what was not given and checks the rest: HX_E_USAGE names option, number and bounds.
hx_result hx_task_resolve(const hx_task *t, hx_task_conf *k);
// Document `index` of a part; text and mask have k->length + 1 bytes.
void hx_task_document(const hx_task *t, const hx_task_conf *k, uint64_t seed, uint32_t part,
                      int64_t index, uint8_t *text, uint8_t *mask);
// `count` documents as a prepared set. `part` (0, 1, ...) draws others from the same seed.
hx_result hx_task_write(const hx_task *t, const hx_task_conf *k, uint64_t seed, uint32_t part,
                        int64_t count, const char *dir);
