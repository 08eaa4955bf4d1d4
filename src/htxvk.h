/* htxvk.h - models trained, evaluated and sampled from C, on any GPU with Vulkan or on the host.
 *
 * Compile with `pkg-config --cflags --libs htxvk`. Every function that can fail returns an
 * htxvk_result, whose values are the exit codes of the command `htxvk`; htxvk_message() then says
 * what happened, with numbers and a remedy. The library prints nothing and ends nothing.
 *
 * Threads: one trainer may be used by one thread at a time, different trainers by different
 * threads. Messages are kept per thread. There is no global state but the Vulkan loader.
 *
 * Names and meanings of what is here stay; structs only grow at their end, and `size` says which
 * version a caller was compiled with. */
#ifndef HTXVK_H
#define HTXVK_H
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#define HTXVK_API __attribute__((visibility("default")))

typedef enum htxvk_result {
    HTXVK_OK = 0,
    HTXVK_USAGE = 2,      /* a call breaks a rule of this header */
    HTXVK_INPUT = 3,      /* a configuration, a file or a token is not acceptable */
    HTXVK_NODEVICE = 4,   /* no usable device, or a feature is missing */
    HTXVK_NUMERIC = 5,    /* a value that must be finite is not */
    HTXVK_NOMEM = 6,      /* out of host or device memory */
    HTXVK_IO = 7,         /* a file could not be read or written */
    HTXVK_CHECK = 8,      /* a correctness check failed */
    HTXVK_INTERNAL = 70,  /* a defect of the library */
    HTXVK_LOST = 75       /* the device was lost; load the last checkpoint into a new trainer */
} htxvk_result;

HTXVK_API const char *htxvk_version(void);          /* "0.1.0" */
/* What the last failure of this thread was; "" if there was none. Valid until its next call. */
HTXVK_API const char *htxvk_message(void);

typedef struct htxvk_trainer htxvk_trainer;

/* Makes a model and all that its training needs.
 * yaml: a configuration as `htxvk train` takes it, its text; of the sections model, train, optim,
 *   schedule and run.seed count, the files of data are not read.
 * device: "auto", "host", an index, "name:TEXT" or "uuid:HEX"; NULL: what the configuration says.
 * The trainer is yours, see htxvk_trainer_free. Its weights are a function of run.seed. */
HTXVK_API htxvk_result htxvk_trainer_new(const char *yaml, const char *device, htxvk_trainer **out);
HTXVK_API void htxvk_trainer_free(htxvk_trainer **trainer);     /* accepts NULL, writes NULL */

typedef struct htxvk_sizes {
    size_t  size;         /* set it to sizeof(htxvk_sizes) before the call */
    int64_t accumulate, batch, tokens;      /* shape of the ids of one step, see below */
    int64_t vocabulary;   /* ids are 0 .. vocabulary-1 */
    int64_t parameters;   /* trained numbers */
    int64_t step;         /* steps finished */
} htxvk_sizes;
HTXVK_API htxvk_result htxvk_trainer_sizes(const htxvk_trainer *trainer, htxvk_sizes *out);

typedef struct htxvk_losses {
    size_t  size;         /* set it to sizeof(htxvk_losses) before the call */
    int64_t step;         /* 1 for the first */
    double  loss;         /* what is optimised, nats */
    double  cross_entropy;/* of the predicted tokens, nats each; / log(2): bits */
    double  grad_norm;    /* before clipping; 0 in evaluations */
    double  learning_rate;/* 0 in evaluations */
    int     skipped;      /* 1: the gradient was not finite, so nothing was learned */
} htxvk_losses;

/* One optimizer step on ids[accumulate][batch][tokens]; every token but the first of a row is
 * predicted from those before it. Returns when it is done. */
HTXVK_API htxvk_result htxvk_trainer_step(htxvk_trainer *trainer, const int32_t *ids,
                                          htxvk_losses *out);
/* Losses of ids[batch][tokens] without learning. */
HTXVK_API htxvk_result htxvk_trainer_eval(htxvk_trainer *trainer, const int32_t *ids,
                                          htxvk_losses *out);

/* Writes the checkpoint folder/step-NNNNNNNN: whole or not at all, also when the machine stops;
 * keeps the newest `keep` >= 1 there. `htxvk eval`, `generate` and `inspect` read it. */
HTXVK_API htxvk_result htxvk_trainer_save(htxvk_trainer *trainer, const char *folder, int keep);
/* Goes on from a checkpoint, or from the newest whole one of a folder or of a run. States that a
 * model carries from step to step begin anew. */
HTXVK_API htxvk_result htxvk_trainer_load(htxvk_trainer *trainer, const char *path);

typedef struct htxvk_sampling {
    size_t   size;        /* set it to sizeof(htxvk_sampling) before the call */
    double   temperature; /* 0: always the likeliest token */
    int64_t  top_k;       /* 0: all */
    double   top_p;       /* 1: all */
    double   min_p;       /* 0: all */
    uint64_t seed;        /* the same seed gives the same text */
} htxvk_sampling;
/* Continues n bytes of text by `length` bytes, for models over bytes. emit gets each at once and
 * returns 0 to end early. */
HTXVK_API htxvk_result htxvk_trainer_generate(htxvk_trainer *trainer, const void *prompt, int64_t n,
                                              int64_t length, const htxvk_sampling *how,
                                              int (*emit)(void *user, uint8_t byte), void *user);

#ifdef __cplusplus
}
#endif
#endif
