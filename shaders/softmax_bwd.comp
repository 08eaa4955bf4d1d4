#version 460
// ds = p (dp - p.dp) where the query sees anything, else 0
#extension GL_GOOGLE_include_directive : require
#include "hx.glsl"
layout(push_constant) uniform push { uint B, T, H, M; int causal, own; uint opts; };
IN(0, dp);  IN(1, p);  IN_INT(2, qm);  IN_INT(3, km);  OUT(4, ds);
#include "softmax.glsl"

void main()
{
    uint row = rows_row(), lane = rows_lane(), end = row < B * T * H ? M : 0;
    float any = 0, sum = 0;
    for (uint j = lane; j < end; j += 16) {
        sum += dp[row * M + j] * p[row * M + j];
        any += sees(row, j) ? 1 : 0;
    }
    sum = rows_sum(sum);
    bool some = rows_sum(any) > 0;
    for (uint j = lane; j < end; j += 16)
        ds[row * M + j] = some ? p[row * M + j] * (dp[row * M + j] - sum) : 0;
}
