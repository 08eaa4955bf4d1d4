// philox.h - random words that are a function of the numbers of a step (hx_dice): dropouts draw from them, on
// every device the same.
#pragma once
#include <Random123/philox.h>
#include <stdint.h>

// of the key, so that two kinds of places never draw the same words
enum { HX_DRAW_ELEMENTS = 0x64726f70, HX_DRAW_WEIGHTS = 0x6174746e };

// Four words of counter (x, y); dice: the run's seed in two words, step, micro-batch.
static inline philox4x32_ctr_t hx_words(const int32_t *dice, uint32_t kind, uint32_t x, uint32_t y)
{
    philox4x32_ctr_t c = {{ x, y, (uint32_t)dice[2], (uint32_t)dice[3] }};
    philox4x32_key_t k = {{ (uint32_t)dice[0], kind }};
    return philox4x32(c, k);
}

// A word below this is left out with chance p.
static inline uint32_t hx_least(float p) { return (uint32_t)(p * 4294967296.0f); }
