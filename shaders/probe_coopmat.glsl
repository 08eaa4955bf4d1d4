#version 450
// Compiled at set-up and configure time only, to ask whether the GLSL compiler knows the matrix
// units of VK_KHR_cooperative_matrix and element types given by spirv_type.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_spirv_intrinsics : require
#define bf16 spirv_type(extensions = ["SPV_KHR_bfloat16"], capabilities = [5116, 5118], id = 22, 16, 0)
layout(local_size_x = 32) in;
layout(set = 0, binding = 0) buffer a { uvec4 x[]; };
layout(set = 0, binding = 1) buffer b { float y[]; };

void main()
{
    coopmat<bf16, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> p;
    coopmat<bf16, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB> q;
    coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> r =
        coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0.0);
    coopMatLoad(p, x, 0, 2, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(q, x, 32, 2, gl_CooperativeMatrixLayoutRowMajor);
    coopMatStore(coopMatMulAdd(p, q, r), y, 0, 16, gl_CooperativeMatrixLayoutRowMajor);
}
