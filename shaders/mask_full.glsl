// mask_full.glsl - every key, as in cross attention: src/masks/full.c
#define SEES(i, j) true
#define KEYS_LO(i) 0
#define KEYS_HI(i) n
#define QUERIES_LO(j) off
#define QUERIES_HI(j) n
