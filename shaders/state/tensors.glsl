// Tensors of linear attention: where a token's rows lie, and what a feature map makes of them.
//
// Include after linear_params.h and io.glsl. VARLEN_BINDING is defined where cu_seqlens are bound.
RAPT_DECLARE_LINEAR_PARAMS

#if DTYPE == DTYPE_F32
#define WORD1 float
#define LOAD_ELEMENT(words, index) words[index]
#else
#define WORD1 uint
#define LOAD_ELEMENT(words, index) unpack1(words[(index) >> 1], index)
#endif

// Decays, as RAPT_DECAY_* of src/op/linear.h.
#define DECAY_ONE 0u
#define DECAY_HEAD 1u
#define DECAY_TOKEN 2u
#define DECAY_CHANNEL 3u

#ifdef VARLEN_BINDING
layout(std430, set = 0, binding = VARLEN_BINDING) readonly buffer CuSeqlens { int cu_seqlens[]; };
#endif

// The sequence that a workgroup works on.
struct Sequence {
    uint b, h;   // state number
    uint batch;  // of q .. beta: 0 when sequences are packed
    uint first;  // its first token on the axis of tokens
    uint tokens; // how many it has
};

Sequence sequence_of(uint bh)
{
    Sequence s;
    s.b = bh / p.heads;
    s.h = bh - s.b * p.heads;
    s.batch = s.b;
    s.first = 0u;
    s.tokens = p.tokens;
#ifdef VARLEN_BINDING
    if (VARLEN != 0u) { // whatever lies there, tokens stay on their axis
        uint at = pc.base[VARLEN_BINDING - 1u] + s.b;
        uint first = uint(clamp(cu_seqlens[at], 0, int(p.total)));
        uint last = uint(clamp(cu_seqlens[at + 1u], int(first), int(p.total)));
        s.batch = 0u;
        s.first = first;
        s.tokens = min(last - first, p.tokens);
    }
#endif
    return s;
}

#define ROW_INDEX(name, X, BINDING)                                                                          \
    uint name##_row(Sequence s, uint token)                                                                  \
    {                                                                                                        \
        return pc.base[BINDING - 1u] + s.batch * p.name##_stride_b +                                         \
               (s.h * p.heads_##X / p.heads) * p.name##_stride_h + (s.first + token) * p.name##_stride_s;     \
    }
ROW_INDEX(q, q, RAPT_BIND_Q)
ROW_INDEX(k, k, RAPT_BIND_K)
ROW_INDEX(v, v, RAPT_BIND_V)
ROW_INDEX(decay, decay, RAPT_BIND_DECAY)
uint o_row(Sequence s, uint token)
{
    return pc.base[RAPT_BIND_OUT - 1u] + s.batch * p.o_stride_b + s.h * p.o_stride_h + (s.first + token) * p.o_stride_s;
}

uint state_row(Sequence s) { return pc.base[RAPT_BIND_STATE - 1u] + s.b * p.state_stride_b + s.h * p.state_stride_h; }
// Where a walk begins: what it writes, or the state after the position before.
uint state_from(Sequence s) { return state_row(s) - pc.back * p.d_k * p.state_stride_k; }
uint norm_row(Sequence s) { return pc.base[RAPT_BIND_NORM - 1u] + s.b * p.norm_stride_b + s.h * p.norm_stride_h; }
// The same of a chunk, in the workspace.
uint chunk_number(Sequence s, uint chunk) { return (s.b * p.heads + s.h) * pc.chunks + chunk; }
uint chunk_state(Sequence s, uint chunk)
{
    return pc.base[RAPT_BIND_STATE - 1u] + chunk_number(s, chunk) * p.d_k * p.chunk_pitch;
}
// The same for texel buffers.
uint chunk_state_read(Sequence s, uint chunk)
{
    return pc.read_base + chunk_number(s, chunk) * p.d_k * p.chunk_pitch;
}
uint chunk_norm(Sequence s, uint chunk) { return pc.base[RAPT_BIND_NORM - 1u] + chunk_number(s, chunk) * p.d_k; }

// Feature maps, as rapt_phi of include/rapt/linear.h; that over all features is not among them.
#define PHI_ELU1 1u
#define PHI_RELU 2u
#define PHI_RELU2 3u
#define PHI_EXP 4u
#define PHI_SOFTMAX 5u
float phi(float x)
{
    if (PHI == PHI_ELU1)
        return x > 0.0 ? x + 1.0 : exp(min(x, 0.0));
    if (PHI == PHI_RELU || PHI == PHI_RELU2) {
        float y = x < 0.0 ? 0.0 : x; // NaN stays
        return PHI == PHI_RELU ? y : y * y;
    }
    return PHI == PHI_EXP ? exp(x) : x;
}
