// hx.glsl - what every kernel shares. Bindings follow the operator's signature: inputs first, then
// outputs. Push constants: its dims, then its attributes, then <name>_o and <name>_s of strided
// arguments, then `opts`. The loader compares names and order with the descriptor and refuses a
// misfit. A binding of an optional argument that was left out must not be touched: HAS(i).
#extension GL_EXT_control_flow_attributes : enable
#define IN(i, x)    layout(set = 0, binding = i, std430) readonly  buffer in_##x  { float x[]; }
#define IN_INT(i, x) layout(set = 0, binding = i, std430) readonly buffer in_##x  { int x[]; }
#define OUT(i, x)   layout(set = 0, binding = i, std430) writeonly buffer out_##x { float x[]; }
#define OUT_INT(i, x) layout(set = 0, binding = i, std430) writeonly buffer out_##x { int x[]; }
#define HAS(i)      ((opts >> (i) & 1) != 0)

// Number of this workgroup when one grid expression was folded into x and y.
uint hx_group() { return gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x; }
// max(x, least) that keeps a NaN: compilers take `x < least ? least : x` for max, which drops it.
float hx_at_least(float x, float least)
{
    return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u ? x : max(x, least);
}
