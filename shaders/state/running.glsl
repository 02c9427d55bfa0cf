// Running states and where they come from: what scan.comp, products.comp, copy.comp and leap.comp share.
//
// Bindings: norm_in at 2, state_in at 3, running states at 4, running normalisers at 7. Those of chunks are at 8 and 6,
// what chunks multiply by at 5. Where STATE_BINDING and STATE_IN_BINDING are defined, states lie there, there are no
// normalisers, and the parameters have been declared; EACH_COLUMN is then defined too.
#ifndef STATE_BINDING
#define STATE_BINDING 4
#define STATE_IN_BINDING 3
#define HAS_NORMS
#define EACH_COLUMN for (uint i = 0u; i < count; i++)
RAPT_DECLARE_LINEAR_PARAMS
#endif
#define STATE_IN_BASE pc.base[STATE_IN_BINDING - 1]
#define NORM_IN_BASE pc.base[1]
#define STATE_BASE pc.base[STATE_BINDING - 1]
#define NORM_BASE pc.base[6]
#define STEPS_BASE pc.base[4]
#define CHUNKS_BASE pc.base[7]
#define CHUNK_NORMS_BASE pc.base[5]
layout(std430, set = 0, binding = STATE_IN_BINDING) readonly buffer StatesIn { float states_in[]; };
layout(std430, set = 0, binding = STATE_BINDING) buffer States { float states[]; };
#ifdef HAS_NORMS
layout(std430, set = 0, binding = 2) readonly buffer NormsIn { float norms_in[]; };
layout(std430, set = 0, binding = 7) buffer Norms { float norms[]; };
#endif

// Four columns of a state, of which `count` exist: 0, or from a buffer.
vec4 first_state(uint b, uint h, uint row, uint column, uint count)
{
    vec4 x = vec4(0.0);
    if ((pc.flags & RAPT_LINEAR_READ_IN) != 0u) {
        uint at = STATE_IN_BASE + b * p.state_in_stride_b + h * p.state_in_stride_h + row * p.state_in_stride_k + column;
        EACH_COLUMN
            x[i] = states_in[at + i];
    } else if ((pc.flags & RAPT_LINEAR_READ_STATE) != 0u) {
        uint at = STATE_BASE - pc.back * p.d_k * p.state_stride_k + b * p.state_stride_b + h * p.state_stride_h + row * p.state_stride_k + column;
        EACH_COLUMN
            x[i] = states[at + i];
    }
    return x;
}
void last_state(uint b, uint h, uint row, uint column, uint count, vec4 x)
{
    if ((pc.flags & RAPT_LINEAR_WRITE_STATE) == 0u)
        return;
    uint at = STATE_BASE + b * p.state_stride_b + h * p.state_stride_h + row * p.state_stride_k + column;
    EACH_COLUMN
        states[at + i] = x[i];
}
#ifdef HAS_NORMS
float first_norm(uint b, uint h, uint row)
{
    if ((pc.flags & RAPT_LINEAR_READ_IN) != 0u)
        return norms_in[NORM_IN_BASE + b * p.norm_in_stride_b + h * p.norm_in_stride_h + row];
    if ((pc.flags & RAPT_LINEAR_READ_STATE) != 0u)
        return norms[NORM_BASE - pc.back * p.d_k + b * p.norm_stride_b + h * p.norm_stride_h + row];
    return 0.0;
}
void last_norm(uint b, uint h, uint row, float x)
{
    if ((pc.flags & RAPT_LINEAR_WRITE_STATE) != 0u)
        norms[NORM_BASE + b * p.norm_stride_b + h * p.norm_stride_h + row] = x;
}
#endif
