// mask_band.glsl - the query itself and the w tokens before it: src/masks/band.c
#define SEES(i, j) ((j) <= (i) && (i) - (j) <= w)
#define KEYS_LO(i) ((i) - min(i, w))
#define KEYS_HI(i) ((i) + 1)
#define QUERIES_LO(j) max(j, off)
#define QUERIES_HI(j) max(min((j) + w + 1, n), off)
