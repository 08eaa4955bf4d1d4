// coop_places.glsl - which elements of matrices an invocation holds: for each lane and up to 16
// elements where in the matrix it is, row * 16 + column, in sums and then in factors, or -1; and
// whether the conversion to factors is to the nearest. For src/core/places.c.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#include "hx.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint THREADS = 32;
layout(constant_id = 1) const uint MM = 16;
layout(constant_id = 2) const uint MN = 16;
layout(constant_id = 3) const uint MK = 16;
OUT_INT(0, found);
const uint AT = MM * MN / 4;
shared uvec4 sm[AT + MM * MK / 8];

void main()
{
    uint lane = gl_SubgroupInvocationID;
    for (uint i = lane; i < MM * MN / 4; i += THREADS)
        sm[i] = 0x3f800000u + i * 4 + uvec4(0, 1, 2, 3);
    for (uint i = lane; i < MM * MK / 8; i += THREADS) {
        uvec4 at = i * 8 + uvec4(0, 2, 4, 6);
        sm[AT + i] = MARK(at) | MARK(at + 1) << 16;
    }
    barrier();
    coopmat<float, gl_ScopeSubgroup, MM, MN, gl_MatrixUseAccumulator> sums;
    coopmat<ELEM, gl_ScopeSubgroup, MM, MK, gl_MatrixUseA> factors;
    coopMatLoad(sums, sm, 0, MN / 4, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(factors, sm, AT, MK / 8, gl_CooperativeMatrixLayoutRowMajor);
    for (uint e = 0; e < 16; e++)
        found[lane * 32 + e] = found[lane * 32 + 16 + e] = -1;
    for (uint e = 0; e < min(sums.length(), 16); e++) {
        uint at = floatBitsToUint(sums[e]) & 0xffffu;
        found[lane * 32 + e] = int(at / MN * 16 + at % MN);
    }
    for (uint e = 0; e < min(factors.length(), 16); e++) {
        uint at = MARK_OF(float_of(factors[e]));
        found[lane * 32 + 16 + e] = int(at / MK * 16 + at % MK);
    }
    // a quarter above a mark and a quarter below the next, through memory: compilers leave out
    // conversions there and back
    float mark = MARKED(lane), step = MARKED(lane + 1) - mark;
    uint first = MARK_OF(float_of(factors[0])), second = MARK_OF(float_of(factors[1]));
    factors[0] = elem_of(mark + step * 0.25);
    factors[1] = elem_of(mark + step * 0.75);
    barrier();
    coopMatStore(factors, sm, AT, MK / 8, gl_CooperativeMatrixLayoutRowMajor);
    barrier();
    uint low = sm[AT + first / 8][first / 2 % 4] >> first % 2 * 16 & 0xffffu;
    uint high = sm[AT + second / 8][second / 2 % 4] >> second % 2 * 16 & 0xffffu;
    found[THREADS * 32 + lane] = int(low == MARK(lane) && high == MARK(lane + 1));
}
