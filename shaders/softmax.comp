#version 460
// p = softmax(s + bias) over what a query sees; 1/M where it sees nothing
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(push_constant) uniform push { uint B, T, H, M; int causal, own; uint opts; };
IN(0, s);  IN(1, bias);  IN_INT(2, qm);  IN_INT(3, km);  OUT(4, p);
#include "softmax.glsl"
#define SCORE(j) (s[row * M + (j)] + (HAS(1) ? bias[row % (T * H) * M + (j)] : 0))

void main()
{
    uint row = rows_row(), lane = rows_lane(), end = row < B * T * H ? M : 0;
    float top = -3e38, any = 0, sum = 0;
    for (uint j = lane; j < end; j += 16)
        if (sees(row, j)) { top = max(top, SCORE(j)); any = 1; }
    top = rows_max(top);
    bool some = rows_sum(any) > 0;
    for (uint j = lane; j < end; j += 16) sum += !some ? 1 : sees(row, j) ? exp(SCORE(j) - top) : 0;
    float share = 1 / rows_sum(sum);
    for (uint j = lane; j < end; j += 16)
        p[row * M + j] = (!some ? 1 : sees(row, j) ? exp(SCORE(j) - top) : 0) * share;
}
