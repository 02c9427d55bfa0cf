#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The device's rate of one arithmetic operation: CHAINS independent chains a lane, enough to hide latency, in registers
// only. Each invocation does pc.rows * STEPS * CHAINS steps. What chains must come to is known (src/measure/alu.c).
//   KIND 1: multiply-add in TYPE, x = x * 1 + 1: counts the steps, until the type counts no further. With BF16 both
//     ones are bf16 numbers, unpacked anew from a word for each step of all chains
//   KIND 2: 32-bit integer multiply-add, modulo 2^32
//   KIND 6: dot product of four packed signed bytes, added to the chain
//   KIND 3: exp2, 4: inverse square root, 5: cosine: each tends to its fixed point
#ifdef HALF
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#endif
#if KIND == 6 // for compilers that do not know GL_EXT_integer_dot_product
#extension GL_EXT_spirv_intrinsics : require
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018], id = 4450) int signedDot(
    uint a, uint b, spirv_literal int packing);
#endif
#include "common/attention_params.h"
layout(local_size_x_id = 0) in;
layout(local_size_x = 64) in;
layout(constant_id = 1) const uint CHAINS = 12;
layout(constant_id = 2) const uint STEPS = 64;
RAPT_DECLARE_ATTENTION_PARAMS
layout(std430, set = 0, binding = RAPT_BIND_OUT) writeonly buffer Results { uint results[]; };

#if WIDTH == 4
#define FOLD(f, v) float(f(f(v.x, v.y), f(v.z, v.w)))
#elif WIDTH == 2
#define FOLD(f, v) float(f(v.x, v.y))
#else
#define FOLD(f, v) float(v)
#endif
#if KIND == 1 && defined(BF16)
#define STEP(x) x * uintBitsToFloat(word << 16) + uintBitsToFloat(word & 0xffff0000u)
#define START(c) TYPE(c)
#elif KIND == 1
#define STEP(x) x * one + one
#define START(c) TYPE(c)
#elif KIND == 2
#define STEP(x) x * factor + factor
#define START(c) c
#elif KIND == 6
#define STEP(x) x + uint(signedDot(x, factor, 0))
#define START(c) c
#elif KIND == 3
#define STEP(x) exp2(-x)
#define START(c) (float(c) * 0.05)
#elif KIND == 4
#define STEP(x) inversesqrt(x)
#define START(c) (float(c) * 0.5 + one)
#else
#define STEP(x) cos(x)
#define START(c) (float(c) * 0.05)
#endif

void main()
{
#if KIND == 1
    TYPE one = TYPE(p.scale_log2); // 1, but the compiler does not know
#elif KIND == 2 || KIND == 6
    uint factor = p.nq; // odd
#else
    float one = p.scale_log2;
#endif
    TYPE chain[CHAINS];
    [[unroll]] for (uint c = 0u; c < CHAINS; c++)
        chain[c] = START(c);
#ifdef BF16
    uint word = floatBitsToUint(one) | floatBitsToUint(one) >> 16, change = p.nk - 1u; // 0, but the compiler does not know
#endif
    [[dont_unroll]] for (uint i = 0u; i < pc.rows; i++)
        [[unroll]] for (uint s = 0u; s < STEPS; s++) {
#ifdef BF16
            word ^= change << s;
#endif
            [[unroll]] for (uint c = 0u; c < CHAINS; c++)
                chain[c] = STEP(chain[c]);
        }
    // Folded so that a wrong chain shows, whichever it is.
#if KIND == 1
    TYPE low = chain[0], high = chain[0];
    [[unroll]] for (uint c = 1u; c < CHAINS; c++) {
        low = min(low, chain[c] - TYPE(c));
        high = max(high, chain[c]);
    }
    float least = FOLD(min, low), most = FOLD(max, high);
    results[gl_GlobalInvocationID.x * 2u] = floatBitsToUint(least);
    results[gl_GlobalInvocationID.x * 2u + 1u] = floatBitsToUint(most);
#elif KIND == 2 || KIND == 6
    uint sum = 0u, mix = 0u;
    [[unroll]] for (uint c = 0u; c < CHAINS; c++) {
        sum += chain[c];
        mix ^= chain[c];
    }
    results[gl_GlobalInvocationID.x * 2u] = sum;
    results[gl_GlobalInvocationID.x * 2u + 1u] = mix;
#else
    float low = chain[0], high = chain[0];
    [[unroll]] for (uint c = 1u; c < CHAINS; c++) {
        low = min(low, chain[c]);
        high = max(high, chain[c]);
    }
    results[gl_GlobalInvocationID.x * 2u] = floatBitsToUint(low);
    results[gl_GlobalInvocationID.x * 2u + 1u] = floatBitsToUint(high);
#endif
}
