// Shared memory of the cooperative-matrix kernel: q, then k and v of a tile, and the weights, all f16.
#include "tile/load.glsl"

// Pitches of rows, in f16vec4: padded so that the rows spread over the banks, and multiples of 16 bytes.
#define K_PITCH (D_QK / 4 + 2)
#define P_PITCH (TILE_KEYS / 4 + 2)
#define S_PITCH (TN + 4) // in floats
#if V_TRANSPOSED
#define V_PITCH (TILE_KEYS / 4 + 2) // rows are elements of head_dim, columns keys
#define V_SIZE (D_V * V_PITCH)
#else
#define V_PITCH (D_V / 4 + 2)
#define V_SIZE (TILE_KEYS * V_PITCH)
#endif
#define V_START (TILE_KEYS * K_PITCH)
#define QUERY_POOL (SUBGROUPS * TM * K_PITCH)
#define KEY_POOL (V_START + V_SIZE)
#define NOT_FINITE_KINDS 3 // +infinity, -infinity, NaN

// Rows of matrices must be 16-byte aligned (VUID-RuntimeSpirv-OpCooperativeMatrixLoadKHR-08986; NVIDIA's hardware
// faults on others), and shared arrays of smaller types need not be. So all are members of one structure, aligned by
// its first member, and every array's size is a multiple of 16 bytes.
struct Scratch {
    uvec4 not_finite_tile; // x: first key of the last tile whose v was found to hold NaN or infinities
    f16vec4 pool[QUERY_POOL > KEY_POOL ? QUERY_POOL : KEY_POOL]; // q, then k and v of a tile
    f16vec4 weights[TILE_ROWS * P_PITCH];
    float rows_exchange[TILE_ROWS * S_PITCH]; // matrices of TM x TN, ROW_TILES for each subgroup
    float row_values[TILE_ROWS * 2];          // two vectors along the rows of each subgroup
    float row_limits[TILE_ROWS];              // keys of this tile that each row sees
    float column_numbers[TN];                 // 0, 1, ..
    float first_not_finite[NOT_FINITE_KINDS * D_V]; // by kind and column: first key of the tile that has it there
};
shared Scratch scratch;
#define NO_KEY 1e9

f16vec4 half4(uvec2 words) { return f16vec4(unpackFloat2x16(words.x), unpackFloat2x16(words.y)); }
f16vec4 load_q_half(uint row, uint vec) { return ALIGNED ? half4(q_words4[row + vec]) : f16vec4(load_q(row, vec)); }
f16vec4 load_k_half(uint row, uint vec) { return ALIGNED ? half4(k_words4[row + vec]) : f16vec4(load_k(row, vec)); }
f16vec4 load_v_half(uint row, uint vec) { return ALIGNED ? half4(v_words4[row + vec]) : f16vec4(load_v(row, vec)); }

uint k_start, v_start; // where key 0 of k and v is, in units, or with pages (hook/pages.glsl) slot 0 of page 0
uint pages_line;       // and the table of pages

uint paged_key_row(uint key) { return k_start + key_offset(pages_line, key, units(p.k_stride_b), units(p.k_stride_s)); }
uint value_row(uint key) { return v_start + key_offset(pages_line, key, units(p.v_stride_b), units(p.v_stride_s)); }

// Rows of matrix `t` of each subgroup.
void stage_queries(Walk w, uint row0, uint rows, uint t)
{
    for (uint e = gl_LocalInvocationIndex; e < SUBGROUPS * TM * (D_QK / 4); e += WG_SIZE) {
        uint r = e / (D_QK / 4), d = e % (D_QK / 4);
        uint row = min(row0 + r / TM * SG_ROWS + t * TM + r % TM, rows - 1u);
        uint start = units(q_row_index(w, row_head(w, row), row_query(row)));
        scratch.pool[r * K_PITCH + d] = d < QK_VECS ? load_q_half(start, d) : f16vec4(0.0);
    }
}

