// mask_slots.glsl - causal between w slots at either end, which all and who see all:
// src/masks/slots.c
#define SEES(i, j) ((j) <= (i) || (j) < off + w || (i) + w >= n)
#define KEYS_LO(i) 0
#define KEYS_HI(i) ((i) + w >= n ? n : min(n, max((i) + 1, off + w)))
#define QUERIES_LO(j) ((j) < off + w ? off : max(off, min(j, n - min(n, w))))
#define QUERIES_HI(j) n
