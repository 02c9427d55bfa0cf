#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types : require
// The device's rate of one cooperative-matrix shape, TM x TK by TK x TN: CHAINS independent accumulators a subgroup,
// pc.rows * STEPS products each, of matrices full of UNIT, whose every sum is known.
#include "common/attention_params.h"
layout(local_size_x_id = 0) in;
layout(local_size_x = 128) in;
layout(constant_id = 1) const uint CHAINS = 4;
layout(constant_id = 2) const uint STEPS = 8;
layout(constant_id = 3) const uint TM = 16;
layout(constant_id = 4) const uint TN = 16;
layout(constant_id = 5) const uint TK = 16;
RAPT_DECLARE_ATTENTION_PARAMS
layout(std430, set = 0, binding = RAPT_BIND_OUT) writeonly buffer Results { uint results[]; };

#define MatrixA coopmat<A, gl_ScopeSubgroup, TM, TK, gl_MatrixUseA>
#define MatrixB coopmat<B, gl_ScopeSubgroup, TK, TN, gl_MatrixUseB>
#define Sums coopmat<C, gl_ScopeSubgroup, TM, TN, gl_MatrixUseAccumulator>

void main()
{
    // All are full of UNIT, but no compiler can know that they are alike, nor that they stay what they are: otherwise it
    // would compute one product for all, or take the products out of the loop.
    A one = A(p.scale_log2);
    MatrixA a[2];
    MatrixB b[2];
    a[0] = MatrixA(A(p.scale_log2 * UNIT));
    a[1] = MatrixA(A(float(p.nk) * UNIT));
    b[0] = MatrixB(B(p.scale_log2 * UNIT));
    b[1] = MatrixB(B(float(p.nk) * UNIT));
    Sums sum[CHAINS];
    [[unroll]] for (uint c = 0u; c < CHAINS; c++)
        sum[c] = Sums(C(c));
    [[dont_unroll]] for (uint i = 0u; i < pc.rows; i++)
        [[unroll]] for (uint s = 0u; s < STEPS; s++) {
            [[unroll]] for (uint c = 0u; c < CHAINS; c++)
                sum[c] = coopMatMulAdd(a[c / 2u % 2u], b[c % 2u], sum[c]);
            a[0] = a[0] * one;
            a[1] = a[1] * one;
        }
    float low = float(sum[0][0]), high = low;
    [[unroll]] for (uint c = 0u; c < CHAINS; c++)
        [[unroll]] for (uint e = 0u; e < sum[c].length(); e++) {
            low = min(low, float(sum[c][e]) - float(c));
            high = max(high, float(sum[c][e]) - float(c));
        }
    // Even lanes tell the most, odd ones how many subgroups there were to compute.
    bool even = (gl_LocalInvocationID.x & 1u) == 0u;
    results[gl_GlobalInvocationID.x * 2u] = floatBitsToUint(low);
    results[gl_GlobalInvocationID.x * 2u + 1u] = even ? floatBitsToUint(high) : gl_NumSubgroups;
}
