/* Trains a small model on the text in argv[1] and prints what it makes of "The ".
 * cc train.c $(pkg-config --cflags --libs htxvk) -o train && ./train text.txt */
#include <htxvk.h>
#include <stdio.h>
#include <stdlib.h>

static const char yaml[] =
    "model: {arch: hierarchical, num_tokens: 256, dim: 64, depth: 2, dim_head: 32, heads: 2,\n"
    "        seq_len: 128, hierarchies: [1, 4], window_sizes: [32, null], ignore_index: -1}\n"
    "train: {steps: 60, batch: 4}\noptim: {lr: 5e-3}\nschedule: {name: cosine, warmup: 5}\n";

static int show(void *user, uint8_t byte) { return putchar(byte) != EOF || user; }
static int fail(void) { return fprintf(stderr, "error: %s\n", htxvk_message()), 1; }

int main(int argc, char **argv)
{
    static unsigned char text[1 << 20];
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    size_t n = f ? fread(text, 1, sizeof text, f) : 0;
    htxvk_trainer *t;
    htxvk_sizes s = { sizeof s };
    htxvk_losses l = { sizeof l };
    if (n < 1000 || htxvk_trainer_new(yaml, "host", &t) || htxvk_trainer_sizes(t, &s))
        return n < 1000 ? puts("a text of 1000 bytes is needed") : fail();
    int32_t *ids = malloc(sizeof *ids * (size_t)(s.batch * s.tokens));
    for (int step = 0; step < 60; step++) {
        for (int64_t row = 0; row < s.batch; row++)
            for (int64_t i = 0, at = rand() % (n - s.tokens); i < s.tokens; i++)
                ids[row * s.tokens + i] = text[at + i];
        if (htxvk_trainer_step(t, ids, &l))
            return fail();
        if (step % 10 == 9)
            printf("step %d  loss %.3f\n", step + 1, l.loss);
    }
    if (htxvk_trainer_save(t, "ckpt", 1) ||
        htxvk_trainer_generate(t, "The ", 4, 100, &(htxvk_sampling){ sizeof(htxvk_sampling), .temperature = 0.8, .top_p = 1 }, show, NULL))
        return fail();
    htxvk_trainer_free(&t);
    free(ids);
    return putchar('\n') == EOF;
}
