// Where the tokens of a scan lie.
//
// Include after scan_params.h and io.glsl. FLAGS is a specialization constant; HAS_CU is defined where cu_seqlens are bound.
RAPT_DECLARE_SCAN_PARAMS

#if DTYPE == DTYPE_F32
#define WORD1 float
#define LOAD_ELEMENT(words, index) words[index]
#else
#define WORD1 uint
#define LOAD_ELEMENT(words, index) unpack1(words[(index) >> 1], index)
#endif

#define FLAG(bit) ((FLAGS & (bit)) != 0u)
#define REVERSE FLAG(4u)

// Operations, as rapt_scan_op of include/rapt/scan.h.
#define OP_SUM 0u
#define OP_MAX 1u
#define OP_LINEAR 2u
#define OP_SOFTMAX 3u
#define OP_HOLD 6u

#ifdef HAS_CU
layout(std430, set = 0, binding = RAPT_SCAN_BIND_CU) readonly buffer CuSeqlens { int cu_seqlens[]; };
#endif

// The sequence that a workgroup works on.
struct Sequence {
    uint b, h;   // state number
    uint batch;  // of tensors with tokens: 0 when sequences are packed
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
#ifdef HAS_CU
    if (FLAG(RAPT_SCAN_HAS_VARLEN)) { // whatever lies there, tokens stay on their axis
        uint at = pc.base[RAPT_SCAN_BIND_CU - 1] + s.b;
        uint first = uint(clamp(cu_seqlens[at], 0, int(p.total)));
        uint last = uint(clamp(cu_seqlens[at + 1u], int(first), int(p.total)));
        s.batch = 0u;
        s.first = first;
        s.tokens = min(last - first, p.tokens);
    }
#endif
    return s;
}

// The place of a tensor's first element for (batch, head), and where a token lies from there: `token` counts in the order of
// the scan, so that the step from one to the next may be negative (modulo 2^32).
#define PLACE(T, base, batch, head)                                                                          \
    ((base) + (batch) * p.place[2 * T].x + ((head) * p.place[2 * T + 1].y / p.heads) * p.place[2 * T].y)
uint first_token(Sequence s) { return REVERSE ? s.first + s.tokens - 1u : s.first; }
#define STEP(T) (REVERSE ? 0u - p.place[2 * T].z : p.place[2 * T].z)
#define FIRST(T, base, s) (PLACE(T, base, s.batch, s.h) + first_token(s) * p.place[2 * T].z)

// Numbers of a chunk in the workspace: those of plane 0.
uint chunk_at(uint bh, uint chunk)
{
    return pc.base[RAPT_SCAN_BIND_STATE - 1] + (bh * pc.chunks + chunk) * p.planes * p.pitch;
}