// Keys past the end repeat the last one; their scores are masked later.
void stage_k(uint key0, uint last_key)
{
    const uint vecs = D_QK / 4;
    uint step = units(p.k_stride_s);
    uint first = gl_LocalInvocationIndex / vecs, d = gl_LocalInvocationIndex % vecs;
    uint tile = k_start + key0 * step, offset = first * step, last_offset = (last_key - key0) * step;
    [[unroll]] for (uint i = 0; i < (TILE_KEYS * vecs + WG_SIZE - 1) / WG_SIZE; i++) {
        uint ahead = i * (WG_SIZE / vecs);
        if (TILE_KEYS * vecs % WG_SIZE == 0 || first + ahead < TILE_KEYS) {
            uint row = tile + min(offset + ahead * step, last_offset);
            if (IS_PAGED)
                row = paged_key_row(min(key0 + first + ahead, last_key));
            scratch.pool[(first + ahead) * K_PITCH + d] = QK_VECS == vecs || d < QK_VECS ? load_k_half(row, d) : f16vec4(0.0);
        }
    }
}

// Finite elements only; the others are staged as zeros, and the tile is marked.
f16vec4 finite_only(f16vec4 v, uint key0)
{
    bvec4 bad = not(lessThanEqual(abs(vec4(v)), vec4(65504.0)));
    if (any(bad))
        scratch.not_finite_tile.x = key0;
    return mix(v, f16vec4(0.0), bad);
}

float not_finite_value(uint kind)
{
    return uintBitsToFloat(kind == 0u ? 0x7f800000u : kind == 1u ? 0xff800000u : 0x7fc00000u);
}

void find_not_finite(uint key0, uint visible)
{
    for (uint d = gl_LocalInvocationIndex; d < D_V; d += WG_SIZE) {
        vec3 first = vec3(NO_KEY);
        if (d < HEAD_DIM_V) {
            for (uint key = min(visible - key0, TILE_KEYS); key-- > 0u;) {
                float x = float(load_v_half(value_row(key0 + key), d / 4u)[d % 4u]);
                bvec3 kind = bvec3(x > 65504.0, x < -65504.0, isnan(x));
                first = mix(first, vec3(key), kind);
            }
        }
        [[unroll]] for (uint kind = 0; kind < NOT_FINITE_KINDS; kind++)
            scratch.first_not_finite[kind * D_V + d] = first[kind];
    }
}

// Where a row's limit alone does not say which keys it sees: ones and zeros for the rows of this subgroup, in the place of its
// weights.
void show_keys(Walk w, uint first_row, uint rows, uint sg_row, uint key0)
{
    const uint quads = TILE_KEYS / 4;
    [[dont_unroll]] for (uint e = gl_SubgroupInvocationID; e < SG_ROWS * quads; e += SG_SIZE) {
        uint r = e / quads, quad = e % quads, row = min(first_row + r, rows - 1u);
        uint head = row_head(w, row), query = row_query(row);
        uint line = IS_BLOCKS ? block_line(w, head, query) : 0u;
        Sight range = sight(w, query);
        bvec4 seen;
        [[unroll]] for (uint c = 0; c < 4; c++) {
            uint key = key0 + quad * 4u + c;
            seen[c] = sees(w, range, key);
            if (IS_BLOCKS)
                seen[c] = block_shows(line, min(key, w.key_end - 1u)) && seen[c];
        }
        scratch.weights[(sg_row + r) * P_PITCH + quad] = mix(f16vec4(0.0), f16vec4(1.0), seen);
    }
}

bool is_not_finite(float x, uint kind) { return kind == 0u ? x > 65504.0 : kind == 1u ? x < -65504.0 : isnan(x); }

// Ones in the place of v where it holds this kind of what is not finite.
void stage_not_finite(uint kind, uint key0, uint visible)
{
    [[dont_unroll]] for (uint e = gl_LocalInvocationIndex; e < TILE_KEYS / 4 * D_V; e += WG_SIZE) {
#if V_TRANSPOSED
        uint d = e / (TILE_KEYS / 4), quad = e % (TILE_KEYS / 4);
#else
        uint key = e / (D_V / 4), quad = e % (D_V / 4);
#endif
        f16vec4 there = f16vec4(0.0);
        [[dont_unroll]] for (uint c = 0; c < 4; c++) {
#if V_TRANSPOSED
            uint key = quad * 4u + c;
#else
            uint d = quad * 4u + c;
#endif
            if (d < HEAD_DIM_V && key0 + key < visible &&
                is_not_finite(float(load_v_half(value_row(key0 + key), d / 4u)[d % 4u]), kind))
                there[c] = float16_t(1.0);
        }
#if V_TRANSPOSED
        scratch.pool[V_START + d * V_PITCH + quad] = there;
#else
        scratch.pool[V_START + key * V_PITCH + quad] = there;
#endif
    }
}

