// rel_push.glsl - what is pushed first to every kernel of attention by distance.
#ifdef DROP
#define REL_DROP float drop, stays; uint spot;
#else
#define REL_DROP
#endif
#define REL_PUSH                                                                                 \
    uint N, B, D, M;                                                                             \
    uint heads, band, read, write, cache, slide;                                                 \
    REL_DROP                                                                                     \
    uint q_o, q_s, k_o, k_s, v_o, v_s, r_o, r_s;
