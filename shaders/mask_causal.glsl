// mask_causal.glsl - every token up to and including the query: src/masks/causal.c
#define SEES(i, j) ((j) <= (i))
#define KEYS_LO(i) 0
#define KEYS_HI(i) ((i) + 1)
#define QUERIES_LO(j) max(j, off)
#define QUERIES_HI(j) n