// One vec4 of a row of v. In a tile that is not whole, rows that no query row sees are zeros.
f16vec4 stage_value(uint row, uint d, bool visible, bool whole, uint key0)
{
    if (V_VECS * 4u != D_V && d >= V_VECS)
        return f16vec4(0.0);
    f16vec4 v = load_v_half(row, d);
    if (whole)
        return v;
    return visible ? finite_only(v, key0) : f16vec4(0.0);
}

void stage_v(uint key0, uint last_key, uint visible, bool whole)
{
    const uint vecs = D_V / 4;
    uint step = units(p.v_stride_s);
    uint d = gl_LocalInvocationIndex % vecs;
    uint tile = v_start + key0 * step, last_offset = (last_key - key0) * step;
#if V_TRANSPOSED
    // Four keys by four elements at a time.
    uint first = gl_LocalInvocationIndex / vecs * 4, offset = first * step;
    [[unroll]] for (uint i = 0; i < (TILE_KEYS / 4 * vecs + WG_SIZE - 1) / WG_SIZE; i++) {
        uint ahead = i * (WG_SIZE / vecs) * 4;
        if (TILE_KEYS / 4 * vecs % WG_SIZE == 0 || first + ahead < TILE_KEYS) {
            f16vec4 v[4];
            [[unroll]] for (uint n = 0; n < 4; n++)
                v[n] = stage_value(IS_PAGED ? value_row(min(key0 + first + ahead + n, last_key))
                                            : tile + min(offset + (ahead + n) * step, last_offset),
                                   d, key0 + first + ahead + n < visible, whole, key0);
            [[unroll]] for (uint n = 0; n < 4; n++)
                scratch.pool[V_START + (d * 4 + n) * V_PITCH + (first + ahead) / 4] =
                    f16vec4(v[0][n], v[1][n], v[2][n], v[3][n]);
        }
    }
#else
    uint first = gl_LocalInvocationIndex / vecs, offset = first * step;
    [[unroll]] for (uint i = 0; i < (TILE_KEYS * vecs + WG_SIZE - 1) / WG_SIZE; i++) {
        uint ahead = i * (WG_SIZE / vecs);
        if (TILE_KEYS * vecs % WG_SIZE == 0 || first + ahead < TILE_KEYS)
            scratch.pool[V_START + (first + ahead) * V_PITCH + d] =
                stage_value(IS_PAGED ? value_row(min(key0 + first + ahead, last_key)) : tile + min(offset + ahead * step, last_offset),
                            d, key0 + first + ahead < visible, whole, key0);
    }
#endif
}

// sum += weights v. A macro, since matrices in an array cannot be passed to a function by reference.
#if V_TRANSPOSED
#define LOAD_V(matrix, c, j)                                                                                \
    coopMatLoad(matrix, scratch.pool, V_START + j * TN * V_PITCH + c * (TK / 4), V_PITCH, gl_CooperativeMatrixLayoutColumnMajor)
#else
#define LOAD_V(matrix, c, j)                                                                                \
    coopMatLoad(matrix, scratch.pool, V_START + c * TK * V_PITCH + j * (TN / 4), V_PITCH, gl_CooperativeMatrixLayoutRowMajor)
#endif
#define MULTIPLY_BY_V(sum)                                                                                  \
    [[unroll]] for (uint c = 0; c < WEIGHT_TILES; c++) {                                                    \
        MatrixA weight[ROW_TILES];                                                                          \
        [[unroll]] for (uint t = 0; t < ROW_TILES; t++)                                                     \
            coopMatLoad(weight[t], scratch.weights, (sg_row + t * TM) * P_PITCH + c * (TK / 4), P_PITCH,    \
                        gl_CooperativeMatrixLayoutRowMajor);                                                \
        [[unroll]] for (uint j = 0; j < V_TILES; j++) {                                                     \
            MatrixB v;                                                                                      \
            LOAD_V(v, c, j);                                                                                \
            [[unroll]] for (uint t = 0; t < ROW_TILES; t++)                                                 \
                sum[t * V_TILES + j] = coopMatMulAdd(weight[t], v, sum[t * V_TILES + j]);                   \
        }                                                                                                   \
    }
