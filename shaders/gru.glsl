// gru.glsl - the gates of a GRU.
#include "tanh.glsl"
float share_of(float b) { return 1 / (1 + exp(-b)); }
