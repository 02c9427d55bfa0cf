// For software devices, where a lane is a lane of a CPU's vector registers (see broadcast/broadcast.comp): vectors over
// the rows of a lane, and texels of which each lane of a subgroup holds four elements.
//
// LANES and ROWS (2 or 4) are defines; D_K and D_V multiples of 4.
#if ROWS == 4
#define Rows vec4
#define RowInts uvec4
#define RowFlags bvec4
#else
#define Rows vec2
#define RowInts uvec2
#define RowFlags bvec2
#endif
const uint SPAN = LANES * 4u; // elements of one fetch
const uint SPANS_K = (D_K + SPAN - 1u) / SPAN;
const uint SPANS_V = (D_V + SPAN - 1u) / SPAN;

// Element i of the span whose texels the lanes hold, to all of them. Their numbers are read from memory: a folded shuffle
// index makes slower code.
#define BROADCAST(texel, i) subgroupShuffle((texel)[(i) & 3u], source[(i) / 4u])
#define READ_LANES(source)                                                                                   \
    uint source[LANES];                                                                                      \
    [[unroll]] for (uint e = 0u; e < LANES; e++) source[e] = p.lane[e >> 2][e & 3u];

// Texel buffers over what is stored: floats, or raw bf16.
#if DTYPE == DTYPE_BF16
#define STORED usamplerBuffer
#define STORED4(texel) unpack4((texel).xy)
#else
#define STORED samplerBuffer
#define STORED4(texel) (texel)
#endif

vec4 phi(vec4 x) { return vec4(phi(x.x), phi(x.y), phi(x.z), phi(x.w)); }
float decay_of(float x) { return LOG_DECAY != 0u ? exp(x) : x; }
vec4 decay_of(vec4 x) { return LOG_DECAY != 0u ? exp(x) : x; }

// NaN or Inf.
bool not_finite4(vec4 x) { return any(equal(floatBitsToUint(x) & 0x7f800000u, uvec4(0x7f800000u))); }
