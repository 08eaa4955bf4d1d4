// pass.h - a model's graph for one purpose and shape: planned for a device, recorded, run.
#pragma once
#include "../core/model.h"
#include "../core/plan.h"

// A model with its parameters declared.
typedef struct hx_net {
    const hx_model *model;                 // borrowed
    const void     *conf;                  // checked; borrowed
    hx_params      *params;
    void           *self;                  // the model's handles
    hx_thrift       frugal;                // hx_tape.frugal of its passes
    bool            masked;                // labels come apart from ids, and evaluation keeps a score
    bool            replays;               // hx_graph.replays of passes with gradients
    float           smooth;                // hx_tape.smooth of passes with gradients
    bool            carries;               // passes for a loss take states over from the run before
    const hx_given *given;                 // inputs beside ids that its passes have; borrowed
    int             n_given;
    const char     *of;                    // the output whose gradient is taken; NULL: the loss
} hx_net;
// Declares the parameters of `model`. HX_E_SHAPE and HX_E_INPUT: they do not fit.
hx_result hx_net_init(hx_net *n, const hx_model *model, const void *conf);
void      hx_net_done(hx_net *n);

// What a pass does with gradients: nothing, write them to HX_GRAD, or add to what is there. A
// parameter that no gradient reaches is left alone: the arena starts as zeros. HX_PASS_MAKE_GRADS writes
// them to the beginning of HX_TEMP where it can (plan->grads_within), else as HX_PASS_WRITE_GRADS.
typedef enum { HX_PASS_FORWARD, HX_PASS_WRITE_GRADS, HX_PASS_ADD_GRADS, HX_PASS_MAKE_GRADS } hx_pass_kind;

// Every output lies in the HX_OUTPUT arena at `output_at`, 256-byte aligned.
typedef struct hx_pass {
    hx_dev     *dev;                       // borrowed
    hx_graph   *graph;                     // yours through the pass
    hx_plan    *plan;
    int64_t     output_at[HX_MAX_OUTPUTS], output_bytes;
    int64_t     given_at[HX_MAX_GIVEN], labels_at, score_at, age_at;
    hx_memory   own[HX_N_PLACES];          // what hx_pass_bind had to make
    hx_memory  *mem[HX_N_PLACES];          // what the pass runs on
    hx_prog    *prog[2];                   // of hx_pass_run, recorded at their first call; the second
                                           // one has HX_STATE and HX_NEXT the other way round
    int         turn;                      // which one is next
    bool        by_piece;                  // its submits are cut, see hx_pass_cut
} hx_pass;

// Builds, differentiates and plans; no memory yet. ids are [batch, tokens].
hx_result hx_pass_new(hx_dev *dev, const hx_net *net, hx_purpose purpose, int64_t batch,
                      int64_t tokens, hx_pass_kind kind, hx_pass **out); // yours
void      hx_pass_free(hx_pass **p);       // accepts NULL, writes NULL
// Gives the pass its memory: shared[place] where it is not NULL and large enough, else its own.
// Uploads the constants.
hx_result hx_pass_bind(hx_pass *p, hx_memory *const shared[HX_N_PLACES]);
// Inputs: ids (batch * tokens), and for HX_FOR_LOGITS the position. Waits for programs that read
// them. HX_FOR_LOSS of a masked net: ids are followed by as many labels, of which the first of each
// row is not read, and those outside the mask are the model's ignore_index.
hx_result hx_pass_write(hx_pass *p, const int32_t *ids, int32_t position);
// Input i of net->given: fp32 or int32 values, as many as its shape says.
hx_result hx_pass_write_given(hx_pass *p, int i, const void *values);
// How many tokens of its document each row has been through, int32 [batch]; 0: what is carried
// begins anew. All rows are 0 before the first call. Nothing happens where nothing is carried.
hx_result hx_pass_write_ages(hx_pass *p, const int32_t *ages);
hx_result hx_pass_run(hx_pass *p);         // runs once and waits
// Index of an output by name; -1 if there is none.
int       hx_pass_find(const hx_pass *p, const char *name);
hx_result hx_pass_read(const hx_pass *p, int output, float *v);     // hx_elems values
// Labels met by the likeliest token. A row is right as a whole when it has labels and all are met.
typedef struct hx_score { int64_t labels, right, rows, rows_right; } hx_score;
// Adds what the last run scored; HX_PASS_FORWARD, HX_FOR_LOSS of a masked net, else adds nothing.
hx_result hx_pass_score(const hx_pass *p, hx_score *sum);

// The longest that one submit should last, in ms: drivers stop what takes too long.
enum { HX_SUBMIT_MS = 250 };
// FLOPs after which a submit is cut so that none lasts longer than that by guess; 0: not at all,
// because the whole `flops` are done sooner or the device is a processor.
double    hx_pass_cut(const hx_dev *dev, double flops);
// The longest that any wait may take before the device counts as lost, in ms.
enum { HX_WAIT_MS = 30 * 60 * 1000 };
// Distance of separately bound things in an arena: no device asks for more.
enum { HX_PASS_ALIGN = 256 };
