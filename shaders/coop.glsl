// coop.glsl - what shaders/*.coop*.comp share: extensions, and buffers of 16 bytes an element.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#include "hx.glsl"
#undef IN
#undef OUT
#define IN(i, x)  layout(set = 0, binding = i, std430) readonly  buffer in_##x  { vec4 x[]; }
#define OUT(i, x) layout(set = 0, binding = i, std430) writeonly buffer out_##x { vec4 x[]; }
#define ELEM_OF(x, i) x[(i) / 4][(i) % 4]
