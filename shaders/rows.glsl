// rows.glsl - 256 invocations share 256/LANES rows: LANES neighbours work on each. ROWS_SUM is the
// type of what they sum: float unless defined before.
#ifndef ROWS_SUM
#define ROWS_SUM float
#endif
layout(local_size_x = 256) in;
layout(constant_id = 0) const uint LANES = 16;
shared ROWS_SUM rows_part[256];

uint rows_lane() { return gl_LocalInvocationIndex % LANES; }
uint rows_row() { return hx_group() * (256 / LANES) + gl_LocalInvocationIndex / LANES; }

// Sum over the LANES invocations of a row in a fixed order, the same for each of them. Every
// invocation of the workgroup must call it.
ROWS_SUM rows_sum(ROWS_SUM v)
{
    uint lane = rows_lane(), first = gl_LocalInvocationIndex - lane;
    barrier();                             // the sums before may still be read
    rows_part[gl_LocalInvocationIndex] = v;
    barrier();
    if (LANES > 16) {
        if (lane < 16) {
            for (uint k = lane + 16; k < LANES; k += 16) v += rows_part[first + k];
            rows_part[first + lane] = v;
        }
        barrier();
    }
    ROWS_SUM sum = ROWS_SUM(0);
    for (uint k = 0; k < min(LANES, 16); k++) sum += rows_part[first + k];
    return sum;
}
