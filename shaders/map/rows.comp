#version 450
#extension GL_GOOGLE_include_directive : require
// Rows by index: gathers those that a list names, puts them back where it says, or places them in a cache. Each row of the output looks up where it comes
// from, in rising runs of the list by halving, so that no two invocations write one element; of a cache, the list has each slot once.
//
// An invocation makes four elements of one row. x: rows times vectors of this dispatch, z: (batch, head) of the output, placing: of x.
#include "common/rows_params.h"
#include "common/io.glsl"
#if DTYPE == DTYPE_F32
#define WORD1 float
#define LOAD_ELEMENT(words, index) words[index]
#else
#define WORD1 uint
#define LOAD_ELEMENT(words, index) unpack1(words[(index) >> 1], index)
#endif

layout(local_size_x = 64) in;
layout(constant_id = 0) const uint ALIGNED_ = 0;
layout(constant_id = 1) const uint KIND = 0; // rapt_rows_kind
layout(constant_id = 2) const uint WEIGHTED = 0;
#define ALIGNED (ALIGNED_ != 0u)
RAPT_DECLARE_ROWS_PARAMS

const uint KIND_GATHER = 0u, KIND_MEAN = 2u, KIND_PLACE = 3u;

layout(std430, set = 0, binding = RAPT_BIND_ROWS) readonly buffer RowElements { WORD1 x_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_ROWS) readonly buffer RowVectors { WORD4 x_words4[]; };
layout(std430, set = 0, binding = RAPT_BIND_ROW_LIST) readonly buffer List { int list[]; };
layout(std430, set = 0, binding = RAPT_BIND_WEIGHT) readonly buffer Weights { float weights[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutElements { WORD1 out_words1[]; };
layout(std430, set = 0, binding = RAPT_BIND_OUT) buffer OutVectors { WORD4 out_words4[]; };
#include "common/store.glsl"

vec4 load_vector(uint at, uint count)
{
    if (ALIGNED)
        return unpack4(x_words4[at >> 2]);
    vec4 x = vec4(0.0);
    for (uint e = 0u; e < count; e++)
        x[e] = LOAD_ELEMENT(x_words1, at + e);
    return x;
}

// Where `row` stands in the rising run that begins at entry `first`, up to its first entry below 0; p.run: nowhere.
uint place_in_run(uint list_at, uint first, uint row)
{
    uint low = 0u, high = p.run; // the entries before `low` are smaller, those from `high` on are not
    while (low < high) {
        const uint middle = (low + high) / 2u;
        const int entry = list[list_at + (first + middle) * p.list_stride_s];
        if (entry >= 0 && entry < int(row))
            low = middle + 1u;
        else
            high = middle;
    }
    return low < p.run && list[list_at + (first + low) * p.list_stride_s] == int(row) ? low : p.run;
}

void main()
{
    const uint vectors = (p.head_dim + 3u) >> 2, item = gl_GlobalInvocationID.x;
    const uint row = pc.first + item / vectors, d = (item % vectors) << 2, count = min(p.head_dim - d, 4u);
    if (row >= pc.end)
        return;
    const uint bh = pc.bh0 + gl_WorkGroupID.z, batch = bh / p.heads, head = bh - batch * p.heads;
    const uint x_at = pc.base[RAPT_BIND_ROWS - 1u] + batch * p.x_stride_b + head * p.heads_x / p.heads * p.x_stride_h + d;
    const uint list_at = pc.base[RAPT_BIND_ROW_LIST - 1u] + batch * p.list_stride_b +
                         head * p.heads_list / p.heads * p.list_stride_h;
    if (KIND == KIND_PLACE) {
        const int slot = list[list_at + row * p.list_stride_s];
        if (slot >= 0 && slot < int(p.n))
            store_out4(pc.base[RAPT_BIND_OUT - 1u] + uint(slot) / p.run * p.out_stride_b + head * p.out_stride_h +
                           uint(slot) % p.run * p.out_stride_s + d,
                       load_vector(x_at + row * p.x_stride_s, count), count);
        return;
    }
    vec4 x = vec4(0.0);
    uint numbered = row; // the row that has a weight
    if (KIND == KIND_GATHER) {
        const int entry = list[list_at + row * p.list_stride_s];
        const bool there = entry >= 0 && entry < int(p.n);
        numbered = there ? uint(entry) : 0u;
        if (there)
            x = load_vector(x_at + numbered * p.x_stride_s, count);
    } else {
        float named = 0.0;
        for (uint i = 0u; i < p.runs; i++) {
            const uint place = place_in_run(list_at, i * p.run, row);
            if (place < p.run) {
                x += load_vector(x_at + (i * p.run + place) * p.x_stride_s, count);
                named += 1.0;
            }
        }
        if (KIND == KIND_MEAN)
            x /= max(named, 1.0);
    }
    if (WEIGHTED != 0u)
        x *= weights[pc.base[RAPT_BIND_WEIGHT - 1u] + batch * p.weight_stride_b +
                     head * p.heads_weight / p.heads * p.weight_stride_h + numbered * p.weight_stride_s];
    store_out4(pc.base[RAPT_BIND_OUT - 1u] + batch * p.out_stride_b + head * p.out_stride_h + row * p.out_stride_s + d, x, count);
}
